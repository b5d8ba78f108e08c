"""CarRacing's observation, drawn by OpenCV: only what lies near the car, all of it transformed as one array."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pygame
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
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, SCALE, STATE_H, STATE_W, WINDOW_H, WINDOW_W, ZOOM

SHIFT = 4  # fractional bits of the coordinates that OpenCV gets
GROWTH = 0.4  # pixels of the canvas by which fillConvexPoly, which paints the outline too, moves each edge outwards
BAR = 100  # height of the indicator bar in the stock window, in its pixels
TEXT_CENTER = (60, 50)  # of the reward, in the stock window's pixels, from the left end and the top of the bar
TEXT_WIDTH = 125  # what the widest reward needs, in the same pixels
HULL_COLOR = (204, 0, 0)
# (place, wheel, colour) of the four wheel speeds in the bar
WHEEL_BARS = ((7, 0, (0, 0, 255)), (8, 1, (0, 0, 255)), (9, 2, (51, 0, 255)), (10, 3, (51, 0, 255)))
WHEEL_QUAD = np.array([(-WHEEL_W, WHEEL_R), (WHEEL_W, WHEEL_R), (WHEEL_W, -WHEEL_R), (-WHEEL_W, -WHEEL_R)]) * SIZE
HULL_QUADS = tuple(np.array(part, float) * SIZE for part in (HULL_POLY1, HULL_POLY2, HULL_POLY3, HULL_POLY4))


def _grass() -> np.ndarray:
    """Corners (400, 4, 2) of the patches of lighter grass, in world units."""
    x, y = np.meshgrid(np.arange(-20, 20, 2), np.arange(-20, 20, 2), indexing="ij")
    corners = np.stack([x, y], axis=-1).reshape(-1, 1, 2) + np.array([(1, 0), (0, 0), (0, 1), (1, 1)])
    return corners * GRASS_DIM


@lru_cache(maxsize=1)
def _darkening() -> int:
    """By how many grey levels the rounding in pygame's ``smoothscale`` darkens a plain surface of the stock window's size (2, as a rule)."""
    surface = pygame.Surface((WINDOW_W, WINDOW_H))
    surface.fill((128, 128, 128))
    return 128 - int(pygame.surfarray.array3d(pygame.transform.smoothscale(surface, (STATE_W, STATE_H))).mean())


@lru_cache(maxsize=4096)
def _reward_text(text: str, side: int, channels: int) -> np.ndarray:
    """The reward in the stock window's letters, scaled to the lower left ``side`` x ``side`` pixels of the canvas."""
    pygame.font.init()
    letters = pygame.font.Font(pygame.font.get_default_font(), 42).render(text, True, (255, 255, 255), (0, 0, 0))
    pixels = np.transpose(pygame.surfarray.array3d(letters), (1, 0, 2))
    window = np.zeros((BAR, 2 * TEXT_WIDTH, 3), np.uint8)
    rectangle = letters.get_rect(center=TEXT_CENTER)
    left = max(rectangle.left, 0)
    window[rectangle.top : rectangle.bottom, left : rectangle.right] = pixels[:, left - rectangle.left :]
    small = cv2.resize(window[:, :TEXT_WIDTH], (side, side), interpolation=cv2.INTER_AREA)
    return small if channels == 3 else small[..., :1].copy()


class CarPicture:
    """
    Draws the observation of a CarRacing environment.

    The canvas is a multiple of the wanted size and is shrunk by ``cv2.INTER_AREA``, so that edges are smooth and an outline, which
    OpenCV paints in full, counts for a fraction of a pixel.

    :param size: height and width of the picture in pixels.
    :param grayscale: draw one channel, with the luminance that ``cv2.COLOR_RGB2GRAY`` gives, and not three.
    """

    def __init__(self, size: int = 64, grayscale: bool = False):
        self.size = size
        self.channels = 1 if grayscale else 3
        self.side = side = size * max(2, -(-160 // size))
        self.canvas = np.zeros((side, side) if grayscale else (side, side, 3), np.uint8)
        self.scale = np.array([side / WINDOW_W, side / WINDOW_H])
        self.cell = self.scale * np.array([WINDOW_W, WINDOW_H]) / 40.0  # unit of the indicator bar
        self.bar_top = round(side * (1 - BAR / WINDOW_H))
        self.text_side = side - self.bar_top
        self.darkening = _darkening()
        self._black = self._ink((0, 0, 0))
        self._hull_ink, self._tyre_ink, self._rim_ink = self._ink(HULL_COLOR), self._ink(WHEEL_COLOR), self._ink(WHEEL_WHITE)

    def _ink(self, color: Any) -> Any:
        """A colour (3 numbers in 0..255) as this canvas takes it."""
        red, green, blue = (max(int(c) - self.darkening, 0) for c in color)
        return round(0.299 * red + 0.587 * green + 0.114 * blue) if self.channels == 1 else (red, green, blue)

    def start(self, env: Any) -> None:
        """
        Take over the track that the environment has just made.

        :param env: the CarRacing environment, unwrapped; its tiles' colours become views of one array, which the environment's own
            contact listener goes on changing in place.
        """
        grass = _grass()
        road = np.array([polygon for polygon, _ in env.road_poly], float).reshape(-1, 4, 2)
        self.colors = np.empty((len(grass) + len(road), 3))
        self.colors[: len(grass)] = env.grass_color
        self.colors[len(grass) :] = [color for _, color in env.road_poly]
        tile_rows = iter(env.road)
        for row, (polygon, color) in enumerate(env.road_poly):
            if isinstance(color, np.ndarray):
                view = self.colors[len(grass) + row]
                next(tile_rows).color = view
                env.road_poly[row] = (polygon, view)
        corners = np.concatenate([grass, road])
        # Corners come in pairs across the road (and across a patch): each is the middle of its pair plus half the way across.
        middle = (corners[:, [0, 3]] + corners[:, [1, 2]]) / 2
        self.middle = middle[:, [0, 0, 1, 1]]
        self.half = corners - self.middle
        self.width = np.linalg.norm(self.half[:, 0], axis=-1)[:, None, None]
        self.center = corners.mean(axis=1)
        self.reach = np.linalg.norm(corners - self.center[:, None], axis=-1).max(axis=1)
        self.zoomed: tuple[float, np.ndarray] | None = None
        self.background = self._ink(env.bg_color)

    def _corners(self, zoom: float) -> np.ndarray:
        """Corners of all polygons, drawn in by what OpenCV will add on either side."""
        if self.zoomed is None or self.zoomed[0] != zoom:
            growth = GROWTH / (zoom * self.scale.mean())
            self.zoomed = zoom, self.middle + self.half * np.maximum(1 - growth / self.width, 0.1)
        return self.zoomed[1]

    def draw(self, env: Any) -> np.ndarray:
        """
        Draw the environment's present state.

        :param env: the CarRacing environment given to :meth:`start`.
        :return: picture (size, size, 1 or 3) uint8, as the stock one is when resized.
        """
        canvas, side = self.canvas, self.side
        hull = env.car.hull
        x, y = hull.position
        angle = hull.angle
        zoom = 0.1 * SCALE * max(1 - env.t, 0) + ZOOM * SCALE * min(env.t, 1)
        c, s = np.cos(angle), np.sin(angle)
        # World to canvas, for row vectors: turn by -angle about the car, zoom, put the car at a quarter of the height, turn upside down.
        turn = np.array([[c, -s], [s, c]]) * zoom
        to_canvas = turn * self.scale * (1, -1)
        origin = np.array([side / 2, side * 0.75]) - 0.5
        offset = origin - np.array([x, y]) @ to_canvas

        # The middle of what is seen lies ahead of the car; polygons beyond its corners are left out.
        ahead = (WINDOW_H / 2 - WINDOW_H / 4 + BAR / 2) / zoom
        seen = np.hypot(WINDOW_W / 2, (WINDOW_H - BAR) / 2) / zoom
        center = (x - s * ahead, y + c * ahead)
        reach = self.reach + seen
        apart = self.center - center
        near = np.flatnonzero((apart * apart).sum(axis=1) < reach * reach)

        if max(abs(center[0]), abs(center[1])) + seen < PLAYFIELD:
            canvas[:] = self.background
        else:
            canvas[:] = self._black
            field = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * PLAYFIELD
            cv2.fillConvexPoly(canvas, self._fixed(field @ to_canvas + offset), self.background, cv2.LINE_8, SHIFT)
        polygons = self._fixed(self._corners(zoom)[near] @ to_canvas + offset)
        low, high = polygons.min(axis=1), polygons.max(axis=1)
        inside = ((high >= 0) & (low < (side << SHIFT, self.bar_top << SHIFT))).all(axis=1)
        colors = np.maximum(self.colors[near[inside]].astype(int) - self.darkening, 0)
        if self.channels == 1:
            colors = np.rint(colors @ (0.299, 0.587, 0.114))
        for polygon, color in zip(polygons[inside], colors.tolist(), strict=True):
            cv2.fillConvexPoly(canvas, polygon, color, cv2.LINE_8, SHIFT)

        self._draw_car(env.car, to_canvas, offset, zoom, origin)
        self._draw_bar(env)
        picture = cv2.resize(canvas, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return picture[..., None] if self.channels == 1 else picture

    @staticmethod
    def _fixed(points: np.ndarray) -> np.ndarray:
        """Canvas coordinates as OpenCV's fixed-point integers."""
        return np.rint(points * (1 << SHIFT)).astype(np.int32)

    def _draw_car(self, car: Any, to_canvas: np.ndarray, offset: np.ndarray, zoom: float, origin: np.ndarray) -> None:
        """Wheels, the light mark that turns with each, and the hull, which never moves on the canvas."""
        places, axes, marks = [], [], []
        for wheel in car.wheels:
            c, s = wheel.GetWorldVector((1, 0))
            places.append(tuple(wheel.position))
            axes.append(((c, s), (-s, c)))
            sin1, sin2 = np.sin(wheel.phase), np.sin(wheel.phase + 1.2)
            cos1, cos2 = np.cos(wheel.phase), np.cos(wheel.phase + 1.2)
            if sin1 > 0 and sin2 > 0:
                marks.append(None)
                continue
            marks.append((np.sign(cos1) if sin1 > 0 else cos1, np.sign(cos2) if sin2 > 0 else cos2))
        shrink = GROWTH / (zoom * self.scale.mean())
        quads = np.repeat((WHEEL_QUAD - np.sign(WHEEL_QUAD) * min(shrink, 0.2))[None], 8, axis=0)
        for i, mark in enumerate(marks):
            if mark is not None:
                quads[4 + i, :, 1] = np.array([mark[0], mark[0], mark[1], mark[1]]) * WHEEL_R * SIZE
        turned = quads @ np.array(axes + axes) + np.array(places + places)[:, None]
        quads = self._fixed(turned @ to_canvas + offset)
        for i, mark in enumerate(marks):
            cv2.fillConvexPoly(self.canvas, quads[i], self._tyre_ink, cv2.LINE_8, SHIFT)
            if mark is not None:
                cv2.fillConvexPoly(self.canvas, quads[4 + i], self._rim_ink, cv2.LINE_8, SHIFT)
        for part in HULL_QUADS:
            points = (part - np.sign(part) * min(shrink, 0.1)) * (zoom, -zoom) * self.scale + origin
            cv2.fillConvexPoly(self.canvas, self._fixed(points), self._hull_ink, cv2.LINE_8, SHIFT)

    def _draw_bar(self, env: Any) -> None:
        """Speed, wheel speeds, steering, rotation and reward."""
        canvas, car = self.canvas, env.car
        canvas[self.bar_top :] = self._black
        vx, vy = car.hull.linearVelocity
        self._vertical(5, 0.02 * float(np.hypot(vx, vy)), (255, 255, 255))
        for place, wheel, color in WHEEL_BARS:
            self._vertical(place, 0.01 * car.wheels[wheel].omega, color)
        self._horizontal(20, -10.0 * car.wheels[0].joint.angle, (0, 255, 0))
        self._horizontal(30, -0.8 * car.hull.angularVelocity, (255, 0, 0))
        text = _reward_text(f"{env.reward:04.0f}", self.text_side, self.channels)
        canvas[self.bar_top :, : self.text_side] = text[..., 0] if self.channels == 1 else text

    def _vertical(self, place: int, value: float, color: tuple[int, int, int]) -> None:
        width, height = self.cell
        base = self.side - height
        self._box(place * width, (place + 1) * width, base - height * value, base, color)

    def _horizontal(self, place: int, value: float, color: tuple[int, int, int]) -> None:
        width, height = self.cell
        self._box(place * width, (place + value) * width, self.side - 4 * height, self.side - 2 * height, color)

    def _box(self, x0: float, x1: float, y0: float, y1: float, color: tuple[int, int, int]) -> None:
        """Fill a rectangle given in canvas pixels."""
        if x1 < x0:
            x0, x1 = x1, x0
        if y1 < y0:
            y0, y1 = y1, y0
        self.canvas[max(round(y0), 0) : round(y1), max(round(x0), 0) : round(x1)] = self._ink(color)
