"""Features kept from a rollout's collection are those of the agent's own observations, whatever else is asked meanwhile."""

from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import DummyVecEnv

import cpc_rl
from cpc_rl import ContrastiveCallback
from tests.algorithms import LENGTHS, make_model
from tests.stamped_env import StampedEnv


def evaluation(n_envs: int) -> EvalCallback:
    envs = DummyVecEnv(
        [
            lambda i=i: StampedEnv(7 + i, "discrete", False, channels_last=True, lengths=LENGTHS, shape=(3, 36, 36))
            for i in range(n_envs)
        ]
    )
    return EvalCallback(envs, eval_freq=3, n_eval_episodes=1, verbose=0, warn=False)


class Asks(BaseCallback):
    """Encodes, predicts and values other observations after each step."""

    def _on_step(self) -> bool:
        others = self.training_env.observation_space.sample()[None]
        cpc_rl.encode(self.model, others)
        self.model.predict(others)
        with torch.no_grad():
            self.model.policy.predict_values(obs_as_tensor(others, self.model.device))  # type: ignore[operator]
        return True


class Compares(BaseCallback):
    """After each rollout: what was kept, beside what the extractor says of the buffer's observations."""

    def __init__(self, head: ContrastiveCallback) -> None:
        super().__init__()
        self.head, self.compared = head, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        (rollout,) = self.head._sharing.rollouts  # type: ignore[union-attr]
        rollout.end()
        buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
        assert rollout._all is not None and len(rollout._all) == buffer.buffer_size
        with torch.no_grad():
            for row, images in enumerate(buffer.observations):
                expected = self.model.policy.extract_features(  # type: ignore[operator]
                    torch.as_tensor(images), self.model.policy.features_extractor
                )
                torch.testing.assert_close(rollout._all[row], expected)
        self.compared += 1


@pytest.mark.parametrize("name", ["PPO", "A2C", "MaskablePPO", "RecurrentPPO"])
@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_an_evaluation_between_two_steps_leaves_no_trace(name: str, n_envs: int, first: bool) -> None:
    keywords: dict[str, Any] = {"n_steps": 12} if name == "A2C" else {}
    model = make_model(name, n_envs=n_envs, **keywords)
    head = ContrastiveCallback("cpc", batch_size=8)
    compares = Compares(head)
    others: list[BaseCallback] = [evaluation(1), evaluation(n_envs)]
    model.learn(64 * n_envs, callback=[*others, head, compares] if first else [head, *others, compares])
    assert compares.compared >= 2


class Values(BaseCallback):
    """Logs the values of the newest observations, as many as the agent acts in."""

    def _on_step(self) -> bool:
        with torch.no_grad():
            self.model.policy.predict_values(obs_as_tensor(self.locals["new_obs"], self.model.device))  # type: ignore[operator]
        return True


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_nor_do_values_of_the_newest_observations(n_envs: int, first: bool) -> None:
    model = make_model("PPO", n_envs=n_envs)
    head = ContrastiveCallback("cpc", batch_size=8)
    compares = Compares(head)
    model.learn(128, callback=[Values(), head, compares] if first else [head, Values(), Values(), compares])
    assert compares.compared >= 2


def test_nor_do_passes_of_other_callbacks() -> None:
    model = make_model("PPO", n_envs=2)
    head = ContrastiveCallback("cpc", batch_size=8)
    compares = Compares(head)
    model.learn(128, callback=[Asks(), head, Asks(), compares])
    assert compares.compared == 2
