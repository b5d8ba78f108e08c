import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.reward import RewardSign, ScaledReward
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


class Points(gym.Env):
    """Rewards of -3, 0, 0.5 and 7 in turn; four steps."""

    observation_space = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.rewards = [-3.0, 0.0, 0.5, 7.0]
        return np.zeros((1, 36, 36), np.uint8), {}

    def step(self, action):
        reward = self.rewards.pop(0)
        return np.zeros((1, 36, 36), np.uint8), reward, not self.rewards, False, {}


def test_rewards_signs_and_the_monitors_raw_return():
    venv = RewardSign(DummyVecEnv([lambda: Monitor(Points())]))
    venv.reset()
    steps = [venv.step([0]) for _ in range(4)]
    assert [float(step[1][0]) for step in steps] == [-1, 0, 1, 1]
    assert steps[-1][3][0]["episode"]["r"] == 4.5


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        ScaledReward(DummyVecEnv([StampedEnv]), 0)
