"""The bar below CarRacing's observation: speed, four wheel speeds, steering, rotation, and the reward so far."""

from collections.abc import Callable
from functools import lru_cache
from math import hypot
from typing import Any

import cv2
import numpy as np
import pygame
from gymnasium.envs.box2d.car_racing import WINDOW_H, WINDOW_W

BAR = 100  # height of the bar in the stock window, in its pixels
TEXT_CENTER = (60, 50)  # of the reward, in the stock window's pixels, from the bar's left end and top
TEXT_WIDTH = 125  # what the widest reward needs, in the same pixels
FINE = 32  # steps to a pixel in which an indicator grows
# Indicators: place along the bar, in fortieths of its length, and colour.
SPEED, WHEELS, STEERING, ROTATION = (
    (5, (255, 255, 255)),
    ((7, (0, 0, 255)), (8, (0, 0, 255)), (9, (51, 0, 255)), (10, (51, 0, 255))),
    (20, (0, 255, 0)),
    (30, (255, 0, 0)),
)


@lru_cache(maxsize=1)
def _font() -> pygame.font.Font:
    """The stock window's font; to open it takes longer than to draw a whole picture."""
    pygame.font.init()
    return pygame.font.Font(pygame.font.get_default_font(), 42)


def _letters(text: str) -> pygame.Surface:
    """A text as the stock window has it, with the font opened anew if somebody has called ``pygame.quit`` since."""
    try:
        return _font().render(text, True, (255, 255, 255), (0, 0, 0))
    except pygame.error:
        _font.cache_clear()
        return _font().render(text, True, (255, 255, 255), (0, 0, 0))


@lru_cache(maxsize=4096)
def reward_text(text: str, side: int) -> np.ndarray:
    """
    :param text: the reward.
    :param side: of the square that it takes in the canvas's lower left corner.
    :return: (side, side, 1) uint8, white on black.
    """
    letters = _letters(text)
    window = pygame.Surface((TEXT_WIDTH, BAR), 0, 32)
    window.blit(letters, letters.get_rect(center=TEXT_CENTER))
    gray = np.ascontiguousarray(pygame.surfarray.pixels3d(window)[..., 0].T)
    return cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)[..., None]


def _coverage(low: float, high: float) -> tuple[int, np.ndarray]:
    """First pixel of a span and how much of each of its pixels it covers (N,)."""
    first, end = int(low), int(np.ceil(high))
    pixel = np.arange(first, end)
    return first, np.minimum(high, pixel + 1) - np.maximum(low, pixel)


class _Indicator:
    """
    A rectangle that grows along one axis.

    :param view: the canvas or a transposed view of it, such that it grows along axis 0.
    :param across: the pixels that it takes across, from and to.
    :param zero: where it begins.
    :param unit: pixels, up (negative) or down axis 0, for a value of 1.
    :param extra: pixels by which the stock picture, which paints outlines too, makes it longer.
    :param ink: colour (channels,).
    """

    def __init__(self, view: np.ndarray, across: tuple[float, float], zero: float, unit: float, extra: float, ink: np.ndarray):
        first, cover = _coverage(*across)
        self.strip = view[:, first : first + len(cover)]
        self.zero, self.unit, self.extra = zero, unit, extra
        steps = np.arange(FINE + 1)[:, None, None] / FINE
        self.inks = np.rint(steps * cover[:, None] * ink).astype(np.uint8)  # (FINE + 1, across, channels)

    def show(self, value: float) -> None:
        """Paint the rectangle for a value; nothing for one within 1e-4 of zero, as the stock picture has it."""
        if abs(value) <= 1e-4:
            return
        end = self.zero + self.unit * value
        low, high = (end, self.zero) if end < self.zero else (self.zero, end)
        low, high = max(low, 0.0), min(high + self.extra, len(self.strip) - 1e-6)
        first, last = int(low), int(high)
        if last <= first:
            self.strip[first] = self.inks[int((high - low) * FINE)] if high > low else 0
            return
        self.strip[first] = self.inks[int((first + 1 - low) * FINE)]
        self.strip[first + 1 : last] = self.inks[FINE]
        self.strip[last] = self.inks[int((high - last) * FINE)]


class Dashboard:
    """
    Draws the bar.

    :param canvas: (side, side, channels) uint8 that :meth:`draw` will paint on.
    :param inks: turns colours (N, 3) into the canvas's own (N, channels).
    """

    def __init__(self, canvas: np.ndarray, inks: Callable[[Any], np.ndarray]):
        side, _, self.channels = canvas.shape
        self.text_side = side - round(side * (1 - BAR / WINDOW_H))
        self.bar = canvas[side - self.text_side :]
        cell, pixel = side / 40, (side / WINDOW_W, side / WINDOW_H)

        def vertical(place: int, color: tuple[int, int, int]) -> _Indicator:
            across = (place * cell, (place + 1) * cell + pixel[0])
            return _Indicator(canvas, across, side - cell, -cell, pixel[1], inks([color])[0])

        def horizontal(place: int, color: tuple[int, int, int]) -> _Indicator:
            across = (side - 4 * cell, side - 2 * cell + pixel[1])
            return _Indicator(canvas.transpose(1, 0, 2), across, place * cell, cell, pixel[0], inks([color])[0])

        self.speed = vertical(*SPEED)
        self.wheels = [vertical(*wheel) for wheel in WHEELS]
        self.steering = horizontal(*STEERING)
        self.rotation = horizontal(*ROTATION)

    def draw(self, car: Any, reward: float) -> None:
        """
        :param car: the environment's car.
        :param reward: the environment's sum of rewards.
        """
        self.bar[:] = 0
        self.speed.show(0.02 * hypot(*car.hull.linearVelocity))
        for wheel, indicator in zip(car.wheels, self.wheels, strict=True):
            indicator.show(0.01 * wheel.omega)
        self.steering.show(-10.0 * car.wheels[0].joint.angle)
        self.rotation.show(-0.8 * car.hull.angularVelocity)
        self.bar[:, : self.text_side] = reward_text(f"{reward:04.0f}", self.text_side)
