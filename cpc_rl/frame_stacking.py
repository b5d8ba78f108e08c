"""Frames stacked along the channels as a model of stacks saw them, for environments that give single ones."""

from typing import Any

import numpy as np
from gymnasium import spaces


def stacked(before: Any, observation: Any, frames: int) -> Any:
    """
    The newest stack, as SB3's ``VecFrameStack`` has it: newest frame last, zeros before an episode's first.

    :param before: the stack one step ago; ``None`` at an episode's beginning
    :param observation: an image ``(H, W, C)``; with one frame anything, which is given back
    :param frames: in a stack
    :return: ``(H, W, C * frames)``
    """
    if frames == 1:
        return observation
    channels = observation.shape[-1]
    before = np.zeros((*observation.shape[:-1], channels * frames), observation.dtype) if before is None else before
    return np.concatenate([before[..., channels:], observation], axis=-1)


def frames_in(space: spaces.Space, single: spaces.Space) -> int | None:
    """
    How many single images one of another space is a stack of; ``None`` if it is no stack of them.

    :param space: of stacks ``(C * frames, H, W)``
    :param single: of images ``(H, W, C)``
    """
    first, last = space.shape or (), single.shape or ()
    if not (len(first) == len(last) == 3 and first[1:] == last[:2] and first[0] % last[2] == 0):
        return None
    return first[0] // last[2]
