"""
What it brings that features extractors compute in bfloat16 (``precision="bf16"``, ``train_agent.py --precision bf16``).

    OMP_NUM_THREADS=1 python -m benchmarks.precision > benchmarks/precision.md

Three tables: a pass without gradient and a learning pass (forward and backward) through each extractor, and an agent step with
its share of the updates, as recipes have them. The two precisions run in turn in one process, with the channels last; medians
of the rounds, which begin after one that warms up. The last line holds all figures as one JSON object. The control suite's row
needs the extra ``dmc`` and, without a screen, MUJOCO_GL=egl; it is left out where the suite is not installed.
"""

import argparse
import importlib.util
import json
import platform
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces

from agents.memory import keep_freed_memory
from agents.recipe import load_recipe
from benchmarks.two_ways import Pair, time_both, time_trainings
from cpc_rl.pretraining.extractor_choice import EXTRACTORS

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.precision > benchmarks/precision.md"
PASSES = (("nature", 4, 64, 128), ("nature", 4, 84, 32), ("data_efficient", 4, 84, 32), ("impala", 4, 64, 128))
PASSES += (("drq", 9, 84, 128), ("vit", 4, 64, 128))
# environment, algorithm, arm, agent steps to time (rollouts are collected whole)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one round of the first row of each table")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    torch.set_num_threads(1)
    keep_freed_memory()
    print("# Extractors in bfloat16\n")
    print(f"CPU milliseconds, medians of {rounds} rounds run in turn, on {platform.machine()} (instructions for bfloat16:")
    print(f"{instructions()}), torch {torch.__version__}, one thread, channels last. Command: `{COMMAND}`.\n")
    print("| extractor | channels | size | batch | forward: float32 | bf16 | ratio | and backward: float32 | bf16 | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    figures: dict[str, dict[str, object]] = {"passes": {}, "trainings": {}}
    for row in PASSES[:1] if arguments.quick else PASSES:
        pairs = time_passes(*row, rounds)
        cells = " | ".join(f"{whole:.1f} | {half:.1f} | {half / whole:.2f}" for whole, half in pairs)
        print(f"| `{row[0]}` | {row[1]} | {row[2]} | {row[3]} | {cells} |", flush=True)
        figures["passes"][" ".join(map(str, row))] = [[round(value, 3) for value in pair] for pair in pairs]
    print("\n| an agent step with its updates | float32 | bf16 | ratio |")
    print("|---|---|---|---|")
    for env, algorithm, arm, steps in TRAININGS[:1] if arguments.quick else TRAININGS:
        if env.startswith("dm_control/") and importlib.util.find_spec("dm_control") is None:
            continue
        recipe = load_recipe(env, algorithm)
        whole, half = (replace(recipe, extractor={**recipe.extractor, "precision": each}) for each in ("float32", "bf16"))
        pair = time_trainings((whole, half), env, arm, steps, rounds)
        title = f"{env}, {algorithm}, `{arm}`"
        print(f"| {title} | {pair[0]:.2f} | {pair[1]:.2f} | {pair[1] / pair[0]:.2f} |", flush=True)
        figures["trainings"][title] = [round(value, 3) for value in pair]
    print()
    print(json.dumps({"benchmark": "precision", **figures}))


if __name__ == "__main__":
    main()
