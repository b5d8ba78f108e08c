"""What surrounds the task in the picture: nothing, noise over it, or a moving picture behind it."""

from typing import Protocol

import cv2
import numpy as np

from envs.pixel_control.canvas import PLAIN, shade

NOISE = 64  # grey levels by which the noise changes a pixel at most; a power of two, so that random bits make it
WAVES = 12  # plane waves that make a texture
FASTEST_WAVE = 6  # periods of a wave over a texture, at most
TEXTURE = (16, 112)  # grey levels of a texture: around the plain picture's, and darker than what is drawn on it
STRENGTH = 0.8  # of each of the two textures, whose sum about their middle is the background
DRIFT = (0.01, 0.03)  # speed of a layer in picture sides per frame


class Variant(Protocol):
    """Everything random in a picture comes from the generator that ``begin`` gets, never from the physics' own."""

    def __init__(self, size: int, channels: int): ...

    def begin(self, generator: np.random.Generator) -> None:
        """Start an episode."""

    def under(self) -> np.ndarray:
        """A fresh (size, size, channels) uint8 picture to draw the task on, the next of the episode."""

    def over(self, picture: np.ndarray) -> np.ndarray:
        """What is seen of a finished picture (size, size, channels) uint8."""


class Clean:
    """
    A plain background.

    :param size: height and width in pixels.
    :param channels: 1 or 3.
    """

    def __init__(self, size: int, channels: int):
        self.plain = np.full((size, size, channels), shade(PLAIN, channels), np.uint8)

    def begin(self, generator: np.random.Generator) -> None:
        """Nothing here is random."""

    def under(self) -> np.ndarray:
        """The plain picture."""
        return self.plain.copy()

    def over(self, picture: np.ndarray) -> np.ndarray:
        """The picture itself."""
        return picture


class Noise(Clean):
    """Fresh uniform noise of -64..63 grey levels on every pixel, channel and frame; what is drawn stands out by up to 127."""

    def begin(self, generator: np.random.Generator) -> None:
        """Take over the generator that the frames' noise is drawn from."""
        self.generator = generator

    def over(self, picture: np.ndarray) -> np.ndarray:
        """The picture with noise of its own."""
        random = np.frombuffer(self.generator.bytes(picture.size), np.uint8).reshape(picture.shape)
        # From 64 - 64 to 191 + 63: the sum in between may wrap round, and the subtraction undoes it.
        return (random & 2 * NOISE - 1) + picture - np.uint8(NOISE)


class Background:
    """
    Two smooth textures, new in every episode, that drift in different directions behind the task.

    :param size: height and width in pixels.
    :param channels: 1 or 3.
    """

    def __init__(self, size: int, channels: int):
        self.size, self.channels = size, channels
        self.period = 2 * size

    def begin(self, generator: np.random.Generator) -> None:
        """Draw the textures, where they start, and how they drift."""
        self.layers = [self._texture(generator) for _ in range(2)]
        self.corner = generator.uniform(0, self.period, (2, 2))
        direction, speed = generator.uniform(0, 2 * np.pi, 2), generator.uniform(*DRIFT, 2) * self.size
        self.velocity = np.stack([np.cos(direction), np.sin(direction)], axis=1) * speed[:, None]

    def _texture(self, generator: np.random.Generator) -> np.ndarray:
        """Plane waves that fit twice the picture's side, so that the texture has no seam: (3 size, 3 size, channels) uint8."""
        frequency = generator.integers(-FASTEST_WAVE, FASTEST_WAVE + 1, (2, self.channels, WAVES)) * (2 * np.pi / self.period)
        phase = generator.uniform(0, 2 * np.pi, (self.channels, WAVES))
        pixels = np.arange(self.period)[:, None]
        textures = []
        for y, x, start in zip(*frequency, phase, strict=True):
            # cos(y + x) of every pair of a row and a column, by the addition theorem: one matrix product.
            rows, columns = pixels * y + start, pixels * x
            waves = np.cos(rows) @ np.cos(columns).T - np.sin(rows) @ np.sin(columns).T
            low, high = waves.min(), waves.max()
            textures.append(TEXTURE[0] + (waves - low) * ((TEXTURE[1] - TEXTURE[0]) / (high - low)))
        texture = np.rint(np.stack(textures, axis=-1)).astype(np.uint8)
        return np.pad(texture, ((0, self.size), (0, self.size), (0, 0)), mode="wrap")

    def under(self) -> np.ndarray:
        """The textures where they now are; then they move on."""
        windows = [
            layer[y : y + self.size, x : x + self.size]
            for layer, (y, x) in zip(self.layers, self.corner.astype(int).tolist(), strict=True)
        ]
        self.corner = (self.corner + self.velocity) % self.period
        shift = sum(TEXTURE) / 2 * (1 - 2 * STRENGTH)
        picture = cv2.addWeighted(windows[0], STRENGTH, windows[1], STRENGTH, shift)
        return picture.reshape(self.size, self.size, self.channels)

    def over(self, picture: np.ndarray) -> np.ndarray:
        """The picture itself."""
        return picture


VARIANTS: dict[str, type[Variant]] = {"clean": Clean, "noise": Noise, "background": Background}
