"""What the objectives over feature maps have in common: every position of a map is contrasted by itself."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cpc_rl.encoder import Encoder
from cpc_rl.losses import contrast_metrics
from cpc_rl.negatives import Origin
from cpc_rl.nets import at_length
from cpc_rl.objectives.contrastive import ContrastiveObjective, Part


class LocalObjective(ContrastiveObjective):
    """
    An objective between ``o_t`` and ``o_{t+horizon}`` that reads feature maps.

    :param grid: a map that is wider or higher than this is averaged down to it. The score matrices take
        ``positions * B * B`` numbers each: 49 positions of ``NatureCNN`` at 84 x 84 are cheap, 1225 of DrQ's encoder are not
    :param keywords: of :class:`ContrastiveObjective`
    :raises ValueError: if the horizon or the grid is below 1, or an extractor has no convolution
    """

    local = True

    def __init__(self, encoder: Encoder, action_dim: int, *, horizon: int, grid: int, **keywords: Any) -> None:
        super().__init__(encoder, action_dim, horizon=horizon, **keywords)
        if horizon < 1:
            raise ValueError(
                f"horizon is {horizon}, but {type(self).__name__} contrasts a frame with a later one: it must be at least 1."
            )
        if grid < 1:
            raise ValueError(f"grid is {grid}, but a feature map has at least 1 position a side.")
        self.grid = grid

    def read_map(self, feature_map: Tensor) -> Tensor:
        """
        The vectors at a map's positions as the head reads them. With a ``feature_length`` the map as a whole loses its mean
        and gets that length times the root of its number of positions: brought to it one by one, positions where nearly every
        unit is silent would have a gradient as large as they are small.

        :param feature_map: shape ``(B, C, h, w)``
        :return: shape ``(P, B, C)``, row by row of the map
        """
        if self.feature_length is not None:
            places = feature_map.shape[2] * feature_map.shape[3]
            whole = at_length(feature_map.flatten(1), self.feature_length * math.sqrt(places))
            feature_map = whole.view(feature_map.shape)
        return positions(feature_map, self.grid)

    def contrast_positions(self, anchors: Tensor, keys: Tensor, anchors_at: Origin, keys_at: Origin, which: int = 0) -> Part:
        """
        Contrast over the batch at every position; the mean over positions and batch is what counts.

        :param anchors: shape ``(P, B, D)``, or ``(1, B, D)`` for vectors that have no position
        :param keys: the same, ``P`` or 1
        :param anchors_at: of the ``B`` anchors
        :param keys_at: of the ``B`` keys
        :param which: of the objective's contrasts this is, from 0
        """
        scores = self.score(anchors @ keys.transpose(1, 2))  # (P, B, B)
        count, size = scores.shape[:2]
        rows = Origin(*(column.repeat(count) for column in anchors_at))
        targets = torch.arange(size, device=scores.device).repeat(count)
        return self.contrast_scores(scores.flatten(0, 1), rows, keys_at, targets, which=which)

    def result(self, parts: Sequence[Part]) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`ContrastiveObjective.result`, but each part counts the same, whatever its number of positions."""
        loss, metrics = super().result(parts)
        each = [contrast_metrics(part.contrast, part.rows) for part in parts]
        for name in ("accuracy", "mi_lower_bound", "mi_ceiling"):
            metrics[name] = torch.stack([figures[name] for figures in each]).mean()
        return loss, metrics

    def score(self, products: Tensor) -> Tensor:
        """Scores of inner products, ``(P, B, B)`` both; themselves unless a subclass says otherwise."""
        return products


def positions(feature_map: Tensor, grid: int) -> Tensor:
    """
    The vectors at the positions of a feature map.

    :param feature_map: shape ``(B, C, h, w)``
    :param grid: the longest side that is kept; neighbouring positions of a larger map are averaged
    :return: shape ``(P, B, C)``, row by row of the map
    """
    longest = max(feature_map.shape[2:])
    if longest > grid:
        feature_map = F.avg_pool2d(feature_map, math.ceil(longest / grid), ceil_mode=True)
    return feature_map.flatten(2).permute(2, 0, 1)
