"""Contrastive losses as pure functions of tensors. All values are in nats."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Contrast(NamedTuple):
    """
    What a contrastive loss computed, row for row.

    :param loss: cross-entropy of each anchor, shape ``(N,)``, nats
    :param correct: whether the positive had the highest score, shape ``(N,)``, bool
    :param ceiling: logarithm of the number of candidates of each anchor, shape ``(N,)``, nats. The bound
        ``ceiling - loss`` on the mutual information can never exceed it (van den Oord et al. 2018, section 2.3).
    """

    loss: Tensor
    correct: Tensor
    ceiling: Tensor


def info_nce(scores: Tensor, targets: Tensor, candidates: Tensor | None = None) -> Contrast:
    """
    InfoNCE: the cross-entropy of picking each anchor's positive among all candidates.

    van den Oord, Li and Vinyals 2018, "Representation Learning with Contrastive Predictive Coding", equation 4.

    :param scores: one row per anchor, one column per candidate key, shape ``(N, K)``, float
    :param targets: column of each anchor's positive, shape ``(N,)``, int64
    :param candidates: which columns may be picked, shape ``(K,)`` or ``(N, K)``, bool; all of them if ``None``
    :raises ValueError: if the shapes do not belong together
    """
    if scores.dim() != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(
            f"info_nce takes scores (N, K) and targets (N,), but got scores {tuple(scores.shape)} and "
            f"targets {tuple(targets.shape)}."
        )
    if candidates is None:
        ceiling = scores.new_full(targets.shape, math.log(scores.shape[1]))
    else:
        candidates = candidates.expand_as(scores)
        scores = scores.masked_fill(~candidates, -math.inf)
        ceiling = candidates.sum(dim=1).clamp(min=1).to(scores.dtype).log()
    loss = F.cross_entropy(scores, targets, reduction="none")
    return Contrast(loss, scores.detach().argmax(dim=1) == targets, ceiling)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """
    Mean of the entries that the mask selects; zero, with a zero gradient, where it selects none.

    :param values: any shape, float
    :param mask: the same shape, bool
    """
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)


def contrast_metrics(contrast: Contrast, rows: Tensor | None = None) -> dict[str, Tensor]:
    """
    The figures that TensorBoard shows of a contrastive loss, as detached scalars.

    :param contrast: what :func:`info_nce` returned
    :param rows: which anchors count, shape ``(N,)``, bool; all of them if ``None``
    :return: ``loss``, ``mi_lower_bound`` and ``mi_ceiling`` in nats, and ``accuracy``
    """
    if rows is None:
        rows = torch.ones_like(contrast.correct)
    loss = masked_mean(contrast.loss.detach(), rows)
    ceiling = masked_mean(contrast.ceiling, rows)
    accuracy = masked_mean(contrast.correct.to(loss.dtype), rows)
    return {"loss": loss, "accuracy": accuracy, "mi_lower_bound": ceiling - loss, "mi_ceiling": ceiling}
