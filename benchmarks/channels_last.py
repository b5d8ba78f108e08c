"""
What it brings on a CPU that convolutions keep their weights with the channels last (``agents.memory.put_channels_last``).

    OMP_NUM_THREADS=1 python -m benchmarks.channels_last > benchmarks/channels_last.md

Two tables: a learning pass (forward and backward) through each features extractor, and an agent step with its share of the
updates, as recipes have them. The two layouts run in turn in one process; medians of the rounds, which begin after one that
warms up. The last line holds all figures as one JSON object.
"""

import copy
import json
import platform
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from gymnasium import spaces

from agents.build import EXTRACTORS
from agents.recipe import Recipe
from benchmarks.two_ways import Pair, begin, print_trainings, time_both

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.channels_last > benchmarks/channels_last.md"
PASSES = [(name, size, batch) for name in EXTRACTORS if name != "vit" for size, batch in ((48, 128), (64, 128), (84, 32))]
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


def both(recipe: Recipe) -> tuple[Recipe, Recipe]:
    """A recipe with each order."""
    return replace(recipe, channels_last=False), replace(recipe, channels_last=True)


def main() -> None:
    rounds, quick = begin(__doc__, rounds=5)
    print("# Convolutions with the channels last\n")
    print(f"CPU milliseconds, medians of {rounds} rounds run in turn, on {platform.machine()}, torch {torch.__version__}, one")
    print(f"thread. Command: `{COMMAND}`.\n")
    print("| forward and backward | pictures | batch | as PyTorch has it | channels last | ratio |")
    print("|---|---|---|---|---|---|")
    figures: dict[str, dict[str, Pair]] = {"passes": {}}
    for name, size, batch in PASSES[:1] if quick else PASSES:
        pair = time_pass(name, size, batch, rounds)
        print(
            f"| `{name}` | {size} x {size} | {batch} | {pair[0]:.1f} | {pair[1]:.1f} | {pair[1] / pair[0]:.2f} |", flush=True
        )
        figures["passes"][f"{name} {size} {batch}"] = (round(pair[0], 3), round(pair[1], 3))
    rows = TRAININGS[:1] if quick else TRAININGS
    figures["trainings"] = print_trainings(rows, ("as PyTorch has it", "channels last"), both, rounds)
    print()
    print(json.dumps({"benchmark": "channels_last", **figures}))


if __name__ == "__main__":
    main()
