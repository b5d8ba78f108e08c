"""
Temporal windows from every buffer of Stable-Baselines3 and sb3-contrib, never across the end of an episode, a reset, or the
place where a ring buffer's newest data meet its oldest.
"""

from typing import Any

from cpc_rl.replay_windows import ReplayWindows, check_replay_buffer
from cpc_rl.rollout_windows import RolloutWindows, check_rollout_buffer
from cpc_rl.windows import ActionLayout, Windows, action_dim, action_layout, encode_actions, shorten

__all__ = [
    "ActionLayout",
    "ReplayWindows",
    "RolloutWindows",
    "Windows",
    "action_dim",
    "action_layout",
    "encode_actions",
    "shorten",
    "window_source",
]


def window_source(model: Any, capacity: int = 2048) -> RolloutWindows | ReplayWindows:
    """
    Make the source of windows that fits a model's buffer.

    :param model: Any model of SB3 or sb3-contrib. ``load_replay_buffer()`` replaces its buffer: make a new source then.
    :param capacity: For rollouts, see :class:`RolloutWindows`.
    :raises ValueError: if it has no buffer (ARS), or one that is stored in another way than SB3's own.
    """
    name = type(model).__name__
    action_dim(model.action_space)  # refuses the spaces that it does not know
    replay_buffer = getattr(model, "replay_buffer", None)
    rollout_buffer = getattr(model, "rollout_buffer", None)
    buffer = replay_buffer if replay_buffer is not None else rollout_buffer
    if buffer is None:
        raise ValueError(f"{name} has neither a rollout buffer nor a replay buffer, so there is nothing to take windows from.")
    wanted = ["observations", "actions", "rewards", "buffer_size", "n_envs", "obs_shape", "action_dim", "full", "pos"]
    wanted += ["dones", "optimize_memory_usage"] if replay_buffer is not None else ["episode_starts", "generator_ready"]
    missing = [attribute for attribute in wanted if not hasattr(buffer, attribute)]
    if missing:
        raise ValueError(
            f"{name}'s buffer is a {type(buffer).__name__}, which has no {missing[0]!r}: temporal windows can only be taken "
            "from buffers that store their data as Stable-Baselines3's own do."
        )
    if replay_buffer is not None:
        check_replay_buffer(replay_buffer)
        vec_normalize = model.get_vec_normalize_env()
        normalize = vec_normalize.normalize_obs if vec_normalize is not None and vec_normalize.norm_obs else None
        return ReplayWindows(replay_buffer, model.action_space, normalize)
    check_rollout_buffer(rollout_buffer)
    return RolloutWindows(model.action_space, capacity, squashed=bool(getattr(model.policy, "squash_output", False)))
