"""One image entry of a rollout buffer."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.frame_store import FrameStacks, FrameStore, as_words


class RolloutFrames:
    """
    Each frame of one rollout once. An observation that is the one before moved on by one frame costs its newest frame; another
    one (the first, or after a reset) keeps its own frames, without padding.

    :param space: The entry's, ``(n_stack * C, H, W)``.
    :param n_steps: Of the rollout.
    """

    def __init__(self, space: spaces.Box, n_stack: int, n_steps: int, n_envs: int):
        channels, *sides = space.shape
        self.n_stack, self.n_envs = n_stack, n_envs
        self.frame_shape = (channels // n_stack, *sides)
        self.store = FrameStore(n_steps * n_envs, self.frame_shape, space.dtype)
        numbers = np.full((n_steps, n_envs, n_stack), self.store.zero, dtype=np.int32)
        self.observations = FrameStacks(self.store, numbers)
        self._last: NDArray | None = None  # (E, n, words) the newest observations

    @property
    def nbytes(self) -> int:
        return self.store.nbytes + self.observations.numbers.nbytes + (0 if self._last is None else self._last.nbytes)

    def add(self, step: int, obs: Any) -> None:
        """
        :param obs: ``(E, n * C, H, W)``.
        """
        frames = np.array(obs, dtype=self.observations.dtype, order="C").reshape(self.n_envs, self.n_stack, *self.frame_shape)
        words = as_words(frames)
        newest = step * self.n_envs + np.arange(self.n_envs)
        self.store.write(newest, frames[:, -1])
        before = self.observations.numbers[step - 1]
        numbers = np.concatenate((before[:, 1:], newest[:, None].astype(np.int32)), axis=1)
        moved_on = np.zeros(self.n_envs, dtype=bool)
        if self._last is not None:
            moved_on = (words[:, :-1] == self._last[:, 1:]).all(axis=(1, 2))
        for env in np.flatnonzero(~moved_on):
            numbers[env], _ = self.store.keep_stack(frames[env], int(newest[env]))
        self.observations.numbers[step] = numbers
        self._last = words
