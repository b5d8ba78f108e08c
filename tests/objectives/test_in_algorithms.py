"""Every objective at work in PPO, SAC and DQN, on tiny images."""

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from cpc_rl import OBJECTIVES, ContrastiveCallback
from tests.algorithms import hooks_left, in_layout
from tests.stamped_env import StampedEnv

STEPS = 300
LENGTHS = (9, 14, 20)
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"PPO": PPO, "SAC": SAC, "DQN": DQN}
SETTINGS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 64, "batch_size": 32, "n_epochs": 2},
    "SAC": {"learning_starts": 60, "buffer_size": 250, "batch_size": 8, "train_freq": 12},
    "DQN": {"learning_starts": 60, "buffer_size": 250, "batch_size": 8, "train_freq": 12, "target_update_interval": 60},
}
BATCH = 8


class TwoCameras(gym.ObservationWrapper):
    """The image seen by two cameras of different size and kind."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        left, right = (spaces.Box(0, 255, shape, np.uint8) for shape in ((3, 36, 36), (1, 40, 40)))
        self.observation_space = spaces.Dict({"left": left, "right": right})

    def observation(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        return {"left": observation, "right": np.pad(observation[:1, ::-1], ((0, 0), (2, 2), (2, 2)))}


def make_model(name: str, two_cameras: bool, **more: Any) -> BaseAlgorithm:
    def make() -> gym.Env:
        env: gym.Env = StampedEnv(0, "box" if name == "SAC" else "discrete", lengths=LENGTHS)
        return TwoCameras(env) if two_cameras else env

    small = {"cnn_output_dim": 16} if two_cameras else {"features_dim": 16}
    policy_kwargs: dict[str, Any] = {"features_extractor_kwargs": small, "net_arch": [16], **more}
    policy = "MultiInputPolicy" if two_cameras else "CnnPolicy"
    return ALGORITHMS[name](policy, DummyVecEnv([make]), seed=0, policy_kwargs=policy_kwargs, **SETTINGS[name])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_three_hundred_steps(name, algorithm):
    model = make_model(algorithm, two_cameras=name == "multiview")
    reports = []

    class Watch(ContrastiveCallback):
        def _on_rollout_end(self):
            super()._on_rollout_end()
            for injection in self._injections:
                injection.report = lambda metrics, windows: reports.append(metrics[name])

    callback = Watch(name, coef="ratio", batch_size=BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(STEPS, callback=callback)
    (head,) = callback.heads.values()
    assert head.steps >= 15
    assert all(torch.isfinite(value).all() for metrics in reports for value in metrics.values())
    assert all(p.isfinite().all() for p in [*model.policy.parameters(), *head.terms[name].objective.parameters()])
    # The head learnt (every parameter moved), and its gradient reached the encoder at the ratio asked for.
    fresh = ContrastiveCallback(name, coef="ratio", batch_size=BATCH)
    make_model(algorithm, two_cameras=name == "multiview").learn(0, callback=fresh)
    (untrained,) = fresh.heads.values()
    for (parameter, now), before in zip(
        head.terms[name].objective.named_parameters(), untrained.terms[name].objective.parameters(), strict=True
    ):
        if now.requires_grad:
            assert not torch.equal(now, before), f"{parameter} never moved"
    ratios = [float(metrics["gradient_ratio"]) for metrics in reports if "gradient_ratio" in metrics]
    assert len(ratios) >= len(reports) - 1  # before its first gradient the agent's norm at a feature map is not known
    # Of the first third: later SAC's maps here are thirty times as long, with a head or without, and averages lag behind that.
    assert 0.2 < float(np.median(ratios[: len(ratios) // 3])) < 5.0
    assert hooks_left(model) == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_layout_of_the_convolutions_is_kept_and_changes_rounding_alone(name, algorithm):
    moves = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = make_model(algorithm, name == "multiview", optimizer_class=torch.optim.SGD)  # Adam blows rounding up
        model.lr_schedule = lambda _: 0.01  # DQN's own moves hardly anything without Adam
        encoder = next(part for part in model.policy.modules() if isinstance(part, BaseFeaturesExtractor))
        model.policy.to(memory_format=memory_format)
        before, callback = copy.deepcopy(encoder), ContrastiveCallback(name, batch_size=BATCH)
        model.learn(84, callback=callback)  # the first updates
        assert in_layout(model, memory_format)
        moves.append([new.detach() - old.detach() for new, old in zip(encoder.parameters(), before.parameters(), strict=True)])
    for first, second in zip(*moves, strict=True):
        assert first.abs().max() > 1e-6
        torch.testing.assert_close(first, second, rtol=0, atol=0.01 * float(first.abs().max()))
