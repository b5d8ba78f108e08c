"""
What a picture of the control suite costs, as the suite draws it and with coarser shadows, and how far the two are apart.

    MUJOCO_GL=egl LP_NUM_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.dmc_speed

``LP_NUM_THREADS`` keeps Mesa's software renderer on one core. The three pictures are drawn in turn, so that a busy machine
slows all of them; the seconds are the process's own.
"""

import argparse
import json
import time
from typing import Any

import gymnasium as gym
import numpy as np

from envs.registration import find_spec

TASKS = ("cartpole-swingup", "finger-spin", "reacher-easy", "cheetah-run", "walker-walk", "ball_in_cup-catch")
SIZE = 84


def make(task: str, render: str, large: bool = False) -> gym.Env:
    """A task; ``large`` draws into the suite's own 640 x 480 buffer."""
    env = gym.make(find_spec(f"dm_control/{task}-v0"), size=640 if large else SIZE, render=render, render_mode=None)
    env.reset(seed=1)
    env.action_space.seed(1)
    return env


def draw(env: gym.Env) -> np.ndarray:
    return env.unwrapped.suite_env.physics.render(SIZE, SIZE, camera_id=0)  # type: ignore[attr-defined]


def measure(task: str, pictures: int) -> dict[str, Any]:
    """Milliseconds of a picture and of a step, and the pictures' mean difference."""
    kinds = {"suite": ("stock", True), "stock": ("stock", False), "fast": ("fast", False)}
    environments = {name: make(task, *how) for name, how in kinds.items()}
    for env in environments.values():
        draw(env)  # makes the context
    seconds = dict.fromkeys((*kinds, "step"), 0.0)
    difference, off = [], []
    for _ in range(pictures):
        action = environments["fast"].action_space.sample()
        seen = {}
        for name, env in environments.items():
            began = time.process_time()
            env.step(action)
            stepped = time.process_time()
            seen[name] = draw(env).astype(int)
            seconds["step"] += (stepped - began) / len(kinds)
            seconds[name] += time.process_time() - stepped
        assert np.array_equal(seen["suite"], seen["stock"]), "a smaller buffer changed the picture"
        apart = np.abs(seen["fast"] - seen["stock"])
        difference.append(apart.mean())
        off.append((apart.max(-1) > 8).mean())
    for env in environments.values():
        env.close()
    times = {f"{name}_ms": round(1000 * spent / pictures, 2) for name, spent in seconds.items()}
    return {"task": task, **times, "difference": round(float(np.mean(difference)), 4), "off": round(float(np.mean(off)), 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60, help="of each task and kind")
    parser.add_argument("--quick", action="store_true", help="two tasks, ten pictures")
    arguments = parser.parse_args()
    tasks, pictures = (TASKS[:2], 10) if arguments.quick else (TASKS, arguments.pictures)
    print("| task | the suite's own, ms | smaller buffer | and coarser shadows | a step | grey levels apart | pixels off |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for task in tasks:
        row = measure(task, pictures)
        rows.append(row)
        print(
            f"| {task} | {row['suite_ms']:.1f} | {row['stock_ms']:.1f} | {row['fast_ms']:.1f} | {row['step_ms']:.2f} | "
            f"{row['difference']:.3f} | {row['off']:.2%} |",
            flush=True,
        )
    print(json.dumps({"benchmark": "dmc_speed", "size": SIZE, "pictures": pictures, "tasks": rows}))


if __name__ == "__main__":
    main()
