"""Tasks and settings in which an anchor has no positive or no negative: the agent learns as if there were no head."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

from cpc_rl import ContrastiveCallback
from cpc_rl.head import Head
from cpc_rl.monitor import Monitors
from tests.algorithms import make_model, same_parameters


class Bandit(gym.Env):
    """Episodes of one step, with large rewards: no frame has a next one."""

    def __init__(self):
        self.observation_space = spaces.Box(0, 255, (1, 36, 36), np.uint8)
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, (1, 36, 36), dtype=np.uint8), {}

    def step(self, action):
        return self.np_random.integers(0, 256, (1, 36, 36), dtype=np.uint8), 100.0, True, False, {}


@pytest.mark.parametrize("share_passes", [True, False])
@pytest.mark.parametrize("objective", ["cpc", "atc", "spr"])
def test_episodes_of_one_step(objective, share_passes):
    models = []
    for callback in (None, ContrastiveCallback(objective, batch_size=16, share_passes=share_passes)):
        small = {"features_extractor_kwargs": {"features_dim": 32}}
        models.append(PPO("CnnPolicy", Bandit(), n_steps=64, batch_size=16, n_epochs=4, seed=0, policy_kwargs=small))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            models[-1].learn(256, callback=callback)
    assert all(torch.isfinite(p).all() for p in models[1].policy.parameters())
    assert same_parameters(*models)


def test_negatives_of_other_trajectories_within_the_first_one(monkeypatch):
    """All of the buffer is one episode at first: nothing is trained, and it is said. Then the ratio is held from the start."""
    ratios = []
    add = Monitors.add

    def noted(self, metrics, windows):
        ratios.append(float(metrics["curl"]["gradient_ratio"]))
        add(self, metrics, windows)

    monkeypatch.setattr(Monitors, "add", noted)
    model = make_model("SAC", learning_starts=8)
    model.env.envs[0].lengths = (60,)
    keywords = {
        "objective_kwargs": {"negatives": "other_trajectories"},
        "batch_size": 4,
        "coef": "ratio",
        "share_passes": False,
    }
    with pytest.warns(UserWarning, match="no anchor had a positive or none had a negative"):
        model.learn(50, callback=ContrastiveCallback("curl", **keywords))
    assert len(ratios) == 42 and not any(ratios)
    model.learn(90, callback=ContrastiveCallback("curl", **keywords), reset_num_timesteps=False)
    learnt = [ratio for ratio in ratios if ratio > 0]
    assert len(learnt) > 50 and max(learnt[:3]) < 3  # they were some hundreds
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())


@pytest.mark.parametrize(
    ("n_steps", "horizon", "shares"),
    [(5, 1, True), (5, 3, False), (5, 8, False), (11, 3, False), (12, 3, True), (32, 8, True), (1, 1, False)],
)
def test_a_horizon_that_short_rollouts_do_not_hold_has_passes_of_its_own(monkeypatch, n_steps, horizon, shares):
    """Windows of the agent's minibatch end with its rollout; drawn ones go on in the next, so that every offset is trained."""
    shared = []
    step = Head._term_gradient
    monkeypatch.setattr(
        Head, "_term_gradient", lambda self, *args: (shared.append(args[-1] is not None), step(self, *args))[1]
    )
    model = make_model("A2C", n_envs=4, n_steps=n_steps)
    callback = ContrastiveCallback("cpc", {"horizon": horizon}, batch_size=16)
    model.learn(4 * max(n_steps * 12, 40), callback=callback)
    (head,) = callback.heads.values()
    assert set(shared) == {shares} and len(shared) >= 8
    predictors = head.terms["cpc"].objective.W
    assert len(predictors) == horizon
    for predictor in predictors:
        assert head.optimizer.state[predictor.weight]["exp_avg"].abs().max() > 0
