"""Atari's recipes: what only the training is told, and evaluations with a few random actions."""

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from agents.errors import UserError
from agents.evaluation import mostly
from agents.machine import Machine, make_evaluator, make_training_environments
from agents.recipe import environment_family, load_recipe
from envs.lives import LifeLoss
from envs.reward import RewardSign
from tests.agents.tiny import tiny_configuration

GAME = "ALE/Breakout-v5"


def wrappers(vec_env: VecEnv) -> list[type]:
    found = []
    while hasattr(vec_env, "venv"):
        found.append(type(vec_env))
        vec_env = vec_env.venv
    return found


@pytest.mark.parametrize("algorithm", ["qrdqn", "dqn", "ppo"])
def test_lives_and_signs_are_the_trainings_alone(algorithm: str) -> None:
    recipe = load_recipe(GAME, algorithm)
    assert environment_family(GAME) == "atari" and recipe.lives_as_episodes and recipe.reward_sign
    configuration = tiny_configuration(algorithm, "none", env=GAME, recipe=recipe, timesteps=10, n_envs=1)
    vec_env = make_training_environments(configuration, Machine("cpu", "dummy"), None)
    assert {LifeLoss, RewardSign} <= set(wrappers(vec_env)) and vec_env.observation_space.shape == (4, 84, 84)
    vec_env.close()
    evaluator = make_evaluator(configuration, Machine("cpu", "dummy", processes=1))
    assert evaluator.epsilon == 0.01
    vec_env = evaluator._make(1)
    assert not {LifeLoss, RewardSign} & set(wrappers(vec_env))
    vec_env.close()


@pytest.mark.parametrize("algorithm", ["qrdqn", "dqn", "ppo"])
def test_envpool_takes_the_recipes_settings(algorithm: str) -> None:
    pytest.importorskip("envpool")
    recipe = load_recipe("ALE/Pong-v5", algorithm)
    configuration = tiny_configuration(algorithm, "none", env="ALE/Pong-v5", recipe=recipe, n_envs=2, envpool=True)
    vec_env = make_training_environments(configuration, Machine("cpu", "envpool"), None)
    assert {LifeLoss, RewardSign} <= set(wrappers(vec_env))
    assert vec_env.reset().shape == (2, 4, 84, 84)
    observations, rewards, dones, infos = vec_env.step(np.array([2, 3]))
    assert observations.shape == (2, 4, 84, 84) and observations.dtype == np.uint8 and observations.any()
    assert not rewards.any() and not dones.any() and [info["lives"] for info in infos] == [0, 0]
    assert vec_env.unwrapped.task.frame_skip == 4 and vec_env.unwrapped.task.max_of_two
    assert vec_env.unwrapped.pool.config["noop_max"] == 30
    vec_env.close()


def test_100k() -> None:
    """100,000 agent steps are 400,000 frames."""
    for algorithm in ("qrdqn", "dqn"):
        recipe = load_recipe(GAME, algorithm)
        assert recipe.timesteps * recipe.environment.frame_skip == 400_000
        assert recipe.environment.env_kwargs["repeat_action_probability"] == 0
        assert recipe.extractor["name"] == "data_efficient" and recipe.hyperparameters["n_steps"] == 10
    assert not load_recipe("PixelCatch-v0", "dqn").lives_as_episodes


def test_some_actions_are_drawn() -> None:
    actions, space = np.full(4_000, 3), spaces.Discrete(5, start=2)
    assert mostly(actions, spaces.Box(0, 1, (2,)), 0.0, np.random.default_rng(0)) is actions
    some = mostly(actions, space, 0.1, np.random.default_rng(0))
    assert 0.06 < (some != 3).mean() < 0.1 and set(some) == {2, 3, 4, 5, 6}
    assert (mostly(actions, space, 0.1, np.random.default_rng(0)) == some).all()
    with pytest.raises(UserError, match=r"evaluation\.epsilon draws discrete actions, and the environment's are Box"):
        mostly(actions, spaces.Box(0, 1, (2,)), 0.1, np.random.default_rng(0))
