import numpy as np
import pytest

from envs import make_env
from envs.actions import ACTION_FACTORS, FactoredActions
from tests.stamped_env import StampedEnv


@pytest.mark.parametrize("render", ["fast", "stock"])
def test_wheel_and_pedals_are_chosen_side_by_side(render):
    env = make_env("CarRacing-v2", render=render, actions="wheel5-pedals4")
    assert list(env.action_space.nvec) == [5, 4]
    wrapper = env
    while not isinstance(wrapper, FactoredActions):
        wrapper = wrapper.env
    wheel, pedals = ACTION_FACTORS["wheel5-pedals4"]
    for i, j in np.ndindex(5, 4):
        expected = np.add(wheel[i], pedals[j]).astype(np.float32)
        np.testing.assert_array_equal(wrapper.action(np.array([i, j])), expected)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()


def test_rows_that_do_not_fit_are_refused():
    box = StampedEnv(actions="box")
    with pytest.raises(ValueError, match="one-dimensional Box"):
        FactoredActions(StampedEnv(), [[[0.0], [1.0]]])
    with pytest.raises(ValueError, match="two or more rows of 2"):
        FactoredActions(box, [[[0.0, 1.0]]])
    with pytest.raises(ValueError, match="outside"):
        FactoredActions(box, [[[0.6, 0.0], [0.0, 0.0]], [[0.6, 0.0], [0.0, 0.0]]])
