"""
Procgen: what arms reach on the levels trained on and on all levels, what a step costs, and a training for one core.

    python train_agent.py --env procgen/coinrun-v0 --objective none aug cpc aug+cpc --seeds 0 1 2     # the full plan, on a GPU
    python -m benchmarks.procgen_learning --report runs/procgen-coinrun-v0 --out DIR                  # its table

    python -m benchmarks.procgen_learning --train none cpc --log-dir runs/small --out DIR             # the small one
    python -m benchmarks.procgen_learning --cost   # steps and updates, timed

The small training is the recipe's but for NatureCNN in place of the residual network, fewer environments and smaller, fewer
updates. A run that is cut goes on when the same command is given again.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.arms import parse_arm
from agents.build import build_callback, build_model, environment_keywords
from agents.recipe import Recipe, load_recipe
from benchmarks.small_runs import run_command, train_small
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.table import read_runs
from envs import make_vec_env

ARMS = ("none", "aug", "cpc", "aug+cpc")
COST_STEPS = 1024  # one rollout and one minibatch an epoch: a sixteenth of the recipe's


def small_recipe(env: str, timesteps: int) -> Recipe:
    """A recipe of minutes on one core."""
    recipe = load_recipe(env, "ppo")
    return replace(
        recipe,
        timesteps=timesteps,
        n_envs=32,
        extractor={"name": "nature", "features_dim": 256},
        policy_kwargs={},
        hyperparameters={**recipe.hyperparameters, "n_steps": 128, "batch_size": 512, "n_epochs": 2},
        evaluation=replace(recipe.evaluation, count=5, episodes=25, final_episodes=100),
    )


def train(env: str, arm: str, seed: int, timesteps: int, log_dir: Path) -> None:
    """One small run, from wherever it is."""
    train_small("procgen_learning", small_recipe(env, timesteps), env, arm, seed, timesteps, log_dir, "envpool")


def report(folder: Path, out: Path | None) -> list[dict[str, Any]]:
    """The table of the gap; with a folder to write to also the tidy table and the curves."""
    rows = []
    for run in read_runs(folder):
        if run.status != "finished":
            print(f"{run.folder} is {run.status} and left out.")
            continue
        results = json.loads((run.folder / "results.json").read_text())
        final, trained_in = results["final"], results["final_in_training_environment"]
        rows.append(
            {
                "arm": run.arm,
                "seed": run.seed,
                "timesteps": results["timesteps"],
                "untrained": results["first_return"],
                "all_levels": final["mean_return"],
                "standard_error": round(final["std_return"] / np.sqrt(final["episodes"]), 3),
                "training_levels": trained_in["mean_return"],
                "training_standard_error": round(trained_in["std_return"] / np.sqrt(trained_in["episodes"]), 3),
                "gap": round(trained_in["mean_return"] - final["mean_return"], 3),
                "episodes": final["episodes"],
                "wall_seconds": results["wall_seconds"],
            }
        )
    print("| arm | seed | agent steps | untrained | all levels (s.e.) | training levels (s.e.) | gap | minutes |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['arm']} | {row['seed']} | {row['timesteps']:,} | {row['untrained']:.2f} | "
            f"{row['all_levels']:.2f} ({row['standard_error']:.2f}) | "
            f"{row['training_levels']:.2f} ({row['training_standard_error']:.2f}) | {row['gap']:.2f} | "
            f"{row['wall_seconds'] / 60:.0f} |"
        )
    if out is not None and rows:
        write_report(folder, out, compact=True)
    return rows


def cost(env: str, arms: list[str], updates: int) -> list[dict[str, Any]]:
    """CPU seconds of ``COST_STEPS`` agent steps of the full recipe, rollout and update, and of the steps alone."""
    recipe = load_recipe(env, "ppo")
    changes = {"n_steps": COST_STEPS // recipe.n_envs, "batch_size": COST_STEPS}
    recipe = replace(recipe, hyperparameters={**recipe.hyperparameters, **changes})
    rows: list[dict[str, Any]] = []
    print(f"| arm | CPU s for {COST_STEPS:,} agent steps | over none | of these the environments' |")
    print("|---|---|---|---|")
    for name in arms:
        arm = parse_arm(name, recipe.objective)
        vec_env = make_vec_env(env, recipe.n_envs, 0, vec="envpool", **environment_keywords(recipe, pixels=False))
        model = build_model(recipe, vec_env, arm, 0, "cpu")
        callback = build_callback(recipe, arm, 0)
        model.learn(COST_STEPS, callback=callback)  # once to warm up
        began = time.process_time()
        model.learn(COST_STEPS * updates, callback=callback)
        seconds = (time.process_time() - began) / updates
        began = time.process_time()
        for _ in range(COST_STEPS // recipe.n_envs):
            vec_env.step(np.array([vec_env.action_space.sample() for _ in range(recipe.n_envs)]))
        stepping = time.process_time() - began
        vec_env.close()
        rows.append({"arm": name, "seconds": round(seconds, 2), "stepping": round(stepping, 2)})
        ratio = seconds / float(rows[0]["seconds"])
        print(f"| {name} | {seconds:.1f} | {ratio:.2f} | {stepping:.2f} |", flush=True)
    return rows


def main() -> None:
    run_command(
        "procgen_learning",
        __doc__,
        env="procgen/coinrun-v0",
        timesteps=250_000,
        train=train,
        report=report,
        cost=lambda env, quick: cost(env, ["none", "cpc"] if quick else list(ARMS), 1),
    )


if __name__ == "__main__":
    main()
