"""Atari games as the literature plays them, beyond what the keywords of ``ale_py`` can say."""

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

# Keywords that make_env takes out of those of a game, and what they are without being said.
OPTIONS: dict[str, Any] = {"noop_max": 0, "max_of_two": False}


def is_atari(spec: EnvSpec) -> bool:
    """
    :param spec: of any environment.
    :return: whether it is a game of ``ale_py``'s.
    """
    return isinstance(spec.entry_point, str) and spec.entry_point.startswith("ale_py")


def take_options(spec: EnvSpec, keywords: dict[str, Any]) -> dict[str, Any]:
    """
    Take this module's keywords out of those of an environment; for one that is no Atari game, none are.

    :param keywords: changed in place.
    :return: the options, as :func:`start_and_skip` takes them.
    :raises ValueError: if two frames of a game that skips frames itself should be compared.
    """
    options = {name: keywords.pop(name, default) for name, default in OPTIONS.items()} if is_atari(spec) else dict(OPTIONS)
    own = keywords.get("frameskip", spec.kwargs.get("frameskip"))
    if options["max_of_two"] and own != 1:
        raise ValueError(f"max_of_two needs every frame of {spec.id}, so frameskip must be 1 beside it, and is {own}.")
    return options


def start_and_skip(env: gym.Env, skip: int, *, noop_max: int = 0, max_of_two: bool = False) -> gym.Env:
    """
    Random no-ops at the start of an episode, and a frame skip that may show the brighter of the last two frames.

    :param env: the game, frame by frame.
    :param skip: how many frames each action is taken for.
    :param noop_max: most no-ops, at least one; 0 for none.
    :param max_of_two: otherwise the last frame is shown.
    :return: the environment, wrapped.
    :raises ValueError: if ``skip`` is less than 1.
    """
    from envs.preprocessing import BrighterOfTwo, FrameSkip

    if noop_max:
        # Imported here since it imports torch, which a process that only steps another environment can do without.
        from stable_baselines3.common.atari_wrappers import NoopResetEnv

        env = NoopResetEnv(env, noop_max)
    if max_of_two:
        return BrighterOfTwo(env, skip)
    return FrameSkip(env, skip) if skip != 1 else env
