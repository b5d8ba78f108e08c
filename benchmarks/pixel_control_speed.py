"""
How fast the pixel control set is: steps per second with the picture, beside Gymnasium's own picture and beside no picture.

    python -W ignore -m benchmarks.pixel_control_speed > benchmarks/pixel_control_speed.md

(``--quick`` for a short one) prints a table and, as its last line, its figures as JSON. All variants of a task take the same
random actions from the same seed, one after the other in one process, several rounds; the table has the medians. Times are
processor time of one thread, resets included. Gymnasium's picture is ``render()`` in the mode ``rgb_array`` at its own size,
neither shrunk nor turned gray, which an agent would need besides. Writes a picture of every task and variant to
benchmarks/pixel_control.png (not with ``--quick``).
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np

from envs import make_env, register_envs
from envs.pixel_control import Catch
from envs.registration import PIXEL_TASKS, PIXEL_VARIANTS

COMMAND = "python -W ignore -m benchmarks.pixel_control_speed > benchmarks/pixel_control_speed.md"
SIZE = 48
STOCK = {"CartPole": "CartPole-v1", "Pendulum": "Pendulum-v1", "Acrobot": "Acrobot-v1", "MountainCar": "MountainCar-v0"}
TILE = 146  # pixels of an example with its frame: three for each of the picture's


class Rendered(gym.Wrapper):
    """Renders after each reset and step, as is done for an agent that sees Gymnasium's picture."""

    def reset(self, **kwargs):
        super().reset(**kwargs)
        return self.render(), {}

    def step(self, action):
        _, *rest = super().step(action)
        return self.render(), *rest


def make(task: str, kind: str) -> gym.Env:
    """A task with one of our pictures (``clean``, ...), with Gymnasium's (``stock``) or with none (``none``)."""
    if kind == "stock":
        return Rendered(gym.make(STOCK[task], render_mode="rgb_array", disable_env_checker=True))
    if kind == "none":
        return gym.make(STOCK[task], disable_env_checker=True) if task in STOCK else Catch()
    names = {variant: name for name, variant in PIXEL_VARIANTS.items()}
    return make_env(f"Pixel{task}{names[kind]}-v0", size=SIZE)


def seconds(env: gym.Env, steps: int) -> float:
    """Processor time of that many steps."""
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(steps)]
    env.reset(seed=0)
    started = time.process_time()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return time.process_time() - started


def example(task: str, variant: str, grayscale: bool) -> np.ndarray:
    """What an agent sees after some random steps, (TILE, TILE, 3)."""
    names = {kind: name for name, kind in PIXEL_VARIANTS.items()}
    env = make_env(f"Pixel{task}{names[variant]}-v0", size=SIZE, grayscale=grayscale)
    env.action_space.seed(9)
    picture, _ = env.reset(seed=9)
    for _ in range(7):
        picture, *_ = env.step(env.action_space.sample())
    picture = np.repeat(picture, 3, axis=-1) if grayscale else picture
    tile = cv2.resize(picture, (TILE - 2, TILE - 2), interpolation=cv2.INTER_NEAREST)
    return cv2.copyMakeBorder(tile, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def write_examples(path: Path) -> None:
    """One row per task, a column per variant and number of channels, and a line that names the columns."""
    columns = [(variant, grayscale) for grayscale in (True, False) for variant in PIXEL_VARIANTS.values()]
    rows = [np.hstack([example(task, *column) for column in columns]) for task in PIXEL_TASKS]
    header = np.full((20, len(columns) * TILE, 3), 255, np.uint8)
    for column, (variant, grayscale) in enumerate(columns):
        title = f"{variant}, {'gray' if grayscale else 'colour'}"
        cv2.putText(header, title, (column * TILE + 4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    picture = np.ascontiguousarray(np.vstack([header, *rows])[..., ::-1])
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the pixel control set.")
    parser.add_argument("--quick", action="store_true", help="few steps, and no picture")
    quick = parser.parse_args().quick
    rounds, steps = (2, 200) if quick else (7, 2000)
    cv2.setNumThreads(1)
    register_envs()
    kinds = [*PIXEL_VARIANTS.values(), "none", "stock"]
    print(f"`{COMMAND}`\n")
    print(f"{SIZE}x{SIZE} gray, {rounds} rounds of {steps} steps; {platform.machine()}, one thread. Steps per second; in")
    print("brackets, times those of Gymnasium's own `rgb_array` picture.\n")
    print("| task        |             clean |             noise |        background | no picture | Gymnasium's picture |")
    print("|-------------|------------------:|------------------:|------------------:|-----------:|--------------------:|")
    figures = {}
    for task in PIXEL_TASKS:
        environments = {kind: make(task, kind) for kind in kinds if kind != "stock" or task in STOCK}
        times: dict[str, list[float]] = {kind: [] for kind in environments}
        for _ in range(rounds):
            for kind, env in environments.items():
                count = steps // 10 if kind == "stock" else steps
                times[kind].append(seconds(env, count) / count)
        rates = {kind: 1 / statistics.median(values) for kind, values in times.items()}
        ratios = {
            kind: statistics.median(other / own for own, other in zip(times[kind], times["stock"], strict=True))
            for kind in rates
            if "stock" in rates
        }
        cells = [
            f"{rates[kind]:9.0f} " + (f"({ratios[kind]:4.0f}x)" if ratios else " " * 7) for kind in PIXEL_VARIANTS.values()
        ]
        own = f"{rates['stock']:19.0f}" if ratios else f"{'':19}"
        print(f"| {task:11} | {' | '.join(cells)} | {rates['none']:10.0f} | {own} |")
        figures[task] = {"steps_per_second": rates, "times_stock_picture": ratios}
    if not quick:
        write_examples(Path(__file__).with_name("pixel_control.png"))
        print("\n![every task and variant](pixel_control.png)")
    print()
    print(json.dumps({"benchmark": "pixel_control_speed", "size": SIZE, "rounds": rounds, "tasks": figures}))


if __name__ == "__main__":
    main()
