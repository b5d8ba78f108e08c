"""
Bounds on the mutual information I(X; Y), in nats, as pure functions of a matrix of critic scores.

``scores`` has the shape ``(N, K)``; row i, column j holds ``f(x_i, y_j)``. ``positives`` and ``negatives`` are bool masks of
that shape, by default the diagonal and everything off it: pairs from the joint distribution, and pairs of independent
samples. A row that does not count is False in both. No positive or no negative at all gives 0 with a zero gradient. Half
precision is computed, and returned, in float32.

Each **lower** bound returns a scalar to be maximised: its value is the estimate, its gradient the one that its paper trains
the critic with (for ``jsd``, ``smile`` and ``mine`` not the gradient of the value). The upper bounds need a conditional
density: see :mod:`cpc_rl.upper_bounds`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cpc_rl.interpolated_bound import interpolated
from cpc_rl.losses import masked_mean
from cpc_rl.scores import check_scores, log_mean_exp, log_sum_exp, moved_log_mean, tame_exp, zero_unless_both
from cpc_rl.upper_bounds import club, club_sampled, leave_one_out_upper

__all__ = [
    "ESTIMATORS",
    "club",
    "club_sampled",
    "dv",
    "infonce",
    "infonce_known_conditional",
    "interpolated",
    "jsd",
    "leave_one_out_upper",
    "mine",
    "nwj",
    "smile",
]


def _with_gradient_of(objective: Tensor, value: Tensor) -> Tensor:
    """A tensor that equals ``value`` and has the gradient of ``objective``."""
    return objective + (value - objective).detach()


def infonce(scores: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None) -> Tensor:
    """
    InfoNCE, a **lower** bound: ``log K_i`` less the cross-entropy of picking the positive among the ``K_i`` candidates of
    its row.

    van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding", equation 4 and section 2.3; Poole
    et al. 2019, "On Variational Bounds of Mutual Information", section 2.3. Low variance, but a bias that grows with the
    information: never above log K.

    :param scores: shape ``(N, K)``, float
    :param positives: shape ``(N, K)``, bool. Several in a row are contrasted one by one, each with the row's negatives alone.
    :param negatives: shape ``(N, K)``, bool. ``K_i`` is their number in row i and one: the positive is among the candidates.
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    scores, positives, negatives = check_scores("infonce", scores, positives, negatives)
    others = log_sum_exp(scores, negatives, dim=1).unsqueeze(1)  # (N, 1)
    candidates = (negatives.sum(dim=1, keepdim=True) + 1).to(scores.dtype)  # (N, 1)
    return masked_mean(candidates.log() + F.logsigmoid(scores - others), positives)


def infonce_known_conditional(log_p: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None) -> Tensor:
    """
    InfoNCE with the true conditional p(y|x) as critic, a **lower** bound: each y is contrasted over the x that could have
    made it.

    Poole et al. 2019, section 2.5, beside the upper bound :func:`leave_one_out_upper`, from which it differs by keeping the
    positive in the mean. No critic to learn; still never above log N.

    :param log_p: ``log p(y_j | x_i)``, shape ``(N, K)``, float, nats
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool. The mean runs over a **column**: one y, other x.
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    log_p, positives, negatives = check_scores("infonce_known_conditional", log_p, positives, negatives)
    return infonce(log_p.T, positives.T, negatives.T)


def nwj(scores: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None) -> Tensor:
    """
    NWJ (also f-GAN KL, MINE-f), a **lower** bound: ``E_joint[f] - E_marginals[exp(f - 1)]``.

    Best critic: ``1 + log p(y|x)/p(y)``.

    Nguyen, Wainwright and Jordan 2010, "Estimating Divergence Functionals and the Likelihood Ratio by Convex Risk
    Minimization"; Poole et al. 2019, section 2.2. Unbiased in value and gradient, but its variance grows exponentially with
    the information (Song and Ermon 2020, theorem 2). Once the mean of exp(f - 1) exceeds exp(50), the exponential goes on as
    its tangent, so that nothing overflows.

    :param scores: shape ``(N, K)``, float
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    scores, positives, negatives = check_scores("nwj", scores, positives, negatives)
    estimate = masked_mean(scores, positives) - tame_exp(log_mean_exp(scores, negatives) - 1)
    return zero_unless_both(estimate, positives, negatives)


def dv(scores: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None) -> Tensor:
    """
    Donsker-Varadhan, a **lower** bound: ``E_joint[f] - log E_marginals[exp(f)]``. Best critic: ``log p(y|x)/p(y)`` and any
    constant.

    Donsker and Varadhan 1983; Belghazi et al. 2018, "Mutual Information Neural Estimation", theorem 1, who maximise it. The
    logarithm of a minibatch's mean biases the value upwards, so that it bounds nothing with few samples, and biases the
    gradient: see :func:`mine`. High variance.

    :param scores: shape ``(N, K)``, float
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    scores, positives, negatives = check_scores("dv", scores, positives, negatives)
    estimate = masked_mean(scores, positives) - log_mean_exp(scores, negatives)
    return zero_unless_both(estimate, positives, negatives)


def mine(
    scores: Tensor,
    log_running_mean: Tensor,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    decay: float = 0.99,
) -> tuple[Tensor, Tensor]:
    """
    MINE: the value of :func:`dv`, with a gradient whose bias is corrected by a running mean of exp(f) over the marginals.

    Belghazi et al. 2018, section 3.2: ``E_joint[grad f] - E_marginals[exp(f) grad f] / m``, where ``m`` becomes
    ``decay * m + (1 - decay) * E_marginals[exp(f)]`` before it divides. As a value a **lower** bound with the flaws of
    Donsker-Varadhan's.

    :param scores: shape ``(N, K)``, float
    :param log_running_mean: ``log m``, a scalar without gradient; ``-inf`` before the first batch, which then sets it
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool
    :param decay: share of the running mean that a batch leaves, in [0, 1)
    :return: the estimate, a scalar, nats; and the next ``log_running_mean``, detached, unchanged if a mask selects nothing
    :raises ValueError: if the shapes or types do not belong together, or ``decay`` is out of range
    """
    if log_running_mean.dim() != 0 or not 0 <= decay < 1:
        raise ValueError(
            f"mine takes a scalar log_running_mean and a decay in [0, 1), but got the shape "
            f"{tuple(log_running_mean.shape)} and {decay}."
        )
    scores, positives, negatives = check_scores("mine", scores, positives, negatives)
    joint, log_mean = masked_mean(scores, positives), log_mean_exp(scores, negatives)
    batch = log_mean.detach()
    running = log_running_mean.detach().to(batch.dtype)
    updated = moved_log_mean(running, batch, decay)
    estimate = _with_gradient_of(joint - (log_mean - updated).exp(), joint - log_mean)
    counts = positives.any() & negatives.any()
    return zero_unless_both(estimate, positives, negatives), torch.where(counts, updated, running)


def _jensen_shannon(scores: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """The discriminator's log-likelihood of telling positives from negatives, each mask with the same weight."""
    return masked_mean(F.logsigmoid(scores), positives) + masked_mean(F.logsigmoid(-scores), negatives)


def jsd(scores: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None) -> Tensor:
    """
    Trained by the Jensen-Shannon objective, read out by :func:`nwj` at ``f + 1``. A **lower** bound in value. Best critic:
    ``log p(y|x)/p(y)``.

    Objective: Nowozin et al. 2016, "f-GAN"; Hjelm et al. 2019, "Deep InfoMax", equation 4: ``E_joint[log sigmoid(f)] +
    E_marginals[log sigmoid(-f)]``, whose gradient this tensor has. Readout: Poole et al. 2019, section 2.6. Its training is
    stabler than NWJ's; the variance of its value is NWJ's.

    :param scores: shape ``(N, K)``, float
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    scores, positives, negatives = check_scores("jsd", scores, positives, negatives)
    value = nwj(scores.detach() + 1, positives, negatives)
    return zero_unless_both(_with_gradient_of(_jensen_shannon(scores, positives, negatives), value), positives, negatives)


def smile(scores: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None, clip: float = 5.0) -> Tensor:
    """
    SMILE: trained as :func:`jsd`, read out by Donsker-Varadhan with the density ratio in the partition function clipped to
    ``exp(±clip)``.

    Song and Ermon 2020, "Understanding the Limitations of Variational Mutual Information Estimators", section 5. A smaller
    ``clip`` lowers the variance and raises the bias, which may have either sign: **not a bound** unless ``clip`` is
    infinite, which reads out Donsker-Varadhan itself.

    :param scores: shape ``(N, K)``, float
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool
    :param clip: largest absolute log density ratio in the partition function, nats, positive, ``inf`` allowed
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together, or ``clip`` is not positive
    """
    if not clip > 0:
        raise ValueError(f"smile takes a positive clip, but got {clip}.")
    scores, positives, negatives = check_scores("smile", scores, positives, negatives)
    ratios = scores.detach()
    value = masked_mean(ratios, positives) - log_mean_exp(ratios.clamp(-clip, clip), negatives)
    return zero_unless_both(_with_gradient_of(_jensen_shannon(scores, positives, negatives), value), positives, negatives)


ESTIMATORS: dict[str, Callable[..., Tensor]] = {"infonce": infonce, "nwj": nwj, "dv": dv, "jsd": jsd, "smile": smile}
