"""Makes an environment of numbers one of pictures and leaves all else as it is."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.pixel_control.canvas import Canvas
from envs.pixel_control.variants import VARIANTS

SMALLEST = 24


class PixelControl(gym.Env):
    """
    Base class, put before an environment's own: observes what :meth:`draw` draws of the state.

    States, rewards and ends are the environment's own with the same seeds and actions, since the picture has a generator of
    its own. ``render()`` is the environment's own too.

    :param size: height and width of the picture in pixels.
    :param grayscale: one channel and not three.
    :param variant: ``"clean"``, ``"noise"`` (over the picture) or ``"background"`` (a moving picture behind the task).
    :param kwargs: the environment's own keywords.
    :raises ValueError: if the size is below 24 or nothing has the variant's name.
    """

    def __init__(self, size: int = 64, grayscale: bool = True, variant: str = "clean", **kwargs: Any):
        if size < SMALLEST:
            raise ValueError(f"size must be {SMALLEST} pixels or more, not {size}.")
        if variant not in VARIANTS:
            raise ValueError(f"There is no variant {variant!r}; give one of {', '.join(VARIANTS)}.")
        super().__init__(**kwargs)
        channels = 1 if grayscale else 3
        self.observation_space = spaces.Box(0, 255, (size, size, channels), np.uint8)
        self.variant = VARIANTS[variant](size, channels)
        self.picture_generator = np.random.default_rng()

    def draw(self, canvas: Canvas) -> None:
        """
        Draw the positions of the present state, and nothing that tells its velocities or the last action.

        :param canvas: on which the background is already.
        """
        raise NotImplementedError

    def picture(self) -> np.ndarray:
        """The next frame of the episode, (size, size, 1 or 3) uint8: noise is drawn anew and a background moves on."""
        picture = self.variant.under()
        self.draw(Canvas(picture))
        return self.variant.over(picture)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """
        :param seed: of the physics and, apart from it, of the picture; None: both go on with their generators.
        :param options: the environment's own.
        :return: picture (size, size, 1 or 3) uint8, info.
        """
        _, info = super().reset(seed=seed, options=options)
        if seed is not None:
            self.picture_generator = np.random.default_rng([seed, 1])  # not the physics' numbers once more
        self.variant.begin(self.picture_generator)
        return self.picture(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        :param action: the environment's own.
        :return: picture (size, size, 1 or 3) uint8, reward, terminated, truncated, info.
        """
        _, reward, terminated, truncated, info = super().step(action)
        return self.picture(), float(reward), terminated, truncated, info
