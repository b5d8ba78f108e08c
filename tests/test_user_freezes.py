"""Parts of the agent that the user freezes or thaws in the midst of learn()."""

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from cpc_rl import AugmentationCallback, ContrastiveCallback, NatureExtractor, pinned_policy_kwargs
from cpc_rl.head import Head
from tests.algorithms import make_model


class Turns(BaseCallback):
    """Freezes or thaws the convolutions at a step, and keeps what they are then."""

    def __init__(self, at: int, trained: bool) -> None:
        super().__init__()
        self.at, self.trained = at, trained

    @property
    def convolutions(self) -> torch.nn.Module:
        return self.model.policy.features_extractor.cnn

    def _on_step(self) -> bool:
        if self.num_timesteps == self.at:
            self.convolutions.requires_grad_(self.trained)
            self.then = [p.detach().clone() for p in self.convolutions.parameters()]
        return True

    @property
    def moved(self) -> list[bool]:
        return [not torch.equal(p, then) for p, then in zip(self.convolutions.parameters(), self.then, strict=True)]


def augmented() -> PPO:
    kwargs = pinned_policy_kwargs(PPO, NatureExtractor, features_dim=32, augment="random_shift")
    return make_model("PPO", policy_kwargs=kwargs)


@pytest.mark.parametrize("gradient", ["joint", "separate", None])
def test_what_is_frozen_amid_rests_and_the_rest_learns(gradient):
    model, turns = augmented(), Turns(40, False)
    head = AugmentationCallback() if gradient is None else ContrastiveCallback("curl", batch_size=8, gradient=gradient)
    linear = model.policy.features_extractor.linear[0].weight
    before = linear.detach().clone()
    model.learn(96, callback=[turns, head])
    assert not any(turns.moved) and not torch.equal(linear, before)


@pytest.mark.parametrize("gradient", ["joint", "separate"])
def test_what_is_thawed_amid_is_trained_by_the_head_too(gradient, monkeypatch):
    model, turns, given = make_model("PPO"), Turns(40, True), []
    convolutions = set(model.policy.features_extractor.cnn.parameters())
    for parameter in convolutions:
        parameter.requires_grad_(False)
    step = Head.step

    def noted(self, gradient):
        given.append(len(convolutions & {p for p, g in gradient.encoder.items() if g.any()}))
        step(self, gradient)

    monkeypatch.setattr(Head, "step", noted)
    callback = ContrastiveCallback("curl", batch_size=8, gradient=gradient, coef=1.0, share_passes=False)
    model.learn(96, callback=[turns, callback])
    assert all(turns.moved) and given[0] == 0 and given[-1] == len(convolutions) == 6
    if gradient == "separate":
        (head,) = callback.heads.values()
        assert all(head.optimizer.state[p]["step"] > 0 for p in convolutions)


def test_drac_reaches_what_is_thawed_amid(monkeypatch):
    from cpc_rl.consistency import ConsistencyInjection

    model, turns, given = augmented(), Turns(40, True), []
    convolutions = set(model.policy.features_extractor.cnn.parameters())
    for parameter in convolutions:
        parameter.requires_grad_(False)
    gradient = ConsistencyInjection._gradient

    def noted(self, minibatch):
        found = gradient(self, minibatch)
        given.append(len(convolutions & found.keys()))
        return found

    monkeypatch.setattr(ConsistencyInjection, "_gradient", noted)
    model.learn(96, callback=[turns, AugmentationCallback()])
    assert given[0] == 0 and given[-1] == len(convolutions)
