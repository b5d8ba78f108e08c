"""What an objective scores: every anchor against every key."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cpc_rl.diagnostics.pictures import colours
from cpc_rl.encoder import Encoder, probing
from cpc_rl.objectives import ContrastiveObjective, Objective
from cpc_rl.sampling import Windows


class Scores(NamedTuple):
    """
    :param values: ``(N, K)``, before the temperature
    :param targets: the column of each anchor's positive, ``(N,)``, int64
    """

    values: Tensor
    targets: Tensor


def score_matrix(objective: Objective, encoder: Encoder, windows: Windows) -> Scores | None:
    """
    The scores of the first contrast that an objective makes of these windows, without gradient or a trace in the objective.

    :param objective: any; its draws come from a generator for looking only, always the same
    :return: ``None`` for an objective without negatives
    """
    if not isinstance(objective, ContrastiveObjective):
        return None
    caught: list[Scores] = []
    original = objective.contrast_scores

    def catch(scores: Tensor, anchors_at: Any, keys_at: Any, targets: Tensor, *rest: Any, **named: Any) -> Any:
        caught.append(Scores(scores.detach(), targets))
        return original(scores, anchors_at, keys_at, targets, *rest, **named)

    object.__setattr__(objective, "contrast_scores", catch)
    try:
        with torch.no_grad(), own_draws(objective), probing(objective), probing(encoder):
            objective(encoder, windows)
    finally:
        object.__delattr__(objective, "contrast_scores")
    return caught[0] if caught else None


def score_picture(scores: Scores, size: int = 32, cell: int = 8) -> np.ndarray:
    """
    The first anchors (rows) against their positives, in the anchors' order (columns): a head that has learnt something
    shows a bright diagonal.

    :param scores: of :func:`score_matrix`
    :param size: at most so many anchors
    :param cell: pixels of a side of one score
    :return: ``(cell * n, cell * n, 3)``, uint8; dark blue is the lowest score of its row, yellow the highest
    """
    rows = scores.values[:size][:, scores.targets[:size]].float()
    low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
    scaled = ((rows - low) / (high - low).clamp(min=1e-12)).cpu().numpy()
    return colours(scaled).repeat(cell, axis=0).repeat(cell, axis=1)


@contextmanager
def own_draws(objective: Objective) -> Iterator[None]:
    """Within this block the objective draws from a generator for looking only, always the same."""
    generator = objective.generator
    objective.generator = None if generator is None else torch.Generator(generator.device).manual_seed(0)
    try:
        yield
    finally:
        objective.generator = generator
