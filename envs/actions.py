"""Small action sets for environments with continuous actions."""

import itertools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

# Rows are (steering, gas, brake) of CarRacing; each set begins with doing nothing.
ACTION_TABLES: dict[str, list[list[float]]] = {
    "drive5": [[0, 0, 0], [0.6, 0, 0], [-0.6, 0, 0], [0, 0.2, 0], [0, 0, 0.8]],
    "drive9": [
        [0, 0, 0],
        [0.6, 0, 0],
        [-0.6, 0, 0],
        [0.25, 0, 0],
        [-0.25, 0, 0],
        [0, 0.3, 0],
        [0, 1, 0],
        [0, 0, 0.3],
        [0, 0, 0.8],
    ],
    "drive12": [[steer, gas, brake] for steer in (-0.7, 0, 0.7) for gas, brake in ((0, 0), (0.2, 0), (0.8, 0), (0, 0.4))],
}


# Factors are chosen side by side, and their rows added: here the steering wheel, and the two pedals.
ACTION_FACTORS: dict[str, list[list[list[float]]]] = {
    "wheel5-pedals4": [
        [[-0.8, 0, 0], [-0.3, 0, 0], [0, 0, 0], [0.3, 0, 0], [0.8, 0, 0]],
        [[0, 0, 0], [0, 0.15, 0], [0, 0.5, 0], [0, 0, 0.5]],
    ],
}


class FactoredActions(gym.ActionWrapper, gym.utils.RecordConstructorArgs):
    """
    Gives an environment with a ``Box`` of actions several small choices that are made side by side, as ``MultiDiscrete``.

    A policy learns each factor by itself, so that fine steering does not multiply the number of actions.

    :param env: environment whose action space is a one-dimensional ``Box``.
    :param factors: for each factor its rows, of the action's length; the action is the sum of the chosen ones.
    :raises ValueError: if the action space or the rows do not fit.
    """

    def __init__(self, env: gym.Env, factors: Sequence[Sequence[Sequence[float]]]):
        space = env.action_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"Factors of actions need an environment with a one-dimensional Box of actions, not {space}.")
        rows = [[list(row) for row in factor] for factor in factors]
        if not rows or any(len(row) != space.shape[0] for factor in rows for row in factor) or min(map(len, rows)) < 2:
            raise ValueError(f"Each factor needs two or more rows of {space.shape[0]} numbers, and got {rows}.")
        for choice in itertools.product(*rows):
            if not space.contains(np.sum(choice, axis=0).astype(space.dtype)):
                raise ValueError(f"The rows {list(choice)} add up to what lies outside the environment's actions, {space}.")
        gym.utils.RecordConstructorArgs.__init__(self, factors=rows)
        gym.ActionWrapper.__init__(self, env)
        self.factors = [np.array(factor, space.dtype) for factor in rows]
        self.action_space = gym.spaces.MultiDiscrete([len(factor) for factor in rows])

    def action(self, action: Any) -> np.ndarray:
        """
        :param action: index of a row in each factor, (F,) integers.
        :return: the sum of the rows, (A,) in the environment's own dtype.
        """
        chosen = [factor[int(index)] for factor, index in zip(self.factors, action, strict=True)]
        return np.sum(chosen, axis=0, dtype=self.factors[0].dtype)


class DiscreteActions(gym.ActionWrapper, gym.utils.RecordConstructorArgs):
    """
    Gives an environment with a ``Box`` of actions a finite set of them.

    :param env: environment whose action space is a one-dimensional ``Box``.
    :param table: one row per action, each within the bounds of the environment's own.
    :raises ValueError: if the action space or the rows do not fit.
    """

    def __init__(self, env: gym.Env, table: Sequence[Sequence[float]]):
        space = env.action_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"A table of actions needs an environment with a one-dimensional Box of actions, not {space}.")
        rows = [list(row) for row in table]
        if len(rows) < 2 or any(len(row) != space.shape[0] for row in rows):
            raise ValueError(f"A table of actions needs two or more rows of {space.shape[0]} numbers each, and got {rows}.")
        actions = np.array(rows, space.dtype)
        for row, action in zip(rows, actions, strict=True):
            if not space.contains(action):
                raise ValueError(f"The action {row} lies outside the environment's actions, {space}.")
        gym.utils.RecordConstructorArgs.__init__(self, table=rows)
        gym.ActionWrapper.__init__(self, env)
        self.table = actions
        self.action_space = gym.spaces.Discrete(len(rows))

    def action(self, action: Any) -> np.ndarray:
        """
        :param action: index of a row.
        :return: the row, (A,) in the environment's own dtype, its own copy.
        """
        return self.table[int(action)].copy()


def action_table(actions: str | Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """
    The table that a name stands for.

    :param actions: a name in ``ACTION_TABLES``, or a table, which is returned.
    :return: one row per action.
    :raises ValueError: if the name is unknown.
    """
    if not isinstance(actions, str):
        return actions
    if actions not in ACTION_TABLES:
        known = ", ".join(["continuous", "discrete", *ACTION_TABLES, *ACTION_FACTORS])
        raise ValueError(f"The action set {actions!r} is unknown; give one of {known}, or a list of rows.")
    return ACTION_TABLES[actions]
