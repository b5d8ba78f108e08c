"""
Atari 100k: which cells of the plan are filled, the commands that fill the others, and the human-normalised scores.

    cp -r benchmarks/results/atari100k/finished runs/atari100k                     # what has been run: it is not run again
    python -m benchmarks.atari100k --log-dir runs/atari100k                       # what is there, and what is to be run
    python train_agent.py --env ALE/Pong-v5 --algo qrdqn --objective none aug aug+cpc --seeds 0 1 2 3 4 \\
        --log-dir runs/atari100k                                                  # one of its lines: 100,000 steps each
    python -m benchmarks.atari100k --log-dir runs/atari100k --out DIR             # the report, beside published figures
    python -m benchmarks.atari100k --cost                                         # CPU time of a step, arm by arm

Only games on which every arm has a finished run count, so all arms are compared on the same ones.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.memory import keep_freed_memory
from agents.recipe import load_recipe
from benchmarks.small_runs import recipe_training
from cpc_rl.evaluation.cells import interval_text, table
from cpc_rl.evaluation.references import load_references
from cpc_rl.evaluation.suite_report import write_suite_report
from cpc_rl.evaluation.table import Run, read_runs

ARMS = ("none", "aug", "aug+cpc")
GAMES = tuple(row.task for row in load_references("atari").rows)
COST_GAME = "Boxing"
# Final evaluation of all 26 games, 100 runs of each: Agarwal et al. 2021 (https://arxiv.org/abs/2108.13264), the IQMs to about
# .01; BBF: Schwarzer et al. 2023 (https://arxiv.org/abs/2305.19452).
PUBLISHED = {
    "BBF": {"iqm": 1.045},
    "SPR": {"iqm": 0.37, "median": 0.396, "mean": 0.616},
    "DrQ(eps)": {"iqm": 0.28, "median": 0.313, "mean": 0.465},
    "DER": {"median": 0.189, "mean": 0.350},
    "CURL": {"iqm": 0.11, "median": 0.092, "mean": 0.261},
}
# Game by game, from the table of Alonso et al. 2024 (https://arxiv.org/abs/2405.12399); CURL's and SPR's are of 100 runs each.
PUBLISHED_GAMES = Path(__file__).parent / "results" / "atari100k" / "published.csv"


def find_runs(log_dir: Path, algorithm: str) -> dict[str, list[Run]]:
    """The algorithm's runs on each game."""
    found = {}
    for game in GAMES:
        folder = log_dir / f"ALE-{game}-v5"
        runs = read_runs(folder) if any(True for _ in folder.glob("*/seed-*")) else []
        found[game] = [run for run in runs if run.algorithm == algorithm]
    return found


def print_plan(runs: dict[str, list[Run]], algorithm: str, arms: list[str], seeds: list[int], log_dir: Path) -> dict[str, int]:
    """A row for each game: how many seeds of each arm are finished; then the commands for what is missing."""
    done = {
        (game, arm): {run.seed for run in every if run.arm == arm and run.status == "finished"}
        for game, every in runs.items()
        for arm in arms
    }
    rows = [[game, *(f"{len(done[game, arm] & set(seeds))} of {len(seeds)}" for arm in arms)] for game in runs]
    print(table(["game", *(f"`{arm}`" for arm in arms)], rows))
    commands = []
    for game in runs:
        if any(set(seeds) - done[game, arm] for arm in arms):
            words = f"--objective {' '.join(arms)} --seeds {' '.join(map(str, seeds))} --log-dir {log_dir}"
            commands.append(f"python train_agent.py --env ALE/{game}-v5 --algo {algorithm} {words}")
    print("\nTo fill the rest (a command goes on where it was cut, and leaves finished runs alone):\n")
    print("\n".join(commands) or "Nothing is missing.")
    empty = sum(len(set(seeds) - seen) for seen in done.values())
    return {"cells": len(done) * len(seeds), "empty": empty}


def games_table(runs: dict[str, list[Run]], arms: list[str]) -> str:
    """Raw final scores game by game, ours beside published ones, and the means of the human-normalised, as one table."""
    with open(PUBLISHED_GAMES, encoding="utf-8", newline="") as file:
        published = {row.pop("game"): {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)}
    references = {row.task: row for row in load_references("atari").rows}
    columns: dict[str, dict[str, float]] = {
        f"`{arm}`": {
            game: float(np.mean([run.final["mean_return"] for run in every if run.arm == arm and run.status == "finished"]))
            for game, every in runs.items()
        }
        for arm in arms
    }
    columns |= {name: {game: published[game][name] for game in runs} for name in next(iter(published.values()))}
    lines = [[game, *(f"{scores[game]:,.0f}" for scores in columns.values())] for game in runs]
    normalised = [[references[game].normalised(scores[game]) for game in runs] for scores in columns.values()]
    lines.append(["human-normalised, mean", *(f"{np.mean(values):.2f}" for values in normalised)])
    return table(["final score", *columns], lines)


def print_scores(runs: dict[str, list[Run]], arms: list[str], log_dir: Path, out: Path, repetitions: int) -> dict[str, Any]:
    """Our aggregates of the final evaluation beside the published ones."""
    finished = {game: {run.arm for run in every if run.status == "finished"} for game, every in runs.items()}
    games = [game for game, there in finished.items() if set(arms) <= there]
    if not games:
        print(f"There is no game on which each of {', '.join(arms)} has a finished run, so there is no score.")
        return {"games": []}
    folders = [log_dir / f"ALE-{game}-v5" for game in games]
    (comparison,) = write_suite_report(folders, out, normalise="atari", arms=arms, repetitions=repetitions, compact=True)
    names = ("iqm", "median", "mean", "optimality_gap")
    rows = [
        [
            f"`{arm.arm.label}`",
            f"{len(arm.arm.runs)} x {len(games)}",
            *(interval_text(arm.figures["final"][each]) for each in names),
        ]
        for arm in comparison.arms
    ]
    rows += [
        [name, "100 x 26", *(f"{figures[each]:.3g}" if each in figures else "" for each in names)]
        for name, figures in PUBLISHED.items()
    ]
    text = table(["", "runs x games", "IQM", "median", "mean", "optimality gap"], rows)
    by_game = games_table({game: runs[game] for game in games}, arms)
    print(f"\nHuman-normalised final scores on {', '.join(games)}; the published ones are of all 26 games.\n\n{text}\n")
    print(by_game)
    (out / "scores.md").write_text(f"{by_game}\n\n{text}\n", encoding="utf-8")
    aggregates = {
        arm.arm.label: {each: round(arm.figures["final"][each].estimate, 4) for each in names} for arm in comparison.arms
    }
    return {"games": games, "final": aggregates}


def measure_cost(algorithm: str, arms: list[str], steps: int) -> dict[str, float]:
    """CPU milliseconds of an agent step with its update, one thread."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as a run does
    env = f"ALE/{COST_GAME}-v5"
    recipe = load_recipe(env, algorithm)
    found = {}
    for name in arms:
        model, callbacks, vec_env = recipe_training(recipe, env, name, timesteps=1_000)
        model.learning_starts = 100
        model.learn(120, callback=callbacks)
        seconds = []
        for _ in range(5):
            began = time.process_time()
            model.learn(steps, reset_num_timesteps=False, callback=callbacks)
            seconds.append((time.process_time() - began) / steps)
        vec_env.close()
        found[name] = round(1_000 * float(np.median(seconds)), 2)
    first = found[arms[0]]
    rows = [[f"`{arm}`", f"{value:.1f}", f"{value / first:.2f}", f"{value * 100 / 3600:.1f}"] for arm, value in found.items()]
    print(table(["arm", "CPU ms for a step", f"over `{arms[0]}`", "hours for 100,000 steps"], rows))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/atari100k"))
    parser.add_argument("--algo", default="qrdqn", choices=("qrdqn", "dqn"))
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=GAMES, metavar="GAME")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, help="write the report of what is finished there")
    parser.add_argument("--cost", action="store_true", help="time a step of each arm")
    parser.add_argument("--quick", action="store_true", help="time two arms, and fewer steps")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"benchmark": "atari100k", "algorithm": arguments.algo}
    if arguments.cost or arguments.quick:
        arms = arguments.arms[:2] if arguments.quick else arguments.arms
        figures["cpu_milliseconds"] = measure_cost(arguments.algo, arms, 10 if arguments.quick else 50)
    else:
        runs = {game: every for game, every in find_runs(arguments.log_dir, arguments.algo).items() if game in arguments.games}
        figures |= print_plan(runs, arguments.algo, arguments.arms, arguments.seeds, arguments.log_dir)
        if arguments.out is not None:
            figures |= print_scores(runs, arguments.arms, arguments.log_dir, arguments.out, 5_000)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
