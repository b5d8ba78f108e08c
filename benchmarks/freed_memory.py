"""
What it brings that a training keeps the memory that it frees (``agents.memory``).

    OMP_NUM_THREADS=1 python -m benchmarks.freed_memory > benchmarks/freed_memory.md

Each cell trains a few steps in a process of its own, with the allocator as it is and with memory kept, in turn, since the
setting cannot be taken back. Medians of the rounds. The last line holds all figures as one JSON object.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from agents.memory import keep_freed_memory
from agents.recipe import load_recipe
from benchmarks.small_runs import recipe_training

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.freed_memory > benchmarks/freed_memory.md"
# environment, algorithm, arm, agent steps to warm up, and to time
CELLS = (
    ("ALE/Boxing-v5", "qrdqn", "none", 120, 100),
    ("ALE/Boxing-v5", "qrdqn", "aug+spr", 120, 40),
    ("PixelCatch-v0", "dqn", "none", 1_100, 400),
    ("PixelCatch-v0", "dqn", "cpc", 1_100, 400),
    ("PixelCartPole-v0", "ppo", "cpc", 2_048, 2_048),
    ("CarRacing-v2", "ppo", "cpc", 4_096, 2_048),
)


def measure(env: str, algorithm: str, arm: str, warm: int, steps: int, keep: bool) -> dict[str, float]:
    """CPU and wall milliseconds of an agent step with its share of the updates, and the pages it had to fetch."""
    if keep and not keep_freed_memory():
        raise RuntimeError("This allocator cannot be told to keep what is freed, or one of its variables is set.")
    torch.set_num_threads(1)
    model, callbacks, vec_env = recipe_training(load_recipe(env, algorithm), env, arm, timesteps=1_000)
    if hasattr(model, "learning_starts"):
        model.learning_starts = 100
    model.learn(warm, callback=callbacks)
    before = model.num_timesteps
    faults, cpu, wall = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time(), time.perf_counter()
    model.learn(steps, reset_num_timesteps=False, callback=callbacks)
    done = model.num_timesteps - before
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    vec_env.close()
    return {"cpu": 1_000 * cpu / done, "wall": 1_000 * wall / done, "pages": faults / done}


def in_a_process(cell: tuple[Any, ...], keep: bool) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.freed_memory", "--cell", *map(str, cell), *(["--keep"] if keep else [])]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cell", nargs=5, metavar=("ENV", "ALGO", "ARM", "WARM", "STEPS"), help="one measurement, as JSON")
    parser.add_argument("--keep", action="store_true", help="of --cell: with memory kept")
    parser.add_argument("--quick", action="store_true", help="one round of the first cell")
    arguments = parser.parse_args()
    if arguments.cell:
        env, algorithm, arm, warm, steps = arguments.cell
        print(json.dumps(measure(env, algorithm, arm, int(warm), int(steps), arguments.keep)))
        return
    rounds, cells = (1, CELLS[:1]) if arguments.quick else (arguments.rounds, CELLS)
    print("# Keeping the memory that is freed\n")
    print(f"An agent step with its share of the updates, medians of {rounds} rounds, on {platform.machine()}, torch ")
    print(f"{torch.__version__}, {torch.get_num_threads()} thread(s). Command: `{COMMAND}`.\n")
    print("| cell | CPU ms | memory kept | ratio | wall ms | memory kept | ratio | pages fetched | memory kept |")
    print("|---|---|---|---|---|---|---|---|---|")
    figures: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        seen = [(in_a_process(cell, False), in_a_process(cell, True)) for _ in range(rounds)]
        name = f"{cell[0]}, {cell[1]}, `{cell[2]}`"
        both = {key: [statistics.median(pair[i][key] for pair in seen) for i in (0, 1)] for key in seen[0][0]}
        figures[name] = {key: [round(v, 3) for v in values] for key, values in both.items()}
        times = [f"{b:.2f} | {k:.2f} | {k / b:.2f}" for b, k in (both["cpu"], both["wall"])]
        print(f"| {name} | {' | '.join(times)} | {both['pages'][0]:,.0f} | {both['pages'][1]:,.0f} |")
    print()
    print(json.dumps({"benchmark": "freed_memory", "cells": figures}))


if __name__ == "__main__":
    main()
