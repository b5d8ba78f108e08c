"""Small action sets for environments with continuous actions."""

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
        known = ", ".join(["continuous", "discrete", *ACTION_TABLES])
        raise ValueError(f"The action set {actions!r} is unknown; give one of {known}, or a list of rows.")
    return ACTION_TABLES[actions]
