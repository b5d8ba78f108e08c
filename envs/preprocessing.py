"""What stands between an environment's picture and a network: frame skip, resizing, grayscale (frame stacking is SB3's)."""

from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium import spaces

MOST_CHANNELS = 4  # that OpenCV shrinks at once


def is_image(space: spaces.Space) -> bool:
    """
    :param space: any space.
    :return: whether it holds a picture: uint8 from 0 to 255, (H, W, channels) or (channels, H, W).
    """
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    return bool(space.low.min() == 0 and space.high.max() == 255)


def has_image(space: spaces.Space) -> bool:
    """
    :param space: any observation space.
    :return: whether it is a picture, a gray one (H, W) included, or a ``Dict`` with one (there an (H, W) may be anything).
    """
    if isinstance(space, spaces.Dict):
        return any(map(is_image, space.spaces.values()))
    return is_image(_with_channel(space))


def _with_channel(space: spaces.Space) -> spaces.Space:
    """A two-dimensional ``Box`` with a last axis of length 1 added; any other space as it is."""
    if isinstance(space, spaces.Box) and len(space.shape) == 2:
        return spaces.Box(space.low[..., None], space.high[..., None], dtype=space.dtype.type)
    return space


def _channel_last(shape: tuple[int, ...]) -> bool:
    """Whether the channels of an image come last: they are 1 or 3, or else fewer than its height and width."""
    return shape[-1] in (1, 3) or (shape[0] not in (1, 3) and shape[-1] <= shape[0])


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """
    :param image: (H, W) or (H, W, channels) uint8.
    :param size: wanted height and width.
    :return: (size, size, channels) uint8, shrunk by ``cv2.INTER_AREA``; the image itself where it has that size.
    """
    if image.ndim == 3 and image.shape[2] > MOST_CHANNELS and image.shape[:2] != (size, size):
        parts = np.split(image, range(MOST_CHANNELS, image.shape[2], MOST_CHANNELS), axis=2)
        return np.concatenate([resize(part, size) for part in parts], axis=2)
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return image[..., None] if image.ndim == 2 else image


class FrameSkip(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Repeats each action, sums the rewards and stops early where the episode ends.

    :param env: environment; a ``TimeLimit`` inside goes on counting the environment's own steps.
    :param skip: how often an action is taken.
    :raises ValueError: if ``skip`` is less than 1.
    """

    def __init__(self, env: gym.Env, skip: int = 4):
        if skip < 1:
            raise ValueError(f"frame_skip must be 1 or more, not {skip}.")
        gym.utils.RecordConstructorArgs.__init__(self, skip=skip)
        gym.Wrapper.__init__(self, env)
        self.skip = skip

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """
        :param action: one of the environment's actions.
        :return: what :meth:`shown` says of the last two observations, sum of rewards, terminated, truncated, the last info.
        """
        total, before, last = 0.0, None, None
        for _ in range(self.skip):
            before, (last, reward, terminated, truncated, info) = last, self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return self.shown(before, last), total, terminated, truncated, info

    def shown(self, before: Any, last: Any) -> Any:
        """What is seen of an action's last two observations; the first of them is None where there was but one."""
        return last


class BrighterOfTwo(FrameSkip):
    """
    The same, and shows the brighter of the last two frames of the action, pixel by pixel: as sprites of Atari's may be drawn
    in every other frame only (Mnih et al., 2015, https://doi.org/10.1038/nature14236). Where the episode ends at once, its
    one frame.
    """

    def shown(self, before: Any, last: Any) -> Any:
        return last if before is None else np.maximum(before, last)


class ImageObservation(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """
    Turns images into (size, size, channels) uint8: first gray, if wanted, then resized by ``cv2.INTER_AREA``.

    In a ``Dict`` of observations every image is treated so and the other entries are left alone. Images that come
    channel-first are turned to channel-last, which is what ``VecFrameStack`` and ``VecTransposeImage`` then expect.

    :param env: environment that observes an image, or a ``Dict`` with at least one.
    :param size: height and width in pixels.
    :param grayscale: turn three channels into one (``cv2.COLOR_RGB2GRAY``); other numbers of channels stay.
    :raises ValueError: if there is no image, or the size is below 1.
    """

    def __init__(self, env: gym.Env, size: int = 64, grayscale: bool = True):
        space = env.observation_space
        if size < 1:
            raise ValueError(f"size must be 1 pixel or more, not {size}.")
        gym.utils.RecordConstructorArgs.__init__(self, size=size, grayscale=grayscale)
        gym.ObservationWrapper.__init__(self, env)
        self.size = size
        self.grayscale = grayscale
        if not has_image(space):
            raise ValueError(f"The environment observes {space}, which holds no image of uint8 between 0 and 255.")
        self.image_keys: list[str] | None = None
        if isinstance(space, spaces.Dict):
            self.image_keys = [key for key, entry in space.spaces.items() if is_image(entry)]
            images = {key: self._space(space[key]) for key in self.image_keys}
            self.observation_space = spaces.Dict({**space.spaces, **images})
        else:
            self.observation_space = self._space(_with_channel(space))

    def _space(self, space: spaces.Space) -> spaces.Box:
        """What an image of that space becomes."""
        assert space.shape is not None
        channels = space.shape[-1] if _channel_last(space.shape) else space.shape[0]
        return spaces.Box(0, 255, (self.size, self.size, 1 if channels == 3 and self.grayscale else channels), np.uint8)

    def _image(self, image: np.ndarray) -> np.ndarray:
        if image.ndim == 3 and not _channel_last(image.shape):
            image = np.ascontiguousarray(np.moveaxis(image, 0, -1))
        if image.ndim == 3 and image.shape[-1] == 3 and self.grayscale:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return resize(image, self.size)

    def observation(self, observation: Any) -> Any:
        """
        :param observation: the environment's own.
        :return: the same with its images (size, size, channels) uint8.
        """
        if self.image_keys is None:
            return self._image(observation)
        return {key: self._image(entry) if key in self.image_keys else entry for key, entry in observation.items()}
