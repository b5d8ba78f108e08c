"""
A run small enough for a test: images of 36 pixels, episodes of a few steps, an update of a few frames.

``python -m tests.agents.tiny LOG_DIR ALGO ARM [N]`` trains it; with N the process kills itself at the N-th rename of a file.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from agents.algorithms import CONTINUOUS_ONLY
from agents.configuration import RunConfiguration
from agents.machine import Machine
from agents.recipe import EnvironmentSettings, EvaluationSettings, Recipe
from agents.run import execute
from agents.run_folder import RunFolder

IMAGES = "tests.agents.tiny:TinyImages-v0"
IMAGES_BOX = "tests.agents.tiny:TinyImagesBox-v0"
TIMESTEPS, EVAL_FREQ = 96, 32
# Rollouts of the tiny PPO hold 16 steps, and DQN's one: both start one at every multiple of 16.
EVALUATED = [0, 32, 64, 96]


class TinyImages(gym.Env):
    """
    A bright bar whose place is the step; the right action is the bar's third. Episodes have seven steps.

    :param continuous: one action in [-1, 1] instead of three
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, continuous: bool = False, render_mode: str | None = None):
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32) if continuous else spaces.Discrete(3)

    def _picture(self) -> np.ndarray:
        picture = self.np_random.integers(0, 50, (36, 36, 1), dtype=np.uint8)
        picture[:, self.place * 12 : (self.place + 1) * 12] += 200
        return picture

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        self.place = int(self.np_random.integers(3))
        return self._picture(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        chosen = int((float(action[0]) + 1) * 1.49) if isinstance(self.action_space, spaces.Box) else int(action)
        reward = float(chosen == self.place)
        self.steps += 1
        self.place = int(self.np_random.integers(3))
        return self._picture(), reward, self.steps == 7, False, {}

    def render(self) -> np.ndarray:
        return np.repeat(self._picture(), 3, axis=2)


class UndrawnImages(TinyImages):
    """The same without a picture for people."""

    metadata = {"render_modes": []}  # noqa: RUF012


if "UndrawnImages-v0" not in gym.registry:
    gym.register("UndrawnImages-v0", "tests.agents.tiny:UndrawnImages")
for _id, _continuous in (("TinyImages-v0", False), ("TinyImagesBox-v0", True)):
    if _id not in gym.registry:
        gym.register(_id, "tests.agents.tiny:TinyImages", kwargs={"continuous": _continuous})

OFF_POLICY = {"buffer_size": 60, "learning_starts": 8, "batch_size": 4, "train_freq": 8}
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "ppo": {
        "n_steps": 8,
        "batch_size": 8,
        "n_epochs": 2,
        "learning_rate": {"schedule": "linear", "start": 1.0e-3, "end": 0.0},
    },
    "maskableppo": {
        "n_steps": 8,
        "batch_size": 8,
        "n_epochs": 2,
        "ent_coef": {"schedule": "linear", "start": 0.1, "end": 0.0},
    },
    "recurrentppo": {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
    "a2c": {"n_steps": 8},
    "trpo": {"n_steps": 8, "batch_size": 8, "n_critic_updates": 2, "cg_max_steps": 3},
    "dqn": {"buffer_size": 60, "learning_starts": 8, "batch_size": 4, "train_freq": 4},
    "qrdqn": OFF_POLICY,
    **dict.fromkeys(CONTINUOUS_ONLY, OFF_POLICY),
}


def tiny_recipe(algorithm: str = "ppo", objective: str = "curl") -> Recipe:
    """A recipe whose runs take a second or two."""
    return Recipe(
        algorithm=algorithm,
        policy={"recurrentppo": "CnnLstmPolicy", "crossq": "MlpPolicy"}.get(algorithm, "CnnPolicy"),
        timesteps=TIMESTEPS,
        n_envs=2,
        hyperparameters=HYPERPARAMETERS[algorithm],
        environment=EnvironmentSettings(frame_stack=2, size=36),
        extractor={"name": "nature_cnn", "features_dim": 16},
        objective=objective,
        channels_last=True,
        callback={"batch_size": 4},
        evaluation=EvaluationSettings(count=3, episodes=2, final_episodes=3),
    )


def tiny_configuration(algorithm: str = "ppo", arm: str = "curl", **changes: Any) -> RunConfiguration:
    """The configuration of a tiny run."""
    recipe = tiny_recipe(algorithm)
    values: dict[str, Any] = {
        "env": IMAGES_BOX if algorithm in CONTINUOUS_ONLY else IMAGES,
        "arm": arm,
        "seed": 0,
        "timesteps": TIMESTEPS,
        "n_envs": recipe.n_envs,
        "pixels": False,
        "render": "fast",
        "eval_freq": EVAL_FREQ,
        "eval_episodes": 1,
        "final_episodes": 1,
        "encoder": None,
        "recipe": recipe,
    }
    return RunConfiguration(**{**values, **changes})


def tiny_run(log_dir: Path, configuration: RunConfiguration, *, overwrite: bool = False) -> RunFolder:
    """Bring a tiny run to its end, from wherever it is."""
    folder = RunFolder.of(log_dir, configuration)
    execute(configuration, folder, Machine("cpu", "dummy"), overwrite=overwrite, command="python -m tests.agents.tiny")
    return folder


def _die_at_rename(count: int) -> None:
    """Kill this process instead of making its ``count``-th rename."""
    rename, made = os.replace, iter(range(1, count))

    def replace(*arguments: Any) -> None:
        if next(made, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*arguments)

    os.replace = replace  # type: ignore[assignment]


if __name__ == "__main__":
    if len(sys.argv) > 4:
        _die_at_rename(int(sys.argv[4]))
    tiny_run(Path(sys.argv[1]), tiny_configuration(sys.argv[2], sys.argv[3]))
