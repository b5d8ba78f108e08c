"""The pixel control set: Gymnasium's physics bit for bit, pictures of positions alone, seeds, variants, Catch's rules."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import envs
from agents.recipe import load_recipe
from envs.pixel_control import (
    VARIANTS,
    Catch,
    PixelAcrobot,
    PixelCartPole,
    PixelCatch,
    PixelControl,
    PixelMountainCar,
    PixelPendulum,
)
from envs.pixel_control.canvas import Canvas
from envs.registration import PIXEL_IDS

# Gymnasium's id, our class, the positions' indices in the state with the range to draw them from
CLASSIC: list[tuple[str, type[Any], dict[int, tuple[float, float]]]] = [
    ("CartPole-v1", PixelCartPole, {0: (-2.4, 2.4), 2: (-0.2, 0.2)}),
    ("Pendulum-v1", PixelPendulum, {0: (-3.1, 3.1)}),
    ("Acrobot-v1", PixelAcrobot, {0: (-3.1, 3.1), 1: (-3.1, 3.1)}),
    ("MountainCar-v0", PixelMountainCar, {0: (-1.2, 0.55)}),
]
ALL = [*(kind for _, kind, _ in CLASSIC), PixelCatch]


def frames(env: gym.Env, seed: int | None, steps: int = 8) -> np.ndarray:
    """Pictures (steps + 1, H, W, channels) of an episode in which the first action is taken again and again."""
    action = np.zeros(1, np.float32) if isinstance(env.action_space, spaces.Box) else 0
    return np.stack([env.reset(seed=seed)[0], *(env.step(action)[0] for _ in range(steps))])


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # Gymnasium's own pictures need no screen
    envs.register_envs()


@pytest.mark.parametrize("variant", ["", "Noise", "Background"])
@pytest.mark.parametrize(("stock_id", "kind", "shown"), CLASSIC)
def test_states_rewards_and_ends_are_gymnasiums(stock_id: str, kind: type[Any], shown: object, variant: str) -> None:
    stock = gym.make(stock_id)
    ours = gym.make(f"{kind.__name__}{variant}-v0")
    assert isinstance(ours.unwrapped, kind)
    assert (ours.action_space, ours.spec.max_episode_steps) == (stock.action_space, stock.spec.max_episode_steps)  # type: ignore[union-attr]
    assert ours.spec.reward_threshold == stock.spec.reward_threshold  # type: ignore[union-attr]
    ours.action_space.seed(1)
    for episode in range(3):
        seed = 5 if episode == 0 else None  # later starts are drawn by the generator that the first episode has left behind
        ours.reset(seed=seed)
        stock.reset(seed=seed)
        over = False
        while not over:
            np.testing.assert_array_equal(ours.unwrapped.state, stock.unwrapped.state)  # type: ignore[attr-defined]
            action = ours.action_space.sample()
            _, *got = ours.step(action)
            _, *expected = stock.step(action)
            assert got == expected
            over = got[1] or got[2]
        np.testing.assert_array_equal(ours.unwrapped.state, stock.unwrapped.state)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [48, 64, 84])
@pytest.mark.parametrize(("stock_id", "kind", "shown"), CLASSIC)
def test_the_picture_shows_positions_and_nothing_else(
    stock_id: str, kind: type[Any], shown: dict[int, tuple[float, float]], size: int
) -> None:
    env = kind(size=size)
    rng = np.random.default_rng(size)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(20):
        state = np.array([rng.uniform(*shown.get(index, (-0.07, 0.07))) for index in range(len(env.state))])
        env.state = state.copy()
        picture = env.picture()
        for index in range(len(state)):
            other = state.copy()
            other[index] += 0.03 if index in shown else 5.0
            env.state = other
            assert (picture == env.picture()).all() == (index not in shown)
        env.state = state.copy()
        env.step(env.action_space.sample())
        env.state = state.copy()
        np.testing.assert_array_equal(env.picture(), picture)  # neither time nor the last action shows


@pytest.mark.parametrize(("stock_id", "kind", "shown"), CLASSIC)
def test_what_is_drawn_lies_where_gymnasium_draws_it(
    stock_id: str, kind: type[Any], shown: dict[int, tuple[float, float]]
) -> None:
    env = kind(render_mode="rgb_array", size=96, grayscale=False)
    env.reset(seed=0)
    for index, (low, high) in shown.items():  # one position at a time, the others at rest
        centers = []
        for position in np.linspace(low, high, 12):
            env.state = np.where(np.arange(len(env.state)) == index, position, 0.0)
            stock, ours = env.render().astype(int), env.picture().astype(int)
            if kind is PixelMountainCar:  # the car is black and gray there, with a line; nearly white here
                masks = (stock.max(axis=2) < 150, ours.min(axis=2) > 180)
            elif kind is PixelCartPole:  # the pole, which is what is coloured there and nearly white here
                masks = (stock.max(axis=2) - stock.min(axis=2) > 40, ours.min(axis=2) > 180)
            else:  # all but the lines
                masks = (stock.max(axis=2) - stock.min(axis=2) > 40, ours.max(axis=2) > 120)
            centers.append([np.argwhere(mask).mean(axis=0) / mask.shape for mask in masks])
        there, here = np.array(centers).transpose(1, 2, 0)  # (down and right, states) each
        moving = there.std(axis=1) > 0.005
        assert moving.any()
        for axis in np.flatnonzero(moving):
            assert np.corrcoef(there[axis], here[axis])[0, 1] > 0.95


def test_catch_shows_every_board_differently() -> None:
    env = PixelCatch(size=48, rows=6, columns=4)
    env.reset(seed=0)
    seen = set()
    for env.ball in range(4):
        for env.row in range(6):
            for env.paddle in range(4):
                seen.add(env.picture().tobytes())
    assert len(seen) == 4 * 6 * 4


@pytest.mark.parametrize("grayscale", [True, False])
@pytest.mark.parametrize("kind", ALL)
def test_shapes_follow_size_and_grayscale(kind: type[PixelControl], grayscale: bool) -> None:
    for size in (48, 61, 84):
        env = kind(size=size, grayscale=grayscale)
        assert env.observation_space == spaces.Box(0, 255, (size, size, 1 if grayscale else 3), np.uint8)
        picture = env.reset(seed=0)[0]
        assert env.observation_space.contains(picture)
        assert 64 == picture.min() < picture.max() <= 191
    coarse, fine = (kind(size=size).reset(seed=3)[0] for size in (48, 96))
    shrunk = fine.reshape(48, 2, 48, 2).mean(axis=(1, 3))
    assert np.abs(shrunk - coarse[..., 0]).mean() < 2.5  # one picture at any size


@pytest.mark.parametrize("variant", ["noise", "background"])
@pytest.mark.parametrize("kind", ALL)
def test_seeds_reproduce_the_whole_picture(kind: type[PixelControl], variant: str) -> None:
    one, other = kind(variant=variant), kind(variant=variant)
    first = frames(one, 7)
    second = frames(one, None)
    np.testing.assert_array_equal(frames(other, 7), first)
    np.testing.assert_array_equal(frames(other, None), second)
    assert (frames(one, 8)[0] != first[0]).mean() > 0.8
    assert (second[0] != first[0]).mean() > 0.8  # each episode has noise or a background of its own
    np.testing.assert_array_equal(frames(one, 7), first)


@pytest.mark.parametrize("grayscale", [True, False])
@pytest.mark.parametrize("kind", ALL)
def test_what_the_variants_add(kind: type[PixelControl], grayscale: bool) -> None:
    clean, noisy, moving = (frames(kind(grayscale=grayscale, variant=name), 3).astype(int) for name in VARIANTS)
    noise = noisy - clean
    assert noise.min() == -64 and noise.max() == 63
    assert abs(noise.mean() + 0.5) < 1
    assert abs(noise.std() - 128 / 12**0.5) < 1
    for shift in (np.roll(noise, 1, axis=0), np.roll(noise, 1, axis=1), np.roll(noise, 1, axis=2)):
        assert abs(np.corrcoef(noise.ravel(), shift.ravel())[0, 1]) < 0.03  # fresh in every frame and pixel
    inside = clean == 64
    assert moving[inside].std() > 12
    assert abs(np.diff(moving, axis=0)[inside[1:] & inside[:-1]]).mean() > 1  # it moves
    assert abs(np.diff(moving, axis=2)).mean() < 8  # and is smooth
    drawn = clean > 130
    assert moving[drawn].min() > 100  # the task is in front
    assert moving[drawn].mean() - moving[inside].mean() > 70


def test_a_background_drifts_slowly_and_has_no_seam() -> None:
    variant = VARIANTS["background"](48, 1)
    variant.begin(np.random.default_rng(0))
    pictures = np.stack([variant.under()[..., 0] for _ in range(400)]).astype(int)
    assert np.abs(np.diff(pictures, axis=0)).max() < 60
    assert max(np.abs(np.diff(pictures, axis=1)).max(), np.abs(np.diff(pictures, axis=2)).max()) < 40
    assert np.abs(pictures[0] - pictures[30]).mean() > 10


def test_the_frame_returned_is_not_drawn_on_again() -> None:
    for name in VARIANTS:
        env = PixelCartPole(variant=name)
        first = env.reset(seed=0)[0]
        kept = first.copy()
        env.step(0)
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("env_id", PIXEL_IDS)
def test_gymnasiums_checker_has_no_objection(env_id: str) -> None:
    check_env(gym.make(env_id, size=48).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", PIXEL_IDS)
def test_ids_and_make_env_draw_at_the_final_size(env_id: str) -> None:
    env = envs.make_env(env_id, size=52, grayscale=False)
    assert env.unwrapped.observation_space == env.observation_space == spaces.Box(0, 255, (52, 52, 3), np.uint8)
    np.testing.assert_array_equal(frames(env, 2), frames(gym.make(env_id, size=52, grayscale=False), 2))
    assert load_recipe(env_id, "ppo").environment.frame_skip == 1
    assert not envs.vector.processes_pay(env_id, 8)


def test_catch_follows_its_rules() -> None:
    rng = np.random.default_rng(0)
    returns, columns = [], set()
    env = Catch()
    for episode in range(200):
        ball, row, paddle = env.reset(seed=episode)[0]
        assert (row, paddle) == (0, 2)
        column = ball
        columns.add(int(ball))
        for step in range(1, 10):
            action = int(rng.integers(3))
            paddle = (max(paddle - 1, 0), paddle, min(paddle + 1, 4))[action]
            observation, reward, terminated, truncated, info = env.step(action)
            assert observation.tolist() == [column, step, paddle]
            assert (terminated, truncated, info) == (step == 9, False, {})
            assert reward == (0 if step < 9 else 1 if paddle == column else -1)
        returns.append(reward)
        with pytest.raises(ValueError, match="reset\\(\\) must begin the next episode"):
            env.step(0)
    assert columns == set(range(5))
    assert set(returns) == {-1.0, 1.0}
    with pytest.raises(ValueError, match="An action of Catch is 0, 1 or 2, not 3"):
        env.step(3)


def test_catch_renders_what_it_shows() -> None:
    env = envs.make_env("PixelCatchNoise-v0", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (400, 400, 3) and picture.dtype == np.uint8  # type: ignore[union-attr]
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) < 200  # type: ignore[union-attr]  # no noise
    assert PixelCatch().render() is None


def test_a_rod_leads_where_its_angle_points() -> None:
    for angle, far in ((0.0, (0.5, 0.1)), (np.pi / 2, (0.9, 0.5)), (np.pi, (0.5, 0.9))):
        picture = np.zeros((50, 50, 1), np.uint8)
        end = Canvas(picture).rod((0.5, 0.5), angle, 0.4, 0.1, (200, 200, 200))
        assert end == pytest.approx(far)
        middle = [round((a + b) * 25 - 0.5) for a, b in zip((0.5, 0.5), far, strict=True)]
        assert picture[middle[1], middle[0]] == 200


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PixelCartPole(size=23), "size must be 24 pixels or more, not 23"),
        (lambda: PixelCatch(variant="snow"), "There is no variant 'snow'; give one of clean, noise, background"),
        (lambda: Catch(rows=5, columns=10), "more rows than half the columns, not 5 rows, 10 columns"),
        (lambda: Catch(columns=1), "Catch needs 2 columns or more"),
    ],
)
def test_what_cannot_be_made(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
