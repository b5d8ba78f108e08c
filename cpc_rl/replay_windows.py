"""Temporal windows from the replay buffers of off-policy algorithms."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.gathering import Normalize, check_array, check_observations, check_request, gather_windows
from cpc_rl.trajectories import TrajectoryRing
from cpc_rl.windows import Windows


class ReplayWindows:
    """
    Windows from a replay buffer that SB3 fills, read where they lie.

    Trajectories are numbered as the buffer grows. After writes that nobody announced, and for a buffer that already holds
    data, they are numbered anew: from the stored ends of episodes, and from where an observation is not the one that the step
    before led to.

    With ``optimize_memory_usage`` an episode's last observation is not stored, and nothing shows where an environment was
    reset without an end before this object was there; neither can be made up for.

    :param replay_buffer: SB3's, of any kind: plain, Dict, n-step or HER.
    :param action_space: The model's.
    :param normalize: Applied to a batch of stored observations (``VecNormalize.normalize_obs``: replay buffers hold raw ones).
    """

    def __init__(self, replay_buffer: Any, action_space: spaces.Space, normalize: Normalize | None = None):
        check_replay_buffer(replay_buffer)
        self.replay_buffer = replay_buffer
        self.action_space = action_space
        self.normalize = normalize
        self._lag = 0 if replay_buffer.optimize_memory_usage else 1
        self._size = replay_buffer.buffer_size
        self._ring = TrajectoryRing(self._size, replay_buffer.n_envs)
        # Slots whose transition follows no other one, though no end of an episode was stored before it
        self._seams = np.zeros(self._size, dtype=bool)
        self._seam: str | None = None  # what lies between the newest transition and the next one, if anything
        # Slots whose observation is a step old, see mark_seam()
        self._stale = np.zeros(self._size, dtype=bool)
        self._rebuild()

    def note_step(self) -> None:
        """Announce the next write, one transition of each environment (in ``_on_step()``: SB3 calls it just before)."""
        self._catch_up()
        self._announced = True

    def mark_seam(self, reset: bool = False) -> None:
        """
        Say that the next write does not follow the last one (at the start of training).

        :param reset: The environments were reset (``learn()``'s ``reset_num_timesteps``). Otherwise the next transition is not
            used: after an interrupted step SB3 stores one whose observation is a step old.
        """
        self._catch_up()
        # An interrupted step was announced and never written
        self._announced = False
        self._seam = "reset" if reset else "unknown"

    def sample(
        self,
        batch_size: int,
        horizon: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        keys: tuple[str, ...] | None = None,
    ) -> Windows | None:
        """
        Draw windows with distinct starts, uniformly. With ``horizon >= 1`` frame 1 is always true.

        :param horizon: Frames after the first. The last may be the one that ended the episode.
        :param generator: On the CPU; no other randomness is used.
        :param keys: Only these entries of Dict observations.
        :return: None while fewer than ``batch_size`` different windows are there.
        """
        buffer = self.replay_buffer
        check_request(batch_size, horizon, buffer.observations, keys)
        self._catch_up()
        # The oldest observation of a full buffer that keeps no next observations is overwritten by the newest next one
        lost = 1 if buffer.full and self._lag == 0 else 0
        oldest = buffer.pos + lost if buffer.full else 0
        draw = self._ring.draw(batch_size, horizon, self._lag, oldest, buffer.size() - lost, generator)
        if draw is None:
            return None
        return gather_windows(
            self._ring,
            draw,
            buffer.observations,
            buffer.next_observations if self._lag else None,
            buffer.actions,
            buffer.rewards,
            self.action_space,
            True,
            device,
            keys,
            self.normalize,
        )

    def _catch_up(self) -> None:
        """Number what was written since the last call: one slot if a write was announced, else nothing."""
        buffer = self.replay_buffer
        written = (buffer.pos - self._pos) % self._size
        emptied = not buffer.full and (self._full or buffer.pos < self._pos)
        if emptied:
            self._seams[:], self._stale[:] = False, False
            self._rebuild()
            return
        # If others filled the buffer once round, or more often, then what was the newest transition is another one now
        overrun = self._marks() != self._last_marks
        if written == 0 and not overrun:
            return
        if written != 1 or not self._announced or overrun:
            # Who wrote this may have begun with a reset, which a buffer without next observations does not show
            self._seams[self._pos] |= self._seam is not None
            self._stale[self._pos] |= self._seam == "unknown" or self._lag == 0
            self._rebuild()
            return
        slot, before, ring = self._pos, self._pos - 1, self._ring
        had_none = not self._full and slot == 0
        starts = (buffer.dones[before] != 0) | self._stale[before] | (had_none or self._seam is not None)
        episode, step = ring.label(starts[None], *(() if had_none else (self._last_episode, self._last_step)))
        self._seams[slot] = self._seam is not None
        self._stale[slot] = self._seam == "unknown"
        ring.episode[slot] = ring.UNUSABLE if self._stale[slot] else episode[0]
        ring.step[slot] = step[0]
        self._follow(slot)

    def _follow(self, slot: int) -> None:
        """Take ``slot`` as the newest one."""
        buffer, ring = self.replay_buffer, self._ring
        self._pos, self._full = buffer.pos, buffer.full
        self._announced, self._seam = False, None
        self._last_marks = self._marks()
        self._last_episode, self._last_step = ring.episode[slot].copy(), ring.step[slot].copy()
        if self._lag == 0:
            # The slot to be written next holds the newest next observation, unless an episode ended there
            ring.episode[buffer.pos] = np.where(buffer.dones[slot] == 0, ring.episode[slot], ring.UNUSABLE)
            ring.step[buffer.pos] = ring.step[slot] + 1

    def _marks(self) -> bytes:
        """What tells the newest transition that was numbered from others, without looking at its observation."""
        newest = self._pos - 1
        return b"".join(array[newest].tobytes() for array in (self.replay_buffer.actions, self.replay_buffer.rewards))

    def _rebuild(self, first_step: NDArray[np.int64] | None = None) -> None:
        """
        Number all that is stored.

        :param first_step: ``(E,)`` the oldest transitions' place in their trajectories, where that is known.
        """
        buffer, ring = self.replay_buffer, self._ring
        ring.episode[:], ring.step[:] = ring.UNUSABLE, 0
        order = (np.arange(buffer.size()) + (buffer.pos if buffer.full else 0)) % self._size
        if len(order) > 0:
            starts = np.ones((len(order), buffer.n_envs), dtype=bool)
            starts[1:] = (buffer.dones[order[:-1]] != 0) | (self._seams[order[1:]] | self._stale[order[:-1]])[:, None]
            starts[1:] |= self._broken(order)
            if first_step is not None:
                starts[0] = first_step == 0
                unknown = np.arange(buffer.n_envs) + ring.next_episode
                ring.next_episode += buffer.n_envs
                episode, step = ring.label(starts, unknown, first_step - 1)
            else:
                episode, step = ring.label(starts)
            episode[self._stale[order]] = ring.UNUSABLE
            ring.episode[order], ring.step[order] = episode, step
        self._follow(int(order[-1]) if len(order) > 0 else 0)

    def _broken(self, order: NDArray[np.int64]) -> NDArray[np.bool_]:
        """:return: ``(len(order) - 1, E)``: the observation after a transition is not its next observation."""
        buffer = self.replay_buffer
        broken = np.zeros((len(order) - 1, buffer.n_envs), dtype=bool)
        if self._lag == 0:
            return broken
        pairs = [(buffer.observations, buffer.next_observations)]
        if isinstance(buffer.observations, Mapping):
            pairs = [(array, buffer.next_observations[key]) for key, array in buffer.observations.items()]
        for observations, next_observations in pairs:
            # Few rows at a time, so that no second buffer is made
            rows = max(256 // buffer.n_envs, 1)
            for row in range(0, len(broken), rows):
                here, there = order[:-1][row : row + rows], order[1:][row : row + rows]
                differs = next_observations[here] != observations[there]
                broken[row : row + rows] |= differs.reshape(*differs.shape[:2], -1).any(axis=2)
        return broken

    def state_dict(self) -> dict[str, Any]:
        """
        :return: What the buffer itself does not tell: seams, and how old its trajectories are. Fit for
            ``torch.load(weights_only=True)``.
        """
        self._catch_up()
        buffer = self.replay_buffer
        return {
            "pos": int(buffer.pos),
            "size": int(buffer.size()),
            "seams": torch.from_numpy(np.flatnonzero(self._seams)),
            "stale": torch.from_numpy(np.flatnonzero(self._stale)),
            "first_step": torch.from_numpy(self._oldest_step()),
            "next_episode": int(self._ring.next_episode),
            "coming_seam": self._seam,
        }

    def _oldest_step(self) -> NDArray[np.int64]:
        """:return: ``(E,)`` the oldest transitions' place in their trajectories."""
        oldest = self.replay_buffer.pos if self.replay_buffer.full else 0
        if self.replay_buffer.full and self._lag == 0:
            # The slot itself already stands for the newest next observation
            return self._ring.step[(oldest + 1) % self._size] - 1
        return self._ring.step[oldest].copy()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        :param state: Of a source whose buffer held the same data. If this one holds other data only its seams are taken, which
            can cost windows but makes no wrong ones.
        :raises ValueError: if the state is that of another kind of source.
        """
        if "seams" not in state:
            raise ValueError("The saved windows belong to rollouts, but this model has a replay buffer.")
        buffer = self.replay_buffer
        for flags, name in ((self._seams, "seams"), (self._stale, "stale")):
            slots = state[name].numpy()
            flags[slots[slots < self._size]] = True
        self._ring.next_episode = max(self._ring.next_episode, state["next_episode"])
        same = state["pos"] == buffer.pos and state["size"] == buffer.size() and len(state["first_step"]) == buffer.n_envs
        self._rebuild(state["first_step"].numpy() if same and buffer.size() > 0 else None)
        self._seam = state["coming_seam"] if same else None


def check_replay_buffer(buffer: Any) -> None:
    """:raises ValueError: if the buffer does not store its data as SB3's replay buffers do, or is too small for windows."""
    if buffer.buffer_size < 2:
        raise ValueError(
            "The replay buffer holds one transition per environment, but windows need two: "
            "make buffer_size at least twice the number of environments."
        )
    leading = (buffer.buffer_size, buffer.n_envs)
    check_observations(buffer.observations, leading, buffer.obs_shape, "observations")
    if not buffer.optimize_memory_usage:
        check_observations(buffer.next_observations, leading, buffer.obs_shape, "next_observations")
    check_array(buffer.actions, leading, (buffer.action_dim,), "actions")
    check_array(buffer.rewards, leading, (), "rewards")
    check_array(buffer.dones, leading, (), "dones")
