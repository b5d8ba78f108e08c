"""The fast picture against the stock one on random states, and what each part of it shows."""

from typing import Any

import cv2
import numpy as np
import pygame
import pytest
from gymnasium.envs.box2d.car_racing import PLAYFIELD, CarRacing

from envs.car_dashboard import reward_text
from envs.car_picture import CarPicture
from envs.car_sprite import wheel_mark
from envs.fast_car_racing import FastCarRacing
from envs.preprocessing import resize
from tests.envs.driving import steer_along


def stock_picture(env: CarRacing) -> np.ndarray:
    """The stock observation (96, 96, 3) of the fast environment's present state."""
    return CarRacing._render(env, "state_pixels")


def as_trained_on(picture: np.ndarray, size: int, grayscale: bool) -> np.ndarray:
    """The stock observation preprocessed, by OpenCV alone: (size, size, 1 or 3)."""
    if grayscale:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).reshape(size, size, -1)


def random_states(seed: int, domain_randomize: bool, steps: int) -> Any:
    """Yields the environment on a road driven badly, the zoom of the first second included."""
    rng = np.random.default_rng(seed)
    env = FastCarRacing(frame_skip=1, domain_randomize=domain_randomize)
    env.reset(seed=seed)
    swerve = 0.0
    for step in range(steps):
        swerve = 0.95 * swerve + rng.normal(0, 0.15)
        action = steer_along(env, speed=60) + np.array([swerve, 0, 0], np.float32)
        env.step(np.clip(action, -1, 1))
        if step in (0, 1, 10, 30, 45) or rng.random() < 0.06:
            yield env


@pytest.mark.parametrize("domain_randomize", [False, True])
@pytest.mark.parametrize(("size", "grayscale"), [(64, True), (64, False), (84, True), (96, False)])
def test_mean_difference_from_the_stock_picture(domain_randomize, size, grayscale):
    differences = []
    for seed in (0, 8):
        for env in random_states(seed, domain_randomize, steps=160):
            picture = CarPicture(grayscale)
            picture.start(env)
            drawn = resize(picture.draw(env), size).astype(float)
            wanted = as_trained_on(stock_picture(env), size, grayscale)
            assert drawn.shape == wanted.shape
            differences.append(np.abs(drawn - wanted).mean())
    assert len(differences) > 20
    assert np.mean(differences) < 0.6  # the goal is 2; a part missing or misplaced by a pixel shows long before that
    assert np.max(differences) < 1.6


def test_the_environment_observes_that_picture():
    env = FastCarRacing(size=64, grayscale=False, frame_skip=4)
    for see in (lambda: env.reset(seed=1)[0], lambda: env.step(np.array([0.1, 0.5, 0], np.float32))[0]):
        observation = see()
        assert observation.shape == env.observation_space.shape == (64, 64, 3)
        assert env.observation_space.contains(observation)
        assert np.abs(observation - as_trained_on(stock_picture(env), 64, False).astype(float)).mean() < 1


def test_observations_do_not_change_afterwards():
    env = FastCarRacing(size=96, grayscale=True)
    first = env.reset(seed=1)[0]
    kept = first.copy()
    for _ in range(5):
        env.step(np.array([0.1, 0.5, 0], np.float32))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("place", [(PLAYFIELD - 5, 0), (0, -PLAYFIELD + 12), (-PLAYFIELD + 8, PLAYFIELD - 8)])
@pytest.mark.parametrize("angle", [0.0, 2.0, -1.2])
def test_beyond_the_playfield_it_is_black(place, angle):
    env = FastCarRacing()
    env.reset(seed=0)
    env.t = 2.0
    car = env.car
    for body in (car.hull, *car.wheels):
        body.position = place
        body.angle = angle
    drawn, wanted = env.picture.draw(env)[:80].astype(float), stock_picture(env)[:80]
    assert np.abs(drawn - wanted).mean() < 1
    assert (np.all(drawn == 0, axis=-1) != np.all(wanted == 0, axis=-1)).mean() < 0.03


def test_tiles_take_the_visited_colour():
    env = FastCarRacing(domain_randomize=True)
    env.reset(seed=0)
    for _ in range(20):
        env.step(steer_along(env, speed=30))
    visited = [tile.road_visited for tile in env.road]
    assert 3 < sum(visited) < len(visited)
    for tile in env.road:
        expected = env.road_color if tile.road_visited else env.road_color + 0.01 * (tile.idx % 3) * 255
        np.testing.assert_allclose(tile.color, expected)
        assert np.shares_memory(tile.color, env.picture.colors)


@pytest.mark.parametrize("grayscale", [True, False])
def test_indicators_follow_the_stock_ones(grayscale):
    env = FastCarRacing()
    env.reset(seed=0)
    env.t = 2.0
    car = env.car
    for speed, spin, omegas, reward in (
        (0, 0, (0, 0, 0, 0), -100),
        (30, 1.5, (20, 50, 90, 130), 7.6),
        (100, -3, (-20, 210, 33, 1e-5), 931),
        (55, 0.02, (300, 3, 0.7, 160), 1000),
    ):
        car.hull.linearVelocity, car.hull.angularVelocity, env.reward = (speed, 0), spin, reward
        for wheel, omega in zip(car.wheels, omegas, strict=True):
            wheel.omega = omega
        picture = CarPicture(grayscale)
        picture.start(env)
        drawn, wanted = picture.draw(env).astype(float), as_trained_on(stock_picture(env), 96, grayscale)
        assert np.abs(drawn - wanted)[84:].mean() < 0.6
        assert np.abs(drawn - wanted)[84:].max() < 40  # of 255, where an indicator ends within a pixel


def test_each_indicator_can_be_told_apart():
    """The error of the whole bar would hide a missing indicator: each must change the picture where the stock one changes."""
    env = FastCarRacing()
    env.reset(seed=0)
    env.t = 2.0

    def bars() -> tuple[np.ndarray, np.ndarray]:
        return env.picture.draw(env)[84:].astype(float), stock_picture(env)[84:].astype(float)

    def set_speed() -> None:
        env.car.hull.linearVelocity = (60, 0)

    def set_spin() -> None:
        env.car.hull.angularVelocity = 2

    def set_reward() -> None:
        env.reward = 888

    def set_steering() -> None:
        for _ in range(20):
            env.step(np.array([1, 0, 0], np.float32))
        env.t = 2.0

    wheels = [lambda wheel=wheel: setattr(wheel, "omega", 80) for wheel in env.car.wheels]
    for change in (set_speed, set_spin, set_reward, *wheels, set_steering):
        before, stock_before = bars()
        change()
        after, stock_after = bars()
        moved, stock_moved = after - before, stock_after - stock_before
        assert np.abs(stock_moved).sum() > 300
        assert np.abs(moved - stock_moved).sum() < 0.2 * np.abs(stock_moved).sum()


def test_the_reward_is_still_written_after_pygame_has_quit():
    before = reward_text("0123", 24).copy()
    reward_text.cache_clear()
    pygame.quit()
    np.testing.assert_array_equal(reward_text("0123", 24), before)
    assert before.max() > 100


def test_the_mark_on_a_wheel():
    assert wheel_mark(0.5) is None  # wholly below
    assert wheel_mark(np.pi + 0.5) == (np.cos(np.pi + 0.5), np.cos(np.pi + 1.7))
    assert wheel_mark(np.pi - 0.5) == (-1, np.cos(np.pi + 0.7))  # about to come up at the back
    assert wheel_mark(2 * np.pi - 0.5) == (np.cos(2 * np.pi - 0.5), 1)  # going down in front
