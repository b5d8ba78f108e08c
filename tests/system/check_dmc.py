"""
dm_control itself, drawing by OpenGL (Debian: libegl1): ``pytest tests/system/check_dmc.py``.

Not collected by itself, since not every machine can draw.
"""

import numpy as np
import pytest

import envs

SIX = {"cartpole-swingup": 8, "finger-spin": 2, "reacher-easy": 4, "cheetah-run": 4, "walker-walk": 2, "ball_in_cup-catch": 4}


def play(task: str, steps: int, seed: int, **keywords):
    env = envs.make_env(f"dm_control/{task}-v0", size=84, grayscale=False, frame_skip=SIX[task], **keywords)
    seen, _ = env.reset(seed=seed)
    env.action_space.seed(0)
    pictures, rewards, ends = [seen], [], []
    for _ in range(steps):
        seen, reward, *end, _ = env.step(env.action_space.sample())
        pictures.append(seen)
        rewards.append(reward)
        ends.append(tuple(end))
    env.close()
    return np.array(pictures), rewards, ends


@pytest.mark.parametrize("task", SIX)
def test_a_seed_is_an_episode(task: str):
    pictures, rewards, _ = play(task, 5, 3)
    again, same, _ = play(task, 5, 3)
    assert np.array_equal(pictures, again) and rewards == same
    assert not np.array_equal(pictures[0], play(task, 0, 4)[0][0])
    assert pictures.std() > 10 and not np.array_equal(pictures[0], pictures[-1])
    assert all(0 <= reward <= SIX[task] for reward in rewards)


def test_an_episode_has_a_thousand_steps_and_is_truncated():
    _, rewards, ends = play("cartpole-swingup", 125, 0)
    assert ends == [(False, False)] * 124 + [(False, True)] and 0 < sum(rewards) < 1000


@pytest.mark.parametrize("task", SIX)
def test_the_fast_picture_is_the_stock_one_but_for_shadows(task: str):
    """Within a tenth of a grey level on average; fewer than one pixel in two hundred is off by more than 8."""
    fast, stock = (play(task, 5, 1, render=render)[0].astype(int) for render in ("fast", "stock"))
    difference = np.abs(fast - stock)
    assert difference.mean() < 0.1 and (difference.max(-1) > 8).mean() < 0.005
