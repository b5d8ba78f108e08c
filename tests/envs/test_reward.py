import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.reward import ScaledReward
from tests.stamped_env import StampedEnv


def test_rewards_are_multiplied_and_the_monitor_keeps_the_raw_return():
    plain, scaled = (DummyVecEnv([lambda: Monitor(StampedEnv())]) for _ in range(2))
    scaled = ScaledReward(scaled, 0.25)
    assert np.array_equal(plain.reset(), scaled.reset())
    for _ in range(5):
        expected, got = plain.step([0]), scaled.step([0])
        np.testing.assert_allclose(got[1], 0.25 * expected[1])
        assert expected[2] == got[2]
    assert expected[3][0]["episode"]["r"] == got[3][0]["episode"]["r"] > 0


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        ScaledReward(DummyVecEnv([StampedEnv]), 0)
