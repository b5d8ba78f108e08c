"""MiniGrid seen as a picture: its own pixels, looked up tile by tile instead of drawn anew in every step."""

import warnings
from functools import lru_cache
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj

UNSEEN, EMPTY = OBJECT_TO_IDX["unseen"], OBJECT_TO_IDX["empty"]
COLORS, STATES = len(COLOR_TO_IDX), len(STATE_TO_IDX)
LOOKS_UP = 3  # the direction in which MiniGrid draws the agent of a partial view


@lru_cache(maxsize=64)
def tiles(size: int, highlight: bool, direction: int | None = None) -> np.ndarray:
    """
    MiniGrid's picture of every cell that can be.

    :param size: height and width of a tile in pixels.
    :param highlight: whether the agent sees the cell.
    :param direction: of the agent that stands on it (0 right, 1 down, 2 left, 3 up); None: there is none.
    :return: (kinds, size, size, 3) uint8, indexed by :func:`kind`, read-only; those of cells that cannot be are black.
    """
    pictures = np.zeros((len(OBJECT_TO_IDX) * COLORS * STATES, size, size, 3), np.uint8)
    for name, thing in OBJECT_TO_IDX.items():
        for color in range(COLORS):
            for state in range(STATES):
                if name == "agent":  # always drawn on top of what it stands on
                    continue
                cell = WorldObj.decode(thing, color, state)
                picture = Grid.render_tile(cell, direction, highlight and thing != UNSEEN, size)
                pictures[kind(thing, color, state)] = picture
    pictures.flags.writeable = False
    return pictures


def kind(thing: Any, color: Any, state: Any) -> Any:
    """
    One number for a cell's three.

    :param thing: MiniGrid's index of the object; integers or arrays of int.
    :param color: of its colour.
    :param state: of its state: open, closed, locked.
    :return: the index of the cell in :func:`tiles`.
    """
    return (thing * COLORS + color) * STATES + state


class MiniGridPicture(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """
    Observes what MiniGrid's ``RGBImgPartialObsWrapper`` and ``RGBImgObsWrapper`` show, pixel for pixel, as a plain image.

    The direction is left out, since a partial view is turned with the agent and a full one shows it. The mission is left out
    too: a text that no picture shows. Where it changes between episodes (``MiniGrid-Fetch-5x5-N2-v0``: which object) a
    warning says so.

    :param env: an environment of MiniGrid's, observing its own ``Dict``.
    :param view: ``"partial"``: the cells before the agent, it looks up; ``"full"``: the whole grid, the cells that it sees
        lighter.
    :param size: the picture's longer side is at most this, in whole pixels a tile, and 4 pixels a tile at least.
    :raises ValueError: if the view is unknown or the environment is none of MiniGrid's.
    """

    def __init__(self, env: gym.Env, view: Literal["partial", "full"] = "partial", size: int = 56):
        if view not in ("partial", "full"):
            raise ValueError(f"view must be 'partial' or 'full', not {view!r}.")
        space = env.observation_space
        if not isinstance(space, spaces.Dict) or not {"image", "direction", "mission"} <= set(space.spaces):
            raise ValueError(f"A picture of MiniGrid needs MiniGrid's own observations, not {space}.")
        gym.utils.RecordConstructorArgs.__init__(self, view=view, size=size)
        gym.ObservationWrapper.__init__(self, env)
        self.view = view
        grid_env: Any = env.unwrapped
        self.grid_env = grid_env
        reach: int = grid_env.agent_view_size
        across, down = (reach, reach) if view == "partial" else (grid_env.width, grid_env.height)
        self.tile = max(size // max(across, down), 4)
        self.observation_space = spaces.Box(0, 255, (down * self.tile, across * self.tile, 3), np.uint8)
        if getattr(space["mission"], "ordered_placeholders", None):
            name = type(self.grid_env).__name__ if env.spec is None else env.spec.id
            warnings.warn(f"The mission of {name} changes between episodes and is no part of its picture.", stacklevel=2)
        ahead, aside = np.meshgrid(np.arange(reach), np.arange(reach) - reach // 2)  # of the cells [across, ahead reversed]
        self._ahead, self._aside = ahead[:, ::-1], aside

    def observation(self, observation: Any) -> np.ndarray:
        """
        :param observation: MiniGrid's own.
        :return: picture (H, W, 3) uint8, a new one.
        """
        return self._partial(observation["image"]) if self.view == "partial" else self._full(observation["image"])

    def _partial(self, seen: np.ndarray) -> np.ndarray:
        """The cells before the agent, who looks up from the middle of the last row."""
        cells = kind(*np.moveaxis(seen.astype(np.intp), -1, 0)).T  # MiniGrid counts columns first
        return self._assemble(tiles(self.tile, True)[cells], cells, len(cells) - 1, len(cells) // 2, LOOKS_UP, True)

    def _full(self, seen: np.ndarray) -> np.ndarray:
        """The whole grid, with the cells that the agent sees highlighted."""
        env = self.grid_env
        codes = [(EMPTY, 0, 0) if cell is None else cell.encode() for cell in env.grid.grid]
        cells = kind(*np.array(codes, np.intp).T).reshape(env.height, env.width)
        lit = np.zeros(cells.shape, bool)
        (x, y), (forward_x, forward_y), (right_x, right_y) = env.agent_pos, env.dir_vec, env.right_vec
        visible = seen[..., 0] != UNSEEN
        ahead, aside = self._ahead[visible], self._aside[visible]
        rows, columns = y + forward_y * ahead + right_y * aside, x + forward_x * ahead + right_x * aside
        inside = (rows >= 0) & (rows < env.height) & (columns >= 0) & (columns < env.width)
        lit[rows[inside], columns[inside]] = env.highlight
        pictures = np.where(lit[..., None, None, None], tiles(self.tile, True)[cells], tiles(self.tile, False)[cells])
        return self._assemble(pictures, cells, y, x, env.agent_dir, bool(lit[y, x]))

    def _assemble(self, pictures: np.ndarray, cells: np.ndarray, y: int, x: int, direction: int, lit: bool) -> np.ndarray:
        """One picture of the tiles (rows, columns, size, size, 3), the agent put in its place."""
        pictures[y, x] = tiles(self.tile, lit, direction)[cells[y, x]]
        return pictures.transpose(0, 2, 1, 3, 4).reshape(self.observation_space.shape)
