"""CarRacing's observation, drawn by OpenCV: only what lies near the car, all of it transformed as one array."""

from functools import lru_cache
from math import cos, hypot, sin
from typing import Any

import cv2
import numpy as np
import pygame
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, SCALE, STATE_H, STATE_W, WINDOW_H, WINDOW_W, ZOOM

from envs.car_dashboard import BAR, Dashboard
from envs.car_sprite import CarSprite

SHIFT = 4  # fractional bits of the coordinates that OpenCV gets
GROWTH = 0.4  # canvas pixels by which fillConvexPoly, which paints the outline too, moves an edge further out than pygame does
LUMINANCE = np.array([0.299, 0.587, 0.114])  # of cv2.COLOR_RGB2GRAY
FIELD = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * PLAYFIELD


@lru_cache(maxsize=1)
def _darkening() -> int:
    """Grey levels by which the rounding in pygame's ``smoothscale`` darkens a plain surface of the stock window's size."""
    surface = pygame.Surface((WINDOW_W, WINDOW_H))
    surface.fill((128, 128, 128))
    return 128 - int(pygame.surfarray.array3d(pygame.transform.smoothscale(surface, (STATE_W, STATE_H))).mean())


def _grass() -> np.ndarray:
    """Corners (400, 4, 2) of the patches of lighter grass, in world units."""
    x, y = np.meshgrid(np.arange(-20, 20, 2), np.arange(-20, 20, 2), indexing="ij")
    corners = np.stack([x, y], axis=-1).reshape(-1, 1, 2) + np.array([(1, 0), (0, 0), (0, 1), (1, 1)])
    return corners * GRASS_DIM


class CarPicture:
    """
    Draws the 96x96 observation of a CarRacing environment, at twice the size, and shrinks it, so that edges are smooth.

    :param grayscale: draw one channel, the luminance, and not three.
    """

    def __init__(self, grayscale: bool = False):
        self.channels = 1 if grayscale else 3
        side = 2 * STATE_W
        self.canvas = np.zeros((side, side, self.channels), np.uint8)
        self.background = np.zeros_like(self.canvas)
        self.scale = np.array([side / WINDOW_W, side / WINDOW_H])
        # Where the car always is: the middle of the width, a quarter of the height up. OpenCV counts from pixels' centres.
        self.origin = np.array([side / 2, side * 0.75]) - 0.5
        self.darkening = _darkening()
        self.dashboard = Dashboard(self.canvas, self.inks)
        self.sprite = CarSprite(self.canvas, self.scale, self.origin, self.inks)
        self.zoom = 0.0

    def inks(self, colors: Any) -> np.ndarray:
        """
        Colours as the canvas takes them.

        :param colors: (N, 3) numbers in 0..255.
        :return: (N, channels) whole numbers.
        """
        seen = np.maximum(np.asarray(colors).astype(int) - self.darkening, 0)
        return np.rint(seen @ LUMINANCE).astype(int)[:, None] if self.channels == 1 else seen

    def start(self, env: Any) -> None:
        """
        Take over the track that the environment has just made.

        :param env: the CarRacing environment, unwrapped. Its tiles' colours become views of one array, which the environment's
            own contact listener goes on changing in place.
        """
        grass = _grass()
        road = np.array([polygon for polygon, _ in env.road_poly], float).reshape(-1, 4, 2)
        colors = [env.grass_color] * len(grass) + [color for _, color in env.road_poly]
        self.colors = np.array(colors, float)
        tiles = iter(env.road)
        for row, (polygon, color) in enumerate(env.road_poly, start=len(grass)):
            if isinstance(color, np.ndarray):  # of a tile; a kerb's is a tuple
                view = next(tiles).color = self.colors[row]
                env.road_poly[row - len(grass)] = (polygon, view)
        corners = np.concatenate([grass, road])
        # Corners come in pairs across the road (and across a patch): the middle of the pair plus and minus half the width.
        self.middle = ((corners[:, [0, 3]] + corners[:, [1, 2]]) / 2)[:, [0, 0, 1, 1]]
        self.half = corners - self.middle
        # A track may pinch a polygon to nothing, which then has no width to divide by.
        self.half_width = np.linalg.norm(self.half[:, :1], axis=-1, keepdims=True).clip(min=1e-6)
        self.centers = corners.mean(axis=1).T.copy()  # (2, N)
        self.radius = np.linalg.norm(corners - corners.mean(axis=1, keepdims=True), axis=-1).max(axis=1)
        self.background[:] = self.inks([env.bg_color])[0]
        self._zoom_to(0.1 * SCALE)

    def _zoom_to(self, zoom: float) -> None:
        """Prepare what depends on the zoom alone, which changes during an episode's first second only."""
        self.zoom = zoom
        growth = GROWTH / (zoom * self.scale.mean())
        self.corners = self.middle + self.half * np.maximum(1 - growth / self.half_width, 0.1)
        # What is seen, the bar left out, is a rectangle whose middle lies ahead of the car.
        self.ahead = (WINDOW_H / 4 + BAR / 2) / zoom
        half_sizes = np.array([WINDOW_W / 2, (WINDOW_H - BAR) / 2]) / zoom
        self.seen = hypot(*half_sizes)
        self.reach = half_sizes[:, None] + self.radius  # (2, N)
        self.sprite.zoom_to(zoom)

    def draw(self, env: Any) -> np.ndarray:
        """
        Draw the environment's present state.

        :param env: the CarRacing environment given to :meth:`start`.
        :return: picture (96, 96, 1 or 3) uint8.
        """
        canvas, hull, t = self.canvas, env.car.hull, env.t
        zoom = 0.1 * SCALE * max(1 - t, 0) + ZOOM * SCALE * min(t, 1)
        if zoom != self.zoom:
            self._zoom_to(zoom)
        x, y = hull.position
        c, s = cos(hull.angle), sin(hull.angle)
        # World to canvas, for row vectors: turn by -angle about the car, zoom, turn upside down.
        to_canvas = np.array([[c, -s], [s, c]]) * (self.scale * (zoom, -zoom))
        offset = self.origin - (x, y) @ to_canvas
        middle_x, middle_y = x - s * self.ahead, y + c * self.ahead

        if max(abs(middle_x), abs(middle_y)) + self.seen < PLAYFIELD:
            canvas[:] = self.background
        else:
            canvas[:] = 0
            field = self._fixed(FIELD, to_canvas, offset)
            cv2.fillConvexPoly(canvas, field, self.background[0, 0].tolist(), cv2.LINE_8, SHIFT)
        along = np.array([[c, s], [-s, c]]) @ self.centers - ((c * x + s * y,), (c * y - s * x + self.ahead,))
        inside = np.abs(along) < self.reach
        near = np.flatnonzero(inside[0] & inside[1])
        polygons = self._fixed(self.corners[near].reshape(-1, 2), to_canvas, offset).reshape(-1, 4, 2)
        for polygon, ink in zip(polygons, self.inks(self.colors[near]).tolist(), strict=True):
            cv2.fillConvexPoly(canvas, polygon, ink, cv2.LINE_8, SHIFT)

        self.sprite.draw(env.car, to_canvas, offset)
        self.dashboard.draw(env.car, env.reward)
        return cv2.resize(canvas, (STATE_W, STATE_H), interpolation=cv2.INTER_AREA).reshape(STATE_H, STATE_W, self.channels)

    @staticmethod
    def _fixed(points: np.ndarray, to_canvas: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """World points (N, 2) as OpenCV's fixed-point canvas coordinates."""
        return np.rint(points @ (to_canvas * (1 << SHIFT)) + offset * (1 << SHIFT)).astype(np.int32)
