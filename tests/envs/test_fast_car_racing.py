"""The fast CarRacing against the stock one: the same rewards, ends and final states, bit for bit, over whole episodes."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from envs import make_env
from envs.car_physics import LeanCar
from envs.fast_car_racing import FastCarRacing, FastCarRacingV2
from envs.preprocessing import FrameSkip
from tests.envs.driving import Undrawn, UndrawnV2, discretely, steer_along

Policy = Callable[[Any, int], Any]


def weaving(rng: np.random.Generator) -> Policy:
    """Throttle, brakes and steering at random, beyond their bounds too; the car skids and leaves the road."""
    draws = rng.normal(0, 1, (1001, 3))
    steering = np.clip(np.cumsum(draws[:, 0] * 0.2), -1.2, 1.2)

    def act(env: Any, step: int) -> Any:
        action = np.array([steering[step], draws[step, 1], draws[step, 2] - 1], np.float32)
        return action if env.continuous else int(abs(draws[step, 1]) * 3) % 5

    return act


def along(env: Any, step: int) -> Any:
    """Follows the road to the end of the lap."""
    action = steer_along(env)
    return action if env.continuous else discretely(action)


def straight(env: Any, step: int) -> Any:
    """Some throttle and never a turn: across the grass and out of the playfield."""
    return np.array([0, 0.2, 0], np.float32) if env.continuous else 3


def state(env: Any) -> list[float]:
    """Everything that moves."""
    car = env.car
    bodies = [car.hull, *car.wheels]
    numbers = [
        number for body in bodies for number in (*body.position, body.angle, *body.linearVelocity, body.angularVelocity)
    ]
    wheels = [number for wheel in car.wheels for number in (wheel.omega, wheel.phase, wheel.gas, wheel.brake, wheel.steer)]
    return [*numbers, *wheels, env.reward, env.tile_visited_count, env.t]


def play(fast: FastCarRacing, stock: gym.Env, policy: Policy, seed: int) -> tuple[int, bool, bool, dict[str, Any]]:
    """Step both through one episode, each action the fast one's; every step must agree. Returns steps and how it ended."""
    fast.reset(seed=seed)
    stock.reset(seed=seed)
    assert fast.track == stock.unwrapped.track  # type: ignore[attr-defined]
    for step in range(1001):
        action = policy(fast, step)
        _, reward, terminated, truncated, info = fast.step(action)
        _, *expected = stock.step(action)
        info.pop("TimeLimit.truncated", None)
        assert [reward, terminated, truncated, info] == expected
        assert state(fast) == state(stock.unwrapped)
        if terminated or truncated:
            return step + 1, terminated, truncated, info
    raise AssertionError("the episode did not end")


def stock_env(version: type[gym.Env], skip: int, **kwargs: Any) -> gym.Env:
    return FrameSkip(TimeLimit(version(**kwargs), 1000), skip)


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("domain_randomize", [True, False])
@pytest.mark.parametrize("policy", ["weaving", "along"])
def test_whole_episodes_agree(continuous, domain_randomize, policy):
    kwargs = {"continuous": continuous, "domain_randomize": domain_randomize}
    act = along if policy == "along" else weaving(np.random.default_rng(5))
    steps, *_ = play(FastCarRacing(frame_skip=4, **kwargs), stock_env(Undrawn, 4, **kwargs), act, seed=3)
    assert steps > 150


def test_second_episodes_agree_too():
    fast, stock = FastCarRacing(frame_skip=3), stock_env(Undrawn, 3)
    for seed in (7, None):  # the second track is drawn by the generator that the first has left behind
        fast.reset(seed=seed)
        stock.reset(seed=seed)
        for step in range(40):
            action = along(fast, step)
            assert fast.step(action)[1:3] == stock.step(action)[1:3]
        assert state(fast) == state(stock.unwrapped)


def test_agrees_with_the_stock_environment_as_it_is_registered():
    fast, stock = FastCarRacing(frame_skip=4, max_episode_steps=120), gym.make("CarRacing-v3", max_episode_steps=120)
    steps, terminated, truncated, _ = play(fast, FrameSkip(stock, 4), along, seed=11)
    assert (steps, terminated, truncated) == (30, False, True)


@pytest.mark.parametrize(
    ("fast", "stock", "ends"), [(FastCarRacing, Undrawn, (True, False)), (FastCarRacingV2, UndrawnV2, (False, True))]
)
def test_a_finished_lap_terminates_v3_and_truncates_v2(fast, stock, ends):
    steps, terminated, truncated, info = play(fast(frame_skip=2), stock_env(stock, 2), along, seed=1)
    assert (terminated, truncated) == ends
    assert info == {"lap_finished": True}
    assert steps < 500  # before the time limit


def test_lap_complete_percent_ends_the_lap_where_the_stock_environment_does():
    steps = {}
    for percent in (0.5, 0.95):
        kwargs = {"lap_complete_percent": percent}
        fast = FastCarRacing(frame_skip=4, max_episode_steps=None, **kwargs)
        steps[percent], terminated, _, _ = play(fast, FrameSkip(Undrawn(**kwargs), 4), along, seed=1)
        assert terminated
        assert fast.tile_visited_count / len(fast.track) > percent
    assert steps[0.5] <= steps[0.95]


@pytest.mark.parametrize(("fast", "stock"), [(FastCarRacing, Undrawn), (FastCarRacingV2, UndrawnV2)])
@pytest.mark.parametrize("continuous", [True, False])
def test_leaving_the_playfield_terminates_with_minus_100(fast, stock, continuous):
    env = fast(continuous=continuous, max_episode_steps=None)
    _, terminated, truncated, info = play(env, FrameSkip(stock(continuous=continuous), 4), straight, seed=2)
    assert (terminated, truncated, info) == (True, False, {"lap_finished": False})


@pytest.mark.parametrize(("version", "ends"), [(FastCarRacing, (True, False)), (FastCarRacingV2, (True, True))])
def test_a_lap_finished_while_leaving_the_playfield(version, ends):
    env = version(frame_skip=1)
    env.reset(seed=0)
    env.new_lap = True
    env.car.hull.position = (400, 0)
    _, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    assert (terminated, truncated) == ends
    assert (reward, info) == (-100, {"lap_finished": False})


@pytest.mark.parametrize(("skip", "steps"), [(1, 30), (4, 8), (7, 5)])
def test_the_limit_counts_physics_steps(skip, steps):
    env = FastCarRacing(frame_skip=skip, max_episode_steps=30)
    for _ in range(2):
        env.reset(seed=0)
        ends = [env.step(np.zeros(3, np.float32))[2:4] for _ in range(steps)]
        assert ends == [(False, False)] * (steps - 1) + [(False, True)]
        assert env.physics_steps == 30
        assert round(env.t * 50) == 31  # reset makes one step of its own


@pytest.mark.parametrize("limit", [40, -1])
def test_a_limit_that_make_env_is_given_counts_physics_steps_too(limit):
    """As the stock environment's does, which is inside of the frame skip; -1, as gymnasium has it, is none."""
    ends = []
    for render in ("fast", "stock"):
        env = make_env("CarRacing-v2", render=render, env_kwargs={"max_episode_steps": limit}, actions="discrete")
        env.reset(seed=1)
        ends.append(next((step for step in range(1, 260) if any(env.step(0)[2:4])), None))
        env.close()
    assert ends == ([10, 10] if limit == 40 else [None, None])


def test_a_limit_goes_along_with_copies_and_is_looked_at():
    env = make_env("CarRacing-v2", env_kwargs={"max_episode_steps": 40})
    copies = [gym.make(env.spec).unwrapped, pickle.loads(pickle.dumps(env.unwrapped))]
    assert [each.max_physics_steps for each in copies] == [40, 40]
    for limit in (0, -5, 2.5, "40"):
        with pytest.raises(ValueError, match="max_episode_steps must be a whole number from 1, or None for no limit"):
            make_env("CarRacing-v2", env_kwargs={"max_episode_steps": limit})


def test_what_a_reset_does_with_colours_agrees():
    fast, stock = FastCarRacing(domain_randomize=True), Undrawn(domain_randomize=True)
    for options in (None, {"randomize": False}, {"randomize": True}):
        for env in (fast, stock):
            env.reset(seed=4, options=options)
        for name in ("road_color", "bg_color", "grass_color"):
            np.testing.assert_array_equal(getattr(fast, name), getattr(stock, name))
        assert [(polygon, list(color)) for polygon, color in fast.road_poly] == [
            (polygon, list(color)) for polygon, color in stock.road_poly
        ]


def test_videos_show_the_stock_picture_with_its_skid_marks():
    fast, stock = FastCarRacing(frame_skip=2, render_mode="rgb_array"), Undrawn(render_mode="rgb_array")
    assert Undrawn.__mro__[1]._render(stock, "rgb_array") is None  # nothing to draw before the first reset
    fast.reset(seed=0)
    stock.reset(seed=0)
    for step in range(60):
        action = np.array([np.sin(step / 4), 1, 0], np.float32)
        fast.step(action)
        stock.step(action)
        stock.step(action)
    assert len(fast.car.particles) > 0
    assert state(fast) == state(stock)
    expected = Undrawn.__mro__[1]._render(stock, "rgb_array")
    np.testing.assert_array_equal(fast.render(), expected)
    assert expected.shape == (400, 600, 3)


def test_state_pixels_can_be_rendered_and_nothing_cannot():
    fast = FastCarRacing(render_mode="state_pixels")
    fast.reset(seed=0)
    assert fast.render().shape == (96, 96, 3)
    env = gym.make("CarRacing-v3").unwrapped
    plain = FastCarRacing()
    plain.spec = env.spec
    plain.reset(seed=0)
    assert type(plain.car) is LeanCar
    with pytest.warns(UserWarning, match="without specifying any render mode"):
        assert plain.render() is None


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_have_the_same_settings(duplicate):
    env = duplicate(FastCarRacing(frame_skip=3, size=32, grayscale=True, max_episode_steps=9, continuous=False))
    assert (env.frame_skip, env.size, env.max_physics_steps, env.continuous) == (3, 32, 9, False)
    assert env.reset(seed=0)[0].shape == (32, 32, 1)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="frame_skip must be 1 or more, not 0"):
        FastCarRacing(frame_skip=0)
    with pytest.raises(ValueError, match="size must be 1 pixel or more, not 0"):
        FastCarRacing(size=0)
    env = FastCarRacing(continuous=False)
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction):
        env.step(5)
