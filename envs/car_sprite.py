"""The car in CarRacing's observation: hull, wheels, and the lighter mark that turns with each wheel."""

from collections.abc import Callable
from math import cos, sin
from typing import Any

import cv2
import numpy as np
from gymnasium.envs.box2d.car_dynamics import (
    HULL_POLY1,
    HULL_POLY2,
    HULL_POLY3,
    HULL_POLY4,
    SIZE,
    WHEEL_COLOR,
    WHEEL_R,
    WHEEL_W,
    WHEEL_WHITE,
)
from gymnasium.envs.box2d.car_racing import SCALE, ZOOM

SHIFT = 4  # fractional bits of the coordinates that OpenCV gets
FINER = 4  # pixels of the sprite per pixel of the canvas: the car's parts are about as small as the canvas's pixels
EXTENT = (2.0, 2.9)  # half width and half height of what the car takes, in world units
HULL_COLOR = (204, 0, 0)
HULL = [np.array(part, float) * SIZE for part in (HULL_POLY1, HULL_POLY2, HULL_POLY3, HULL_POLY4)]
HALF_WIDTH, RADIUS = WHEEL_W * SIZE, WHEEL_R * SIZE


def wheel_mark(phase: float) -> tuple[float, float] | None:
    """
    :param phase: how far the wheel has turned, in radians.
    :return: where the mark on its tread, which spans 1.2 radians, begins and ends as seen from above, in radii ahead of the
        axle; None while it is below.
    """
    sin1, sin2 = sin(phase), sin(phase + 1.2)
    if sin1 > 0 and sin2 > 0:
        return None
    cos1, cos2 = cos(phase), cos(phase + 1.2)
    return (float(np.sign(cos1)) if sin1 > 0 else cos1), (float(np.sign(cos2)) if sin2 > 0 else cos2)


class CarSprite:
    """
    Draws the car onto a finer copy of the part of the canvas where it is, and shrinks that back.

    :param canvas: (side, side, channels) uint8 that :meth:`draw` will paint on.
    :param scale: canvas pixels per pixel of the stock window, for x and y.
    :param origin: where the hull always is, in canvas pixels counted from their centres, as OpenCV does.
    :param inks: turns colours (N, 3) into the canvas's own (N, channels).
    """

    def __init__(self, canvas: np.ndarray, scale: np.ndarray, origin: np.ndarray, inks: Callable[[Any], np.ndarray]):
        self.hull_ink, self.tyre_ink, self.mark_ink = inks([HULL_COLOR, WHEEL_COLOR, WHEEL_WHITE]).tolist()
        half_width, half_height = np.ceil(np.array(EXTENT) * scale * ZOOM * SCALE).astype(int)
        left, top = int(origin[0] + 0.5) - half_width, int(origin[1] + 0.5) - half_height
        self.window = canvas[top : top + 2 * half_height, left : left + 2 * half_width]
        self.size = (2 * half_width, 2 * half_height)
        self.fine_size = (2 * half_width * FINER, 2 * half_height * FINER)
        self.scale, self.origin = scale, origin
        # The sprite's coordinates are counted from its pixels' centres too.
        self.corner = np.array([left, top]) - 0.5 + 0.5 / FINER

    def zoom_to(self, zoom: float) -> None:
        """
        :param zoom: pixels of the stock window per world unit.
        """
        upright = self.scale * (zoom, -zoom)
        self.hull = [self._fixed(part * upright + self.origin) for part in HULL]

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        """Canvas coordinates (N, 2) as OpenCV's fixed-point ones of the sprite."""
        return np.rint((points - self.corner) * (FINER << SHIFT)).astype(np.int32)

    def draw(self, car: Any, to_canvas: np.ndarray, offset: np.ndarray) -> None:
        """
        :param car: the environment's car.
        :param to_canvas: (2, 2) with which row vectors in the world are multiplied to get to the canvas.
        :param offset: (2,) added then.
        """
        fine = cv2.resize(self.window, self.fine_size, interpolation=cv2.INTER_NEAREST)
        corners, inks = [], []
        for wheel in car.wheels:
            (x, y), (c, s) = wheel.position, wheel.GetWorldVector((1, 0))
            across_x, across_y = HALF_WIDTH * c, HALF_WIDTH * s
            spans = [((1.0, -1.0), self.tyre_ink)]
            mark = wheel_mark(wheel.phase)
            if mark is not None:
                spans.append((mark, self.mark_ink))
            for (first, last), ink in spans:
                x1, y1 = x - s * RADIUS * first, y + c * RADIUS * first
                x2, y2 = x - s * RADIUS * last, y + c * RADIUS * last
                corners += [x1 - across_x, y1 - across_y, x1 + across_x, y1 + across_y]
                corners += [x2 + across_x, y2 + across_y, x2 - across_x, y2 - across_y]
                inks.append(ink)
        quads = self._fixed(np.array(corners).reshape(-1, 2) @ to_canvas + offset).reshape(-1, 4, 2)
        for quad, ink in zip(quads, inks, strict=True):
            cv2.fillConvexPoly(fine, quad, ink, cv2.LINE_8, SHIFT)
        for part in self.hull:
            cv2.fillConvexPoly(fine, part, self.hull_ink, cv2.LINE_8, SHIFT)
        self.window[:] = cv2.resize(fine, self.size, interpolation=cv2.INTER_AREA).reshape(self.window.shape)
