"""
PPO on rewards as the environment gives them, with a head and without: what becomes of the features?

    python -m benchmarks.raw_rewards --train none cpc --seeds 0 1 2 --log-dir runs/raw --out DIR
    python -m benchmarks.raw_rewards --env PixelCartPole-v0 --train none cpc --seeds 0 1 2 --log-dir runs/raw --out DIR

The recipe of the pixel control set, but for its scale of the rewards (0.1), which users of Stable-Baselines3 do not have
unless they ask for it. A run that is cut goes on when the same command is given again.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.recipe import load_recipe
from benchmarks.small_runs import run_command, train_small
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.table import read_runs


def train(env: str, arm: str, seed: int, timesteps: int, log_dir: Path) -> None:
    """One run, from wherever it is."""
    recipe = replace(load_recipe(env, "ppo"), reward_scale=1.0, timesteps=timesteps)
    train_small("raw_rewards", recipe, env, arm, seed, timesteps, log_dir, "dummy")


def report(folder: Path, out: Path | None) -> list[dict[str, Any]]:
    """What each finished run returned over its training and at its end; with a folder to write to also the whole report."""
    rows = []
    print("| arm | seed | mean of the evaluations | last |\n|---|---|---|---|")
    for run in read_runs(folder):
        if run.status != "finished":
            print(f"{run.folder} is {run.status} and left out.")
            continue
        returns = [row["mean_return"] for row in run.rows]
        rows.append({"arm": run.arm, "seed": run.seed, "mean": round(sum(returns) / len(returns), 2), "last": returns[-1]})
        print("| {arm} | {seed} | {mean:.1f} | {last:.1f} |".format(**rows[-1]))
    if out is not None and rows:
        write_report(folder, out, compact=True)
    return rows


def main() -> None:
    run_command("raw_rewards", __doc__, env="PixelAcrobot-v0", timesteps=60_000, train=train, report=report)


if __name__ == "__main__":
    main()
