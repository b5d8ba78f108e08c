"""CarRacing for training: the stock environment's physics, tracks, rewards and ends, one small picture per agent step."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d.car_racing import CarRacing
from gymnasium.utils import EzPickle

from envs.car_physics import LeanCar
from envs.car_picture import CarPicture
from envs.car_racing import CarRacingV2
from envs.preprocessing import resize


class FastCarRacing(CarRacing):
    """
    ``CarRacing-v3`` with the frame skip inside, drawn once per agent step by OpenCV.

    Every physics step is the stock environment's own ``step``, drawing left out. ``render()`` gives the stock picture.

    :param frame_skip: physics steps (1/50 s each) for which an action is repeated; rewards are summed, an end stops it early.
    :param size: height and width of the observation in pixels.
    :param grayscale: observe one channel and not three.
    :param max_episode_steps: physics steps after which the episode is truncated, as ``gymnasium.wrappers.TimeLimit`` inside a
        frame skip would; None for no limit.
    :param kwargs: the stock environment's own keywords.
    :raises ValueError: if a number is below its least sensible value.
    """

    def __init__(
        self,
        frame_skip: int = 4,
        size: int = 64,
        grayscale: bool = False,
        max_episode_steps: int | None = 1000,
        **kwargs: Any,
    ):
        if frame_skip < 1:
            raise ValueError(f"frame_skip must be 1 or more, not {frame_skip}.")
        if size < 1:
            raise ValueError(f"size must be 1 pixel or more, not {size}.")
        if max_episode_steps is not None and (not isinstance(max_episode_steps, int) or max_episode_steps < 1):
            raise ValueError(
                f"max_episode_steps must be a whole number from 1, or None for no limit, not {max_episode_steps!r}."
            )
        super().__init__(**kwargs)
        EzPickle.__init__(self, frame_skip, size, grayscale, max_episode_steps, **kwargs)
        self.frame_skip = frame_skip
        self.size = size
        self.max_physics_steps = max_episode_steps
        self.physics_steps = 0
        self.picture = CarPicture(grayscale)
        self.observation_space = spaces.Box(0, 255, (size, size, 1 if grayscale else 3), np.uint8)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        Repeat an action for ``frame_skip`` physics steps and draw.

        :param action: as in ``CarRacing-v3``; None, as ``reset`` passes it, makes one physics step without a reward.
        :return: picture (size, size, 1 or 3) uint8, sum of the rewards, terminated, truncated, info of the last physics step.
        """
        if action is None:
            self._begin()
            super().step(None)  # type: ignore[arg-type]  # as the stock reset does
            self.state = resize(self.picture.draw(self), self.size)
            return self.state, 0.0, False, False, {}
        total = 0.0
        for _ in range(self.frame_skip):
            _, reward, terminated, truncated, info = super().step(action)
            total += reward
            self.physics_steps += 1
            if self.max_physics_steps is not None and self.physics_steps >= self.max_physics_steps:
                truncated = True
            if terminated or truncated:
                break
        self.state = resize(self.picture.draw(self), self.size)
        return self.state, total, terminated, truncated, info

    def _begin(self) -> None:
        """What an episode needs before its first step, once the stock ``reset`` has made track and car."""
        self.physics_steps = 0
        self.picture.start(self)
        if self.render_mode is None:  # the stock picture shows skid marks, which the lean car does not keep
            assert self.car is not None
            self.car.__class__ = LeanCar

    def _render(self, mode: str) -> Any:
        """The stock picture, except where ``step`` asks for an observation that would be thrown away."""
        return None if mode == "state_pixels" else super()._render(mode)

    def render(self) -> Any:
        """The stock environment's picture in its ``render_mode``."""
        return super().render() if self.render_mode != "state_pixels" else super()._render("state_pixels")


class FastCarRacingV2(FastCarRacing, CarRacingV2):
    """``CarRacing-v2`` drawn fast: a finished lap truncates the episode."""
