"""What every set of recorded episodes is: spaces, lengths, and any stretch of any episode, read when it is asked for."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Images = NDArray | dict[str, NDArray]


class Segment(NamedTuple):
    """``n`` consecutive frames of one episode and what lies between them."""

    observations: Images
    """``(n, *obs)``, channels first, floats in the dtype of their space; a dict of such for Dict spaces."""
    actions: NDArray[np.float32]
    """``(n - 1, A)``, as :func:`cpc_rl.windows.encode_actions` writes them; ``A`` is 0 for data without actions."""
    rewards: NDArray[np.float32]
    """``(n - 1,)``; zeros for data without rewards."""


class DamagedError(Exception):
    """What was asked for cannot be read. The text names the file, and what is wrong with it."""


class Episodes(ABC):
    """
    Recorded episodes on disk. Objects travel to worker processes: open files stay behind.

    :ivar observation_space: of the images alone, channels first
    :ivar action_space: ``None`` for data without actions
    :ivar lengths: ``(E,)`` int64, frames of each episode
    :ivar skipped: what was damaged when the set was opened, one text each
    """

    observation_space: spaces.Space
    action_space: spaces.Space | None
    lengths: NDArray[np.int64]
    skipped: list[str]

    @abstractmethod
    def read(self, episode: int, start: int, stop: int) -> Segment:
        """
        The frames ``start .. stop - 1`` of an episode.

        :raises DamagedError: if they cannot be read
        """

    def labels(self, episode: int) -> dict[str, NDArray]:
        """
        Labels of an episode's frames for probes, by name ``(n,)`` each; empty if there are none.

        :raises DamagedError: if they cannot be read
        """
        return {}

    def name(self, episode: int) -> str:
        """What messages call an episode."""
        return f"episode {episode}"


class ChannelsFirst:
    """
    The image entries of a space with their channels first, and stored frames turned the same way.

    Of a Dict with several entries those of floats are images that have finite bounds and, beside images of 8 bits, the shape
    of one (depth, say): a lidar's scans and a matrix of features have axes too.

    :param space: of the stored observations: a Box of an image, (H, W), (H, W, C) or (C, H, W), or a Dict with some
    :raises ValueError: if there is no image
    """

    def __init__(self, space: spaces.Space) -> None:
        self.is_dict = isinstance(space, spaces.Dict)
        entries = _chosen(dict(space.spaces)) if isinstance(space, spaces.Dict) else {"": space}
        self.orders: dict[str, str] = {}
        turned: dict[str, spaces.Space] = {}
        for key, entry in entries.items():
            order = _order(entry)
            if order is not None:
                assert isinstance(entry, spaces.Box)
                self.orders[key] = order
                turned[key] = spaces.Box(_turn(entry.low, order, 0), _turn(entry.high, order, 0), dtype=entry.dtype.type)
        if not turned:
            raise ValueError(
                f"The observations are {space}, but pre-training needs images: a Box of shape (H, W), (H, W, C) or (C, H, W), "
                "or a Dict with at least one such entry."
            )
        self.space: spaces.Space = spaces.Dict(turned) if self.is_dict else turned[""]

    def __call__(self, frames: dict[str, NDArray]) -> Images:
        """Stored frames ``(n, ...)`` by key; under the key ``""`` where the space is no Dict."""
        turned = {key: np.ascontiguousarray(_turn(frames[key], order, 1)) for key, order in self.orders.items()}
        return turned if self.is_dict else turned[""]


def _chosen(entries: dict[str, spaces.Space]) -> dict[str, spaces.Space]:
    """The entries of a Dict that are read as images."""
    images = {key: entry for key, entry in entries.items() if isinstance(entry, spaces.Box) and _order(entry) is not None}
    of_8_bits = {key: entry for key, entry in images.items() if entry.dtype == np.uint8}
    floats = {key: entry for key, entry in images.items() if key not in of_8_bits}
    if len(entries) > 1:
        floats = {key: entry for key, entry in floats.items() if entry.is_bounded()}
    if of_8_bits:
        floats = {key: entry for key, entry in floats.items() if len(entry.shape) == 3 and min(entry.shape) in (1, 3, 4)}
    return {key: entry for key, entry in entries.items() if key in of_8_bits or key in floats}


def _order(space: spaces.Space) -> str | None:
    """How an image is stored: ``"HW"``, ``"HWC"`` or ``"CHW"``; ``None`` if the space holds no image."""
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3):
        return None
    if space.dtype != np.uint8 and not np.issubdtype(space.dtype, np.floating):
        return None
    if len(space.shape) == 2:
        return "HW" if min(space.shape) >= 8 else None
    return "CHW" if int(np.argmin(space.shape)) == 0 else "HWC"


def _turn(array: NDArray, order: str, first: int) -> NDArray:
    """:param first: the first axis of the image: 0 for one, 1 for a batch"""
    if order == "HW":
        return np.expand_dims(array, first)
    return np.moveaxis(array, -1, first) if order == "HWC" else array
