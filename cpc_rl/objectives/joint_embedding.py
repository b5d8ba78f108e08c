"""What the objectives that pull two views together without negatives have in common (BYOL, VICReg)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cpc_rl.encoder import Observations
from cpc_rl.losses import info_nce, masked_mean
from cpc_rl.objectives.base import Objective, frame, frame_or_first
from cpc_rl.sampling import Windows


class Views(NamedTuple):
    """Two augmented views of each window."""

    first: Observations
    """``(B, *obs)``: of ``o_t``."""
    second: Observations
    """``(B, *obs)``: of ``o_{t+horizon}``; where the episode ends before it, of ``o_t``."""
    rows: Tensor
    """``(B,)`` bool: ``o_{t+horizon}`` lies in the episode. The other rows must not count in the loss."""
    partners: Tensor
    """``(B,)`` int64: the row whose other view belongs to each one's; its own unless ``shuffled``."""


class JointEmbedding(Objective):
    """Two views of each window, and how well one finds the other. The loss is the subclass's."""

    def views(self, windows: Windows) -> Views:
        """
        Draw two views.

        :raises ValueError: if there is one window alone: the batch normalisation of the heads needs two
        """
        rows = windows.mask[:, self.horizon]
        if len(rows) < 2:
            raise ValueError(f"{type(self).__name__} normalises over the batch, so that it needs at least two windows.")
        first, second = frame(windows.observations, 0), frame_or_first(windows, self.horizon)
        partners = self.positives(torch.arange(len(rows), device=rows.device), rows)
        return Views(self.augmented(first), self.augmented(second), rows, partners)


@torch.no_grad()
def retrieval_accuracy(anchors: Tensor, targets: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """
    Share of anchors whose own target is the most similar, by cosine, of all the batch's targets. Chance is one over their
    number.

    :param anchors: shape ``(N, D)``
    :param targets: shape ``(N, D)``
    :param columns: the target that is each anchor's own, shape ``(N,)``, int64
    :param rows: which anchors and targets count, shape ``(N,)``, bool
    :return: scalar
    """
    cosines = F.normalize(anchors, dim=1) @ F.normalize(targets, dim=1).T
    return masked_mean(info_nce(cosines, columns, rows).correct.to(cosines.dtype), rows)
