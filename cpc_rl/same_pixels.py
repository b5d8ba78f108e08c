"""Of which observations a pass of an extractor is."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

LOOKED_AT = 96  # pixels of an observation


def is_of(given: Any, observations: Any) -> bool:
    """
    Whether a pass is of these observations. A part of each row's pixels tells; rows of another batch have others.

    :param given: to the extractor: as floats, and of uint8 images divided by 255 unless the policy leaves them
    :param observations: raw, as the algorithm got them from the buffer
    """
    if not isinstance(given, Tensor) or not isinstance(observations, Tensor) or given.shape != observations.shape:
        return False
    places = _places(given[0].numel(), given.device)
    return bool(_equal(given.detach().flatten(1)[:, places], observations.flatten(1)[:, places]))


def all_equal(given: Tensor, observations: Tensor) -> Tensor:
    """As :func:`is_of` by every pixel, since successive observations may differ in few: a boolean that stays on the device."""
    if given.shape != observations.shape:
        return torch.zeros((), dtype=torch.bool, device=given.device)
    return _equal(given.detach(), observations)


def _equal(mine: Tensor, raw: Tensor) -> Tensor:
    theirs = raw.float()
    same = (mine == theirs).all()
    return same | (mine == theirs / 255.0).all() if raw.dtype == torch.uint8 else same


@lru_cache(maxsize=8)
def _places(count: int, device: torch.device) -> Tensor:
    """Some of so many pixels, always the same. Drawn, for evenly spaced ones may miss all that moves in an image."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0), device="cpu")[:LOOKED_AT].to(device)
