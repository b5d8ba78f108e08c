"""DrAC's two terms against their formulas, written out for each kind of action."""

from typing import Any

import pytest
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor
from torch.nn import functional as F

from cpc_rl import AugmentationCallback, NatureExtractor, pinned_policy_kwargs
from cpc_rl.consistency import ConsistencyInjection
from cpc_rl.guard import Guard
from tests.algorithms import LENGTHS
from tests.stamped_env import StampedEnv


class MaskedEnv(StampedEnv):
    """Every action is allowed."""

    def action_masks(self) -> list[bool]:
        space = self.action_space
        assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        if isinstance(space, spaces.Discrete):
            return [True] * int(space.n)
        return [True] * (int(space.nvec.sum()) if isinstance(space, spaces.MultiDiscrete) else 2 * int(space.n))


def make(algorithm: type[Any], actions: str, **policy_kwargs: Any) -> Any:
    envs = DummyVecEnv([lambda: MaskedEnv(0, actions, False, channels_last=True, lengths=LENGTHS, shape=(3, 36, 36))])
    kwargs = pinned_policy_kwargs(algorithm, NatureExtractor, features_dim=32, augment="random_shift")
    return algorithm("CnnPolicy", envs, n_steps=32, batch_size=16, policy_kwargs={**kwargs, **policy_kwargs}, seed=0)


def categorical(logits: Tensor, others: Tensor) -> Tensor:
    p, q = F.log_softmax(logits, dim=-1), F.log_softmax(others, dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1)


def several(logits: Tensor, others: Tensor, sizes: list[int]) -> Tensor:
    return sum((categorical(a, b) for a, b in zip(logits.split(sizes, 1), others.split(sizes, 1), strict=True)), Tensor([0.0]))


def bernoulli(logits: Tensor, others: Tensor) -> Tensor:
    p, q = logits.sigmoid(), others.sigmoid()
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(dim=1)


KINDS = [(PPO, "box"), *((each, kind) for each in (PPO, MaskablePPO) for kind in ("discrete", "multidiscrete", "multibinary"))]


@pytest.mark.parametrize(("algorithm", "actions"), KINDS)
def test_the_terms_are_the_papers(algorithm: type[Any], actions: str) -> None:
    model = make(algorithm, actions)
    policy = model.policy
    with torch.no_grad():  # at the start it hardly tells one picture from another
        policy.action_net.weight.normal_(generator=torch.Generator().manual_seed(0))
    minibatch = torch.rand(6, 3, 36, 36, generator=torch.Generator().manual_seed(1))
    extractor = policy.features_extractor
    extractor.augment_seed = 5
    view = extractor.augmentation(minibatch, generator=extractor.augment_generator)
    outs, values = [], []
    for images in (minibatch, view):
        latent_pi, latent_vf = policy.mlp_extractor(extractor(images))
        outs.append(policy.action_net(latent_pi))
        values.append(policy.value_net(latent_vf))
    if actions == "discrete":
        divergence = categorical(*outs)
    elif actions == "multidiscrete":
        divergence = several(*outs, sizes=model.action_space.nvec.tolist())
    elif actions == "box":
        divergence = ((outs[0] - outs[1]) ** 2 / (2 * policy.log_std.exp() ** 2)).sum(dim=1)
    elif algorithm is PPO:
        divergence = bernoulli(*outs)
    else:  # two logits for each bit
        divergence = several(*outs, sizes=[2] * model.action_space.n)
    extractor.augment_seed = 5
    loss = ConsistencyInjection(policy, Guard(), lambda: True).loss(minibatch)
    assert divergence.mean() > 1e-3
    torch.testing.assert_close(loss, divergence.mean() + ((values[0] - values[1]) ** 2).mean())
    policy_terms = torch.autograd.grad(loss, [policy.action_net.weight])[0]
    assert policy_terms.abs().max() > 1e-6


@pytest.mark.parametrize("actions", ["multidiscrete", "multibinary"])
def test_maskable_ppo_trains_with_several_actions(actions: str) -> None:
    model = make(MaskablePPO, actions)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(32, callback=AugmentationCallback())
    assert any(not torch.equal(mine, now) for mine, now in zip(before, model.policy.parameters(), strict=True))
