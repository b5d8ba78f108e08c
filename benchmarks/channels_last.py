"""
What it brings on a CPU that convolutions keep their weights with the channels last (``agents.memory.put_channels_last``).

    OMP_NUM_THREADS=1 python -m benchmarks.channels_last > benchmarks/channels_last.md

Two tables: a learning pass (forward and backward) through each features extractor, and an agent step with its share of the
updates, as recipes have them. The two layouts run in turn in one process; medians of the rounds, which begin after one that
warms up. The last line holds all figures as one JSON object.
"""

import argparse
import copy
import json
import platform
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from gymnasium import spaces

from agents.build import EXTRACTORS
from agents.memory import keep_freed_memory
from agents.recipe import load_recipe
from benchmarks.two_ways import Pair, time_both, time_trainings

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.channels_last > benchmarks/channels_last.md"
PASSES = [(name, size, batch) for name in EXTRACTORS if name != "vit" for size, batch in ((48, 128), (64, 128), (84, 32))]
# environment, algorithm, arm, agent steps to time (rollouts are collected whole)
TRAININGS = (
    ("PixelCartPole-v0", "ppo", "none", 1_024),
    ("PixelCartPole-v0", "ppo", "cpc", 1_024),
    ("CarRacing-v2", "ppo", "none", 2_048),
    ("PixelCatch-v0", "dqn", "none", 200),
    ("PixelCatch-v0", "dqn", "cpc", 200),
    ("ALE/Boxing-v5", "qrdqn", "none", 100),
    ("ALE/Boxing-v5", "qrdqn", "aug+cpc", 100),
)


def time_pass(name: str, size: int, batch: int, rounds: int) -> Pair:
    """Milliseconds of a forward and backward pass of a batch of stacks of four grey frames."""
    extractor = EXTRACTORS[name](spaces.Box(0, 255, (4, size, size), np.uint8))
    changed = copy.deepcopy(extractor).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(batch, 4, size, size)

    def five_passes(module: torch.nn.Module) -> None:
        for _ in range(5):
            module(images).sum().backward()

    return time_both(partial(five_passes, extractor), partial(five_passes, changed), rounds, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of the first row of each table")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    torch.set_num_threads(1)
    keep_freed_memory()
    print("# Convolutions with the channels last\n")
    print(f"CPU milliseconds, medians of {rounds} rounds run in turn, on {platform.machine()}, torch {torch.__version__}, one")
    print(f"thread. Command: `{COMMAND}`.\n")
    print("| forward and backward | pictures | batch | as PyTorch has it | channels last | ratio |")
    print("|---|---|---|---|---|---|")
    figures: dict[str, dict[str, Pair]] = {"passes": {}, "trainings": {}}
    for name, size, batch in PASSES[:1] if arguments.quick else PASSES:
        pair = time_pass(name, size, batch, rounds)
        print(
            f"| `{name}` | {size} x {size} | {batch} | {pair[0]:.1f} | {pair[1]:.1f} | {pair[1] / pair[0]:.2f} |", flush=True
        )
        figures["passes"][f"{name} {size} {batch}"] = (round(pair[0], 3), round(pair[1], 3))
    print("\n| an agent step with its updates | as PyTorch has it | channels last | ratio |")
    print("|---|---|---|---|")
    for env, algorithm, arm, steps in TRAININGS[:1] if arguments.quick else TRAININGS:
        recipe = load_recipe(env, algorithm)
        pair = time_trainings(
            (replace(recipe, channels_last=False), replace(recipe, channels_last=True)), env, arm, steps, rounds
        )
        title = f"{env}, {algorithm}, `{arm}`"
        print(f"| {title} | {pair[0]:.2f} | {pair[1]:.2f} | {pair[1] / pair[0]:.2f} |", flush=True)
        figures["trainings"][title] = (round(pair[0], 3), round(pair[1], 3))
    print()
    print(json.dumps({"benchmark": "channels_last", **figures}))


if __name__ == "__main__":
    main()
