"""Updates that users change: they ask for gradients of their own, or compute under autocast."""

from typing import Any

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn
from torch.utils.checkpoint import checkpoint

from cpc_rl import AugmentationCallback, ContrastiveCallback, NatureExtractor, pinned_policy_kwargs
from tests.algorithms import ALGORITHMS, make_model, same_parameters


class LogsNorms(PPO):
    """Asks for the gradient of the values' mean before each update's backward pass."""

    asks = True
    norms: list[float]

    def train(self) -> None:
        evaluate = self.policy.evaluate_actions

        def both(observations: torch.Tensor, actions: torch.Tensor) -> Any:
            values, log_prob, entropy = evaluate(observations, actions)
            if self.asks:
                parameters = list(self.policy.parameters())
                found = torch.autograd.grad(values.mean(), parameters, retain_graph=True, allow_unused=True)
                self.norms.append(sum(float(g.square().sum()) for g in found if g is not None))
            return values, log_prob, entropy

        self.policy.evaluate_actions = both  # type: ignore[method-assign]
        super().train()
        del self.policy.evaluate_actions


@pytest.fixture
def logs_norms(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "PPO", LogsNorms)


def trained(asks: bool, callback, **keywords) -> LogsNorms:
    model = make_model("PPO", **keywords)
    model.asks, model.norms = asks, []
    model.learn(64, callback=callback)
    return model


@pytest.mark.parametrize(
    ("objective", "keywords"),
    [
        ("curl", {}),
        ("curl", {"share_passes": False}),
        ("curl", {"gradient": "separate"}),
        ("cpc", {"coef": 0.5}),
        ("stdim", {}),
        ({"cpc": 1.0, "spr": 1.0}, {}),
    ],
)
def test_gradients_that_the_user_asks_for_are_left_alone(objective, keywords, logs_norms):
    callbacks = [ContrastiveCallback(objective, batch_size=8, **keywords) for _ in range(2)]
    asked, quiet = (trained(asks, callback) for asks, callback in zip((True, False), callbacks, strict=True))
    assert callbacks[0].heads["shared"].steps == callbacks[1].heads["shared"].steps > 3
    assert same_parameters(asked, quiet)  # the head had its say in the update itself
    without = trained(True, None)
    assert asked.norms[0] == without.norms[0]  # the first is of the same weights


class Reentrant(NatureCNN):
    """Computes anew in the backward pass, and so runs a backward pass within it that no hook of the outer one sees."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return super().forward(observations)
        return checkpoint(super().forward, observations.requires_grad_(), use_reentrant=True)


def test_a_head_that_finds_nothing_to_weigh_itself_by_says_so():
    kwargs = {"features_extractor_class": Reentrant, "features_extractor_kwargs": {"features_dim": 32}}
    model, callback = make_model("PPO", policy_kwargs=kwargs), ContrastiveCallback("curl", batch_size=8)
    with pytest.warns(UserWarning, match="curl had no say in this learn.*Give coef a number"):
        model.learn(64, callback=callback)
    assert callback.heads["shared"].steps > 0


def test_so_does_the_consistency_of_an_augmented_agent(logs_norms):
    kwargs = pinned_policy_kwargs(PPO, NatureExtractor, features_dim=32, augment="random_shift")
    asked, quiet = (trained(asks, AugmentationCallback(weight=1.0), policy_kwargs=dict(kwargs)) for asks in (True, False))
    assert same_parameters(asked, quiet)
    assert asked.norms[0] == trained(True, None, policy_kwargs=dict(kwargs)).norms[0]


def under_autocast(name: str) -> type:
    """An algorithm whose networks compute under autocast while it trains, as mixed precision is used."""

    class Autocast(ALGORITHMS[name]):  # type: ignore[misc]
        def train(self, *args: Any, **kwargs: Any) -> None:
            modules = [part for part in self.policy.children() if isinstance(part, nn.Module)]
            forwards = [(part, part.forward) for part in modules]
            for part, forward in forwards:

                def half(*given: Any, forward: Any = forward) -> Any:
                    with torch.autocast("cpu", torch.bfloat16):
                        return forward(*given)

                part.forward = half
            super().train(*args, **kwargs)
            for part, _ in forwards:
                del part.forward

    return Autocast


@pytest.mark.parametrize("objective", ["cpc", "curl", "atc", "moco", "taco", "spr", "stdim"])
@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_heads_take_features_of_passes_under_autocast(name, objective, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, name, under_autocast(name))
    model = make_model(name)
    callback = ContrastiveCallback(objective, batch_size=8)
    model.learn(96, callback=callback)
    assert callback.heads["shared"].steps > 3
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in model.policy.parameters())
