"""
Times an algorithm's whole ``train()`` with a head against the same without one: step time as a ratio.

    OMP_NUM_THREADS=1 python -m benchmarks.head_cost > benchmarks/head_cost.md

Batch 128, two sizes of images. All heads of one algorithm and size run in turn in one process, on buffers with equal content;
the median of the rounds counts. The last line holds all figures as one JSON object.
"""

import argparse
import functools
import json
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from agents.memory import keep_freed_memory
from benchmarks.turns import in_turn
from cpc_rl import ContrastiveCallback
from cpc_rl.objectives import OBJECTIVES

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.head_cost > benchmarks/head_cost.md"
BATCH = 128
ROLLOUT = 512
SHAPES = {"84x84, 3 RGB frames": (9, 84, 84), "48x48, 4 grey frames": (4, 48, 48)}
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"SAC": SAC, "DQN": DQN, "PPO": PPO}
ONE_VIEW = [name for name in OBJECTIVES if name != "multiview"]  # which wants a Dict of images
OTHERWISE: dict[str, dict[str, Any]] = {
    "atc, 1 step": {"objective": "atc", "objective_kwargs": {"horizon": 1}},
    "cpc, 3 steps": {"objective": "cpc", "objective_kwargs": {"horizon": 3}},
    "cpc, no keys of the rollout": {"objective": "cpc", "rollout_keys": False},
    "curl, own passes": {"objective": "curl", "share_passes": False},
    "cpc, own passes": {"objective": "cpc", "share_passes": False},
    "curl, tied": {"objective": "curl", "encoder": "tied"},
    "cpc, tied": {"objective": "cpc", "encoder": "tied"},
}


class Frames(gym.Env):
    """Noise with episodes of 50 steps: what is learnt does not matter here."""

    def __init__(self, shape: tuple[int, int, int], continuous: bool) -> None:
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space: spaces.Space = spaces.Box(-1, 1, (2,), np.float32) if continuous else spaces.Discrete(4)
        self.frames = np.random.default_rng(0).integers(0, 256, (16, *shape), dtype=np.uint8)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.time = 0
        return self.frames[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.frames[self.time % 16], 1.0, self.time == 50, False, {}


def make_model(algorithm: type[BaseAlgorithm], shape: tuple[int, int, int], device: str) -> BaseAlgorithm:
    """A model that learns once in a long while, so that its updates can be called one by one."""
    env = Frames(shape, continuous=algorithm is SAC)
    if algorithm is PPO:
        return PPO("CnnPolicy", env, n_steps=ROLLOUT, batch_size=BATCH, n_epochs=1, seed=0, device=device)
    return algorithm(  # type: ignore[call-arg]
        "CnnPolicy", env, batch_size=BATCH, buffer_size=1000, learning_starts=600, train_freq=10_000, seed=0, device=device
    )


def make_update(
    algorithm: type[BaseAlgorithm], shape: tuple[int, int, int], settings: dict[str, Any], device: str
) -> Callable[[], None]:
    """A model that has collected, and a call of its ``train()`` as ``learn()`` would make it: four updates."""
    model: Any = make_model(algorithm, shape, device)
    callback = ContrastiveCallback(**settings, batch_size=BATCH) if settings else None
    model.set_logger(configure(None, []))
    _, callback = model._setup_learn(10_000, callback)  # as learn() does, up to the first update
    callback.on_training_start(locals(), globals())
    if algorithm is PPO:
        model.collect_rollouts(model.env, callback, model.rollout_buffer, ROLLOUT)
    else:
        frequency = TrainFreq(600, TrainFrequencyUnit.STEP)
        model.collect_rollouts(model.env, train_freq=frequency, callback=callback, replay_buffer=model.replay_buffer)
    train = model.train if algorithm is PPO else functools.partial(model.train, gradient_steps=4, batch_size=BATCH)

    def update() -> None:
        train()
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return update


def measure(algorithm: type[BaseAlgorithm], shape: tuple[int, int, int], rounds: int, device: str) -> dict[str, float]:
    """Median milliseconds of an update with every head."""
    heads = {"plain": {}, **{name: {"objective": name} for name in ONE_VIEW}, **OTHERWISE}
    for name, settings in OTHERWISE.items():
        if (algorithm is not PPO and "rollout_keys" in settings) or (algorithm is not SAC and "encoder" in settings):
            del heads[name]
    updates = {name: make_update(algorithm, shape, settings, device) for name, settings in heads.items()}
    alone = device == "cpu" and torch.get_num_threads() == 1  # processor time then leaves out what else the machine does
    times = in_turn(updates, rounds, warm_ups=1, clock=time.process_time if alone else time.perf_counter)
    return {name: value / 4 for name, value in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, PPO alone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    keep_freed_memory()
    rounds = 1 if arguments.quick else arguments.rounds
    algorithms = {"PPO": PPO} if arguments.quick else ALGORITHMS
    figures = {
        f"{name}, {size}": measure(algorithm, shape, rounds, arguments.device)
        for size, shape in SHAPES.items()
        for name, algorithm in algorithms.items()
    }
    print("# What a head costs\n")
    print(f"Time of `train()` over that of the same algorithm without a head; median of {rounds} rounds in turn, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}, device {arguments.device}.\n")
    print(f"    {COMMAND}\n")
    rows = list(dict.fromkeys(name for values in figures.values() for name in values))
    print("| head |", " | ".join(figures), "|\n|---|", "---|" * len(figures), sep="")
    for row in rows:
        print(f"| {row} |", " | ".join(f"{v[row] / v['plain']:.2f}" if row in v else "" for v in figures.values()), "|")
    print("| milliseconds, plain |", " | ".join(f"{v['plain']:.0f}" for v in figures.values()), "|\n")
    print(json.dumps({"benchmark": "head_cost", "rounds": rounds, "milliseconds": figures}))


if __name__ == "__main__":
    main()
