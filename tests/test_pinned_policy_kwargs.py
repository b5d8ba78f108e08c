"""The helper keeps every algorithm's RL head as SB3 has it with NatureCNN, and without it some heads do change."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import NatureCNN

from cpc_rl.extractors import ImpalaExtractor, NatureExtractor, pinned_policy_kwargs

DISCRETE = (PPO, A2C, DQN, QRDQN, TRPO, RecurrentPPO, MaskablePPO)
CONTINUOUS = (SAC, TD3, DDPG, TQC, CrossQ)
CHANGES_WITH_THE_CLASS = (PPO, A2C, DQN, QRDQN, TRPO, RecurrentPPO, MaskablePPO, TD3, DDPG)
ALGORITHMS = DISCRETE + CONTINUOUS


def head_shapes(algorithm, policy_kwargs):
    """Shapes of all parameters of the policy outside the features extractors, by name."""
    aliases = algorithm.policy_aliases
    name = next(name for name in ("CnnPolicy", "CnnLstmPolicy", "MlpPolicy") if name in aliases)
    actions = spaces.Box(-1, 1, (2,)) if algorithm in CONTINUOUS else spaces.Discrete(3)
    image = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    policy = aliases[name](image, actions, lambda _: 1e-3, **policy_kwargs)
    return {name: tuple(value.shape) for name, value in policy.named_parameters() if "features_extractor" not in name}


def stock_shapes(algorithm, **extractor_kwargs):
    policy_kwargs = {"features_extractor_class": NatureCNN} if algorithm is CrossQ else {}
    return head_shapes(algorithm, policy_kwargs | {"features_extractor_kwargs": extractor_kwargs})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_heads_are_those_of_the_stock_policy(algorithm):
    pinned = pinned_policy_kwargs(algorithm, NatureExtractor)
    assert head_shapes(algorithm, pinned) == stock_shapes(algorithm)
    pinned = pinned_policy_kwargs(algorithm, ImpalaExtractor, features_dim=64, augment="random_shift")
    assert head_shapes(algorithm, pinned) == stock_shapes(algorithm, features_dim=64)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_heads_without_the_helper(algorithm):
    unpinned = head_shapes(algorithm, {"features_extractor_class": NatureExtractor})
    assert (unpinned != stock_shapes(algorithm)) == (algorithm in CHANGES_WITH_THE_CLASS)


def test_each_call_gives_a_dictionary_of_its_own_and_draws_nothing():
    state = torch.get_rng_state()
    first = pinned_policy_kwargs(CrossQ, ImpalaExtractor, width=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == {
        "features_extractor_class": ImpalaExtractor,
        "features_extractor_kwargs": {"width": 2},
        "net_arch": {"pi": [256, 256], "qf": [1024, 1024]},
    }
    first["net_arch"]["pi"].append(1)
    first["features_extractor_kwargs"]["features_dim"] = 3
    assert pinned_policy_kwargs(CrossQ, ImpalaExtractor)["net_arch"] == {"pi": [256, 256], "qf": [1024, 1024]}


def test_an_algorithm_without_a_features_extractor_is_refused():
    with pytest.raises(ValueError, match=r"ARS has no policy that takes a features extractor\."):
        pinned_policy_kwargs(ARS, ImpalaExtractor)
