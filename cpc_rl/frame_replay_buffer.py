"""A replay buffer that stores each frame of stacked images once."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from cpc_rl.n_step import n_step_targets
from cpc_rl.replay_observations import ReplayObservations
from cpc_rl.stack_depth import IMAGE, StackDepths

VERSION = 1


class FrameStackReplayBuffer(ReplayBuffer):
    """
    A drop-in ``replay_buffer_class`` for DQN, QRDQN, SAC, TQC, TD3, DDPG and CrossQ, on stacked images or Dict observations
    that hold some. Its samples are those of Stable-Baselines3's ``ReplayBuffer`` (``DictReplayBuffer``; with ``n_steps``
    ``NStepReplayBuffer``) fed with the same transitions, bit for bit and for the same state of NumPy's generator, in little
    more than 1 / (2 n_stack) of the memory.

    Observations are expected as ``VecFrameStack`` and ``VecTransposeImage`` make them: ``(n_stack * C, H, W)``, oldest frame
    first. Every stack that arrives is compared with the one before. What does not continue it (after the end of an episode or
    a reset, whatever the padding, or an interrupted step) is stored with its own frames, so that no stack ever comes back
    other than it was.

    A sample's ``observations`` and ``next_observations`` share memory: do not write to them.

    :param buffer_size: Transitions, over all environments.
    :param n_stack: Frames in a stack; for Dict observations one number for all image entries, or a dict of them. None: the
        largest depth at which the first step's next observations are the observations moved on by one frame, or 1.
    :param n_steps: Sum rewards over so many steps. SB3's algorithms pass their own ``n_steps`` only to their own buffers:
        give it here, in ``replay_buffer_kwargs``.
    :param gamma: The algorithm's discount factor; only used if ``n_steps`` is more than 1.
    :param compression: Keep every frame compressed, without loss, by ``"zlib"`` or ``"zstd"`` (Python 3.14's, or the package
        ``zstd``). Frames of rendered scenes can take a tenth of the memory; sampling takes many times as long.
    :param optimize_memory_usage: Refused: there is nothing left to save.
    :ivar observations: Reads like SB3's array, slots and environments first; so do ``next_observations``.
    :raises ValueError: if the space has no image entry, or ``n_stack`` does not divide its channels.
    :raises ImportError: if there is no zstd for ``compression="zstd"``.
    """

    observations: Any
    next_observations: Any

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        n_stack: StackDepths = None,
        n_steps: int = 1,
        gamma: float = 0.99,
        compression: str | None = None,
    ):
        # ReplayBuffer's own constructor would make the arrays that are not needed here
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs=n_envs)
        if optimize_memory_usage:
            raise ValueError("FrameStackReplayBuffer stores each frame once already: leave optimize_memory_usage out.")
        if n_steps < 1:
            raise ValueError(f"n_steps must be at least 1, but it is {n_steps}.")
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = handle_timeout_termination
        self.n_steps, self.gamma = n_steps, gamma
        self._stored = ReplayObservations(observation_space, n_stack, self.buffer_size, n_envs, compression)
        self.observations, self.next_observations = self._stored.pair()
        leading = (self.buffer_size, n_envs)
        self.actions = np.zeros((*leading, self.action_dim), dtype=self._maybe_cast_dtype(action_space.dtype))
        self.rewards = np.zeros(leading, dtype=np.float32)
        self.dones = np.zeros(leading, dtype=np.float32)
        self.timeouts = np.zeros(leading, dtype=np.float32)

    @property
    def n_stack(self) -> int | dict[str, int | None] | None:
        """Frames in a stack; None while that has not been seen yet. A dict for Dict observations."""
        depths = self._stored.depths
        return dict(depths) if isinstance(self.observation_space, spaces.Dict) else depths[IMAGE]

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is stored."""
        return self._stored.nbytes + sum(a.nbytes for a in (self.actions, self.rewards, self.dones, self.timeouts))

    def add(
        self, obs: Any, next_obs: Any, action: NDArray, reward: NDArray, done: NDArray, infos: list[dict[str, Any]]
    ) -> None:
        """
        Store one step of every environment.

        :raises ValueError: if it is the first one and does not show the depth of the stacks: with ``n_stack=None``, if it
            changed nothing.
        """
        if self._stored.add(self.pos, obs, next_obs):
            self.observations, self.next_observations = self._stored.pair()
        self.actions[self.pos] = np.reshape(action, (self.n_envs, self.action_dim))
        self.rewards[self.pos] = reward
        self.dones[self.pos] = done
        if self.handle_timeout_termination:
            self.timeouts[self.pos] = [info.get("TimeLimit.truncated", False) for info in infos]
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def _get_samples(self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None) -> Any:
        """
        :param env: Observations and rewards are stored raw, and normalised here.
        :return: ``ReplayBufferSamples`` or ``DictReplayBufferSamples``, with ``discounts`` if ``n_steps`` is more than 1.
        """
        envs = np.random.randint(0, high=self.n_envs, size=(len(batch_inds),))
        rows = last_rows = batch_inds * self.n_envs + envs  # in flattened arrays, which are quicker to index
        discounts = None
        if self.n_steps > 1:
            last, rewards, dones, discounts = n_step_targets(self, batch_inds, envs, self.n_steps, self.gamma, env)
            last_rows = last * self.n_envs + envs
        else:
            rewards = self._normalize_reward(self.rewards.reshape(-1, 1)[rows], env)
            dones = self.dones.reshape(-1, 1)[rows] * (1 - self.timeouts.reshape(-1, 1)[rows])
        # The frames come last, since they push everything else out of the processor's caches
        small: dict[str, Any] = {
            "actions": self._tensor(self.actions.reshape(-1, self.action_dim)[rows]),
            "dones": self._tensor(dones),
            "rewards": self._tensor(rewards),
            "discounts": None if discounts is None else self._tensor(discounts),
        }
        observations, next_observations = self._stored.read(rows, last_rows, env, self._tensor)
        samples = DictReplayBufferSamples if isinstance(self.observation_space, spaces.Dict) else ReplayBufferSamples
        return samples(observations=observations, next_observations=next_observations, **small)

    def _tensor(self, array: Any) -> torch.Tensor:
        """Without a copy on the CPU: what was gathered belongs to nobody else."""
        return self.to_torch(array, copy=False)

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        self._stored.clear()

    def __getstate__(self) -> dict[str, Any]:
        """What ``save_replay_buffer()`` writes."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("observations", "next_observations")}
        return {**state, "version": VERSION}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """:raises ValueError: if another version of this class saved the state."""
        version = state.pop("version", None)
        if version != VERSION:
            raise ValueError(
                f"This is a saved FrameStackReplayBuffer of version {version}, but version {VERSION} can be read: "
                "load it with the release of cpc-rl that saved it."
            )
        self.__dict__.update(state)
        self.observations, self.next_observations = self._stored.pair()
