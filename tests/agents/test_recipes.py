"""Every recipe in agents/recipes loads, builds, and takes its own callback."""

import warnings
from pathlib import Path

import pytest
from stable_baselines3.common.utils import LinearSchedule

from agents.algorithms import ALGORITHMS, CONTINUOUS_ONLY, DISCRETE_ONLY
from agents.arms import parse_arm
from agents.build import EXTRACTORS, STOCK_EXTRACTOR, build_callback, build_model, environment_keywords
from agents.errors import UserError
from agents.recipe import (
    FAMILY_ALGORITHM,
    RECIPES,
    Recipe,
    environment_family,
    load_recipe,
    read_recipe,
    recipe_from_dict,
)
from agents.schedules import read_value
from cpc_rl import ContrastiveCallback, FrameStackReplayBuffer
from cpc_rl.pretraining.extractor_choice import EXTRACTORS as OWN_EXTRACTORS
from envs import make_vec_env
from tests.agents.tiny import IMAGES, IMAGES_BOX, tiny_recipe

ALL = [(env, name) for env in (IMAGES, "CarRacing-v2", "PixelCartPole-v0") for name in ALGORITHMS]


@pytest.mark.parametrize(("env", "name"), ALL, ids=[f"{name}-{env.rpartition(':')[2]}" for env, name in ALL])
def test_recipe_builds_and_takes_its_callback(env: str, name: str) -> None:
    recipe = load_recipe(env, name.upper())
    assert recipe.algorithm == name
    if env == IMAGES and name in CONTINUOUS_ONLY:
        env = IMAGES_BOX
    if env == "PixelCartPole-v0" and name in CONTINUOUS_ONLY:
        env = "PixelPendulum-v0"
    vec_env = make_vec_env(env, 2, 0, vec="dummy", **environment_keywords(recipe, pixels=False))
    try:
        model = build_model(recipe, vec_env, parse_arm("none", recipe.objective), 0, "cpu", timesteps=50)
        assert type(model) is ALGORITHMS[name]
        assert model.seed == 0
        callback = build_callback(recipe, parse_arm(recipe.objective, recipe.objective), 0)
        assert callback is not None
        callback.init_callback(model)
        if getattr(model, "replay_buffer", None) is not None:
            assert model.replay_buffer.buffer_size * vec_env.num_envs <= 52  # no larger than the run
    finally:
        vec_env.close()


def test_each_file_is_some_algorithms_recipe() -> None:
    own = {f"{name}_{family}.yaml" for name in ("ppo", "sac", "dqn") for family in ("carracing", "pixelcontrol")}
    own |= {"ppo_minigrid.yaml", "ppo_procgen.yaml", "sac_dmc.yaml", "dqn_atari.yaml", "qrdqn_atari.yaml"}
    assert {file.name for file in RECIPES.iterdir()} == own | {f"default_{name}.yaml" for name in ALGORITHMS} | {
        "atari.yaml",
        "carracing.yaml",
        "dmc.yaml",
        "minigrid.yaml",
        "pixelcontrol.yaml",
        "procgen.yaml",
    }


@pytest.mark.parametrize("name", ALGORITHMS)
def test_carracing_keeps_its_picture_and_gives_the_actions_that_fit(name: str) -> None:
    environment = load_recipe("CarRacing-v3", name).environment
    assert (environment.size, environment.frame_skip, environment.frame_stack, environment.render) == (64, 4, 4, "fast")
    if name in DISCRETE_ONLY or name in ("ppo", "maskableppo"):
        assert environment.actions == "discrete"
    if name in CONTINUOUS_ONLY:
        assert environment.actions == "continuous"


def test_recipe_survives_a_configuration_file() -> None:
    recipe = load_recipe("CarRacing-v2", "ppo")
    assert recipe_from_dict(recipe.as_dict(), "here") == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("algorithm: ppo\ntimesteps: 1\ncolour: red", "unknown key 'colour'"),
        ("algorithm: ppo\ntimesteps: 1\nenvironment: {skip: 2}", "unknown key 'skip'"),
        ("algorithm: ppo", "must at least say its algorithm and timesteps"),
        ("algorithm: ppo\ntimesteps: many", "should be of type int"),
        ("algorithm: ppo\ntimesteps: true", "should be of type int"),
        ("algorithm: ppo\ntimesteps: 0", "has timesteps: 0, which must be 1 or more."),
        ("algorithm: ppo\ntimesteps: 1\nn_envs: -1", "has n_envs: -1, which must be 1 or more."),
        ("algorithm: ppo\ntimesteps: 1\nenvironment: {frame_skip: 0}", "under environment, has frame_skip: 0, which must"),
        ("algorithm: ppo\ntimesteps: 1\nevaluation: {count: 0}", "under evaluation, has count: 0, which must be 1 or more."),
        ("algorithm: ppo\ntimesteps: 1\nevaluation: {episodes: 0}", "under evaluation, has episodes: 0, which must"),
        ("algorithm: ppo\ntimesteps: 1\nevaluation: {final_episodes: 0}", "has final_episodes: 0, which must be 1 or more."),
        ("algorithm: ppo\ntimesteps: 1\nreward_scale: true", "should be of type float"),
        ("algorithm: ppo\ntimesteps: 1.0", "should be of type int"),
        ("algorithm: zpo\ntimesteps: 1", "no algorithm 'zpo'"),
        ("- ppo", "must be a mapping"),
        ("algorithm: [ppo", "cannot be read"),
        ("algorithm: !!python/object/apply:os.getcwd []\ntimesteps: 1", "cannot be read"),
    ],
)
def test_bad_recipe(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_recipe(tmp_path / "bad.yaml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_whole_numbers_are_numbers(tmp_path: Path) -> None:
    text = "algorithm: ppo\ntimesteps: 1\nreward_scale: 2\nexploration_noise: 0\nevaluation: {epsilon: 0}"
    (tmp_path / "whole.yaml").write_text(text)
    recipe = read_recipe(tmp_path / "whole.yaml")
    numbers = (recipe.reward_scale, recipe.exploration_noise, recipe.evaluation.epsilon)
    assert numbers == (2.0, 0.0, 0.0) and {type(number) for number in numbers} == {float}


@pytest.mark.parametrize(
    "env",
    ["ALE/Pong-v5", "MiniGrid-Empty-5x5-v0", "CarRacing-v3", "PixelCatch-v0", "procgen/maze-v0", "dm_control/walker-walk-v0"],
)
def test_a_module_before_an_id_changes_no_recipe(env: str) -> None:
    family = environment_family(env)
    assert family is not None and environment_family(f"some.module:{env}") == family
    for name in (FAMILY_ALGORITHM[family], "a2c"):
        assert load_recipe(f"some.module:{env}", name) == load_recipe(env, name)
    assert environment_family(f"some.module:{IMAGES.rpartition(':')[2]}") is None


def test_linear_schedule() -> None:
    schedule = read_value({"schedule": "linear", "start": 0.5, "end": 0.1})
    assert type(schedule) is LinearSchedule  # a saved model needs no class of this project
    assert [schedule(1.0), schedule(0.5), schedule(0.0)] == pytest.approx([0.5, 0.3, 0.1])
    assert read_value(0.25) == 0.25
    for bad in (
        {"schedule": "square"},
        {"schedule": "linear", "start": 1.0},
        {"schedule": "linear", "start": 1, "end": 0, "mid": 1},
    ):
        with pytest.raises(UserError):
            read_value(bad)


def _hyperparameters(recipe: Recipe, **changes: object) -> Recipe:
    return recipe_from_dict({**recipe.as_dict(), **changes}, "here")


def test_what_does_not_fit_is_one_sentence() -> None:
    recipe = tiny_recipe()
    vec_env = make_vec_env(IMAGES, 1, 0, vec="dummy", **environment_keywords(recipe, pixels=False))
    none = parse_arm("none", "curl")
    for bad, said in (
        (_hyperparameters(recipe, hyperparameters={"n_stepz": 8}), "n_stepz"),
        (_hyperparameters(recipe, extractor={"name": "resnet"}), "no extractor 'resnet'"),
        (_hyperparameters(recipe, algorithm="sac"), "needs Box actions"),
    ):
        with pytest.raises(UserError) as error:
            build_model(bad, vec_env, none, 0)
        assert said in str(error.value)
    with pytest.raises(UserError, match="callback cannot be built"):
        build_callback(_hyperparameters(recipe, callback={"gradient": "sideways"}), parse_arm("curl", "curl"), 0)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_off_policy_frames_are_stored_once_unless_the_recipe_says_stock(n_steps: int) -> None:
    recipe = load_recipe(IMAGES, "dqn")
    recipe = _hyperparameters(recipe, hyperparameters={**recipe.hyperparameters, "n_steps": n_steps, "gamma": 0.9})
    vec_env = make_vec_env(IMAGES, 1, 0, vec="dummy", **environment_keywords(recipe, pixels=False))
    none = parse_arm("none", "cpc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build_model(recipe, vec_env, none, 0, "cpu", timesteps=50)
    buffer = model.replay_buffer  # type: ignore[attr-defined]
    assert isinstance(buffer, FrameStackReplayBuffer)
    assert (buffer.n_stack, buffer.n_steps, buffer.gamma if n_steps > 1 else 0.9) == (4, n_steps, 0.9)
    stock = build_model(_hyperparameters(recipe, replay_buffer="stock"), vec_env, none, 0, "cpu", timesteps=50)
    assert type(stock.replay_buffer).__module__ == "stable_baselines3.common.buffers"  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="known are frames and stock"):
        build_model(_hyperparameters(recipe, replay_buffer="tape"), vec_env, none, 0, "cpu", timesteps=50)


def test_weighted_objectives_take_their_own_keywords_and_are_all_shuffled() -> None:
    recipe = _hyperparameters(tiny_recipe(), objective_kwargs={"cpc": {"horizon": 2}, "moco": {"tau": 0.1}})
    callback = build_callback(recipe, parse_arm("curl=1,cpc=2", "curl"), 0)
    assert isinstance(callback, ContrastiveCallback)
    assert callback.settings.weights == {"curl": 1.0, "cpc": 2.0}
    assert callback.settings.keywords == {"curl": {}, "cpc": {"horizon": 2}}
    callback = build_callback(recipe, parse_arm("shuffled+curl=1,cpc=2", "curl"), 0)
    assert isinstance(callback, ContrastiveCallback)
    assert callback.settings.keywords == {"curl": {"shuffled": True}, "cpc": {"horizon": 2, "shuffled": True}}
    with pytest.raises(UserError, match="'curl' has no keyword 'steps'"):
        build_callback(_hyperparameters(recipe, objective_kwargs={"curl": {"steps": 1}}), parse_arm("curl", "curl"), 0)


@pytest.mark.parametrize(("arm", "epochs"), [("none", 2), ("compute", 3), ("aug+compute+spr", 3)])
def test_compute_adds_epochs_rounded_up(arm: str, epochs: int) -> None:
    recipe = tiny_recipe()
    vec_env = make_vec_env(IMAGES, 1, 0, vec="dummy", **environment_keywords(recipe, pixels=False))
    model = build_model(recipe, vec_env, parse_arm(arm, "curl"), 0, "cpu", compute_ratio=1.01)
    assert model.n_epochs == epochs  # type: ignore[attr-defined]


def test_encoders_can_be_pretrained_for_every_recipe() -> None:
    assert EXTRACTORS.keys() - OWN_EXTRACTORS.keys() == {STOCK_EXTRACTOR}
