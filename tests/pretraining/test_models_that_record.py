"""A model that records acts as it did in training: masks, noise and gSDE included."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import TQC, MaskablePPO
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise

from cpc_rl.pretraining.policies import TrainedPolicy, make_policy
from tests.pretraining.toy import Rolling


def small() -> dict[str, Any]:
    """Keywords of a small model; algorithms write into theirs."""
    return {"policy_kwargs": {"net_arch": [4], "features_extractor_kwargs": {"features_dim": 8}}, "device": "cpu"}


class Continuous(Rolling):
    action_space = spaces.Box(np.float32([-2, 0]), np.float32([2, 10]))


class Masked(Rolling):
    """Only what the last action allows may be done."""

    def action_masks(self) -> np.ndarray:
        return np.arange(4) == self.steps % 4

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_masks()[action], "illegal action"
        return super().step(action)


def actions(policy: TrainedPolicy, env: Rolling, seed: int, episodes: int = 3) -> np.ndarray:
    """At one observation that stays the same, ``(episodes, 5, A)``."""
    observation, _ = env.reset(seed=0)
    policy.seed(seed)
    found = []
    for _ in range(episodes):
        policy.reset()
        found.append([policy(observation) for _ in range(5)])
    return np.array(found)


class Shy(Rolling):
    """Does not know before its first reset."""

    @property
    def action_masks(self) -> Any:
        if not hasattr(self, "grid"):
            raise RuntimeError("call reset() first")
        return lambda: np.ones(4, dtype=bool)


@pytest.mark.parametrize("make", [PPO, MaskablePPO])
def test_masks_are_asked_for_when_it_acts(make: Any, tmp_path: Any) -> None:
    make("CnnPolicy", Rolling() if make is PPO else Masked(), n_steps=8, batch_size=8, **small()).save(tmp_path / "model.zip")
    env = Shy()
    policy = make_policy(str(tmp_path / "model.zip"), make.__name__, env)
    observation, _ = env.reset(seed=0)
    policy.reset()
    assert env.action_space.contains(policy(observation))


def test_masks_are_kept_to(tmp_path: Any) -> None:
    MaskablePPO("CnnPolicy", Masked(), n_steps=8, batch_size=8, **small()).save(tmp_path / "model.zip")
    env = Masked()
    policy = make_policy(str(tmp_path / "model.zip"), "maskableppo", env)
    observation, _ = env.reset(seed=0)
    policy.seed(0)
    policy.reset()
    played = []
    for _ in range(6):
        played.append(policy(observation))
        observation, *_ = env.step(played[-1])
    assert played == [0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize(
    ("make", "every", "rollout", "expected"),
    [
        (PPO, -1, 8, [7]),
        (PPO, 3, 8, [2, 5, 7, 10, 13]),
        (SAC, -1, 1, range(14)),
        (TQC, -1, 4, [3, 7, 11]),
        (SAC, -1, (1, "episode"), [4, 9]),
    ],
)
def test_gsde_draws_anew_as_often_as_in_training(make: Any, every: int, rollout: Any, expected: Any) -> None:
    """With each rollout, and every so many steps of it; what is given are the steps after which the action is another."""
    more = {"n_steps": rollout, "batch_size": 8} if make is PPO else {"buffer_size": 10, "train_freq": rollout}
    model = make("CnnPolicy", Continuous(), use_sde=True, sde_sample_freq=every, **more, **small())
    policy, env = TrainedPolicy(model, Rolling.observation_space), Continuous()
    first, again, other = (actions(policy, env, seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.allclose(first, other)
    played = first.reshape(15, 2)
    changes = [step for step in range(14) if not np.allclose(played[step], played[step + 1], atol=1e-4)]
    assert changes == list(expected)


@pytest.mark.parametrize("vectorized", [False, True])
def test_the_noise_of_actions_is_added(vectorized: bool) -> None:
    """On actions scaled to [-1, 1], and never beyond the space's bounds."""
    noise: Any = NormalActionNoise(np.zeros(2), np.full(2, 0.3))
    model = TD3("CnnPolicy", Continuous(), buffer_size=10, **small())
    plain = actions(TrainedPolicy(model, Rolling.observation_space), Continuous(), 0, 40)
    model.action_noise = VectorizedActionNoise(noise, 2) if vectorized else noise
    policy = TrainedPolicy(model, Rolling.observation_space)
    noisy, again = (actions(policy, Continuous(), 0, 40) for _ in range(2))
    assert np.ptp(plain, axis=(0, 1)).max() < 1e-5 and np.array_equal(noisy, again)
    spread = noisy.reshape(-1, 2).std(axis=0)
    assert np.allclose(spread / [2, 5], 0.3, atol=0.06)  # half of each range is 1 when scaled
    model.action_noise = NormalActionNoise(np.zeros(2), np.full(2, 50.0))
    far = actions(TrainedPolicy(model, Rolling.observation_space), Continuous(), 0)
    assert all(Continuous.action_space.contains(action) for action in far.reshape(-1, 2).astype(np.float32))


def test_noise_with_a_memory_begins_anew_in_each_episode() -> None:
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), np.zeros(2), theta=0.0, initial_noise=np.full(2, 0.1))
    model = TD3("CnnPolicy", Continuous(), buffer_size=10, action_noise=noise, **small())
    noise.noise_prev = np.full(2, 0.4)
    found = actions(TrainedPolicy(model, Rolling.observation_space), Continuous(), 0, 2)
    assert np.allclose(found[0], found[1])
