"""The machine that a run is computed on, and what of the run lives there: environments and the evaluator."""

from dataclasses import dataclass
from typing import Any, Literal

from stable_baselines3.common.vec_env import VecEnv

from agents.build import environment_keywords
from agents.configuration import RunConfiguration
from agents.errors import UserError
from agents.evaluation import Evaluator
from cpc_rl.interrupts import interrupts_ignored
from envs import make_vec_env
from envs.reward import RewardSign, ScaledReward


@dataclass(frozen=True)
class Machine:
    """
    Where a run is computed: no part of what it computes.

    :param device: torch's name of a device, or ``auto``
    :param vec: where the training's environments are stepped; ``envpool`` must be the configuration's as well
    :param processes: for evaluations; as many as there are cores if ``None``
    """

    device: str = "auto"
    vec: Literal["auto", "dummy", "subproc", "envpool"] = "auto"
    processes: int | None = None


def environment_keywords_of(configuration: RunConfiguration, *, evaluation: bool = False) -> dict[str, Any]:
    """What a run's environments are made with, for training or for evaluation."""
    render = "stock" if evaluation else configuration.render
    return environment_keywords(configuration.recipe, pixels=configuration.pixels, render=render, evaluation=evaluation)


def make_evaluator(configuration: RunConfiguration, machine: Machine, *, training_environment: bool = False) -> Evaluator:
    """
    What evaluates a run's agents.

    :param training_environment: in the environment of the training, and not in the one that the recipe evaluates in
    """
    keywords = environment_keywords_of(configuration, evaluation=not training_environment)
    settings = configuration.recipe.evaluation
    return Evaluator(
        configuration.env, keywords, machine.processes, deterministic=settings.deterministic, epsilon=settings.epsilon
    )


def make_training_environments(configuration: RunConfiguration, machine: Machine, seed: int) -> VecEnv:
    """
    The training's environments.

    :param seed: of the first one
    """
    recipe = configuration.recipe
    if machine.vec == "envpool" and not configuration.envpool:
        raise UserError("This run trains on Gymnasium's environments, and --vec envpool has others: leave it out.")
    vec = "envpool" if configuration.envpool else machine.vec
    try:
        with interrupts_ignored():
            vec_env = make_vec_env(
                configuration.env,
                configuration.n_envs,
                seed,
                vec=vec,
                lives_as_episodes=recipe.lives_as_episodes,
                **environment_keywords_of(configuration),
            )
        if recipe.reward_sign:
            vec_env = RewardSign(vec_env)
        return vec_env if recipe.reward_scale == 1 else ScaledReward(vec_env, recipe.reward_scale)
    except ValueError as error:
        raise UserError(str(error)) from error
