"""
Times an algorithm's whole ``train()`` with a head against the same without one: step time as a ratio.

    OMP_NUM_THREADS=2 python -m benchmarks.head_cost > benchmarks/head_cost.md

84x84 images, 3 stacked RGB frames, batch 128. All variants of one algorithm run in turn in one process, on buffers with equal
content; the median of the rounds counts. The last line holds all figures as one JSON object.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import TQC
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure

from cpc_rl import ContrastiveCallback

BATCH = 128
ROLLOUT = 512
COMMAND = "OMP_NUM_THREADS=2 python -m benchmarks.head_cost > benchmarks/head_cost.md"
CURL, ATC, CPC = ("curl", {}), ("atc", {"horizon": 1}), ("cpc", {"horizon": 1})
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "curl": {"objective": CURL},
    "atc": {"objective": ATC},
    "cpc": {"objective": CPC},
    "cpc, no keys of the rollout": {"objective": CPC, "rollout_keys": False},
    "cpc, 3 steps": {"objective": ("cpc", {"horizon": 3})},
    "curl, own passes": {"objective": CURL, "share_passes": False},
    "cpc, own passes": {"objective": CPC, "share_passes": False},
}
TIED = {
    "curl, tied": {"objective": CURL, "encoder": "tied"},
    "cpc, tied": {"objective": CPC, "encoder": "tied"},
    "curl, tied, own passes": {"objective": CURL, "encoder": "tied", "share_passes": False},
}


class Frames(gym.Env):
    """Noise with episodes of 50 steps: what is learnt does not matter here."""

    observation_space = spaces.Box(0, 255, (9, 84, 84), np.uint8)

    def __init__(self, continuous: bool) -> None:
        self.action_space: spaces.Space = spaces.Box(-1, 1, (2,), np.float32) if continuous else spaces.Discrete(4)
        self.frames = np.random.default_rng(0).integers(0, 256, (16, 9, 84, 84), dtype=np.uint8)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.time = 0
        return self.frames[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.frames[self.time % 16], 1.0, self.time == 50, False, {}


def make_model(algorithm: type[BaseAlgorithm], device: str) -> BaseAlgorithm:
    env = Frames(continuous=algorithm in (SAC, TQC))
    if algorithm is PPO:
        return PPO("CnnPolicy", env, n_steps=ROLLOUT, batch_size=BATCH, n_epochs=1, seed=0, device=device)
    return algorithm(  # type: ignore[call-arg]
        "CnnPolicy", env, batch_size=BATCH, buffer_size=1000, learning_starts=600, train_freq=10_000, seed=0, device=device
    )


class Bench:
    """One variant: a model that has collected, and a call of ``train()`` as ``learn()`` would make it."""

    def __init__(self, algorithm: type[BaseAlgorithm], settings: dict[str, Any], device: str) -> None:
        self.model = make_model(algorithm, device)
        self.updates = 4
        settings = dict(settings)
        objective = settings.pop("objective", None)
        callback = None if objective is None else ContrastiveCallback(*objective, batch_size=BATCH, **settings)
        self.model.set_logger(configure(None, []))
        _, self.callback = self.model._setup_learn(10_000, callback)  # as learn() does, up to the first update
        self.callback.on_training_start(locals(), globals())
        env = self.model.env
        if algorithm is PPO:
            self.model.collect_rollouts(env, self.callback, self.model.rollout_buffer, ROLLOUT)  # type: ignore[attr-defined]
        else:
            self.model.collect_rollouts(  # type: ignore[attr-defined]
                env,
                train_freq=TrainFreq600(),
                callback=self.callback,
                replay_buffer=self.model.replay_buffer,  # type: ignore[attr-defined]
            )

    def run(self) -> float:
        """Seconds of one update."""
        began = time.perf_counter()
        if isinstance(self.model, PPO):
            self.model.train()
        else:
            self.model.train(gradient_steps=self.updates, batch_size=BATCH)  # type: ignore[attr-defined]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / self.updates


def TrainFreq600() -> Any:
    from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

    return TrainFreq(600, TrainFrequencyUnit.STEP)


def measure(algorithm: type[BaseAlgorithm], rounds: int, device: str, names: list[str] | None) -> dict[str, float]:
    """Median seconds of an update for every variant."""
    variants = {**VARIANTS, **(TIED if algorithm in (SAC, TQC) else {})}
    if algorithm is not PPO:
        del variants["cpc, no keys of the rollout"]
    if names:
        variants = {name: value for name, value in variants.items() if name in names or name == "plain"}
    benches = {name: Bench(algorithm, settings, device) for name, settings in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in benches}
    for bench in benches.values():
        bench.run()  # warm up
    for _ in range(rounds):
        for name, bench in benches.items():
            seconds[name].append(bench.run())
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--algo", nargs="+", default=["SAC", "TQC", "DQN", "PPO"])
    parser.add_argument("--variant", nargs="*")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rounds = 2 if arguments.quick else arguments.rounds
    classes: dict[str, type[BaseAlgorithm]] = {c.__name__: c for c in (SAC, TQC, DQN, PPO)}
    figures = {name: measure(classes[name], rounds, arguments.device, arguments.variant) for name in arguments.algo}
    print("# What a head costs\n")
    print(f"Time of `train()` over that of the same algorithm without a head; median of {rounds} rounds in turn, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}, device {arguments.device}.\n")
    print(f"    {COMMAND}\n")
    rows = list(dict.fromkeys(name for values in figures.values() for name in values))
    print("| head |", " | ".join(figures), "|\n|---|", "---|" * len(figures), sep="")
    for row in rows:
        cells = (f"{v[row] / v['plain']:.2f}" if row in v else "" for v in figures.values())
        print(f"| {row} |", " | ".join(cells), "|")
    print("| milliseconds, plain |", " | ".join(f"{1000 * v['plain']:.0f}" for v in figures.values()), "|\n")
    print(json.dumps({"benchmark": "head_cost", "rounds": rounds, "seconds": figures}))


if __name__ == "__main__":
    main()
