"""One image entry of a replay buffer: which frames every transition's two stacks hold."""

import warnings
from collections import deque
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.compressed_frames import CompressedFrameStore
from cpc_rl.frame_store import FrameStacks, FrameStore, Numbers, as_words

CHECKED_AFTER = 100
"""Steps after which stacks that do not move on by one frame are worth a warning."""


class ReplayFrames:
    """
    Stores what arrives frame by frame, and notes for every transition the numbers of its frames, so that the stacks read are
    those that arrived, whatever they were. Only what is compared and found the same is shared:

    - An observation that is the next observation of the step before costs nothing. Another one (the first after an end of an
      episode or a reset) keeps its own frames, without padding: one frame as a rule.
    - A next observation that is the observation moved on by one frame costs its newest frame. Another one keeps its own.

    :param space: The entry's, ``(n_stack * C, H, W)``.
    :param n_slots: Transitions per environment.
    :param compression: See :class:`cpc_rl.compressed_frames.CompressedFrameStore`.
    """

    def __init__(self, space: spaces.Box, n_stack: int, n_slots: int, n_envs: int, compression: str | None = None):
        channels, *sides = space.shape
        self.n_stack, self.n_slots, self.n_envs = n_stack, n_slots, n_envs
        self.frame_shape = (channels // n_stack, *sides)
        # A slot's stack reaches n_stack - 1 frames back from its newest one, and its next observation one forward
        self._n_rows = n_slots + n_stack
        where = self._n_rows * n_envs, self.frame_shape, space.dtype
        self.store = FrameStore(*where) if compression is None else CompressedFrameStore(*where, compression)
        zeros = np.full((n_slots, n_envs, n_stack), self.store.zero, dtype=np.int32)
        self.observations = FrameStacks(self.store, zeros)
        self.next_observations = FrameStacks(self.store, zeros.copy())
        self._time = 0  # steps stored
        self._kept: deque[tuple[int, list[int]]] = deque()  # frames outside of the ring, and when they are needed no more
        self._last: NDArray | None = None  # (E, n, C, H, W) the newest next observations
        self._last_numbers = zeros[0].copy()
        self._not_moved_on, self._warned = 0, False

    @property
    def nbytes(self) -> int:
        last = 0 if self._last is None else self._last.nbytes
        return self.store.nbytes + 2 * self.observations.numbers.nbytes + self._last_numbers.nbytes + last

    def add(self, slot: int, obs: Any, next_obs: Any) -> None:
        """
        Store one step.

        :param obs: ``(E, n * C, H, W)``.
        :param next_obs: The same.
        """
        while self._kept and self._kept[0][0] <= self._time:
            for number in self._kept.popleft()[1]:
                self.store.drop(number)
        frames, next_frames = self._split(obs), self._split(next_obs)
        words, next_words = as_words(frames), as_words(next_frames)

        numbers = self._last_numbers
        continues = np.zeros(self.n_envs, dtype=bool)
        if self._last is not None:
            continues = (words == as_words(self._last)).all(axis=(1, 2))
        for env in np.flatnonzero(~continues):
            numbers[env] = self._keep_stack(frames[env])
        self.observations.numbers[slot] = numbers

        newest = (self._time + 1) % self._n_rows * self.n_envs + np.arange(self.n_envs)
        self.store.write(newest, next_frames[:, -1])
        numbers = np.concatenate((numbers[:, 1:], newest[:, None].astype(np.int32)), axis=1)
        moved_on = (next_words[:, :-1] == words[:, 1:]).all(axis=(1, 2))
        for env in np.flatnonzero(~moved_on):
            numbers[env] = self._keep_stack(next_frames[env], int(newest[env]))
        self.next_observations.numbers[slot] = numbers

        self._last, self._last_numbers = next_frames, numbers
        self._time += 1
        self._check(moved_on)

    def _split(self, stacks: Any) -> NDArray:
        """:return: A copy, ``(E, n, C, H, W)``."""
        copy = np.array(stacks, dtype=self.observations.dtype, order="C")
        return copy.reshape(self.n_envs, self.n_stack, *self.frame_shape)

    def _keep_stack(self, stack: NDArray, newest: int | None = None) -> list[int]:
        numbers, kept = self.store.keep_stack(stack, newest)
        if kept:
            # The last stack that can hold one of them lies n - 1 slots further on
            self._kept.append((self._time + self.n_stack - 1 + self.n_slots, kept))
        return numbers

    def _check(self, moved_on: NDArray[np.bool_]) -> None:
        self._not_moved_on += self.n_envs - int(moved_on.sum())
        if self._time == CHECKED_AFTER and 2 * self._not_moved_on > self._time * self.n_envs and not self._warned:
            self._warned = True
            warnings.warn(
                f"Most next observations so far are not their observations moved on by one of {self.n_stack} frames of "
                f"{self.frame_shape[0]} channel(s): samples are right all the same, but little memory is saved. Frames should "
                "be stacked along the channels, oldest to newest, and n_stack be their number."
            )

    def gather(self, rows: NDArray[np.int64], last_rows: NDArray[np.int64]) -> NDArray:
        """
        Read transitions' observations and next observations at once.

        :param rows: ``(B,)`` of the observations, in arrays flattened to ``(slots * envs, ...)``.
        :param last_rows: ``(B,)`` of the next observations: the same, or later ones of n-step returns.
        :return: ``(B, m, C, H, W)``: the first n of the m frames are the observation, the last n the next one. They overlap
            where all next observations are the observations moved on by one frame.
        """
        numbers = self.observations.numbers.reshape(-1, self.n_stack).take(rows, axis=0)
        next_numbers = self.next_observations.numbers.reshape(-1, self.n_stack).take(last_rows, axis=0)
        shared = bool((next_numbers[:, :-1] == numbers[:, 1:]).all())
        both: Numbers = np.concatenate((numbers, next_numbers[:, -1:] if shared else next_numbers), axis=1)
        frames = np.empty((*both.shape, *self.frame_shape), dtype=self.observations.dtype)
        self.store.take(both, frames)
        return frames

    def split_gathered(self, frames: Any) -> tuple[Any, Any]:
        """:return: Observations and next observations ``(B, n * C, H, W)``: views of what :meth:`gather` gave."""
        shape = (frames.shape[0], -1, *self.frame_shape[1:])
        return frames[:, : self.n_stack].reshape(shape), frames[:, -self.n_stack :].reshape(shape)

    def clear(self) -> None:
        """Forget everything."""
        for _, kept in self._kept:
            for number in kept:
                self.store.drop(number)
        self._kept.clear()
        self._last = None
        self.observations.numbers[:] = self.store.zero
        self.next_observations.numbers[:] = self.store.zero
