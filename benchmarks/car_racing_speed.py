"""
How fast the fast CarRacing is: agent steps per second, beside the stock picture and beside physics without any picture.

    python -W ignore -m benchmarks.car_racing_speed > benchmarks/car_racing_speed.md

(``--quick`` for a short one) prints a table and, as its last line, its figures as JSON. All variants drive the same episodes
along the road, one after the other in one process, several rounds; the table has the medians. Times are processor time of one
thread, resets included.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import argparse
import json
import platform
import statistics
import time

import cv2
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from envs import FrameSkip, make_env
from envs.fast_car_racing import FastCarRacing
from tests.envs.driving import Undrawn, steer_along

COMMAND = "python -W ignore -m benchmarks.car_racing_speed > benchmarks/car_racing_speed.md"
SKIP = 4


class Unseen(FastCarRacing):
    """The fast environment's physics, its picture never drawn."""

    def _begin(self) -> None:
        super()._begin()
        self.picture.draw = lambda env: self.picture.canvas


VARIANTS = {
    "stock picture": lambda: make_env("CarRacing-v3", render="stock"),
    "fast picture, gray": lambda: make_env("CarRacing-v3"),
    "fast picture, colour": lambda: make_env("CarRacing-v3", grayscale=False),
    "stock physics alone": lambda: FrameSkip(TimeLimit(Undrawn(), 1000), SKIP),
    "fast physics alone": lambda: Unseen(frame_skip=SKIP, size=192, grayscale=True),
}


def record(seed: int, steps: int) -> list[np.ndarray]:
    """Actions of a driver that follows the road of that seed."""
    env = FrameSkip(TimeLimit(Undrawn(), 1000), SKIP)
    env.reset(seed=seed)
    actions, over = [], False
    while not over and len(actions) < steps:
        actions.append(steer_along(env.unwrapped))
        _, _, terminated, truncated, _ = env.step(actions[-1])
        over = terminated or truncated
    return actions


def measure(env: gym.Env, seed: int, actions: list[np.ndarray]) -> tuple[float, float]:
    """Agent steps per second of processor time, the reset included, and the return."""
    start, total = time.process_time(), 0.0
    env.reset(seed=seed)
    for action in actions:
        total += float(env.step(action)[1])
    return len(actions) / (time.process_time() - start), total


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the fast CarRacing.")
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    quick = parser.parse_args().quick
    rounds, steps = (2, 40) if quick else (7, 250)
    cv2.setNumThreads(1)
    variants = {name: make() for name, make in VARIANTS.items()}
    warm_up = record(0, 20)
    for env in variants.values():
        measure(env, 0, warm_up)
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for seed in range(1, rounds + 1):
        actions = record(seed, steps)
        returns = set()
        for name, env in variants.items():
            rate, total = measure(env, seed, actions)
            rates[name].append(rate)
            returns.add(total)
        assert len(returns) == 1, f"the variants disagree about the return of seed {seed}: {returns}"
    medians = {name: statistics.median(values) for name, values in rates.items()}

    def ratio(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))

    print(f"`{COMMAND}`\n")
    print(f"Frame skip {SKIP}, 64x64, {rounds} episodes of up to {steps} agent steps; {platform.machine()}, one thread.\n")
    print(f"| {'':20} | agent steps/s | times stock picture | of stock physics | of fast physics |")
    print(f"|{'-' * 22}|--------------:|--------------------:|-----------------:|----------------:|")
    figures = {}
    for name, median in medians.items():
        stock, physics, lean = (ratio(name, other) for other in ("stock picture", "stock physics alone", "fast physics alone"))
        print(f"| {name:20} | {median:13.0f} | {stock:19.1f} | {physics:16.2f} | {lean:15.2f} |")
        figures[name] = {"steps_per_second": median, "of_stock": stock, "of_stock_physics": physics, "of_fast_physics": lean}
    print()
    print(json.dumps({"benchmark": "car_racing_speed", "frame_skip": SKIP, "rounds": rounds, "variants": figures}))


if __name__ == "__main__":
    main()
