"""Recorded frames stacked as an agent sees them, though each is stored once."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.pretraining.episodes import Episodes, Segment


class StackedEpisodes(Episodes):
    """
    The last frames of each moment as one observation, the newest last, with zeros before the beginning of an episode: what
    Stable-Baselines3's ``VecFrameStack`` gives.

    :param episodes: of single frames
    :param frames: that an observation holds
    :raises ValueError: if that is below 2
    """

    def __init__(self, episodes: Episodes, frames: int) -> None:
        if frames < 2:
            raise ValueError(f"frame_stack is {frames}, but a stack has 2 frames or more.")
        self.episodes, self.frames = episodes, frames
        self.action_space, self.lengths, self.skipped = episodes.action_space, episodes.lengths, episodes.skipped
        space = episodes.observation_space
        self.observation_space = (
            spaces.Dict({key: self._space(entry) for key, entry in space.items()})
            if isinstance(space, spaces.Dict)
            else self._space(space)
        )

    def read(self, episode: int, start: int, stop: int) -> Segment:
        first = max(start - self.frames + 1, 0)
        segment = self.episodes.read(episode, first, stop)
        before = start - first
        images = segment.observations
        stacked = (
            {key: self._stacked(image, before) for key, image in images.items()}
            if isinstance(images, dict)
            else self._stacked(images, before)
        )
        return Segment(stacked, segment.actions[before:], segment.rewards[before:])

    def labels(self, episode: int) -> dict[str, NDArray]:
        return self.episodes.labels(episode)

    def name(self, episode: int) -> str:
        return self.episodes.name(episode)

    def _space(self, space: spaces.Space) -> spaces.Box:
        assert isinstance(space, spaces.Box)
        low, high = (np.concatenate([bound] * self.frames) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=space.dtype.type)

    def _stacked(self, images: NDArray, before: int) -> NDArray:
        """:param before: how many of the images come before the first that is asked for"""
        missing = self.frames - 1 - before
        padded = np.concatenate([np.zeros_like(images[:1]).repeat(missing, axis=0), images]) if missing else images
        count = len(images) - before
        return np.concatenate([padded[i : i + count] for i in range(self.frames)], axis=1)
