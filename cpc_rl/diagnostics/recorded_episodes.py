"""Recorded frames as data to pre-train on."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.diagnostics.recording import Recording
from cpc_rl.pretraining.episodes import Episodes, Segment
from cpc_rl.windows import encode_actions


class RecordedEpisodes(Episodes):
    """
    A :class:`Recording` in memory, as :func:`cpc_rl.pretraining.pretrain` takes it; with ``workers=0`` nothing is copied.

    :param recording: of one channel-last image each, uint8
    :param action_space: of its actions; ``None`` to leave them out
    :raises ValueError: if the frames are none of these
    """

    def __init__(self, recording: Recording, action_space: spaces.Space | None = None) -> None:
        images = recording.observations
        if isinstance(images, dict) or images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError("Frames to pre-train on from memory must be uint8 images (N, H, W, C), one each.")
        if images.shape[1] < min(images.shape[2:]):
            raise ValueError(
                f"The frames have the shape {images.shape}, which looks like channels first, but frames to pre-train on from "
                "memory must have them last: np.moveaxis(observations, 1, -1) puts them there."
            )
        self._images: NDArray[np.uint8] = np.ascontiguousarray(np.moveaxis(images, -1, 1))
        self._actions = np.zeros((len(images), 0), np.float32)
        if action_space is not None:
            self._actions = encode_actions(recording.actions, action_space)
        self._first = np.r_[0, np.flatnonzero(np.diff(recording.episodes)) + 1]
        self.lengths = np.diff(np.r_[self._first, len(images)])
        self.observation_space = spaces.Box(0, 255, self._images.shape[1:], np.uint8)
        self.action_space = action_space
        self.skipped: list[str] = []

    def read(self, episode: int, start: int, stop: int) -> Segment:
        """The frames ``start .. stop - 1`` of an episode."""
        first = self._first[episode]
        rows = slice(first + start, first + stop)
        return Segment(self._images[rows], self._actions[rows][:-1], np.zeros(stop - start - 1, np.float32))
