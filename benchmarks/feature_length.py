"""
How long a head makes the agent's features, with ``feature_length`` and without.

    OMP_NUM_THREADS=1 python -m benchmarks.feature_length > benchmarks/feature_length.md
    OMP_NUM_THREADS=1 python -m benchmarks.feature_length --objectives atc simclr    # DQN's features with these, 1,500 steps

Each arm trains by the recipe for a while. Of the features of the agent's own batches it says the mean length, and their spread
(the mean distance from the batch's mean), and of the head the share of positives found; at some of the updates, averages over
the twenty up to there. The last line holds all figures as one JSON object.
"""

import argparse
import json
from dataclasses import replace
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

from agents.memory import keep_freed_memory
from agents.recipe import load_recipe
from benchmarks.small_runs import recipe_training
from cpc_rl import ContrastiveCallback
from cpc_rl.nets import FEATURE_LENGTH

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.feature_length > benchmarks/feature_length.md"
# environment, algorithm, agent steps, updates at which is looked
CELLS = (
    ("PixelCatch-v0", "dqn", 4_000, (50, 200, 400, 800, 1_400)),
    ("PixelCatch-v0", "ppo", 12_288, (32, 64, 128, 256, 384)),
    ("PixelAcrobot-v0", "ppo", 12_288, (32, 64, 128, 256, 384)),
)
ARMS: tuple[tuple[str, float | None], ...] = (
    ("none", None),
    ("cpc", None),
    ("cpc", FEATURE_LENGTH),
    ("curl", None),
    ("curl", FEATURE_LENGTH),
)
LATEST = 20


class Watch(BaseCallback):
    """The features of every update's batch, and how the head fares. Comes behind the head's own callback."""

    def __init__(self, head_callback: BaseCallback | None) -> None:
        super().__init__()
        self.head_callback = head_callback
        self.rows: list[tuple[float, float]] = []
        self.accuracies: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        if not isinstance(self.head_callback, ContrastiveCallback):
            return
        (head,) = self.head_callback.heads.values()
        gradient = head.gradient

        def told(*given: Any) -> Any:
            result = gradient(*given)
            self.accuracies += [float(metrics["accuracy"]) for metrics in result[1].values()]
            return result

        head.gradient = told  # type: ignore[method-assign]

    def on_features(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        injections = getattr(self.head_callback, "_injections", [])
        own_pass = any(injection.guard.busy for injection in injections)  # the head's, which is no update of the agent's
        if output.requires_grad and not own_pass:  # nor while it acts
            z = output.detach()
            self.rows.append((float(z.norm(dim=1).mean()), float((z - z.mean(dim=0)).norm(dim=1).mean())))

    def at(self, update: int) -> dict[str, float | None]:
        """The averages up to an update."""
        length, spread = torch.tensor(self.rows[max(0, update - LATEST) : update]).mean(dim=0).tolist()
        found = self.accuracies[max(0, update - LATEST) : update]
        accuracy = round(sum(found) / len(found), 3) if found else None
        return {"length": round(length, 3), "spread": round(spread, 3), "accuracy": accuracy}


def measure(
    env: str, algorithm: str, arm: str, keywords: dict[str, Any], timesteps: int, updates: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Train one arm, its objective with these keywords; figures at each of these updates."""
    torch.set_num_threads(1)
    recipe = load_recipe(env, algorithm)
    recipe = replace(recipe, objective_kwargs={} if arm == "none" else {arm: keywords})
    model, callbacks, vec_env = recipe_training(recipe, env, arm, timesteps=recipe.timesteps)
    policy, watch = model.policy, Watch(callbacks[-1] if callbacks else None)
    extractor = policy.q_net.features_extractor if hasattr(policy, "q_net") else policy.features_extractor
    extractor.register_forward_hook(watch.on_features)
    model.learn(timesteps, callback=[*callbacks, watch])
    vec_env.close()
    return [{"update": update, **watch.at(update)} for update in updates if update <= len(watch.rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="DQN alone, 1,500 steps, without curl")
    parser.add_argument("--objectives", nargs="+", metavar="NAME", help="with their own defaults, DQN alone, 1,500 steps")
    arguments = parser.parse_args()
    quick = arguments.quick
    keep_freed_memory()
    cells = [(*CELLS[0][:2], 1_500, CELLS[0][3][:2])] if quick or arguments.objectives else CELLS
    arms = [(name, "its own") for name in arguments.objectives or ()] or (ARMS[:3] if quick else ARMS)
    print("# How long a head makes the agent's features\n")
    print(f"Mean length of the agent's features, their spread about the batch's mean, positives found. Command: `{COMMAND}`.")
    figures: dict[str, Any] = {}
    for env, algorithm, timesteps, updates in cells:
        print(f"\n## {env}, {algorithm}\n")
        print(f"| arm | `feature_length` | {' | '.join(f'update {u}' for u in updates)} |")
        print(f"|---|---|{'---|' * len(updates)}")
        for arm, length in arms:
            keywords = {} if arguments.objectives else {"feature_length": length}
            rows = measure(env, algorithm, arm, keywords, timesteps, updates)
            figures[f"{env} {algorithm} {arm} {length}"] = rows
            shown = [f"{row['length']:.1f}, {row['spread']:.2f}" for row in rows]
            if arm != "none":
                shown = [f"{text}; {row['accuracy']:.2f}" for text, row in zip(shown, rows, strict=True)]
            kind = "" if arm == "none" else str(length)
            print(f"| `{arm}` | {kind} | {' | '.join(shown)} |", flush=True)
    print()
    print(json.dumps({"benchmark": "feature_length", "cells": figures}))


if __name__ == "__main__":
    main()
