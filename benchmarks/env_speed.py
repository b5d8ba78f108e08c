"""
Which vector of environments is the fastest: agent steps per second of one process, several, and EnvPool.

    python -W ignore -m benchmarks.env_speed > benchmarks/env_speed.md

(``--quick`` for a short one) prints tables and, as its last line, the figures as JSON. Every vector is ``make_vec_env``'s:
frame stack, ``Monitor``, resets and Python's part included, random actions. All of a table take turns, several rounds; the
tables have the medians, ratios are taken within a round. Times are by the clock, since EnvPool and processes use other threads
and cores. A last table says how far EnvPool's CarRacing looks like the stock one.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import envpool
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from envs import make_vec_env

COMMAND = "python -W ignore -m benchmarks.env_speed > benchmarks/env_speed.md"
CAR = {"env_id": "CarRacing-v2", "size": 64, "actions": "discrete"}
PONG = {"env_id": "ale_py:ALE/Pong-v5", "size": 84}


class PoolAlone:
    """EnvPool without this project: its own frame skip (the brighter of two frames), picture and stack, resets a step late."""

    def __init__(self, n_envs: int):
        self.pool = envpool.make_gymnasium("Pong-v5", num_envs=n_envs, seed=0, repeat_action_probability=0.25)
        self.num_envs = n_envs
        self.action_space = self.pool.action_space

    def reset(self) -> None:
        self.pool.reset()

    def step(self, actions: np.ndarray) -> None:
        self.pool.step(actions)

    def close(self) -> None:
        self.pool.close()


TASKS: dict[str, dict[str, Callable[[int], Any]]] = {
    "CarRacing-v2, frame skip 4, 64x64 gray": {
        "fast picture, dummy": lambda n: make_vec_env(n_envs=n, vec="dummy", seed=0, **CAR),
        "fast picture, subproc": lambda n: make_vec_env(n_envs=n, vec="subproc", seed=0, **CAR),
        "stock picture, dummy": lambda n: make_vec_env(n_envs=n, vec="dummy", seed=0, render="stock", **CAR),
        "stock picture, subproc": lambda n: make_vec_env(n_envs=n, vec="subproc", seed=0, render="stock", **CAR),
        "EnvPool's picture, envpool": lambda n: make_vec_env(n_envs=n, vec="envpool", seed=0, **CAR),
    },
    "ALE/Pong-v5, frame skip 4, 84x84 gray": {
        "dummy": lambda n: make_vec_env(n_envs=n, vec="dummy", seed=0, **PONG),
        "subproc": lambda n: make_vec_env(n_envs=n, vec="subproc", seed=0, **PONG),
        "envpool": lambda n: make_vec_env(n_envs=n, vec="envpool", seed=0, **PONG),
        "EnvPool alone, other picture": PoolAlone,
    },
}


def measure(venv: VecEnv | PoolAlone, seconds: float, rng: np.random.Generator) -> float:
    """Agent steps per second, summed over the environments, from where the vector stands."""
    steps, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        venv.step(rng.integers(venv.action_space.n, size=venv.num_envs))
        steps += venv.num_envs
    return steps / passed


def take_turns(makers: dict[str, Callable[[int], Any]], n_envs: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """The rates of each vector, round by round."""
    venvs = {name: make(n_envs) for name, make in makers.items()}
    rates: dict[str, list[float]] = {name: [] for name in venvs}
    for venv in venvs.values():
        venv.reset()
        measure(venv, seconds / 2, np.random.default_rng(0))
    for number in range(rounds):
        for name, venv in venvs.items():
            rates[name].append(measure(venv, seconds, np.random.default_rng(number)))
    for venv in venvs.values():
        venv.close()
    return rates


def pictures(vec: str, render: str, tracks: int) -> np.ndarray:
    """The car at rest on each of several tracks, once the camera has come down: (tracks, 96, 96, 3)."""
    venv = make_vec_env(
        "CarRacing-v2", tracks, 0, vec=vec, render=render, frame_skip=1, frame_stack=1, size=96, grayscale=False
    )
    venv.reset()
    for _ in range(60):
        observations, *_ = venv.step(np.zeros((tracks, 3), np.float32))
    venv.close()
    return np.moveaxis(observations, 1, -1).astype(float)


def compare(tracks: int) -> dict[str, dict[str, float]]:
    """Pictures averaged over tracks, and how much neighbouring pixels differ, beside the stock picture's."""
    make = partial(pictures, tracks=tracks)
    stock, fast, pool = make("dummy", "stock"), make("dummy", "fast"), make("envpool", "fast")
    half = tracks // 2
    pairs = {
        "stock, other tracks": (stock[:half].mean(0), stock[half:].mean(0), stock[half:]),
        "fast": (stock.mean(0), fast.mean(0), fast),
        "EnvPool": (stock.mean(0), pool.mean(0), pool),
    }
    figures = {}
    for name, (one, other, seen) in pairs.items():
        difference = np.abs(one - other)
        edges = np.abs(np.diff(seen[:, :84], axis=2)).mean() / np.abs(np.diff(stock[:, :84], axis=2)).mean()
        parts = {"car": difference[60:78, 40:56], "bar": difference[84:], "rest": difference[:60]}
        figures[name] = {**{part: float(values.mean()) for part, values in parts.items()}, "edges": float(edges)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of vectors of environments.")
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    quick = parser.parse_args().quick
    rounds, seconds, tracks = (2, 0.2, 4) if quick else (7, 1.0, 40)
    cv2.setNumThreads(1)
    print(f"`{COMMAND}`\n")
    print(f"{rounds} rounds of {seconds} s each; {platform.machine()}, {os.cpu_count()} cores, EnvPool {envpool.__version__}.")
    figures: dict[str, Any] = {}
    for task, makers in TASKS.items():
        rates = {n_envs: take_turns(makers, n_envs, rounds, seconds) for n_envs in (1, 8)}
        base = next(iter(makers))
        print(f"\n{task}:\n")
        print(f"| {'':28} | 1 env, steps/s | of {base} | 8 envs, steps/s | of {base} |")
        print(f"|{'-' * 30}|---:|---:|---:|---:|")
        figures[task] = {}
        for name in makers:
            row: dict[int, dict[str, float]] = {}
            for n_envs, measured in rates.items():
                ratio = statistics.median(a / b for a, b in zip(measured[name], measured[base], strict=True))
                row[n_envs] = {"steps_per_second": statistics.median(measured[name]), "ratio": ratio}
            cells = " | ".join(f"{cell['steps_per_second']:.0f} | {cell['ratio']:.2f}" for cell in row.values())
            print(f"| {name:28} | {cells} |")
            figures[task][name] = row
    looks = compare(tracks)
    print(
        f"\nCarRacing's picture, 96x96 in colour, the car at rest, over {tracks} tracks: by how much the mean picture differs"
    )
    print(
        "from the stock one's, in levels of 255, and how much neighbouring pixels differ, as a share of the stock picture's."
    )
    print("Besides, EnvPool's shows skid marks, which the stock observation leaves out, and the reward as dots.\n")
    print("| | the car | the bar | the rest | neighbouring pixels |")
    print("|---|---:|---:|---:|---:|")
    for name, look in looks.items():
        print(f"| {name} | {look['car']:.1f} | {look['bar']:.1f} | {look['rest']:.1f} | {look['edges']:.2f} |")
    print()
    print(json.dumps({"benchmark": "env_speed", "rounds": rounds, "seconds": seconds, "tasks": figures, "pictures": looks}))


if __name__ == "__main__":
    main()
