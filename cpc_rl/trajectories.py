"""Which trajectory each slot of a ring of transitions belongs to, and how windows are drawn from it."""

import numpy as np
import torch
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Draw:
    """
    Where the frames and the transitions of a batch of windows lie.

    :ivar start: ``(B,)`` slot of frame 0.
    :ivar env: ``(B,)`` its environment.
    :ivar mask: ``(B, L)``, see :class:`cpc_rl.windows.Windows`.
    """

    def __init__(self, ring: "TrajectoryRing", start: Ints, env: Ints, horizon: int, lag: int):
        self.start, self.env, self.mask = start, env, ring.mask(start, env, horizon, lag)
        self._size, self._n_envs = ring.episode.shape

    def frame_rows(self) -> Ints:
        """:return: ``(L, B)`` rows of the frames in arrays flattened to ``(slots * envs, ...)``; masked ones repeat."""
        last = self.mask.sum(axis=1) - 1  # (B,)
        offsets = np.minimum(np.arange(self.mask.shape[1])[:, None], last)  # (L, B)
        return self._rows(offsets)

    def transition_rows(self) -> Ints:
        """:return: ``(B, L - 1)`` rows of the transitions between the frames; what a masked one holds must not be used."""
        last = np.maximum(self.mask.sum(axis=1) - 2, 0)
        offsets = np.minimum(np.arange(self.mask.shape[1] - 1)[:, None], last)
        return self._rows(offsets).T

    def _rows(self, offsets: Ints) -> Ints:
        return (self.start + offsets) % self._size * self._n_envs + self.env


class TrajectoryRing:
    """
    Trajectory and step of every slot, so that a window is checked by comparing numbers: slot ``t + i`` belongs to the window
    from ``t`` exactly if it has the same trajectory and its step is larger by ``i``. No work grows with the buffer.

    :param size: slots per environment.
    :param n_envs: environments.
    """

    UNUSABLE = -1
    """Trajectory of a slot whose observation must not be used."""

    def __init__(self, size: int, n_envs: int):
        self.episode: Ints = np.full((size, n_envs), self.UNUSABLE, dtype=np.int64)
        self.step: Ints = np.zeros((size, n_envs), dtype=np.int64)
        self.next_episode = 0

    def label(
        self, starts: NDArray[np.bool_], before: Ints | None = None, before_step: Ints | None = None
    ) -> tuple[Ints, Ints]:
        """
        Number consecutive rows.

        :param starts: ``(T, E)``: the row begins a trajectory.
        :param before: ``(E,)`` trajectory of the row before, and its step; without them the first row begins trajectories.
        :return: trajectories and steps, both ``(T, E)``.
        """
        n_rows, n_envs = starts.shape
        if before is None or before_step is None:
            starts = starts.copy()
            starts[0] = True
            before = before_step = np.zeros(n_envs, dtype=np.int64)
        begun = np.cumsum(starts, axis=0)  # (T, E) trajectories begun so far
        new = self.next_episode + (begun - 1) * n_envs + np.arange(n_envs)
        rows = np.arange(n_rows)[:, None]
        start_row = np.maximum.accumulate(np.where(starts, rows, 0), axis=0)
        episode = np.where(begun == 0, before, new)
        step = np.where(begun == 0, before_step + 1 + rows, rows - start_row)
        self.next_episode += int(begun[-1].max()) * n_envs
        return episode, step

    def mask(self, start: Ints, env: Ints, horizon: int, lag: int) -> NDArray[np.bool_]:
        """
        :param lag: 1 if frame i + 1 is stored with slot i (``next_observations``), 0 if with slot i + 1.
        :return: ``(B, horizon + 1)``: the frame lies in the trajectory of frame 0.
        """
        offsets = np.maximum(np.arange(horizon + 1) - lag, 0)
        slots = (start[:, None] + offsets) % len(self.episode)  # (B, L)
        env = env[:, None]
        first = self.episode[start[:, None], env]
        same = (self.episode[slots, env] == first) & (self.step[slots, env] == self.step[start[:, None], env] + offsets)
        # A trajectory lies in one piece, so these are a prefix
        return same & (first != self.UNUSABLE)

    def is_start(self, start: Ints, env: Ints, horizon: int, lag: int) -> NDArray[np.bool_]:
        """:return: ``(B,)``: a window may begin here, that is, frame 1 is true, or frame 0 if ``horizon`` is 0."""
        return self.mask(start, env, min(horizon, 1), lag)[:, -1]

    def draw(
        self, batch_size: int, horizon: int, lag: int, oldest: int, n_slots: int, generator: torch.Generator
    ) -> Draw | None:
        """
        Draw distinct starts, uniformly from all valid ones.

        :param oldest: first slot that may hold a start.
        :param n_slots: how many slots from there on may.
        :param generator: on the CPU; nothing else is drawn from.
        :return: None if there are fewer valid starts than ``batch_size``.
        """
        n_envs = self.episode.shape[1]
        total = n_slots * n_envs
        if total < batch_size:
            return None
        # Draws with rejection cost nothing that grows with the buffer. First occurrences of independent uniform draws are a
        # uniform draw without replacement. Where too many are rejected, all valid starts are listed instead.
        for _ in range(3 if total > 4 * batch_size else 0):
            numbers = torch.randint(total, (2 * batch_size + 8,), generator=generator, device="cpu").numpy()
            start, env = (oldest + numbers // n_envs) % len(self.episode), numbers % n_envs
            numbers = numbers[self.is_start(start, env, horizon, lag)]
            _, first = np.unique(numbers, return_index=True)
            if len(first) >= batch_size:
                numbers = numbers[np.sort(first)[:batch_size]]
                break
        else:
            numbers = np.arange(total)
            start, env = (oldest + numbers // n_envs) % len(self.episode), numbers % n_envs
            numbers = numbers[self.is_start(start, env, horizon, lag)]
            if len(numbers) < batch_size:
                return None
            numbers = numbers[torch.randperm(len(numbers), generator=generator, device="cpu")[:batch_size].numpy()]
        return Draw(self, (oldest + numbers // n_envs) % len(self.episode), numbers % n_envs, horizon, lag)
