"""Temporal windows from recorded frames."""

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from cpc_rl.diagnostics.recording import Recording
from cpc_rl.encoder import Observations
from cpc_rl.windows import Windows, encode_actions


def windows_of(
    recording: Recording,
    observations: Observations,
    action_space: spaces.Space | None,
    horizon: int,
    batch_size: int,
    seed: int = 0,
) -> Windows | None:
    """
    Whole windows that start at random frames, as many from each episode as it has room for.

    :param recording: whose episodes and actions are taken
    :param observations: the same frames as tensors, channel first, ``(N, *obs)``
    :param action_space: of the model; ``None``: the windows tell no actions
    :param horizon: frames after the first
    :param batch_size: ``B``, or as many as there are starts
    :return: ``None`` if no episode is long enough
    """
    last = np.r_[np.flatnonzero(np.diff(recording.episodes)), len(recording.episodes) - 1]  # of every episode
    ends = last[np.searchsorted(last, np.arange(len(recording.episodes)))]
    starts = np.flatnonzero(np.arange(len(ends)) + horizon <= ends)
    if len(starts) == 0:
        return None
    starts = np.sort(np.random.default_rng(seed).permutation(starts)[:batch_size])
    rows = torch.from_numpy(starts[:, None] + np.arange(horizon + 1))  # (B, L)
    first_frames = np.r_[0, last[:-1] + 1]

    def gathered(frames: Tensor) -> Tensor:
        return frames[rows.flatten().to(frames.device)].unflatten(0, rows.shape)

    seen = observations
    gathered_seen = {k: gathered(v) for k, v in seen.items()} if isinstance(seen, dict) else gathered(seen)  # type: ignore[arg-type]
    device = (next(iter(seen.values())) if isinstance(seen, dict) else seen).device  # type: ignore[union-attr]
    encoded = np.zeros((len(starts), horizon, 0), np.float32)
    if recording.actions.shape[1] and action_space is not None:
        encoded = encode_actions(recording.actions[rows[:, :-1].numpy()], action_space)
    steps = starts - first_frames[np.searchsorted(last, starts)]
    return Windows(
        observations=gathered_seen,
        actions=torch.from_numpy(encoded).to(device),
        rewards=torch.zeros(len(starts), horizon, device=device),
        mask=torch.ones(len(starts), horizon + 1, dtype=torch.bool, device=device),
        episode=torch.from_numpy(recording.episodes[starts]).to(device),
        step=torch.from_numpy(steps).to(device),
    )
