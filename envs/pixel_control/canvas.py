"""A small picture and the few shapes that are drawn on it, with smooth edges so that a shift of part of a pixel shows."""

from collections.abc import Sequence
from math import cos, sin

import cv2
import numpy as np

SHIFT = 6  # fractional bits of the coordinates that OpenCV gets

Ink = tuple[int, int, int]  # red, green, blue
# All inks lie between 64 and 191, so that noise of that size is never clipped (envs/pixel_control/variants.py).
PLAIN: Ink = (64, 64, 64)  # where nothing is
DIM: Ink = (100, 100, 100)  # what stands still
BLUE: Ink = (110, 165, 191)
GOLD: Ink = (191, 170, 110)
PALE: Ink = (191, 191, 191)


def shade(ink: Ink, channels: int) -> Sequence[int]:
    """
    :param ink: red, green, blue in 0..255.
    :param channels: 3, or 1 for the luminance (the weights of ``cv2.COLOR_RGB2GRAY``).
    :return: one number per channel.
    """
    return ink if channels == 3 else (round(0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2]),)


class Canvas:
    """
    Draws on a picture in units of its side: (0, 0) is the upper left corner, (1, 1) the lower right one.

    :param picture: (size, size, channels) uint8, drawn on in place.
    """

    def __init__(self, picture: np.ndarray):
        self.picture = picture
        self.scale = picture.shape[0] << SHIFT
        self.half = 1 << SHIFT - 1  # OpenCV counts from pixels' centres
        self.channels = picture.shape[2]

    def _fixed(self, points: Sequence[tuple[float, float]]) -> np.ndarray:
        scale, half = self.scale, self.half
        return np.array([(round(x * scale) - half, round(y * scale) - half) for x, y in points], np.int32)

    def polygon(self, points: Sequence[tuple[float, float]], ink: Ink) -> None:
        """
        :param points: corners of a convex polygon.
        :param ink: its colour.
        """
        cv2.fillConvexPoly(self.picture, self._fixed(points), shade(ink, self.channels), cv2.LINE_AA, SHIFT)

    def path(self, points: Sequence[tuple[float, float]], ink: Ink) -> None:
        """
        :param points: the corners of a thin line.
        :param ink: its colour.
        """
        cv2.polylines(self.picture, [self._fixed(points)], False, shade(ink, self.channels), 1, cv2.LINE_AA, SHIFT)

    def disc(self, center: tuple[float, float], radius: float, ink: Ink) -> None:
        """
        :param center: of the disc.
        :param radius: of the disc.
        :param ink: its colour.
        """
        (x, y), ink_values = self._fixed([center])[0].tolist(), shade(ink, self.channels)
        cv2.circle(self.picture, (x, y), round(radius * self.scale), ink_values, cv2.FILLED, cv2.LINE_AA, SHIFT)

    def rod(self, start: tuple[float, float], angle: float, length: float, width: float, ink: Ink) -> tuple[float, float]:
        """
        :param start: middle of the near end.
        :param angle: radians, clockwise from straight up.
        :param length: from end to end.
        :param width: across.
        :param ink: its colour.
        :return: middle of the far end.
        """
        along, across = (sin(angle), -cos(angle)), (cos(angle) * width / 2, sin(angle) * width / 2)
        end = (start[0] + along[0] * length, start[1] + along[1] * length)
        near, far = ([(x + side * across[0], y + side * across[1]) for side in (-1, 1)] for x, y in (start, end))
        self.polygon([*near, *reversed(far)], ink)
        return end
