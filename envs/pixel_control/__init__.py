"""Classic control and Catch, seen as small pictures: tasks that one core learns in minutes."""

from envs.pixel_control.catch import Catch, PixelCatch
from envs.pixel_control.classic import PixelAcrobot, PixelCartPole, PixelMountainCar, PixelPendulum
from envs.pixel_control.observation import PixelControl
from envs.pixel_control.variants import VARIANTS

__all__ = [
    "VARIANTS",
    "Catch",
    "PixelAcrobot",
    "PixelCartPole",
    "PixelCatch",
    "PixelControl",
    "PixelMountainCar",
    "PixelPendulum",
]
