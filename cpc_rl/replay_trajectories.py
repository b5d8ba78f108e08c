"""Which trajectory each transition of a replay buffer belongs to, kept up while SB3 fills it."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpc_rl.frame_store import FrameStacks
from cpc_rl.trajectories import TrajectoryRing

MARKED = 256  # numbers of an observation that are compared


class ReplayTrajectories:
    """
    Numbers trajectories as the buffer grows. After writes that nobody announced, and for a buffer that already holds data, all
    are numbered anew: from the stored ends of episodes, and from where an observation is not what the step before led to.

    :param buffer: A replay buffer that stores its data as SB3's do.
    :ivar ring: The numbers, after :meth:`catch_up`.
    :ivar lag: 1 if the buffer stores next observations, else 0.
    """

    def __init__(self, buffer: Any):
        self.buffer = buffer
        self.lag = 0 if buffer.optimize_memory_usage else 1
        self.ring = TrajectoryRing(buffer.buffer_size, buffer.n_envs)
        self._size = buffer.buffer_size
        # Transitions that follow no other one, though no end of an episode was stored before them
        self._seams = np.zeros(self.ring.episode.shape, dtype=bool)
        self._coming_seam: str | None = None  # what lies between the newest transition and the next one, if anything
        # Slots whose observation is a step old, see mark_seam()
        self._stale = np.zeros(self._size, dtype=bool)
        # Numbering what is already there waits for the first use: load_state_dict() may make it cheap
        self._numbered = False
        self._pos, self._full, self._announced, self._last_marks = 0, False, False, b""

    def note_step(self) -> None:
        """Announce the next write."""
        self.catch_up()
        self._announced = True

    def mark_seam(self, reset: bool) -> None:
        """
        The next write does not follow the last one.

        :param reset: It begins an episode. Otherwise its observation may be a step old, and is not used.
        """
        self.catch_up()
        # An interrupted step was announced and never written
        self._announced = False
        self._coming_seam = "reset" if reset else "unknown"

    def catch_up(self) -> None:
        """Number what was written since the last call: one slot if a write was announced, else nothing."""
        buffer, ring = self.buffer, self.ring
        if not self._numbered:
            self._number_all()
            return
        written = (buffer.pos - self._pos) % self._size
        # If others filled the buffer once round, or more often, then what was the newest transition is another one now
        overrun = self._marks() != self._last_marks
        emptied = not buffer.full and (self._full or buffer.pos < self._pos)
        if written == 0 and not overrun and not emptied:
            return
        slot, before = self._pos, self._pos - 1
        if written != 1 or not self._announced or overrun or emptied:
            overwritten = (slot + np.arange(self._size if overrun or emptied else written)) % self._size
            self._seams[overwritten], self._stale[overwritten] = False, False
            # Who wrote this may have begun with a reset, which a buffer without next observations does not show
            self._seams[slot] = self._coming_seam is not None
            self._stale[slot] = self._coming_seam == "unknown" or self.lag == 0
            self._number_all()
            return
        had_none = not self._full and slot == 0
        starts = (buffer.dones[before] != 0) | self._stale[before] | (had_none or self._coming_seam is not None)
        episode, step = ring.label(starts[None], *(() if had_none else (self._last_episode, self._last_step)))
        self._seams[slot] = self._coming_seam is not None
        self._stale[slot] = self._coming_seam == "unknown"
        ring.episode[slot] = ring.UNUSABLE if self._stale[slot] else episode[0]
        ring.step[slot] = step[0]
        self._follow(slot)

    def _follow(self, slot: int) -> None:
        """Take ``slot`` as the newest one."""
        buffer, ring = self.buffer, self.ring
        self._pos, self._full = buffer.pos, buffer.full
        self._announced, self._coming_seam = False, None
        self._last_marks = self._marks()
        self._last_episode, self._last_step = ring.episode[slot].copy(), ring.step[slot].copy()
        if self.lag == 0:
            # The slot to be written next holds the newest next observation, unless an episode ended there
            ring.episode[buffer.pos] = np.where(buffer.dones[slot] == 0, ring.episode[slot], ring.UNUSABLE)
            ring.step[buffer.pos] = ring.step[slot] + 1

    def _marks(self) -> bytes:
        """
        What tells the newest transition that was numbered from others: its actions, and some of its observation. Not its
        reward, which others may change in its place: a bonus, or a reward learnt from preferences.
        """
        newest, observations = self._pos - 1, self.buffer.observations
        arrays = list(observations.values()) if isinstance(observations, Mapping) else [observations]
        if self.lag == 0 and self._size == 2:  # the next write replaces both observations
            arrays = []
        # A stack of frames that are stored once is told by their numbers
        shown = [(array.numbers if isinstance(array, FrameStacks) else array)[newest] for array in arrays]
        return b"".join([self.buffer.actions[newest].tobytes(), *map(_thinned, shown)])

    def _number_all(self, first_step: NDArray[np.int64] | None = None, seams_known: bool = False) -> None:
        """
        Number all that is stored.

        :param first_step: ``(E,)`` the oldest transitions' place in their trajectories, where that is known.
        :param seams_known: No other seams than those that are noted need to be looked for.
        """
        buffer, ring = self.buffer, self.ring
        n_filled = buffer.size()
        if not seams_known and self.lag == 1:
            self._find_seams(n_filled)
        ring.episode[:], ring.step[:] = ring.UNUSABLE, 0
        order = (np.arange(n_filled) + (buffer.pos if buffer.full else 0)) % self._size
        if n_filled > 0:
            starts = np.ones((n_filled, buffer.n_envs), dtype=bool)
            starts[1:] = (buffer.dones[order[:-1]] != 0) | self._seams[order[1:]] | self._stale[order[:-1], None]
            if first_step is not None:
                starts[0] = first_step == 0
                begun_before = np.arange(buffer.n_envs) + ring.next_episode
                ring.next_episode += buffer.n_envs
                episode, step = ring.label(starts, begun_before, first_step - 1)
            else:
                episode, step = ring.label(starts)
            episode[self._stale[order]] = ring.UNUSABLE
            ring.episode[order], ring.step[order] = episode, step
        self._numbered = True
        self._follow(int(order[-1]) if n_filled > 0 else 0)

    def _find_seams(self, n_filled: int) -> None:
        """Note a seam wherever an observation is not the one that the unfinished episode before it led to."""
        buffer = self.buffer
        pairs = [(buffer.observations, buffer.next_observations)]
        if isinstance(buffer.observations, Mapping):
            pairs = [(array, buffer.next_observations[key]) for key, array in buffer.observations.items()]
        # One step's next observation and the next step's observation are the same exactly if they have the same frames
        pairs = [(a.numbers, b.numbers) if isinstance(a, FrameStacks) else (a, b) for a, b in pairs]
        oldest = buffer.pos if buffer.full else 0  # what was before it is gone
        oldest_seams = self._seams[oldest].copy()
        rows = max(1024 // buffer.n_envs, 1)  # few at a time, so that no second buffer is made
        for observations, next_observations in pairs:
            for row in range(0, n_filled - 1, rows):
                stop = min(row + rows, n_filled - 1)
                differ = _differ(next_observations[row:stop], observations[row + 1 : stop + 1])
                self._seams[row + 1 : stop + 1] |= differ & (buffer.dones[row:stop] == 0)
            if buffer.full:
                self._seams[:1] |= _differ(next_observations[-1:], observations[:1]) & (buffer.dones[-1:] == 0)
        self._seams[oldest] = oldest_seams

    def state_dict(self) -> dict[str, Any]:
        """See :class:`cpc_rl.replay_windows.ReplayWindows`."""
        self.catch_up()
        return {
            "seams": torch.from_numpy(np.flatnonzero(self._seams)),
            "stale": torch.from_numpy(np.flatnonzero(self._stale)),
            "coming_seam": self._coming_seam,
            "first_step": torch.from_numpy(self._oldest_step()),
            "next_episode": int(self.ring.next_episode),
            "contents": self._contents(),
        }

    def _contents(self) -> list[int]:
        """:return: Numbers that tell one filling of the buffer from another, without the observations."""
        buffer = self.buffer
        arrays = (buffer.actions, buffer.rewards)
        sums = [zlib.crc32(np.ascontiguousarray(array[: buffer.size()]).data) for array in arrays]
        return [self._size, int(buffer.n_envs), int(buffer.pos), int(buffer.size()), *sums]

    def _oldest_step(self) -> NDArray[np.int64]:
        """:return: ``(E,)`` the oldest transitions' place in their trajectories."""
        oldest = self.buffer.pos if self.buffer.full else 0
        if self.buffer.full and self.lag == 0:
            # The slot itself already stands for the newest next observation
            return self.ring.step[(oldest + 1) % self._size] - 1
        return self.ring.step[oldest].copy()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`cpc_rl.replay_windows.ReplayWindows`."""
        for flags, name in ((self._seams, "seams"), (self._stale, "stale")):
            places = state[name].cpu().numpy()
            flags.reshape(-1)[places[places < flags.size]] = True
        self.ring.next_episode = max(self.ring.next_episode, state["next_episode"])
        same = state["contents"] == self._contents()
        first_step = state["first_step"].cpu().numpy()
        self._number_all(first_step if same and self.buffer.size() > 0 else None, seams_known=same)
        self._coming_seam = state["coming_seam"] if same else None


def _thinned(row: NDArray) -> bytes:
    """:return: Some hundreds of the numbers of each environment's entry, from all over it, of ``(E, *obs)``."""
    flat = row.reshape(len(row), -1)
    return flat[:, :: flat.shape[1] // MARKED | 1].tobytes()  # odd, so as not to read a few columns of an image alone


def _differ(a: NDArray, b: NDArray) -> NDArray[np.bool_]:
    """:return: ``(T, E)``: the frames of two arrays ``(T, E, *obs)`` of one type are not the same, bit for bit."""
    size = int(np.prod(a.shape[2:])) * a.itemsize
    # Compared as wide integers: eight times as fast for bytes
    width = next(width for width in (8, 4, 2, 1) if size % width == 0)
    a, b = (np.ascontiguousarray(x).reshape(*x.shape[:2], -1).view(f"u{width}") for x in (a, b))
    return (a != b).any(axis=2)
