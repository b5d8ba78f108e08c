"""Two ways of computing the same thing, timed in turn: passes of any kind, and agent steps of a recipe's training."""

import argparse
import time
from collections.abc import Callable, Iterable

import torch

from agents.memory import keep_freed_memory
from agents.recipe import Recipe, load_recipe
from benchmarks.small_runs import Training, recipe_training
from benchmarks.turns import in_turn

Pair = tuple[float, float]
Row = tuple[str, str, str, int]
"""Environment, algorithm, arm, and agent steps to time (rollouts are collected whole)."""


def begin(description: str | None, rounds: int) -> tuple[int, bool]:
    """
    Read the command line, and make this process one that can be timed: one thread, which keeps what it frees.

    :param rounds: unless the command line says how many
    :return: the rounds, and whether the first row of each table is enough
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--quick", action="store_true", help="one round of the first row of each table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    return (1 if arguments.quick else arguments.rounds), arguments.quick


def time_both(first: Callable[[], object], second: Callable[[], object], rounds: int, share: int) -> Pair:
    """CPU milliseconds of each, run in turn after a round that warms up, divided by ``share``."""
    times = in_turn({"first": first, "second": second}, rounds, warm_ups=1, clock=time.process_time)
    return times["first"] / share, times["second"] / share


def time_trainings(recipes: tuple[Recipe, Recipe], env: str, arm: str, steps: int, rounds: int) -> Pair:
    """CPU milliseconds of an agent step with its share of the updates, as each recipe has it."""
    trainings = [recipe_training(recipe, env, arm, timesteps=1_000) for recipe in recipes]

    def learn(training: Training) -> Callable[[], object]:
        model = training.model
        if hasattr(model, "learning_starts"):
            model.learning_starts = 100
            model.learn(200, callback=training.callbacks)
        return lambda: model.learn(steps, reset_num_timesteps=False, callback=training.callbacks)

    first, second = map(learn, trainings)
    pair = time_both(first, second, rounds, steps)
    for training in trainings:
        training.vec_env.close()
    return pair


def print_trainings(
    rows: Iterable[Row], names: tuple[str, str], ways: Callable[[Recipe], tuple[Recipe, Recipe]], rounds: int
) -> dict[str, Pair]:
    """
    Print a table of agent steps with their updates, as :func:`time_trainings` times them.

    :param names: of the two ways
    :param ways: a recipe in each
    :return: the figures by the rows' titles
    """
    print(f"\n| an agent step with its updates | {names[0]} | {names[1]} | ratio |\n|---|---|---|---|")
    figures = {}
    for env, algorithm, arm, steps in rows:
        first, second = time_trainings(ways(load_recipe(env, algorithm)), env, arm, steps, rounds)
        title = f"{env}, {algorithm}, `{arm}`"
        print(f"| {title} | {first:.2f} | {second:.2f} | {second / first:.2f} |", flush=True)
        figures[title] = (round(first, 3), round(second, 3))
    return figures
