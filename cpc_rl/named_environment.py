"""An environment by the names that a command line gives: an id, or a function that makes it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import gymnasium
from gymnasium.error import Error as GymnasiumError
from gymnasium.error import UnregisteredEnv

UNREGISTERED = (
    " If a function makes it, name that too, --env-factory module:function (--env-factory envs:make_env for what "
    "train_agent.py trained on); if importing a module registers it, name that before the id, --env module:id."
)


def make_environment(env: str | None, factory: str | None = None, keywords: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """
    :param env: a registered Gymnasium id; ``module:id`` imports the module first, as in ``ale_py:ALE/Pong-v5``. A factory may
        do without
    :param factory: ``"module:function"``, called as ``function(env, **keywords)``, for environments that need more than
        :func:`gymnasium.make`; modules of the working directory are found too
    :param keywords: for what makes it
    :raises ValueError: if there is no such environment or function, or it takes no such keywords
    """
    if factory is None and env is None:
        raise ValueError("Which environment the frames shall come from is not said: give its id (--env), or a file of frames.")
    make: Callable[..., Any] = gymnasium.make if factory is None else _imported(factory)
    keywords = dict(keywords or {})
    if env is None and _takes_id(make, keywords):
        raise ValueError(
            f"{factory} makes an environment of its id, and neither --env nor a config.yaml beside the run says which: give "
            "it, such as --env PixelCatch-v0."
        )
    try:
        made = make(*([] if env is None else [env]), **keywords)
    except (GymnasiumError, ImportError, TypeError) as error:
        named = repr(env) if factory is None else f"{env!r} of {factory}" if env is not None else f"of {factory}"
        why = str(error).rstrip(".")
        told = f"There is no environment {named} that can be made: {why}{'' if why.endswith('?') else '.'}"
        if factory is None and isinstance(error, UnregisteredEnv):
            told += UNREGISTERED
        raise ValueError(told) from error
    if not isinstance(made, gymnasium.Env):
        raise ValueError(f"{factory} made a {type(made).__name__}, but an environment of Gymnasium is needed.")
    return made


def _takes_id(make: Callable[..., Any], keywords: Mapping[str, Any]) -> bool:
    """Whether a call without an id lacks one, and nothing else."""
    try:
        parameters = signature(make)
        parameters.bind("id", **keywords)
    except (TypeError, ValueError):  # of keywords that do not fit, or of a function that does not say what it takes
        return False
    try:
        parameters.bind(**keywords)
    except TypeError:
        return True
    return False


def _imported(factory: str) -> Callable[..., Any]:
    module, _, name = factory.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"The factory is {factory!r}, but it must be 'module:function', and {error}.") from error
