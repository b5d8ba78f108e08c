"""The observations of a replay buffer: image entries by single frames, all others as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import get_obs_shape
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from cpc_rl.compressed_frames import make_codec
from cpc_rl.frame_store import FrameStacks, FrameStore
from cpc_rl.replay_frames import ReplayFrames
from cpc_rl.stack_depth import IMAGE, StackDepths, as_entries, image_entries, infer_stack_depth, stack_depths

Pair = tuple[Any, Any]
"""Of the observations, and of the next observations."""


class ReplayObservations:
    """
    :param n_stack: See :class:`cpc_rl.frame_replay_buffer.FrameStackReplayBuffer`.
    :param n_slots: Transitions per environment.
    :param compression: See :class:`cpc_rl.compressed_frames.CompressedFrameStore`.
    :ivar depths: The image entries' frames per stack; None while that has not been seen yet.
    """

    def __init__(self, space: spaces.Space, n_stack: StackDepths, n_slots: int, n_envs: int, compression: str | None = None):
        self.space, self.n_slots, self.n_envs, self.compression = space, n_slots, n_envs, compression
        if compression is not None:
            make_codec(compression)  # says what is wrong with it, though depths that are not known yet need none
        images = image_entries(space)
        self.depths = stack_depths(n_stack, images)
        self.frames: dict[str, ReplayFrames] = {}
        self._make_frames({key: depth for key, depth in self.depths.items() if depth is not None})
        self.vectors: dict[str, tuple[NDArray, NDArray]] = {}
        for key, entry in as_entries(space).items():
            if key not in images:
                shape = (n_slots, n_envs, *get_obs_shape(entry))
                self.vectors[key] = np.zeros(shape, entry.dtype), np.zeros(shape, entry.dtype)

    @property
    def nbytes(self) -> int:
        vectors = sum(array.nbytes for pair in self.vectors.values() for array in pair)
        return vectors + sum(frames.nbytes for frames in self.frames.values())

    def pair(self) -> Pair:
        """:return: What reads like SB3's arrays ``observations`` and ``next_observations``, or like its dicts of them."""
        both: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for key, space in as_entries(self.space).items():
            if key in self.vectors:
                both[0][key], both[1][key] = self.vectors[key]
            elif key in self.frames:
                both[0][key], both[1][key] = self.frames[key].observations, self.frames[key].next_observations
            else:  # the zeros that an empty buffer holds
                shape = get_obs_shape(space)
                assert isinstance(shape, tuple)
                store = FrameStore(1, shape, space.dtype)
                numbers = np.full((self.n_slots, self.n_envs, 1), store.zero, dtype=np.int32)
                both[0][key] = both[1][key] = FrameStacks(store, numbers)
        return self._plain(both[0]), self._plain(both[1])

    def _plain(self, entries: dict[str, Any]) -> Any:
        return entries if isinstance(self.space, spaces.Dict) else entries[IMAGE]

    def add(self, slot: int, obs: Any, next_obs: Any) -> bool:
        """
        Store one step of every environment.

        :return: Depths of stacks became known, and :meth:`pair` gives others now.
        :raises ValueError: if they cannot be told from this step.
        """
        if not isinstance(obs, Mapping):
            obs, next_obs = {IMAGE: obs}, {IMAGE: next_obs}
        news = len(self.frames) < len(self.depths)
        if news:
            self._infer_depths(obs, next_obs)
        for key, (observations, next_observations) in self.vectors.items():
            # Discrete entries arrive without their last axis
            observations[slot] = np.reshape(obs[key], observations.shape[1:])
            next_observations[slot] = np.reshape(next_obs[key], observations.shape[1:])
        for key, frames in self.frames.items():
            frames.add(slot, obs[key], next_obs[key])
        return news

    def _infer_depths(self, obs: Mapping[str, Any], next_obs: Mapping[str, Any]) -> None:
        found = {
            key: infer_stack_depth(np.asarray(obs[key]), np.asarray(next_obs[key]))
            for key, depth in self.depths.items()
            if depth is None
        }
        self._make_frames(found)
        self.depths.update(found)

    def _make_frames(self, depths: dict[str, int]) -> None:
        images = image_entries(self.space)
        for key, depth in depths.items():
            self.frames[key] = ReplayFrames(images[key], depth, self.n_slots, self.n_envs, self.compression)

    def read(
        self,
        rows: NDArray[np.int64],
        last_rows: NDArray[np.int64],
        env: VecNormalize | None,
        to_tensor: Callable[[Any], Tensor],
    ) -> Pair:
        """
        :param rows: ``(B,)`` of the observations, in arrays flattened to ``(slots * envs, ...)``.
        :param last_rows: ``(B,)`` of the next observations: the same, or later ones of n-step returns.
        :param env: Normalises the batch.
        :return: Tensors ``(B, *obs)``, or dicts of them.
        """
        env = env if env is not None and env.norm_obs else None
        both: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for key in as_entries(self.space):
            if key in self.vectors:
                vectors = [array.reshape(-1, *array.shape[2:]) for array in self.vectors[key]]
                both[0][key], both[1][key] = vectors[0][rows], vectors[1][last_rows]
            else:
                frames: Any = self.frames[key].gather(rows, last_rows)
                # Frames that both hold go to the device once
                both[0][key], both[1][key] = self.frames[key].split_gathered(to_tensor(frames) if env is None else frames)
        return self._finish(both[0], env, to_tensor), self._finish(both[1], env, to_tensor)

    def _finish(self, entries: dict[str, Any], env: VecNormalize | None, to_tensor: Callable[[Any], Tensor]) -> Any:
        batch = self._plain(entries)
        if env is not None:
            batch = env.normalize_obs(batch)
        return {key: to_tensor(entry) for key, entry in batch.items()} if isinstance(batch, dict) else to_tensor(batch)

    def clear(self) -> None:
        for frames in self.frames.values():
            frames.clear()
