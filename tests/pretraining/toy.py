"""A tiny environment and data sets of it, for the tests of pre-training."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from cpc_rl.pretraining.collect import collect
from cpc_rl.pretraining.policies import RandomPolicy

MOVES = [(0, -1), (0, 1), (1, -1), (1, 1)]


class Rolling(gymnasium.Env):
    """A pattern of 4 x 4 grey fields that the action rolls by one; episodes of 7 steps. Images are 36 x 36 x 1."""

    observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.grid = self.np_random.integers(0, 256, (4, 4), dtype=np.uint8)
        self.steps = 0
        return self._image(), {"steps": 0}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        axis, shift = MOVES[action]
        self.grid = np.roll(self.grid, shift, axis)
        self.steps += 1
        return self._image(), float(action), self.steps == 7, False, {"steps": self.steps}

    @property
    def brightness(self) -> float:
        """Mean of the image."""
        return float(self.grid.mean())

    def _image(self) -> np.ndarray:
        return self.grid.repeat(9, 0).repeat(9, 1)[:, :, None]


def make(env_id: str) -> gymnasium.Env:
    """The factory for the command line."""
    return Rolling()


def rolling_data(folder: Path, steps: int = 100, jpeg: bool = False, labels: tuple[str, ...] = ()) -> Path:
    """A recorded data set; JPEG has no images with one channel, so that these are without that axis."""
    env: gymnasium.Env = Rolling()
    if jpeg:
        flat = spaces.Box(0, 255, (36, 36), np.uint8)
        env = gymnasium.wrappers.TransformObservation(env, lambda image: image[:, :, 0], flat)
    return collect(env, RandomPolicy(env.action_space), steps=steps, out=folder / "rolling", jpeg=jpeg, labels=labels).folder
