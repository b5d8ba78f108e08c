"""Small environments for the tests of the preprocessing."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Pictures(gym.Env):
    """
    Observes noise and counts its steps: reward i at step i, and an end after ``length``.

    :param shape: of the image.
    :param length: steps of an episode.
    :param extra: further entries, which make the observation a ``Dict`` with the image under "image".
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        shape: tuple[int, ...] = (40, 30, 3),
        length: int = 10,
        extra: dict[str, spaces.Space] | None = None,
        render_mode: str | None = None,
    ):
        self.render_mode = render_mode
        self.length = length
        self.count = 0
        image = spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = image if extra is None else spaces.Dict({"image": image, **extra})
        self.action_space = spaces.Box(np.array([-1, 0], np.float32), np.array([1, 1], np.float32))
        self.seen: list[Any] = []

    def observe(self) -> Any:
        return self.observation_space.sample()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.count = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.seen.append(action)
        self.count += 1
        return self.observe(), float(self.count), self.count >= self.length, False, {"count": self.count}

    def render(self) -> np.ndarray:
        return np.full((50, 70, 3), (200, 100, self.count), np.uint8)


class Numbers(Pictures):
    """Observes two numbers only."""

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode=render_mode)
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)


class Blind(Numbers):
    """The same, and it cannot be rendered."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
