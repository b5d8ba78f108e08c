"""How many frames a stacked observation holds, as given or as seen in the data."""

from collections.abc import Mapping

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.frame_store import same_bytes

StackDepths = int | Mapping[str, int] | None
IMAGE = "image"
"""The only entry's name where the observations are no Dict."""


def as_entries(space: spaces.Space) -> dict[str, spaces.Space]:
    """:return: A Dict space's entries, or the space as the only one."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {IMAGE: space}


def image_entries(space: spaces.Space) -> dict[str, spaces.Box]:
    """
    :return: The entries that are stored by frames: every Box with three axes, taken as ``(channels, height, width)``.
    :raises ValueError: if there is none.
    """
    entries = as_entries(space).items()
    images = {key: entry for key, entry in entries if isinstance(entry, spaces.Box) and len(entry.shape) == 3}
    if not images:
        raise ValueError(
            "Storing each frame once needs image observations of shape (channels, height, width), but the observation space "
            f"is {space}: use Stable-Baselines3's own buffers."
        )
    return images


def stack_depths(n_stack: StackDepths, images: Mapping[str, spaces.Box]) -> dict[str, int | None]:
    """
    :param n_stack: For all image entries or by entry; None, or an entry left out: to be seen in the data.
    :return: The depth of every image entry.
    :raises ValueError: if a depth does not divide the entry's channels, or an entry is named that is no image.
    """
    given = dict(n_stack) if isinstance(n_stack, Mapping) else dict.fromkeys(images, n_stack)
    unknown = sorted(set(given) - set(images))
    if unknown:
        raise ValueError(f"n_stack names {unknown}, but the image entries are {sorted(images)}.")
    for key, depth in given.items():
        channels = images[key].shape[0]
        if depth is not None and (depth < 1 or channels % depth):
            raise ValueError(
                f"n_stack is {depth}, but observations of shape {images[key].shape} have {channels} channels, which are no "
                f"{depth} frames: n_stack must divide the number of channels, and these must come first."
            )
    return {key: given.get(key) for key in images}


def infer_stack_depth(obs: NDArray, next_obs: NDArray) -> int:
    """
    The depth at which the next observations hold the observations moved on by one frame: the largest one where several fit
    (as with padding by repeated frames), and 1 where none does.

    :param obs: ``(E, channels, H, W)``.
    :param next_obs: The same, one step later.
    :raises ValueError: if nothing moved, so that every depth fits.
    """
    channels = obs.shape[1]
    if channels > 1 and same_bytes(obs, next_obs):
        raise ValueError("How many frames are stacked cannot be seen in a first step that changed nothing: give n_stack.")
    for moved in range(1, channels):
        if channels % moved == 0 and np.array_equal(next_obs[:, :-moved], obs[:, moved:]):
            return channels // moved
    return 1
