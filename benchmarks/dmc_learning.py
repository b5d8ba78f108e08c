"""
The control suite's 100k benchmark: what arms reach beside the published rows, and a training small enough for one core.

    python train_agent.py --env dm_control/cartpole-swingup-v0 --objective none aug curl aug+curl --seeds 0 1 2 3 4  # on a GPU
    python -m benchmarks.dmc_learning --report runs/dm_control-cartpole-swingup-v0 --out DIR

    python -m benchmarks.dmc_learning --train aug aug+curl --out DIR        # the small one; without a screen: MUJOCO_GL=egl
    python -m benchmarks.dmc_learning --cost                                # an agent step with its update, timed

The small training is the recipe's but for minibatches of 32 in place of 128, 500 random steps in place of 1000, and far fewer
steps. A run that is cut goes on when the same command is given again.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.recipe import Recipe, load_recipe
from benchmarks.small_runs import recipe_training, run_command, train_small
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.table import read_runs

ARMS = ("none", "aug", "curl", "aug+curl")
# Mean and standard deviation at 100,000 environment steps, as published: CURL's and DrQ's papers.
PUBLISHED = {
    "cartpole-swingup": {"CURL": (582, 146), "DrQ": (759, 92)},
    "finger-spin": {"CURL": (767, 56), "DrQ": (901, 104)},
    "reacher-easy": {"CURL": (538, 233), "DrQ": (601, 213)},
    "cheetah-run": {"CURL": (299, 48), "DrQ": (344, 67)},
    "walker-walk": {"CURL": (403, 24), "DrQ": (612, 164)},
    "ball_in_cup-catch": {"CURL": (769, 43), "DrQ": (913, 53)},
}


def small_recipe(env: str, timesteps: int) -> Recipe:
    """A recipe of minutes on one core."""
    recipe = load_recipe(env, "sac")
    changes = {"batch_size": 32, "learning_starts": 500}
    evaluation = replace(recipe.evaluation, count=3, episodes=3, final_episodes=10)
    return replace(recipe, timesteps=timesteps, hyperparameters={**recipe.hyperparameters, **changes}, evaluation=evaluation)


def train(env: str, arm: str, seed: int, timesteps: int, log_dir: Path) -> None:
    """One small run, from wherever it is."""
    train_small("dmc_learning", small_recipe(env, timesteps), env, arm, seed, timesteps, log_dir, "dummy")


def report(folder: Path, out: Path | None) -> list[dict[str, Any]]:
    """Every evaluation of every run, in agent and in environment steps; with a folder to write to also the curves."""
    rows: list[dict[str, Any]] = []
    print("| arm | seed | agent steps | environment steps | return (std over episodes) | episodes |")
    print("|---|---|---|---|---|---|")
    finished = 0
    for run in read_runs(folder):
        repeat = run.settings["recipe.environment.frame_skip"]
        finished += run.status == "finished"
        evaluations = [*run.rows, *([{**run.final, "timesteps": run.rows[-1]["timesteps"]}] if run.final else [])]
        for row in evaluations:
            steps = int(row["timesteps"])
            rows.append(
                {
                    **{"arm": run.arm, "seed": run.seed, "agent_steps": steps, "environment_steps": steps * repeat},
                    **{name: row[name] for name in ("mean_return", "std_return", "episodes")},
                }
            )
            print(
                f"| {run.arm} | {run.seed} | {steps:,} | {steps * repeat:,} | "
                f"{row['mean_return']:.0f} ({row['std_return']:.0f}) | {row['episodes']:.0f} |"
            )
    task = folder.name.removeprefix("dm_control-").removesuffix("-v0")
    for name, (mean, deviation) in PUBLISHED.get(task, {}).items():
        print(f"| {name}, published | | | 100,000 | {mean} ({deviation} over seeds) | |")
    if out is not None and finished:
        write_report(folder, out, compact=True)
    return rows


def cost(env: str, arms: list[str], steps: int) -> list[dict[str, Any]]:
    """CPU seconds of an agent step with the recipe's update, and of one without."""
    recipe = load_recipe(env, "sac")
    recipe = replace(recipe, hyperparameters={**recipe.hyperparameters, "learning_starts": 20})
    rows: list[dict[str, Any]] = []
    print("| arm | agent step with update, CPU s | over none | without, CPU s |\n|---|---|---|---|")
    for name in arms:
        model, callback, vec_env = recipe_training(recipe, env, name, timesteps=200)
        began = time.process_time()
        model.learn(20, callback=callback)
        without = (time.process_time() - began) / 20
        model.learn(2, callback=callback, reset_num_timesteps=False)  # to warm up
        began = time.process_time()
        model.learn(steps, callback=callback, reset_num_timesteps=False)
        seconds = (time.process_time() - began) / steps
        vec_env.close()
        rows.append({"arm": name, "seconds": round(seconds, 3), "without_update": round(without, 3)})
        print(f"| {name} | {seconds:.2f} | {seconds / float(rows[0]['seconds']):.2f} | {without:.3f} |", flush=True)
    return rows


def main() -> None:
    run_command(
        "dmc_learning",
        __doc__,
        env="dm_control/cartpole-swingup-v0",
        timesteps=1_200,
        train=train,
        report=report,
        cost=lambda env, quick: cost(env, ["none", "aug"] if quick else list(ARMS), 3 if quick else 10),
    )


if __name__ == "__main__":
    main()
