"""Two ways of computing the same thing, timed in turn: passes of any kind, and agent steps of a recipe's training."""

import time
from collections.abc import Callable

from agents.recipe import Recipe
from benchmarks.small_runs import Training, recipe_training
from benchmarks.turns import in_turn

Pair = tuple[float, float]


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
