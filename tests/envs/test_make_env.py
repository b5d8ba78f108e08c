"""make_env, make_vec_env and the ids."""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

import envs
from envs.fast_car_racing import FastCarRacing, FastCarRacingV2
from envs.registration import IDS, PROCGEN
from tests.envs.driving import discretely, steer_along
from tests.envs.toys import Blind, Numbers, Pictures

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def toy_ids():
    toys = {"Toy/Pictures-v0": Pictures, "Toy/Numbers-v0": Numbers, "Toy/Blind-v0": Blind}
    for env_id, toy in toys.items():
        gym.register(env_id, entry_point=toy)
    yield
    for env_id in toys:
        del gym.registry[env_id]


def python(code: str) -> str:
    """Output of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_importing_is_light_and_registers_nothing():
    seen = json.loads(
        python(
            "import sys, json, gymnasium, envs\n"
            "heavy = [name for name in ('torch', 'stable_baselines3', 'Box2D', 'pygame') if name in sys.modules]\n"
            "ids = [name for name in gymnasium.registry if 'Fast' in name or name == 'CarRacing-v2']\n"
            "envs.register_envs(); envs.register_envs()\n"
            "print(json.dumps([heavy, ids, 'CarRacing-v2' in gymnasium.registry]))"
        )
    )
    assert seen == [[], [], True]


def test_pygame_finds_no_window_system_and_needs_none():
    code = (
        "import os\nfor name in ('DISPLAY', 'WAYLAND_DISPLAY', 'SDL_VIDEODRIVER'): os.environ.pop(name, None)\n"
        "import envs\nassert 'SDL_VIDEODRIVER' not in os.environ\n"
        "env = envs.make_env('CarRacing-v2', render='stock')\n"
        "assert env.reset(seed=0)[0].shape == (64, 64, 1)\nprint(os.environ['SDL_VIDEODRIVER'])"
    )
    assert python(code).strip() == "dummy"


def test_ids_make_what_they_say():
    envs.register_envs()
    for env_id, (entry_point, _) in IDS.items():
        if env_id.startswith(PROCGEN):  # drawn with Qt, which tests/system asks for and the others do without
            assert load_env_creator(entry_point).__name__ == entry_point.split(":")[1]
            continue
        env = gym.make(gym.spec(env_id))
        assert type(env.unwrapped).__name__ == entry_point.split(":")[1]
    assert gym.spec("CarRacing-v2").max_episode_steps == gym.spec("CarRacing-v3").max_episode_steps


@pytest.mark.parametrize(("env_id", "kind"), [("CarRacing-v2", FastCarRacingV2), ("CarRacing-v3", FastCarRacing)])
def test_fast_and_stock_pictures_of_the_same_task(env_id, kind):
    fast, stock = envs.make_env(env_id, size=84), envs.make_env(env_id, size=84, render="stock")
    assert type(fast.unwrapped) is kind
    assert fast.observation_space == stock.observation_space == spaces.Box(0, 255, (84, 84, 1), np.uint8)
    one, other = fast.reset(seed=5)[0], stock.reset(seed=5)[0]
    for _ in range(25):
        assert np.abs(one.astype(float) - other).mean() < 2
        action = steer_along(fast.unwrapped)
        (one, *rest), (other, *expected) = fast.step(action), stock.step(action)
        assert rest == expected


def test_a_fast_id_has_a_stock_picture_too():
    assert type(envs.make_env("CarRacingFast-v2").unwrapped) is FastCarRacingV2
    stock = envs.make_env("CarRacingFast-v2", render="stock")
    assert type(stock.unwrapped).__name__ == "CarRacingV2"


@pytest.mark.parametrize("render", ["fast", "stock"])
@pytest.mark.parametrize(
    ("actions", "space"),
    [
        (None, 3),
        ("continuous", 3),
        ("discrete", 5),
        ("drive5", 5),
        ("drive12", 12),
        ([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 0.5, 0]], 4),
    ],
)
def test_kinds_of_actions(render, actions, space):
    env = envs.make_env("CarRacing-v3", render=render, actions=actions)
    env.reset(seed=0)
    if actions in (None, "continuous"):
        assert isinstance(env.action_space, spaces.Box)
        assert env.action_space.shape == (space,)
    else:
        assert env.action_space == spaces.Discrete(space)
    env.step(env.action_space.sample())


def test_the_table_of_the_discrete_mode_is_the_discrete_mode():
    own, table = envs.make_env("CarRacing-v3", actions="discrete"), envs.make_env("CarRacing-v3", actions="drive5")
    own.reset(seed=2)
    table.reset(seed=2)
    for _ in range(60):
        action = discretely(steer_along(table.unwrapped))
        assert own.step(action)[1] == pytest.approx(table.step(action)[1])


def test_videos_are_of_full_size():
    for render in ("fast", "stock"):
        env = envs.make_env("CarRacing-v2", render=render, render_mode="rgb_array")
        env.reset(seed=0)
        assert env.render().shape == (400, 600, 3)


def test_keywords_reach_the_environment():
    env = envs.make_env(
        "CarRacing-v2", frame_skip=2, grayscale=False, env_kwargs={"lap_complete_percent": 0.5, "domain_randomize": True}
    ).unwrapped
    assert (env.frame_skip, env.lap_complete_percent, env.domain_randomize) == (2, 0.5, True)
    assert env.observation_space.shape == (64, 64, 3)


def test_pixels_of_an_environment_without_images():
    env = envs.make_env("Toy/Numbers-v0", pixels=True, size=20, grayscale=False, frame_skip=3)
    assert env.observation_space == spaces.Box(0, 255, (20, 20, 3), np.uint8)
    env.reset(seed=0)
    observation, reward, *_ = env.step(np.zeros(2, np.float32))
    np.testing.assert_array_equal(observation, np.full((20, 20, 3), (200, 100, 3), np.uint8))
    assert reward == 6
    cart = envs.make_env("CartPole-v1", pixels=True)
    assert cart.reset(seed=0)[0].std() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_id": "CarRacng-v2"}, r"There is no environment 'CarRacng-v2'; did you mean CarRacing-v2"),
        ({"env_id": "carracing-v3"}, r"did you mean CarRacing-v3"),
        ({"env_id": "Zzzzzz"}, r"There is no environment 'Zzzzzz'; gymnasium.pprint_registry\(\) lists"),
        ({"env_id": "nomodule:Env-v0"}, r"The module 'nomodule' of 'nomodule:Env-v0' cannot be imported"),
    ],
)
def test_unknown_ids(arguments, message):
    with pytest.raises(envs.UnknownEnvironment, match=message):
        envs.make_env(**arguments)


@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_id": "CartPole-v1"}, r"CartPole-v1 observes Box\(.*\), which holds no image; pixels=True \(--pixels\)"),
        ({"env_id": "Toy/Blind-v0", "pixels": True}, "Toy/Blind-v0 cannot be rendered as 'rgb_array'"),
        ({"env_id": "CartPole-v1", "pixels": True, "render_mode": "human"}, "render_mode cannot be 'human'"),
        ({"env_id": "CarRacing-v3", "render": "slow"}, "render must be 'fast' or 'stock', not 'slow'"),
        (
            {"env_id": "CarRacing-v3", "actions": "drive6"},
            "The action set 'drive6' is unknown; give one of continuous, discrete",
        ),
        ({"env_id": "Toy/Pictures-v0", "actions": "discrete"}, "actions='discrete' does not fit"),
        ({"env_id": "CarRacing-v3", "frame_skip": 0}, "frame_skip must be 1 or more, not 0"),
        ({"env_id": "CarRacing-v3", "render": "stock", "frame_skip": 0}, "frame_skip must be 1 or more, not 0"),
        ({"env_id": "CarRacing-v3", "env_kwargs": {"wheels": 6}}, "'CarRacing-v3' could not be made: .*wheels"),
    ],
)
def test_what_cannot_be_made(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        envs.make_env(**arguments)
    assert "\n" not in str(caught.value)
