"""Environments for agents that see images: ids, preprocessing, a fast CarRacing."""

from envs.actions import ACTION_TABLES, DiscreteActions
from envs.factory import make_env
from envs.preprocessing import FrameSkip, ImageObservation
from envs.registration import UnknownEnvironment, register_envs
from envs.vector import make_vec_env

__all__ = [
    "ACTION_TABLES",
    "DiscreteActions",
    "FrameSkip",
    "ImageObservation",
    "UnknownEnvironment",
    "make_env",
    "make_vec_env",
    "register_envs",
]
