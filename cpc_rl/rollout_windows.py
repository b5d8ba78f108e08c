"""Temporal windows from the rollout buffers of on-policy algorithms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.gathering import check_array, check_observations, check_request, gather_windows
from cpc_rl.grouping import draw_groups
from cpc_rl.trajectories import Draw, Ints, TrajectoryRing
from cpc_rl.windows import Windows


class RolloutWindows:
    """
    The newest rollouts, and windows from them. A window may run from one rollout into the next.

    A rollout that alone holds ``capacity`` transitions is used where it lies, without a copy: SB3's buffers make new arrays
    for the next one. Shorter rollouts (A2C's have 5 steps) are copied into a ring that holds as many as are needed.

    The observations that ended an episode are in no rollout buffer: a window's last frame is the one that the last action saw.

    :param action_space: The model's.
    :param capacity: Hold at least so many transitions, over all environments.
    :param squashed: Box actions are stored in [-1, 1] (gSDE with ``squash_output``); otherwise as the policy drew them.
    """

    def __init__(self, action_space: spaces.Space, capacity: int = 2048, squashed: bool = False):
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 transition, but it is {capacity}.")
        self.action_space = action_space
        self.capacity = capacity
        self.squashed = squashed
        self._arrays: dict[str, Any] = {}
        self._ring: TrajectoryRing | None = None
        self._rollout_length = 0
        self._next_slot = 0  # where the next rollout will be written
        self._filled = 0  # slots per environment that hold data
        self._seam: str | None = "reset"  # what happened before the next rollout, if anything
        self._next_episode = 0  # of the first ring

    def mark_seam(self, reset: bool = False) -> None:
        """
        Say that the next rollout does not follow the last one (at the start of training).

        :param reset: The environments were reset (``learn()``'s ``reset_num_timesteps``). Otherwise the first observation of
            the next rollout is not used: after an interrupted step SB3 goes on from one that is a step old.
        """
        self._seam = "reset" if reset else "unknown"

    def add(self, rollout_buffer: Any) -> None:
        """
        Take a full rollout, between its end and the first call of its ``get()``.

        :param rollout_buffer: SB3's or sb3-contrib's, of any kind.
        :raises ValueError: if it is not full, was already flattened by ``get()``, or is stored in another way.
        """
        if not rollout_buffer.full or rollout_buffer.generator_ready:
            raise ValueError("A rollout must be added when it is full and before get() was called, so in _on_rollout_end().")
        check_rollout_buffer(rollout_buffer)
        length, n_envs = rollout_buffer.buffer_size, rollout_buffer.n_envs
        observations = rollout_buffer.observations
        arrays = {
            # A copy of the dict, since get() replaces its entries by flattened ones
            "observations": dict(observations) if isinstance(observations, Mapping) else observations,
            "actions": rollout_buffer.actions,
            "rewards": rollout_buffer.rewards,
        }
        n_rollouts = -(-self.capacity // (length * n_envs))
        size = length * n_rollouts
        if self._ring is None or self._ring.episode.shape != (size, n_envs) or self._rollout_length != length:
            next_episode = self._number_of_next()
            self._ring = TrajectoryRing(size, n_envs)
            self._ring.next_episode = next_episode
            self._rollout_length, self._next_slot, self._filled = length, 0, 0
            self._arrays = {}
        if n_rollouts == 1:
            self._arrays = arrays
        else:
            self._copy(arrays, size)
        self._label(rollout_buffer.episode_starts != 0)

    def _copy(self, arrays: dict[str, Any], size: int) -> None:
        """Write a rollout into the ring's own arrays."""

        def copy(name: str, source: NDArray, owner: dict[str, Any]) -> None:
            if name not in owner:
                owner[name] = np.zeros((size, *source.shape[1:]), dtype=source.dtype)
            owner[name][self._next_slot : self._next_slot + len(source)] = source

        for name, source in arrays.items():
            if isinstance(source, dict):
                for key, entry in source.items():
                    copy(key, entry, self._arrays.setdefault(name, {}))
            else:
                copy(name, source, self._arrays)

    def _label(self, starts: NDArray[np.bool_]) -> None:
        """Number the rollout's trajectories, going on with those of the rollout before."""
        ring, length = self._ring, len(starts)
        assert ring is not None
        follows = self._filled > 0 and self._seam is None
        stale = self._seam == "unknown"
        if stale and length > 1:
            starts = starts.copy()
            starts[1] = True
        before = self._next_slot - 1
        episode, step = ring.label(starts, *((ring.episode[before], ring.step[before]) if follows else ()))
        # A trajectory whose last row is unusable cannot be continued either
        if stale:
            episode[0] = ring.UNUSABLE
        ring.episode[self._next_slot : self._next_slot + length] = episode
        ring.step[self._next_slot : self._next_slot + length] = step
        self._seam = "reset" if stale and length == 1 else None
        self._filled = min(self._filled + length, len(ring.episode))
        self._next_slot = (self._next_slot + length) % len(ring.episode)

    def sample(
        self,
        batch_size: int,
        horizon: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        keys: tuple[str, ...] | None = None,
        per_trajectory: int = 1,
    ) -> Windows | None:
        """
        Draw windows with distinct starts, uniformly. With ``horizon >= 1`` frame 1 is always true.

        :param horizon: Frames after the first.
        :param generator: On the CPU; no other randomness is used.
        :param keys: Only these entries of Dict observations.
        :param per_trajectory: If more than 1, the batch is made of groups of so many windows of one trajectory (all of them
            where it has fewer; the last group may be cut), side by side. A group's trajectory is that of a uniformly drawn
            valid start, so that one can have several groups, and its windows are drawn uniformly from that trajectory.
        :return: None while fewer than ``batch_size`` different windows are there.
        """
        if self._ring is None:
            return None
        check_request(batch_size, horizon, self._arrays["observations"], keys, per_trajectory)
        draw = draw_groups(self._ring, batch_size, horizon, per_trajectory, 0, 0, self._filled, generator)
        return None if draw is None else self._gather(draw, device, keys)

    def at(
        self,
        indices: Ints,
        horizon: int,
        device: torch.device | str = "cpu",
        keys: tuple[str, ...] | None = None,
        only: Sequence[int] | None = None,
    ) -> Windows:
        """
        The windows that begin at given transitions of the newest rollout, valid starts or not: look at their masks.

        :param indices: ``(B,)``, as SB3's rollout buffers count them: environment after environment
        :param only: fill in these frames of the observations alone, see :func:`cpc_rl.gathering.gather_windows`
        """
        assert self._ring is not None
        env, row = np.divmod(indices, self._rollout_length)
        slots = len(self._ring.episode)
        draw = Draw(self._ring, (self._next_slot - self._rollout_length + row) % slots, env, horizon, 0)
        return self._gather(draw, device, keys, only)

    def _gather(
        self, draw: Draw, device: torch.device | str, keys: tuple[str, ...] | None, only: Sequence[int] | None = None
    ) -> Windows:
        assert self._ring is not None
        arrays = self._arrays
        return gather_windows(
            self._ring,
            draw,
            arrays["observations"],
            None,
            arrays["actions"],
            arrays["rewards"],
            self.action_space,
            self.squashed,
            device,
            keys,
            only=only,
        )

    def state_dict(self) -> dict[str, Any]:
        """
        :return: No rollouts, whose environments start anew: what number the next trajectory has, so that keys in a head's
            queue are not taken for neighbours of the new ones.
        """
        return {"next_rollout_episode": self._number_of_next()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        :param state: an older version's is empty
        :raises ValueError: if the state is that of another kind of source.
        """
        if state and "next_rollout_episode" not in state:
            raise ValueError("The saved windows belong to a replay buffer, but this model collects rollouts.")
        self._next_episode = max(self._next_episode, state.get("next_rollout_episode", 0))

    def _number_of_next(self) -> int:
        return self._next_episode if self._ring is None else self._ring.next_episode


def check_rollout_buffer(buffer: Any) -> None:
    """:raises ValueError: if the buffer does not store its data as SB3's rollout buffers do."""
    leading: tuple[int, ...] = (buffer.buffer_size, buffer.n_envs)
    if buffer.generator_ready:  # from train() to the next rollout some arrays lie flattened: add() will check the rest
        leading = (buffer.buffer_size * buffer.n_envs,)
        check_observations(buffer.observations, leading, buffer.obs_shape, "observations")
        return
    check_observations(buffer.observations, leading, buffer.obs_shape, "observations")
    check_array(buffer.actions, leading, (buffer.action_dim,), "actions")
    check_array(buffer.rewards, leading, (), "rewards")
    check_array(buffer.episode_starts, leading, (), "episode_starts")
