"""What the benchmarks of Procgen and the control suite have in common: a command that trains a little, reports and times."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from agents.arms import parse_arm
from agents.build import build_callback, build_model, environment_keywords, training_callbacks
from agents.configuration import RunConfiguration
from agents.machine import Machine
from agents.recipe import Recipe
from agents.run import execute
from agents.run_folder import RunFolder
from envs import make_vec_env
from envs.reward import ScaledReward

Rows = list[dict[str, Any]]


def run_command(
    name: str,
    description: str | None,
    *,
    env: str,
    timesteps: int,
    train: Callable[[str, str, int, int, Path], None],
    report: Callable[[Path, Path | None], Rows],
    cost: Callable[[str, bool], Rows] | None = None,
) -> None:
    """
    Read the command line, do what it says, and print all figures as one JSON object at the end.

    :param name: of the benchmark
    :param env: whose id is taken if none is given
    :param timesteps: agent steps of a small training if nothing else is said
    :param train: given environment, arm, seed, agent steps and log folder
    :param report: given the environment's folder of runs, and where to write to
    :param cost: given the environment, and whether it is to be short; ``None``: there is no such measurement
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default=env)
    parser.add_argument("--train", nargs="+", default=[], metavar="ARM")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--timesteps", type=int, default=timesteps, help="agent steps")
    parser.add_argument("--log-dir", type=Path, default=Path("runs") / f"{name.partition('_')[0]}-small")
    parser.add_argument("--report", type=Path, help="<log-dir>/<env> of runs")
    parser.add_argument("--out", type=Path, help="where the report's table and curves go")
    if cost is not None:
        parser.add_argument("--cost", action="store_true", help="time the full recipe's arms")
        parser.add_argument("--quick", action="store_true", help="time two arms for a moment")
    arguments = parser.parse_args()
    timed = cost is not None and (arguments.cost or arguments.quick)
    if not (arguments.train or arguments.report or timed):
        choices = "--train or --report" if cost is None else "--train, --report, --cost or --quick"
        parser.error(f"say what to do: {choices}.")
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"benchmark": name, "env": arguments.env}
    for seed in arguments.seeds:
        for arm in arguments.train:
            train(arguments.env, arm, seed, arguments.timesteps, arguments.log_dir)
    folder = arguments.report
    if arguments.train and folder is None:
        folder = arguments.log_dir / arguments.env.replace("/", "-")
    if folder is not None:
        figures["learning"] = report(folder, arguments.out)
    if cost is not None and timed:
        figures["cost"] = cost(arguments.env, arguments.quick)
    print(json.dumps(figures))


def train_small(name: str, recipe: Recipe, env: str, arm: str, seed: int, timesteps: int, log_dir: Path, vec: str) -> None:
    """
    One small run, from wherever it is.

    :param name: of the benchmark
    :param vec: where the training's environments are stepped, ``dummy`` or ``envpool``
    """
    configuration = RunConfiguration(
        env=env,
        arm=arm,
        seed=seed,
        timesteps=timesteps,
        n_envs=recipe.n_envs,
        pixels=False,
        render="fast",
        eval_freq=timesteps // recipe.evaluation.count,
        eval_episodes=recipe.evaluation.episodes,
        final_episodes=recipe.evaluation.final_episodes,
        encoder=None,
        recipe=recipe,
        envpool=vec == "envpool",
    )
    folder = RunFolder.of(log_dir, configuration)
    command = f"python -m benchmarks.{name} --env {env} --train {arm} --seeds {seed} --timesteps {timesteps}"
    if not execute(configuration, folder, Machine("cpu", vec, processes=1), overwrite=False, command=command):
        raise SystemExit(130)


class Training(NamedTuple):
    """What ``train_agent.py`` would set up for one arm, for a script that looks into it."""

    model: Any
    callbacks: list[BaseCallback]
    vec_env: VecEnv


def recipe_training(recipe: Recipe, env: str, arm: str, timesteps: int, seed: int = 0) -> Training:
    """
    A recipe's model on the CPU, with the callbacks of an arm.

    :param timesteps: agent steps that schedules are over
    """
    parsed, keywords = parse_arm(arm, recipe.objective), environment_keywords(recipe, pixels=False)
    vec_env = make_vec_env(env, recipe.n_envs, seed, vec="dummy", lives_as_episodes=recipe.lives_as_episodes, **keywords)
    vec_env = ScaledReward(vec_env, recipe.reward_scale)
    model = build_model(recipe, vec_env, parsed, seed, "cpu", timesteps=timesteps)
    return Training(model, training_callbacks(recipe, build_callback(recipe, parsed, seed)), vec_env)
