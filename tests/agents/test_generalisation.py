"""An environment to be trained in and another to be evaluated in, and evaluations whose actions are drawn."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from agents.arms import parse_arm
from agents.build import build_callback, build_model, environment_keywords
from agents.evaluation import Evaluator
from agents.machine import Machine
from agents.recipe import RECIPES, EnvironmentSettings, EvaluationSettings, load_recipe
from agents.run import execute
from agents.run_folder import RunFolder
from agents.summary import summarize
from cpc_rl import AugmentationCallback
from envs import make_vec_env
from tests.agents.tiny import tiny_configuration, tiny_recipe


class Worth(gym.Env):
    """Four steps whose rewards are what it was made with, plus a hundredth of the action."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, worth: float, bonus: float = 0.0, render_mode: str | None = None):
        self.worth, self.render_mode = worth + bonus, render_mode
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        self.action_space = spaces.Discrete(5)

    def _picture(self) -> np.ndarray:
        return np.full((36, 36, 1), self.steps, np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._picture(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self._picture(), self.worth + 0.01 * int(action), self.steps == 4, False, {}

    def render(self) -> np.ndarray:  # type: ignore[override]
        return self._picture()


if "Worth-v0" not in gym.registry:
    gym.register("Worth-v0", Worth)


def configuration(**evaluation: Any):
    recipe = replace(
        tiny_recipe(),
        environment=EnvironmentSettings(frame_stack=2, size=36, env_kwargs={"worth": 2.0, "bonus": 1.0}),
        evaluation=EvaluationSettings(count=3, **evaluation),
    )
    return tiny_configuration("ppo", "none", env="Worth-v0", recipe=recipe, timesteps=32, final_episodes=3)


def run(log_dir: Path, **evaluation: Any) -> tuple[RunFolder, dict[str, Any]]:
    chosen = configuration(**evaluation)
    folder = RunFolder.of(log_dir, chosen)
    execute(chosen, folder, Machine("cpu", "dummy", processes=1), overwrite=False, command="a test")
    return folder, json.loads(folder.results.read_text())


def test_both_environments_are_evaluated_in(tmp_path: Path) -> None:
    """Rewards of 1 + 1 in evaluations and of 2 + 1 in training: the evaluation's keywords change what they name."""
    folder, results = run(tmp_path, env_kwargs={"worth": 1.0})
    assert 4 * 2 <= results["final"]["mean_return"] <= 4 * 2.04
    trained_in = results["final_in_training_environment"]
    assert 4 * 3 <= trained_in["mean_return"] <= 4 * 3.04
    assert set(trained_in) == set(results["final"]) and trained_in["seeds"] == results["final"]["seeds"]
    assert all(8 <= row["mean_return"] <= 8.2 for row in folder.read_evaluations())
    assert folder.read_configuration() == configuration(env_kwargs={"worth": 1.0})
    said = summarize(folder.read_configuration(), folder, results)
    gap = trained_in["mean_return"] - results["final"]["mean_return"]
    assert f"in the environment of the training: the generalisation gap is {gap:.1f}\n" in said


def test_without_another_environment_nothing_is_said_of_a_gap(tmp_path: Path) -> None:
    folder, results = run(tmp_path)
    assert "final_in_training_environment" not in results and 12 <= results["final"]["mean_return"] <= 12.2
    assert "gap" not in summarize(folder.read_configuration(), folder, results)


def test_drawn_actions() -> None:
    """The same seeds draw the same ones, whatever was drawn before; the likeliest are the same in every episode."""
    keywords = environment_keywords(configuration().recipe, pixels=False)
    vec_env = make_vec_env("Worth-v0", 1, 0, vec="dummy", **keywords)
    model = build_model(configuration().recipe, vec_env, parse_arm("none", "curl"), 0, "cpu")
    drawing, choosing = (Evaluator("Worth-v0", keywords, 1, deterministic=fixed) for fixed in (False, True))
    drawn = drawing.evaluate(model, range(5, 15)).returns
    assert len(set(drawn)) > 3
    assert drawing.evaluate(model, range(6, 16)).returns.tolist() != drawn.tolist()
    assert drawing.evaluate(model, range(5, 15)).returns.tolist() == drawn.tolist()
    assert len(set(choosing.evaluate(model, range(5, 15)).returns)) == 1
    before = np.random.get_state()[1].tolist()
    drawing.evaluate(model, [3])
    assert np.random.get_state()[1].tolist() == before
    for evaluator in (drawing, choosing):
        evaluator.close()


@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "recurrentppo"])
def test_procgen_s_levels(algorithm: str) -> None:
    recipe = load_recipe("procgen/coinrun-v0", algorithm)
    training = environment_keywords(recipe, pixels=False)["env_kwargs"]
    assert training == {"distribution": "easy", "num_levels": 200, "start_level": 0}
    evaluation = environment_keywords(recipe, pixels=False, evaluation=True)["env_kwargs"]
    assert evaluation == {"distribution": "easy", "num_levels": 0, "start_level": 0}
    assert (recipe.environment.size, recipe.environment.grayscale, recipe.environment.frame_stack) == (64, False, 1)
    assert not recipe.evaluation.deterministic


def test_what_a_recipe_says_of_one_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its values replace the family's, mappings entry by entry."""
    text = (RECIPES / "ppo_procgen.yaml").read_text()
    own = "environments: {procgen/maze-v0: {timesteps: 7, environment: {size: 32}}}\n"
    (tmp_path / "ppo_procgen.yaml").write_text(text + own)
    monkeypatch.setattr("agents.recipe.RECIPES", tmp_path)
    maze, coinrun = (load_recipe(f"procgen/{game}-v0", "ppo") for game in ("maze", "coinrun"))
    assert (maze.timesteps, maze.environment) == (7, replace(coinrun.environment, size=32))
    assert replace(maze, timesteps=coinrun.timesteps, environment=coinrun.environment) == coinrun


def test_a_recipe_that_ties_ties_its_aug_arm_too():
    """So that aug and aug+curl differ by the head alone."""
    for env, algorithm, tied in (("dm_control/walker-walk-v0", "sac", True), ("CarRacing-v2", "ppo", False)):
        callback = build_callback(load_recipe(env, algorithm), parse_arm("aug", "curl"), 0)
        assert isinstance(callback, AugmentationCallback) and callback.tied is tied


def test_a_model_of_values_takes_its_best_actions_and_its_exploration_goes_on_undisturbed() -> None:
    """DQN's own drawn actions are those of training, as random as it explores just now, from the training's generator."""
    recipe = replace(configuration().recipe, algorithm="dqn", hyperparameters={"buffer_size": 100})
    keywords = environment_keywords(recipe, pixels=False)
    model = build_model(recipe, make_vec_env("Worth-v0", 1, 0, vec="dummy", **keywords), parse_arm("none", "curl"), 0, "cpu")
    model.exploration_rate = 1.0  # type: ignore[attr-defined]  # as at the beginning of a training
    before = model.action_space.np_random.bit_generator.state
    drawing, choosing = (Evaluator("Worth-v0", keywords, 1, deterministic=fixed) for fixed in (False, True))
    assert drawing.evaluate(model, range(5, 9)).returns.tolist() == choosing.evaluate(model, range(5, 9)).returns.tolist()
    assert model.action_space.np_random.bit_generator.state == before
    for evaluator in (drawing, choosing):
        evaluator.close()
