"""Catch: a ball falls, a paddle moves below it."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.pixel_control.canvas import BLUE, PALE, Canvas
from envs.pixel_control.observation import PixelControl

RENDERED = 400  # pixels of a side of the rendered picture


class Catch(gym.Env):
    """
    The game of bsuite (Osband et al., 2020, "Behaviour Suite for Reinforcement Learning", appendix A.2) by its rules.

    The ball starts in a random column of the top row and falls by a row each step; the paddle starts in the middle of the
    bottom row. Actions: 0 left, 1 stay, 2 right. When the ball reaches the bottom row the episode ends, with a reward of +1
    if the paddle is below it and -1 if not; all other rewards are 0.

    :param rows: of the board; an episode has one step less.
    :param columns: of the board.
    :param render_mode: None or ``"rgb_array"``.
    :raises ValueError: if the paddle could not move, or could not reach every column in time.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(self, rows: int = 10, columns: int = 5, render_mode: str | None = None):
        if columns < 2 or rows <= columns // 2:
            message = f"Catch needs 2 columns or more and more rows than half the columns, not {rows} rows, {columns} columns."
            raise ValueError(message)
        self.rows, self.columns, self.render_mode = rows, columns, render_mode
        self.observation_space = spaces.MultiDiscrete([columns, rows, columns])
        self.action_space = spaces.Discrete(3)
        self.ball, self.row, self.paddle = 0, 0, columns // 2

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """
        :param seed: of the ball's column.
        :param options: not used.
        :return: ball's column, ball's row, paddle's column: (3,) int64; info.
        """
        super().reset(seed=seed)
        self.ball, self.row, self.paddle = int(self.np_random.integers(self.columns)), 0, self.columns // 2
        return np.array([self.ball, self.row, self.paddle]), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        :param action: 0 left, 1 stay, 2 right.
        :return: ball's column, ball's row, paddle's column: (3,) int64; reward, terminated, False, info.
        :raises ValueError: if there is no such action, or the episode is over.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"An action of Catch is 0, 1 or 2, not {action!r}.")
        if self.row == self.rows - 1:
            raise ValueError("The ball is down: reset() must begin the next episode before step().")
        self.paddle = min(max(self.paddle + int(action) - 1, 0), self.columns - 1)
        self.row += 1
        down = self.row == self.rows - 1
        reward = (1.0 if self.paddle == self.ball else -1.0) if down else 0.0
        return np.array([self.ball, self.row, self.paddle]), reward, down, False, {}


class PixelCatch(PixelControl, Catch):
    """``Catch`` on a picture: a disc and, in the board's bottom row, a bar."""

    def draw(self, canvas: Canvas) -> None:
        """Ball and paddle."""
        # The lowest tenth stays empty: NatureCNN does not read the last four rows of pictures of 48 or 64 pixels.
        width, height = 1 / self.columns, 0.9 / self.rows
        left, bottom = self.paddle * width, 0.9
        right, top = left + width, bottom - 0.6 * height
        canvas.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], BLUE)
        canvas.disc(((self.ball + 0.5) * width, (self.row + 0.5) * height), min(0.4 * width, 0.8 * height), PALE)

    def render(self) -> Any:
        """The task in colour without noise or background, (400, 400, 3) uint8; None without a render mode."""
        if self.render_mode is None:
            return None
        picture = np.full((RENDERED, RENDERED, 3), 64, np.uint8)
        self.draw(Canvas(picture))
        return picture
