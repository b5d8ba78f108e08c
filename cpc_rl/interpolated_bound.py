"""The bound between NWJ and InfoNCE. Users find it in :mod:`cpc_rl.estimators`."""

import math

import torch
from torch import Tensor

from cpc_rl.losses import masked_mean
from cpc_rl.scores import check_scores, log_mean_exp, log_sum_exp, tame_exp


def _log_mix(alpha: float, first: Tensor, second: Tensor) -> Tensor:
    """Logarithm of ``alpha * exp(first) + (1 - alpha) * exp(second)``."""
    if alpha == 0 or alpha == 1:
        return first if alpha else second
    return torch.logaddexp(first + math.log(alpha), second + math.log1p(-alpha))


def _log_mean_but_one(scores: Tensor, negatives: Tensor, positive: Tensor) -> Tensor:
    """
    Logarithm of the mean of exp(scores) over each row's positive and all its negatives but the one in that column.

    :param scores: shape ``(N, K)``, float
    :param negatives: shape ``(N, K)``, bool
    :param positive: score of each row's positive, shape ``(N, 1)``, float
    :return: shape ``(N, K)``; meaningless where ``negatives`` is False
    """
    # The sum less one term; but less its largest term it would be little but rounding, so that one is summed anew.
    lowest = torch.finfo(scores.dtype).min
    largest = scores.masked_fill(~negatives, lowest).argmax(dim=1, keepdim=True)
    is_largest = torch.arange(scores.shape[1], device=scores.device) == largest  # (N, K)
    rest = torch.logaddexp(log_sum_exp(scores, negatives & ~is_largest, dim=1).unsqueeze(1), positive)  # (N, 1)
    total = torch.logaddexp(log_sum_exp(scores, negatives, dim=1).unsqueeze(1), positive)  # (N, 1)
    share = (scores - total).masked_fill(is_largest | ~negatives, lowest).exp()  # (N, K), at most a half
    count = negatives.sum(dim=1, keepdim=True).clamp(min=1).to(scores.dtype)
    return torch.where(is_largest, rest, total + torch.log1p(-share)) - count.log()


def interpolated(
    scores: Tensor,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    alpha: float = 0.01,
    log_baseline: Tensor | None = None,
) -> Tensor:
    """
    I_alpha, a **lower** bound between NWJ (``alpha=0``: high variance) and InfoNCE (``alpha=1``: high bias).

    Poole et al. 2019, section 2.4: ``1 + E_joint[f - log m] - E_marginals[exp(f) / m]`` with a denominator
    ``m = alpha * mean exp(f) + (1 - alpha) * baseline``. It saturates at ``log(K / alpha)``. In either term the mean runs over
    as many candidates as the row has negatives: in the first over the positive and all negatives but one, averaged over which
    one; in the second over all negatives.

    :param scores: shape ``(N, K)``, float
    :param positives: shape ``(N, K)``, bool, at most one in a row
    :param negatives: shape ``(N, K)``, bool. Each row with a positive and a negative weighs the same.
    :param alpha: the weight of InfoNCE, in [0, 1]
    :param log_baseline: logarithm of each row's baseline, shape ``(N,)``, float; 1 if ``None``, which makes NWJ of ``alpha=0``
    :return: the estimate, a scalar, nats
    :raises ValueError: if the shapes or types do not belong together, or ``alpha`` is out of range
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"interpolated takes an alpha in [0, 1], but got {alpha}.")
    scores, positives, negatives = check_scores("interpolated", scores, positives, negatives)
    if log_baseline is None:
        log_baseline = scores.new_ones(len(scores))
    if log_baseline.shape != scores.shape[:1]:
        raise ValueError(f"interpolated takes a log_baseline ({len(scores)},), but got {tuple(log_baseline.shape)}.")
    positive = torch.where(positives, scores, torch.zeros_like(scores)).sum(dim=1, keepdim=True)  # (N, 1)
    log_m = _log_mix(alpha, _log_mean_but_one(scores, negatives, positive), log_baseline.unsqueeze(1))  # (N, K)
    count = negatives.sum(dim=1).clamp(min=1)  # (N,)
    joint = torch.where(negatives, positive - log_m, torch.zeros_like(scores)).sum(dim=1) / count  # (N,)
    marginal = log_mean_exp(scores, negatives, dim=1)  # (N,)
    ratio = tame_exp(marginal - _log_mix(alpha, marginal, log_baseline))
    return masked_mean(1 + joint - ratio, positives.any(dim=1) & negatives.any(dim=1))
