"""Tiny models of all twelve algorithms, for tests."""

from typing import Any

import torch
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.stamped_env import StampedEnv

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    c.__name__: c for c in (PPO, A2C, DQN, SAC, TD3, DDPG, QRDQN, TQC, TRPO, RecurrentPPO, MaskablePPO, CrossQ)
}
ON_POLICY = ("PPO", "A2C", "TRPO", "RecurrentPPO", "MaskablePPO")
CONTINUOUS = ("SAC", "TD3", "DDPG", "TQC", "CrossQ")
MULTI_INPUT = {"RecurrentPPO": "MultiInputLstmPolicy"}
POLICY = {"RecurrentPPO": "CnnLstmPolicy", "CrossQ": "MlpPolicy"}
LENGTHS = (9, 14, 20)


def make_model(
    name: str, n_envs: int = 1, dict_obs: bool = False, policy_kwargs: dict | None = None, **keywords: Any
) -> BaseAlgorithm:
    """A model with small networks that updates within some dozens of steps, seeded with 0."""
    actions = "box" if name in CONTINUOUS else "discrete"
    envs = DummyVecEnv(
        [
            lambda i=i: StampedEnv(i, actions, dict_obs, channels_last=True, lengths=LENGTHS, shape=(3, 36, 36))
            for i in range(n_envs)
        ]
    )
    settings: dict[str, Any] = {"seed": 0}
    if name in ("PPO", "MaskablePPO", "RecurrentPPO"):
        settings.update(n_steps=32, batch_size=16, n_epochs=2)
    elif name == "TRPO":
        settings.update(n_steps=32, batch_size=16, n_critic_updates=2, cg_max_steps=3)
    elif name != "A2C":
        settings.update(learning_starts=24, buffer_size=200, batch_size=8)
    if name in ("DQN", "QRDQN"):
        settings.update(target_update_interval=8)
    policy_kwargs = dict(policy_kwargs or {})
    small = {"cnn_output_dim": 32} if dict_obs else {"features_dim": 32}
    policy_kwargs.setdefault("features_extractor_kwargs", small)
    if name == "CrossQ" and not dict_obs:
        policy_kwargs.setdefault("features_extractor_class", NatureCNN)
    if name in CONTINUOUS:
        policy_kwargs.setdefault("net_arch", [16])
    policy = MULTI_INPUT.get(name, "MultiInputPolicy") if dict_obs else POLICY.get(name, "CnnPolicy")
    return ALGORITHMS[name](policy, envs, policy_kwargs=policy_kwargs, **{**settings, **keywords})


def steps(name: str) -> int:
    """Environment steps that hold several updates."""
    return 64 if name in ON_POLICY else 40


def in_layout(model: BaseAlgorithm, memory_format: torch.memory_format) -> bool:
    """Whether the policy keeps the weights of all its convolutions so."""
    return all(p.is_contiguous(memory_format=memory_format) for p in model.policy.parameters() if p.ndim == 4)


def same_parameters(a: BaseAlgorithm, b: BaseAlgorithm) -> bool:
    mine, theirs = a.policy.state_dict(), b.policy.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def hooks_left(model: BaseAlgorithm) -> int:
    """Number of hooks on the parameters, modules and optimisers of the policy."""
    modules = list(model.policy.modules())
    optimizers = {id(o): o for m in modules if (o := getattr(m, "optimizer", None)) is not None}.values()
    count = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules)
    count += sum(len(o._optimizer_step_pre_hooks) + len(o._optimizer_step_post_hooks) for o in optimizers)
    return count + sum(len(p._backward_hooks or {}) for p in model.policy.parameters())
