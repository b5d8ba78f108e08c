"""Gymnasium's classic control tasks with their own physics, drawn small."""

from functools import cached_property
from math import pi, sin

from gymnasium.envs.classic_control import AcrobotEnv, CartPoleEnv, MountainCarEnv, PendulumEnv

from envs.pixel_control.canvas import BLUE, DIM, GOLD, PALE, Canvas
from envs.pixel_control.observation import PixelControl

# How much longer the pole is drawn than to the track's scale. The longer, the easier to see how it moves, and to learn.
POLE = 2


class PixelCartPole(PixelControl, CartPoleEnv):
    """``CartPole`` seen from the side. Between upright and the end of an episode the pole's tip moves by four pixels of 48."""

    def draw(self, canvas: Canvas) -> None:
        """Track, cart and pole."""
        assert self.state is not None
        x, _, theta, _ = self.state.tolist()
        scale = 1 / (2 * self.x_threshold + 0.6)
        left, middle, right = (0.5 + (x + side) * scale for side in (-0.4, 0, 0.4))
        canvas.path([(0, 0.66), (1, 0.66)], DIM)
        canvas.polygon([(left, 0.62), (right, 0.62), (right, 0.7), (left, 0.7)], BLUE)
        canvas.rod((middle, 0.62), theta, 2 * self.length * scale * POLE, 0.05, PALE)


class PixelPendulum(PixelControl, PendulumEnv):
    """``Pendulum`` seen from the front."""

    def draw(self, canvas: Canvas) -> None:
        """Rod, weight and pivot. Gymnasium's arrow for the torque is left out: it is the action."""
        end = canvas.rod((0.5, 0.5), -float(self.state[0]), 0.38, 0.07, BLUE)
        canvas.disc(end, 0.08, PALE)
        canvas.disc((0.5, 0.5), 0.035, GOLD)


class PixelAcrobot(PixelControl, AcrobotEnv):
    """``Acrobot`` seen from the front, with the height that the free end has to reach."""

    def draw(self, canvas: Canvas) -> None:
        """Line of the goal, two links, two joints."""
        assert self.state is not None
        first, second = float(self.state[0]), float(self.state[1])
        canvas.path([(0, 0.28), (1, 0.28)], DIM)
        # Gymnasium's angles are counted from straight down, counter-clockwise in its picture.
        angle = pi - first
        elbow = canvas.rod((0.5, 0.5), angle, 0.22, 0.06, BLUE)
        canvas.rod(elbow, angle - second, 0.22, 0.06, PALE)
        for joint in ((0.5, 0.5), elbow):
            canvas.disc(joint, 0.04, GOLD)


class PixelMountainCar(PixelControl, MountainCarEnv):
    """``MountainCar`` seen from the side."""

    def _place(self, x: float) -> tuple[float, float]:
        """Where a position on the road is in the picture."""
        return (x - self.min_position + 0.1) / (self.max_position - self.min_position + 0.2), 0.5 - 0.34 * sin(3 * x)

    @cached_property
    def road(self) -> list[tuple[float, float]]:
        """Corners of the line that the road is drawn as."""
        return [self._place(self.min_position + 0.05 * step) for step in range(-2, 39)]

    def draw(self, canvas: Canvas) -> None:
        """Road, flag and car."""
        canvas.path(self.road, DIM)
        x, y = self._place(self.goal_position)
        canvas.polygon([(x, y), (x, y - 0.12), (x + 0.07, y - 0.09), (x, y - 0.06)], GOLD)
        x, y = self._place(float(self.state[0]))
        canvas.disc((x, y - 0.06), 0.06, PALE)
