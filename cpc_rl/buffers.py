"""Buffers for Stable-Baselines3 that store each frame of stacked images once."""

from cpc_rl.frame_replay_buffer import FrameStackReplayBuffer
from cpc_rl.frame_rollout_buffer import FrameStackRolloutBuffer

__all__ = ["FrameStackReplayBuffer", "FrameStackRolloutBuffer"]
