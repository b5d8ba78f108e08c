"""
Upper bounds on mutual information, in nats, from a matrix of log conditional densities.

``log_q`` has the shape ``(N, K)``; row i, column j holds ``log q(y_j | x_i)``. ``positives`` and ``negatives`` are bool
masks of that shape, by default the diagonal and everything off it: pairs from the joint distribution, and pairs of
independent samples. They are upper bounds if q is the true conditional p(y|x); with a learnt q the difference may have
either sign. No positive or no negative gives 0 with a zero gradient.
"""

import torch
from torch import Tensor

from cpc_rl.losses import masked_mean
from cpc_rl.scores import check_scores, log_mean_exp, zero_unless_both


def leave_one_out_upper(log_q: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None) -> Tensor:
    """
    Leave-one-out **upper** bound: ``E[log q(y_i|x_i) - log mean_{k != i} q(y_i|x_k)]``, the marginal p(y) from the other
    samples.

    Poole et al. 2019, "On Variational Bounds of Mutual Information", section 2.5. Above the truth by Jensen's inequality,
    and ever closer with more samples per column; far above it once the information exceeds the logarithm of their number.

    :param log_q: ``log q(y_j | x_i)``, shape ``(N, K)``, float, nats
    :param positives: shape ``(N, K)``, bool. One whose column holds no negative does not count.
    :param negatives: shape ``(N, K)``, bool. The mean runs over a **column**: one y, other x.
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    log_q, positives, negatives = check_scores("leave_one_out_upper", log_q, positives, negatives)
    positives = positives & negatives.any(dim=0)
    return masked_mean(log_q - log_mean_exp(log_q, negatives, dim=0), positives)


def club(log_q: Tensor, positives: Tensor | None = None, negatives: Tensor | None = None) -> Tensor:
    """
    CLUB, an **upper** bound: ``E_joint[log q(y|x)] - E_marginals[log q(y|x)]``.

    Cheng et al. 2020, "CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information", sections 3.1 (true conditional) and
    3.2 (learnt). Unbiased for a quantity above the truth: for correlated Gaussians far above it. The paper's mean over all
    pairs counts the positives among the negatives, which shrinks it by (N-1)/N; a mask ``negatives`` of ones does that.

    :param log_q: ``log q(y_j | x_i)``, shape ``(N, K)``, float, nats
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    log_q, positives, negatives = check_scores("club", log_q, positives, negatives)
    return zero_unless_both(masked_mean(log_q, positives) - masked_mean(log_q, negatives), positives, negatives)


def club_sampled(
    log_q: Tensor, generator: torch.Generator, positives: Tensor | None = None, negatives: Tensor | None = None
) -> Tensor:
    """
    vCLUB-S: :func:`club` with one negative per row, drawn uniformly. The same expectation, a higher variance.

    Cheng et al. 2020, section 3.3.

    :param log_q: ``log q(y_j | x_i)``, shape ``(N, K)``, float, nats
    :param generator: draws the negatives; on the device of ``log_q``
    :param positives: shape ``(N, K)``, bool
    :param negatives: shape ``(N, K)``, bool; only rows with a positive draw one
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together
    """
    log_q, positives, negatives = check_scores("club_sampled", log_q, positives, negatives)
    lottery = torch.rand(log_q.shape, generator=generator, device=log_q.device).masked_fill(~negatives, -1.0)
    columns = torch.arange(log_q.shape[1], device=log_q.device)
    drawn = columns == lottery.argmax(dim=1, keepdim=True)
    return club(log_q, positives, negatives & drawn & positives.any(dim=1, keepdim=True))
