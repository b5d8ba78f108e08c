"""Environment ids: what this project adds to Gymnasium's, and errors that say what was meant."""

import dataclasses
import difflib
import importlib
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from envs.dmc import find_tasks
from envs.procgen import GAMES

# task -> keywords of register, Gymnasium's own of the versions whose physics these are
PIXEL_TASKS: dict[str, dict[str, Any]] = {
    "CartPole": {"max_episode_steps": 500, "reward_threshold": 475},
    "Pendulum": {"max_episode_steps": 200},
    "Acrobot": {"max_episode_steps": 500, "reward_threshold": -100},
    "MountainCar": {"max_episode_steps": 200, "reward_threshold": -110},
    "Catch": {"reward_threshold": 1},
}
# "" for the clean picture
PIXEL_VARIANTS = {"": "clean", "Noise": "noise", "Background": "background"}
PIXEL_IDS: dict[str, tuple[str, dict[str, Any]]] = {
    f"Pixel{task}{name}-v0": (f"envs.pixel_control:Pixel{task}", {**keywords, "kwargs": {"variant": variant}})
    for task, keywords in PIXEL_TASKS.items()
    for name, variant in PIXEL_VARIANTS.items()
}

PROCGEN = "procgen/"
DM_CONTROL = "dm_control/"
ATARI = "ALE/"

# id -> (module:class, keywords of register)
IDS: dict[str, tuple[str, dict[str, Any]]] = {
    "CarRacing-v2": ("envs.car_racing:CarRacingV2", {"max_episode_steps": 1000, "reward_threshold": 900}),
    # The fast ones count their physics steps themselves, since the frame skip is inside.
    "CarRacingFast-v2": ("envs.fast_car_racing:FastCarRacingV2", {"reward_threshold": 900}),
    "CarRacingFast-v3": ("envs.fast_car_racing:FastCarRacing", {"reward_threshold": 900}),
    **PIXEL_IDS,
    **{f"{PROCGEN}{game}-v0": ("envs.procgen:ProcgenGame", {"kwargs": {"game": game}}) for game in GAMES},
}

# MiniGrid's ids as its package registers them, seen by the agent; with the second beginning: the same task, seen as a whole.
MINIGRID, MINIGRID_FULL = "MiniGrid-", "MiniGridFull-"


class UnknownEnvironment(ValueError):
    """No environment has this id. The message is one sentence and names ids that look alike."""


def register_envs() -> None:
    """
    Register ``CarRacing-v2``, ``CarRacingFast-v2``, ``CarRacingFast-v3``, the pixel control set and Procgen's games with
    Gymnasium, where they are not registered yet. The set is ``Pixel<task><variant>-v0``: CartPole, Pendulum, Acrobot,
    MountainCar or Catch, with Noise, Background or nothing, such as ``PixelCartPole-v0`` and ``PixelCartPoleNoise-v0``; the
    games are ``procgen/coinrun-v0`` and its like.

    Gymnasium 1.x knows ``CarRacing-v2`` only as deprecated. Call this in each process that makes such an environment by its
    id; :func:`envs.make_env` does.
    """
    for env_id, (entry_point, keywords) in IDS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=entry_point, **keywords)


def find_spec(env_id: str) -> EnvSpec:
    """
    The registered specification of an id.

    :param env_id: an id such as ``CarRacing-v2``, or ``module:id`` for one that importing ``module`` registers.
    :return: its specification; passed to ``gymnasium.make`` instead of the id, it spares the warning about older versions.
    :raises UnknownEnvironment: if nothing has that id.
    """
    register_envs()
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UnknownEnvironment(f"The module {module!r} of {env_id!r} cannot be imported: {error}.") from error
    if is_minigrid(name):
        _register_minigrid(name)
    if name.startswith(DM_CONTROL):
        _register_dm_control(name)
    if name.startswith(ATARI):
        try:
            importlib.import_module("ale_py")  # which registers them
        except ImportError:
            raise UnknownEnvironment(f"{name} is an Atari game, which needs the package ale-py: pip install ale-py.") from None
    if name in gym.registry:
        return gym.registry[name]
    known = {known_id.lower(): known_id for known_id in gym.registry}
    close = [known[match] for match in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)]
    advice = f"did you mean {' or '.join(close)}?" if close else "gymnasium.pprint_registry() lists those that are registered."
    raise UnknownEnvironment(f"There is no environment {name!r}; {advice}")


def is_minigrid(env_id: str) -> bool:
    """
    :param env_id: an id, without a module.
    :return: whether it is one of MiniGrid's (``MiniGrid-DoorKey-5x5-v0``) or the full view of one (``MiniGridFull-...``).
    """
    return env_id.startswith((MINIGRID, MINIGRID_FULL))


def _register_dm_control(name: str) -> None:
    """
    Register the control suite's tasks, in place of Shimmy's of the same ids where that is installed.

    :raises UnknownEnvironment: if the package cannot be imported.
    """
    try:
        tasks = find_tasks()
    except ImportError as error:
        raise UnknownEnvironment(f"{name!r} cannot be had: {error}") from error
    for env_id, (domain, task) in tasks.items():
        gym.registry[env_id] = EnvSpec(env_id, "envs.dmc:ControlTask", kwargs={"domain": domain, "task": task})


def _register_minigrid(name: str) -> None:
    """
    Import MiniGrid, which registers its own ids, and register the full view that is asked for: the same environment.

    :raises UnknownEnvironment: if the package cannot be imported.
    """
    try:
        importlib.import_module("minigrid")
    except ImportError as error:
        remedy = "pip install -e '.[minigrid]' brings it"
        raise UnknownEnvironment(f"{name!r} needs the package minigrid, which cannot be imported; {remedy}.") from error
    task = MINIGRID + name.removeprefix(MINIGRID_FULL)
    if name.startswith(MINIGRID_FULL) and task in gym.registry:
        gym.registry.setdefault(name, dataclasses.replace(gym.registry[task], id=name))
