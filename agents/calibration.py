"""How much longer an update takes with a head: what the ``compute`` arm makes up for."""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.arms import Arm
from agents.build import attach_early, build_callback, build_model, learn_keywords, training_callbacks
from agents.randomness import undisturbed
from agents.recipe import Recipe

ROUNDS = 3  # of each kind, in turn, so that a busy machine slows both

Clock = Callable[[], float]


class _Opening(BaseCallback):
    """First in the list: notes when a rollout has ended, before the head has seen it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.ended: float | None = None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.ended = self.clock()


class _Closing(BaseCallback):
    """Last in the list: measures from there to the start of the next rollout, when the update is done."""

    def __init__(self, opening: _Opening, warm_up: int):
        super().__init__()
        self.opening, self.warm_up = opening, warm_up
        self.seconds: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.opening.ended is not None and self.num_timesteps > self.warm_up:
            self.seconds.append(self.opening.clock() - self.opening.ended)


def measure_compute_ratio(recipe: Recipe, arm: Arm, vec_env: VecEnv, seed: int, device: str) -> float:
    """
    Time of an update with the objectives that an arm makes up for, divided by that of one without.

    :param arm: one of those that train more; where it augments the agent's batches, both updates do
    :param vec_env: to train in for a moment; it is seeded and reset by the training that follows
    :return: at least 1
    :raises UserError: the objectives cannot be trained here
    """
    without, with_head = without_and_with_head(arm)
    seconds: tuple[list[float], list[float]] = ([], [])
    with undisturbed():
        for _ in range(ROUNDS):
            for each, measured in zip((without, with_head), seconds, strict=True):
                measured.append(_update_seconds(recipe, each, vec_env, seed, device))
    return max(1.0, median(seconds[1]) / median(seconds[0]))


def without_and_with_head(arm: Arm) -> tuple[Arm, Arm]:
    """The two arms whose updates' times give the ratio of an arm that trains more."""
    return Arm("without", augment_rl=arm.augment_rl), Arm("with", tuple((name, 1.0) for name in arm.matched), arm.augment_rl)


def _update_seconds(recipe: Recipe, arm: Arm, vec_env: VecEnv, seed: int, device: str) -> float:
    """Median time of a few updates."""
    hyperparameters: dict[str, Any] = dict(recipe.hyperparameters)
    if "learning_starts" in hyperparameters:
        hyperparameters["learning_starts"] = 2 * hyperparameters.get("batch_size", 256)
    model = build_model(replace(recipe, hyperparameters=hyperparameters), vec_env, arm, seed, device, timesteps=2_000)
    head = build_callback(recipe, arm, seed)
    attach_early(head, model)
    if isinstance(model, OffPolicyAlgorithm):
        warm_up = model.learning_starts + 10 * vec_env.num_envs
        steps = warm_up + 40 * model.train_freq.frequency * vec_env.num_envs  # type: ignore[union-attr]
    else:
        warm_up = model.n_steps * vec_env.num_envs  # type: ignore[attr-defined]
        steps = 4 * warm_up
    opening = _Opening(_clock(model))
    closing = _Closing(opening, warm_up)
    callbacks = [opening, *training_callbacks(recipe, head), closing]
    model.learn(steps, callback=callbacks, **learn_keywords(model, vec_env))
    return median(closing.seconds)


def _clock(model: BaseAlgorithm) -> Clock:
    """
    Seconds; where one thread of this process does all the work, those that it was given, whatever else the machine does.

    With more threads processor time would count their waiting for each other, with a GPU nothing of its work.
    """
    return time.process_time if model.device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
