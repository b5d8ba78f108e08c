"""The algorithms by name, whatever its case."""

from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.errors import UserError

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    algorithm.__name__.lower(): algorithm
    for algorithm in (A2C, CrossQ, DDPG, DQN, MaskablePPO, PPO, QRDQN, RecurrentPPO, SAC, TD3, TQC, TRPO)
}

DISCRETE_ONLY = ("dqn", "qrdqn")
MASKABLE_ONLY = ("maskableppo",)
CONTINUOUS_ONLY = ("crossq", "ddpg", "sac", "td3", "tqc")


def find_algorithm(name: str) -> type[BaseAlgorithm]:
    """
    The class of an algorithm.

    :param name: the class's name, in any case: ``ppo``, ``RecurrentPPO``
    :raises UserError: there is no such algorithm, or it has no gradients to train an encoder with (ARS)
    """
    algorithm = ALGORITHMS.get(name.lower())
    if algorithm is not None:
        return algorithm
    if name.lower() == "ars":
        raise UserError("ARS searches without gradients, so it cannot train an encoder; take one of " + _known() + ".")
    raise UserError(f"There is no algorithm {name!r}; known are {_known()}.")


def default_algorithm(action_space: spaces.Space) -> str:
    """The algorithm for an environment that no recipe is made for: SAC for real-valued actions, PPO for all others."""
    return "sac" if isinstance(action_space, spaces.Box) else "ppo"


def check_action_space(name: str, action_space: spaces.Space) -> None:
    """
    See that an algorithm can act in an environment.

    :raises UserError: it cannot
    """
    supported = {
        **dict.fromkeys(DISCRETE_ONLY, (spaces.Discrete,)),
        **dict.fromkeys(CONTINUOUS_ONLY, (spaces.Box,)),
        "maskableppo": (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
    }.get(name, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))
    if not isinstance(action_space, supported):
        wanted = " or ".join(space.__name__ for space in supported)
        raise UserError(
            f"{find_algorithm(name).__name__} needs {wanted} actions, but the environment's are {action_space}; "
            f"take another --algo, such as {default_algorithm(action_space)}."
        )


def _known() -> str:
    return ", ".join(ALGORITHMS)
