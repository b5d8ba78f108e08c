"""
What it brings that features extractors compute in bfloat16 (``precision="bf16"``, ``train_agent.py --precision bf16``).

    OMP_NUM_THREADS=1 python -m benchmarks.precision > benchmarks/precision.md

Three tables: a pass without gradient and a learning pass (forward and backward) through each extractor, and an agent step with
its share of the updates, as recipes have them. The two precisions run in turn in one process, with the channels last; medians
of the rounds, which begin after one that warms up. The last line holds all figures as one JSON object. The control suite's row
needs the extra ``dmc`` and, without a screen, MUJOCO_GL=egl; it is left out where the suite is not installed.
"""

import importlib.util
import json
import platform
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces

from agents.recipe import Recipe
from benchmarks.two_ways import Pair, begin, print_trainings, time_both
from cpc_rl.pretraining.extractor_choice import EXTRACTORS

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.precision > benchmarks/precision.md"
PASSES = (("nature", 4, 64, 128), ("nature", 4, 84, 32), ("data_efficient", 4, 84, 32), ("impala", 4, 64, 128))
PASSES += (("drq", 9, 84, 128), ("vit", 4, 64, 128))
TRAININGS = (
    ("CarRacing-v2", "ppo", "none", 2_048),
    ("CarRacing-v2", "ppo", "cpc", 2_048),
    ("PixelCatch-v0", "dqn", "cpc", 100),
    ("ALE/Boxing-v5", "qrdqn", "aug+cpc", 100),
    ("dm_control/cartpole-swingup-v0", "sac", "aug", 10),
    ("dm_control/cartpole-swingup-v0", "sac", "aug+curl", 10),
)
INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # as Linux calls them, on x86 and on ARM


def instructions() -> str:
    """What this processor has for bfloat16, as far as Linux tells."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return "not known"
    return ", ".join(name for name in INSTRUCTIONS if name in words) or "none"


def time_passes(name: str, channels: int, size: int, batch: int, rounds: int) -> tuple[Pair, Pair]:
    """Milliseconds of a pass without gradient, and of one forward and backward, in each precision."""
    space = spaces.Box(0, 255, (channels, size, size), np.uint8)
    modules = []
    for precision in ("float32", "bf16"):
        module = EXTRACTORS[name](space, precision=precision)  # type: ignore[call-arg]  # all of ours take it
        modules.append(module.to(memory_format=torch.channels_last))  # type: ignore[call-overload]  # typed for tensors alone
    images = torch.rand(batch, channels, size, size)

    def without(module: torch.nn.Module) -> None:
        with torch.no_grad():
            module(images)

    def learning(module: torch.nn.Module) -> None:
        module(images).sum().backward()

    passes = [time_both(partial(run, modules[0]), partial(run, modules[1]), rounds, 1) for run in (without, learning)]
    return passes[0], passes[1]


def both(recipe: Recipe) -> tuple[Recipe, Recipe]:
    """A recipe in each precision."""
    whole, half = (replace(recipe, extractor={**recipe.extractor, "precision": each}) for each in ("float32", "bf16"))
    return whole, half


def main() -> None:
    rounds, quick = begin(__doc__, rounds=7)
    print("# Extractors in bfloat16\n")
    print(f"CPU milliseconds, medians of {rounds} rounds run in turn, on {platform.machine()} (instructions for bfloat16:")
    print(f"{instructions()}), torch {torch.__version__}, one thread, channels last. Command: `{COMMAND}`.\n")
    print("| extractor | channels | size | batch | forward: float32 | bf16 | ratio | and backward: float32 | bf16 | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    figures: dict[str, dict[str, object]] = {"passes": {}}
    for row in PASSES[:1] if quick else PASSES:
        pairs = time_passes(*row, rounds)
        cells = " | ".join(f"{whole:.1f} | {half:.1f} | {half / whole:.2f}" for whole, half in pairs)
        print(f"| `{row[0]}` | {row[1]} | {row[2]} | {row[3]} | {cells} |", flush=True)
        figures["passes"][" ".join(map(str, row))] = [[round(value, 3) for value in pair] for pair in pairs]
    suite = importlib.util.find_spec("dm_control") is not None
    rows = [row for row in TRAININGS if suite or not row[0].startswith("dm_control/")]
    figures["trainings"] = {**print_trainings(rows[:1] if quick else rows, ("float32", "bf16"), both, rounds)}
    print()
    print(json.dumps({"benchmark": "precision", **figures}))


if __name__ == "__main__":
    main()
