"""Environments and policies by the names that a command line gives them."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.error import Error as GymnasiumError

from cpc_rl.pretraining.policies import Policy, RandomPolicy, TrainedPolicy
from cpc_rl.saved_model import algorithm_class, load_algorithm


def make_environment(env: str, factory: str | None = None, keywords: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """
    :param env: a registered Gymnasium id; ``module:id`` imports the module first, as in ``ale_py:ALE/Pong-v5``
    :param factory: ``"module:function"`` that makes the environment from the id, for those that need more than
        ``gymnasium.make``; modules of the working directory are found too
    :param keywords: for what makes it
    :raises ValueError: if there is no such environment or function, or it takes no such keywords
    """
    try:
        made = (gymnasium.make if factory is None else _imported(factory))(env, **(keywords or {}))
    except (GymnasiumError, ModuleNotFoundError, TypeError) as error:
        raise ValueError(f"There is no environment {env!r} that can be made: {error}.") from error
    if not isinstance(made, gymnasium.Env):
        raise ValueError(f"{factory} made a {type(made).__name__}, but an environment of Gymnasium is needed.")
    return made


def make_policy(policy: str, algorithm: str | None, env: gymnasium.Env) -> Policy:
    """
    :param policy: ``"random"``, or the zip of a model of SB3 or sb3-contrib. A zip is a pickle in part: load none that you do
        not trust
    :param algorithm: the class's name in any case, such as ``ppo``; a zip does not tell
    :param env: that it will act in
    :raises ValueError: if it cannot be loaded, or does not fit the environment
    """
    if policy == "random":
        return RandomPolicy(env.action_space)
    if not Path(policy).is_file():
        raise ValueError(f"policy is {policy!r}, but it is 'random' or the zip of a trained model, and there is no such file.")
    if algorithm is None:
        raise ValueError("A model's zip does not say its algorithm: name it, as in --algo ppo.")
    model = load_algorithm(algorithm_class(algorithm), policy, "cpu")
    return TrainedPolicy(model, env.observation_space)


def _imported(factory: str) -> Callable[..., Any]:
    module, _, name = factory.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"The factory is {factory!r}, but it must be 'module:function', and {error}.") from error
