"""A rollout buffer that stores each frame of stacked images once."""

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.preprocessing import get_obs_shape
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from cpc_rl.frame_store import FrameStacks
from cpc_rl.rollout_frames import RolloutFrames
from cpc_rl.stack_depth import IMAGE, as_entries, image_entries, stack_depths

FLATTENED = ("actions", "values", "log_probs", "advantages", "returns")


class FrameStackRolloutBuffer(RolloutBuffer):
    """
    A drop-in ``rollout_buffer_class`` for PPO, A2C and TRPO, on stacked images or Dict observations that hold some. Its
    minibatches are those of Stable-Baselines3's ``RolloutBuffer`` (``DictRolloutBuffer``), bit for bit and for the same state
    of NumPy's generator, in little more than 1 / n_stack of the memory: a rollout that begins amid an episode stores
    n_stack - 1 frames more.

    RecurrentPPO and MaskablePPO need buffers of their own and cannot use this one.

    :param buffer_size: Steps of each environment.
    :param n_stack: Frames in a stack; for Dict observations one number for all image entries, or a dict of them. It must be
        given: observations of a rollout are made before there are any to see it in.
    :ivar observations: Reads like SB3's array: ``(steps, envs, ...)``, flattened once ``get()`` was called.
    :raises ValueError: if the space has no image entry, or ``n_stack`` is missing or does not divide its channels.
    """

    observations: Any

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "auto",
        gae_lambda: float = 1,
        gamma: float = 0.99,
        n_envs: int = 1,
        n_stack: int | Mapping[str, int] | None = None,
    ):
        images = image_entries(observation_space)
        depths = stack_depths(n_stack, images)
        self._depths = {key: depth for key, depth in depths.items() if depth is not None}
        if len(self._depths) < len(images):
            missing = sorted(set(images) - set(self._depths))
            raise ValueError(
                f"FrameStackRolloutBuffer must be told how many frames are stacked in {missing}: give n_stack in "
                "rollout_buffer_kwargs."
            )
        self._images = images
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is stored."""
        names = (*FLATTENED, "rewards", "episode_starts")
        vectors = [self._entries[key] for key in self._entries if key not in self._frames]
        arrays = [getattr(self, name) for name in names] + vectors
        return sum(a.nbytes for a in arrays) + sum(frames.nbytes for frames in self._frames.values())

    def reset(self) -> None:
        """Empty the buffer. All arrays are new ones: who still reads the last rollout may go on."""
        leading = (self.buffer_size, self.n_envs)
        self._frames = {key: RolloutFrames(self._images[key], depth, *leading) for key, depth in self._depths.items()}
        self._entries: dict[str, Any] = {}
        for key, space in as_entries(self.observation_space).items():
            if key in self._frames:
                self._entries[key] = self._frames[key].observations
            else:
                self._entries[key] = np.zeros((*leading, *get_obs_shape(space)), dtype=space.dtype)
        self.actions = np.zeros((*leading, self.action_dim), dtype=self.action_space.dtype)
        for name in ("rewards", "returns", "episode_starts", "values", "log_probs", "advantages"):
            setattr(self, name, np.zeros(leading, dtype=np.float32))
        self.generator_ready = False
        self._show()
        # RolloutBuffer's own would make the arrays that are not needed here
        super(RolloutBuffer, self).reset()

    def _show(self) -> None:
        """Set ``observations``, which others read."""
        self.observations = self._entries if isinstance(self.observation_space, spaces.Dict) else self._entries[IMAGE]

    def add(
        self,
        obs: Any,
        action: NDArray,
        reward: NDArray,
        episode_start: NDArray,
        value: torch.Tensor,
        log_prob: torch.Tensor,
    ) -> None:
        """Store one step of every environment."""
        entries = obs if isinstance(obs, Mapping) else {IMAGE: obs}
        for key, stored in self._entries.items():
            if key in self._frames:
                self._frames[key].add(self.pos, entries[key])
            else:  # Discrete entries arrive without their last axis
                stored[self.pos] = np.reshape(entries[key], stored.shape[1:])
        self.actions[self.pos] = np.reshape(action, (self.n_envs, self.action_dim))
        self.rewards[self.pos] = reward
        self.episode_starts[self.pos] = episode_start
        self.values[self.pos] = value.cpu().numpy().reshape(-1)
        self.log_probs[self.pos] = log_prob.cpu().numpy().reshape(-1)
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def get(self, batch_size: int | None = None) -> Generator[Any, None, None]:
        """
        Go once through the rollout in random order.

        :return: Batches, ``RolloutBufferSamples`` or ``DictRolloutBufferSamples``.
        """
        if not self.full:
            raise ValueError(f"The rollout has {self.pos} of its {self.buffer_size} steps: get() needs all of them.")
        order = np.random.permutation(self.buffer_size * self.n_envs)
        if not self.generator_ready:
            self._flatten()
        batch_size = len(order) if batch_size is None else batch_size
        for start in range(0, len(order), batch_size):
            yield self._get_samples(order[start : start + batch_size])

    def _flatten(self) -> None:
        """Lay environments one after the other, as SB3's own buffers do."""
        for key, entry in self._entries.items():
            if key in self._frames:
                self._entries[key] = FrameStacks(entry.store, self.swap_and_flatten(entry.numbers))
            else:
                self._entries[key] = self.swap_and_flatten(entry)
        for name in FLATTENED:
            setattr(self, name, self.swap_and_flatten(getattr(self, name)))
        self.generator_ready = True
        self._show()

    def _get_samples(self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None) -> Any:
        read = {
            key: self.to_torch(entry.take(batch_inds) if key in self._frames else entry[batch_inds], copy=False)
            for key, entry in self._entries.items()
        }
        is_dict = isinstance(self.observation_space, spaces.Dict)
        numbers = (self.values, self.log_probs, self.advantages, self.returns)
        return (DictRolloutBufferSamples if is_dict else RolloutBufferSamples)(
            read if is_dict else read[IMAGE],  # type: ignore[arg-type]
            # As SB3's since 2.3, whatever the action space
            self.to_torch(self.actions[batch_inds].astype(np.float32, copy=False), copy=False),
            *(self.to_torch(array[batch_inds].flatten(), copy=False) for array in numbers),
        )
