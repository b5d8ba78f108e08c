"""
A tiny image environment whose observations say where they come from: ``(env, episode, step)`` can be read from the pixels.
"""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

EPISODE_LENGTHS = (5, 3, 9, 1, 4, 2, 13)
"""Episode n of environment e has length number n + e of these, in turn; every second one ends by truncation."""


class Stamps(NamedTuple):
    """Arrays of the observations' leading shape."""

    env: NDArray[np.int64]
    episode: NDArray[np.int64]
    step: NDArray[np.int64]


def stamp(env: int, episode: int, step: int, shape: tuple[int, int, int] = (3, 36, 36), seed: int = 0) -> NDArray[np.uint8]:
    """:return: ``(C, H, W)``: noise that is this frame's own, with the stamp in its first eight pixels."""
    image = np.random.default_rng((seed, env, episode, step)).integers(0, 256, shape, dtype=np.uint8)
    image.reshape(-1)[:8] = [env, *episode.to_bytes(4, "big"), *step.to_bytes(3, "big")]
    return image


def read_stamps(images: NDArray[np.uint8], channels_last: bool = False) -> Stamps:
    """:param images: ``(..., C, H, W)``, or ``(..., H, W, C)``."""
    if channels_last:
        images = np.moveaxis(images, -1, -3)
    bytes_ = images.reshape(*images.shape[:-3], -1)[..., :8].astype(np.int64)
    episode = (bytes_[..., 1:5] * [1 << 24, 1 << 16, 1 << 8, 1]).sum(-1)
    return Stamps(bytes_[..., 0], episode, (bytes_[..., 5:] * [1 << 16, 1 << 8, 1]).sum(-1))


def reward_of(env: Any, episode: Any, step: Any) -> Any:
    """:return: The reward that came with frame ``step`` (at least 1), as the environments pay it."""
    return (env * 31 + episode * 7 + step) % 101 / 8.0


class StampedEnv(gym.Env):
    """
    :param env_index: Stamped on every observation.
    :param actions: ``"discrete"``, ``"multidiscrete"``, ``"multibinary"`` or ``"box"`` (bounds of different width).
    :param dict_obs: ``{"image": ..., "vector": [env, episode, step]}`` instead of the image alone.
    :param channels_last: ``(H, W, C)``, which SB3 transposes, instead of ``(C, H, W)``.
    :param noise_seed: Of the pixels that hold no stamp.
    """

    def __init__(
        self,
        env_index: int = 0,
        actions: str = "discrete",
        dict_obs: bool = False,
        channels_last: bool = False,
        lengths: tuple[int, ...] = EPISODE_LENGTHS,
        shape: tuple[int, int, int] = (3, 36, 36),
        noise_seed: int = 0,
    ):
        self.env_index, self.lengths, self.noise_seed = env_index, lengths, noise_seed
        self.shape, self.dict_obs, self.channels_last = shape, dict_obs, channels_last
        stored = (*shape[1:], shape[0]) if channels_last else shape
        image = spaces.Box(0, 255, stored, np.uint8)
        vector = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space: spaces.Space = spaces.Dict({"image": image, "vector": vector}) if dict_obs else image
        self.action_space: spaces.Space = {
            "discrete": spaces.Discrete(5),
            "multidiscrete": spaces.MultiDiscrete([3, 2]),
            "multibinary": spaces.MultiBinary(4),
            "box": spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 4.0], np.float32)),
        }[actions]
        self.episode, self.step_index = -1, 0
        self.actions_taken: dict[tuple[int, int], Any] = {}
        """``(episode, step)`` of the frame that an action led to -> the action, as the environment got it."""

    def _observation(self) -> Any:
        image = stamp(self.env_index, self.episode, self.step_index, self.shape, self.noise_seed)
        if self.channels_last:
            image = np.ascontiguousarray(np.moveaxis(image, 0, -1))
        if not self.dict_obs:
            return image
        return {"image": image, "vector": np.array([self.env_index, self.episode, self.step_index], np.float32)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.step_index = self.episode + 1, 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.step_index += 1
        self.actions_taken[self.episode, self.step_index] = np.array(action).copy()
        over = self.step_index >= self.lengths[(self.episode + self.env_index) % len(self.lengths)]
        truncated = self.episode % 2 == 1
        reward = float(reward_of(self.env_index, self.episode, self.step_index))
        return self._observation(), reward, over and not truncated, over and truncated, {}

    def action_masks(self) -> NDArray[np.bool_]:
        """For MaskablePPO: all actions but one, which changes with the step."""
        assert isinstance(self.action_space, spaces.Discrete)
        mask = np.ones(self.action_space.n, dtype=bool)
        mask[self.step_index % self.action_space.n] = False
        return mask
