"""A driver that reads the track, and CarRacing without its drawing: what the tests of the fast CarRacing share."""

from math import atan2, hypot, pi
from typing import Any

import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing

from envs.car_racing import CarRacingV2


class Undrawn(CarRacing):
    """The stock environment, whose pictures alone are left out."""

    def _render(self, mode: str) -> None:
        return None


class UndrawnV2(CarRacingV2):
    """The same of version 2."""

    def _render(self, mode: str) -> None:
        return None


def steer_along(env: Any, speed: float = 70.0, ahead: int = 5) -> np.ndarray:
    """
    Action (3,) float32 that follows the road: turn to a point some tiles ahead, hold a speed.

    :param env: CarRacing, unwrapped, with continuous actions.
    :param speed: in world units per second.
    :param ahead: tiles.
    """
    track = np.array(env.track)[:, 2:]
    x, y = env.car.hull.position
    nearest = int(np.argmin(np.hypot(track[:, 0] - x, track[:, 1] - y)))
    to_x, to_y = track[(nearest + ahead) % len(track)] - (x, y)
    error = (atan2(-to_x, to_y) - env.car.hull.angle + pi) % (2 * pi) - pi
    slow = hypot(*env.car.hull.linearVelocity) < speed / (1 + 2 * abs(error))
    return np.array([np.clip(-2 * error, -1, 1), 0.4 if slow else 0, 0 if slow else 0.1], np.float32)


def discretely(action: np.ndarray) -> int:
    """The one of the five discrete actions that is most like a continuous one."""
    if abs(action[0]) > 0.25:
        return 1 if action[0] > 0 else 2
    return 3 if action[1] > 0 else 4 if action[2] > 0.05 else 0
