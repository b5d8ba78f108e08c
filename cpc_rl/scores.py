"""What the bounds on mutual information share: the checks of a score matrix and reductions over its masks."""

import math

import torch
from torch import Tensor

LARGEST_EXPONENT = 50.0  # nats; e^50 times as large a score and as many pairs as there may be is still a float32


def check_scores(
    name: str, scores: Tensor, positives: Tensor | None, negatives: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Check a score matrix and fill in the masks that were not given.

    :param name: the caller's, for the messages
    :param scores: row i, column j holds the score of the pair ``(x_i, y_j)``, shape ``(N, K)``, float
    :param positives: pairs from the joint distribution, shape ``(N, K)``, bool; the diagonal if ``None``
    :param negatives: pairs from the product of the marginals, shape ``(N, K)``, bool; all but the positives if ``None``
    :return: the scores, in float32 if they were of half precision and 0 where no mask selects them, and both masks
    :raises ValueError: if the shapes or types do not belong together
    """
    if scores.dim() != 2 or not scores.is_floating_point():
        raise ValueError(f"{name} takes scores (N, K) of floats, but got {tuple(scores.shape)} of {scores.dtype}.")
    if positives is None:
        if scores.shape[0] != scores.shape[1]:
            raise ValueError(
                f"{name} takes the diagonal as positives, so scores must be square, but they are {tuple(scores.shape)}: "
                f"pass the mask `positives`."
            )
        positives = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if negatives is None:
        negatives = ~positives
    for argument, mask in (("positives", positives), ("negatives", negatives)):
        if mask.shape != scores.shape or mask.dtype != torch.bool:
            raise ValueError(
                f"{name} takes a bool mask `{argument}` of the scores' shape {tuple(scores.shape)}, but got "
                f"{tuple(mask.shape)} of {mask.dtype}."
            )
    if torch.finfo(scores.dtype).bits < 32:  # exponentials overflow there from 11 nats on
        scores = scores.float()
    return scores.masked_fill(~(positives | negatives), 0), positives, negatives


def log_sum_exp(values: Tensor, mask: Tensor, dim: int | tuple[int, ...] = (0, 1)) -> Tensor:
    """
    Logarithm of the sum of ``exp(values)`` where the mask selects them; the lowest finite number where it selects none.

    :param values: any shape, float
    :param mask: the same shape, bool
    :param dim: dimensions to sum over, which the result lacks
    """
    # Not -inf: a row of nothing else has a gradient of NaN.
    return values.masked_fill(~mask, torch.finfo(values.dtype).min).logsumexp(dim)


def log_mean_exp(values: Tensor, mask: Tensor, dim: int | tuple[int, ...] = (0, 1)) -> Tensor:
    """As :func:`log_sum_exp`, of the mean."""
    return log_sum_exp(values, mask, dim) - mask.sum(dim).clamp(min=1).to(values.dtype).log()


def moved_log_mean(running: Tensor, batch: Tensor, decay: float = 0.99) -> Tensor:
    """
    A running mean that has taken in a batch's, both as logarithms.

    :param running: logarithm of the running mean, any shape; ``-inf`` before the first batch, which then sets it
    :param batch: of the batch's, the same shape
    :param decay: share of the running mean that a batch leaves, in [0, 1)
    """
    mixed = torch.logaddexp(running + (math.log(decay) if decay else -math.inf), batch + math.log1p(-decay))
    return torch.where(torch.isneginf(running), batch, mixed)


def tame_exp(values: Tensor) -> Tensor:
    """Exponential up to ``LARGEST_EXPONENT``, and its tangent from there on: a critic that is far off overflows nothing."""
    capped = values.clamp(max=LARGEST_EXPONENT)
    return capped.exp() * (1 + values - capped)


def zero_unless_both(estimate: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """The estimate, or 0 with a zero gradient where a mask selects nothing."""
    return torch.where(positives.any() & negatives.any(), estimate, torch.zeros_like(estimate))
