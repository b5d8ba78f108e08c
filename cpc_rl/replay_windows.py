"""Temporal windows from the replay buffers of off-policy algorithms."""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces

from cpc_rl.gathering import Normalize, check_array, check_observations, check_request, gather_windows
from cpc_rl.grouping import draw_groups
from cpc_rl.replay_trajectories import ReplayTrajectories
from cpc_rl.trajectories import Draw, Ints
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
        self._trajectories = ReplayTrajectories(replay_buffer)

    def note_step(self) -> None:
        """Announce the next write, one transition of each environment (in ``_on_step()``: SB3 calls it just before)."""
        self._trajectories.note_step()

    def mark_seam(self, reset: bool = False) -> None:
        """
        Say that the next write does not follow the last one (at the start of training).

        :param reset: The environments were reset (``learn()``'s ``reset_num_timesteps``). Otherwise the next transition is not
            used: after an interrupted step SB3 stores one whose observation is a step old.
        """
        self._trajectories.mark_seam(reset)

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

        :param horizon: Frames after the first. The last may be the one that ended the episode.
        :param generator: On the CPU; no other randomness is used.
        :param keys: Only these entries of Dict observations.
        :param per_trajectory: If more than 1, the batch is made of groups of so many windows of one trajectory (all of them
            where it has fewer; the last group may be cut), side by side. A group's trajectory is that of a uniformly drawn
            valid start, so that one can have several groups, and its windows are drawn uniformly from that trajectory.
        :return: None while fewer than ``batch_size`` different windows are there.
        """
        buffer = self.replay_buffer
        check_request(batch_size, horizon, buffer.observations, keys, per_trajectory)
        trajectories = self._trajectories
        trajectories.catch_up()
        # The oldest observation of a full buffer that keeps no next observations is overwritten by the newest next one
        lost = 1 if buffer.full and trajectories.lag == 0 else 0
        oldest = buffer.pos + lost if buffer.full else 0
        n_slots = buffer.size() - lost
        draw = draw_groups(
            trajectories.ring, batch_size, horizon, per_trajectory, trajectories.lag, oldest, n_slots, generator
        )
        return None if draw is None else self._gather(draw, device, keys)

    def at(
        self,
        start: Ints,
        env: Ints,
        horizon: int,
        device: torch.device | str = "cpu",
        keys: tuple[str, ...] | None = None,
        only: Sequence[int] | None = None,
    ) -> Windows:
        """
        The windows that begin at given slots, valid starts or not: look at their masks.

        :param start: ``(B,)`` slots
        :param env: ``(B,)`` their environments
        :param only: fill in these frames of the observations alone, see :func:`cpc_rl.gathering.gather_windows`
        """
        self._trajectories.catch_up()
        return self._gather(Draw(self._trajectories.ring, start, env, horizon, self._trajectories.lag), device, keys, only)

    def _gather(
        self, draw: Draw, device: torch.device | str, keys: tuple[str, ...] | None, only: Sequence[int] | None = None
    ) -> Windows:
        buffer = self.replay_buffer
        return gather_windows(
            self._trajectories.ring,
            draw,
            buffer.observations,
            buffer.next_observations if self._trajectories.lag else None,
            buffer.actions,
            buffer.rewards,
            self.action_space,
            True,
            device,
            keys,
            self.normalize,
            only,
        )

    def state_dict(self) -> dict[str, Any]:
        """
        :return: What the buffer itself does not tell: seams, and how old its trajectories are. Fit for
            ``torch.load(weights_only=True)``.
        """
        return self._trajectories.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        :param state: Of a source whose buffer held the same data. If this one holds other data only its seams are taken, which
            can cost windows but makes no wrong ones.
        :raises ValueError: if the state is that of another kind of source.
        """
        if "seams" not in state:
            raise ValueError("The saved windows belong to rollouts, but this model has a replay buffer.")
        self._trajectories.load_state_dict(state)


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
