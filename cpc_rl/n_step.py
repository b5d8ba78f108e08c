"""n-step returns from the arrays of a replay buffer."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class NStepTargets(NamedTuple):
    """All of a batch of B."""

    last_slots: NDArray[np.int64]
    """``(B,)`` slots whose next observations end the n steps."""
    rewards: NDArray[np.float32]
    """``(B, 1)`` discounted sums."""
    dones: NDArray[np.float32]
    """``(B, 1)`` whether the last step ended an episode, other than by a timeout."""
    discounts: NDArray[np.float32]
    """``(B, 1)`` what the value after the n steps counts: gamma to the number of steps that were summed."""


def n_step_targets(
    buffer: Any, slots: NDArray[np.int64], envs: NDArray[np.int64], n_steps: int, gamma: float, env: Any = None
) -> NStepTargets:
    """
    Sum rewards over n steps, or fewer where an episode ends (Sutton and Barto, "Reinforcement Learning", 2018, equation 7.1).
    The newest transition is taken as a truncation, since what follows it in the ring is older. The figures are those of
    Stable-Baselines3's ``NStepReplayBuffer`` to the last bit, so the order of the operations matters.

    :param buffer: A replay buffer with SB3's arrays ``rewards``, ``dones`` and ``timeouts``.
    :param slots: ``(B,)`` of the first steps.
    :param envs: ``(B,)``.
    :param env: A VecNormalize whose statistics scale each reward before the sum.
    """
    steps = (slots[:, None] + np.arange(n_steps)) % buffer.buffer_size  # (B, n)
    columns = envs[:, None]
    dones = buffer.dones[steps, columns]
    newest = (buffer.pos - 1) % buffer.buffer_size
    over = (dones != 0) | (buffer.timeouts[steps, columns] != 0) | (steps == newest)
    length = np.where(over.any(axis=1), over.argmax(axis=1), n_steps - 1) + 1  # (B,)
    summed = np.arange(n_steps) < length[:, None]
    rewards = buffer._normalize_reward(buffer.rewards[steps, columns], env)
    weighted = rewards * (gamma ** np.arange(n_steps, dtype=np.float32)) * summed

    rows = np.arange(len(slots))
    last_slots = steps[rows, length - 1]
    last_dones = dones[rows, length - 1]
    # A newest transition that is not done counts as a timeout, but without a done that changes nothing
    final = last_dones * (1 - buffer.timeouts[last_slots, envs])
    return NStepTargets(
        last_slots,
        weighted.sum(axis=1, keepdims=True),
        final[:, None].astype(np.float32),
        gamma ** length[:, None].astype(np.float32),
    )
