"""Callbacks and policies in places where they were not expected: two models, copies, events, shared and frozen extractors."""

import copy
import io
import warnings
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.ppo import CnnPolicy
from torch import nn

from cpc_rl import (
    AugmentationCallback,
    ContrastiveCallback,
    NatureExtractor,
    TransferCallback,
    encode,
    load_encoder,
    save_encoder,
)
from cpc_rl.attachment import find_sites
from cpc_rl.diagnostics.probe_callback import ProbeCallback
from cpc_rl.persistence import stored_state
from cpc_rl.weak_hooks import _nothing
from tests.algorithms import hooks_left, make_model, steps
from tests.stamped_env import StampedEnv

AUGMENTED = {
    "features_extractor_class": NatureExtractor,
    "features_extractor_kwargs": {"features_dim": 32, "augment": "random_shift"},
}


def head_steps(model):
    return stored_state(model)["heads"]["shared"]["state"]["steps"]


def test_one_callback_on_two_models_keeps_their_heads_apart():
    callback = ContrastiveCallback("curl", batch_size=4)
    first, second, third = make_model("PPO"), make_model("PPO"), make_model("DQN")
    first.learn(64, callback=callback)
    second.learn(128, callback=callback)
    third.learn(40, callback=callback)
    assert [head_steps(model) for model in (first, second)] == [8, 16]
    again = ContrastiveCallback("curl", batch_size=4)
    first.learn(64, callback=again)
    assert again.heads["shared"].steps == 16


def test_a_callback_that_moved_on_leaves_nothing_of_an_interrupted_update(monkeypatch):
    callback = ContrastiveCallback("curl", batch_size=4)
    first, second = make_model("PPO"), make_model("PPO")

    def broken(*args, **kwargs):
        raise RuntimeError("in the midst of the update")

    monkeypatch.setattr(first.policy.optimizer, "step", broken)
    with pytest.raises(RuntimeError, match="midst"):
        first.learn(64, callback=callback)
    monkeypatch.undo()
    assert hooks_left(first) > 0
    second.learn(64, callback=callback)
    assert hooks_left(first) == hooks_left(second) == 0


def test_a_learn_with_augmentation_alone_keeps_the_head():
    model = make_model("DQN", policy_kwargs=AUGMENTED)
    model.learn(60, callback=ContrastiveCallback("curl", batch_size=4))
    before = head_steps(model)
    model.learn(60, callback=AugmentationCallback(), reset_num_timesteps=False)
    callback = ContrastiveCallback("curl", batch_size=4)
    model.learn(8, callback=callback, reset_num_timesteps=False)
    assert callback.heads["shared"].steps == before + 2


class Snapshot(BaseCallback):
    """Copies and pickles the policy in the midst of ``learn()``, as self-play and evaluation elsewhere do."""

    def __init__(self, at):
        super().__init__()
        self.at, self.copies = at, []

    def _take(self):
        torch.save(self.model.policy, io.BytesIO())
        self.copies.append(copy.deepcopy(self.model.policy))

    def _on_step(self):
        if self.at == "step" and self.n_calls == 30:
            self._take()
        return True

    def _on_rollout_end(self):
        if self.at == "rollout end":
            self._take()


CALLBACKS = {
    "head": lambda: ContrastiveCallback("cpc", batch_size=4),
    "maps": lambda: ContrastiveCallback("stdim", batch_size=4),
    "frozen": lambda: TransferCallback("frozen"),
    "augmented": AugmentationCallback,
}


@pytest.mark.parametrize("at", ["step", "rollout end"])
@pytest.mark.parametrize("name", ["PPO", "DQN", "SAC"])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_copies_of_a_policy_do_without_the_hooks(callback, name, at):
    snapshot = Snapshot(at)
    model = make_model(name, policy_kwargs=dict(AUGMENTED))
    model.learn(steps(name), callback=[CALLBACKS[callback](), snapshot])
    assert hooks_left(model) == 0
    taken = snapshot.copies[0]
    hooks = [hook for part in taken.modules() for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values())]
    assert all(hook.function is _nothing for hook in hooks)
    loss = sum(output.sum() for output in _passes(taken))
    loss.backward()  # what is frozen in the model is not so in the copy
    extractors = [module for module in taken.modules() if isinstance(module, NatureExtractor)]
    assert any(p.grad is not None for extractor in extractors for p in extractor.parameters())


def _passes(policy):
    images = torch.rand(2, 3, 36, 36)
    return [module(images) for module in policy.modules() if isinstance(module, NatureExtractor)]


@pytest.mark.parametrize("kind", ["head", "frozen", "augmented", "probe"])
def test_a_callback_that_hears_of_steps_alone_says_so(kind, tmp_path):
    model = make_model("PPO", policy_kwargs=AUGMENTED)
    if kind == "probe":
        make_env = partial(StampedEnv, lengths=(9, 14), channels_last=True, shape=(3, 36, 36))
        callback = ProbeCallback(make_env, ["attr:step_index"], frames=40)
    else:
        callback = CALLBACKS[kind]()
    if kind == "frozen":
        callback = load_encoder(model, save_encoder(model, tmp_path / "e.safetensors"), train="frozen")
    with pytest.raises(RuntimeError, match=r"give it to learn\(callback=...\) itself"):
        model.learn(64, callback=EveryNTimesteps(8, callback))


class PartlyFrozen(NatureCNN):
    def __init__(self, observation_space, features_dim=32):
        super().__init__(observation_space, features_dim)
        self.cnn[0].requires_grad_(False)


def test_a_tie_leaves_frozen_parameters_frozen():
    model = make_model("SAC", policy_kwargs={"features_extractor_class": PartlyFrozen, "net_arch": [16]})
    extractor = model.actor.features_extractor
    trained = [p.requires_grad for p in extractor.parameters()]
    model.learn(40, callback=ContrastiveCallback("curl", batch_size=4, encoder="tied"))
    assert [p.requires_grad for p in extractor.parameters()] == trained and trained.count(False) == 2


class Stereo(gym.Env):
    observation_space = spaces.Dict({side: spaces.Box(0, 255, (3, 36, 36), np.uint8) for side in ("left", "right")})
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == 9, False, {}


class Siamese(BaseFeaturesExtractor):
    """One network for both cameras."""

    def __init__(self, observation_space, names=("left", "right"), holder=nn.ModuleDict):
        super().__init__(observation_space, 64)
        network = NatureCNN(observation_space["left"], 32)
        self.extractors = holder(dict.fromkeys(names, network) if holder is nn.ModuleDict else [network])
        self.network = [network]

    def forward(self, observations):
        return torch.cat([self.network[0](observations[side]) for side in ("left", "right")], dim=1)


def stereo(**keywords):
    kwargs = {"features_extractor_class": Siamese, "features_extractor_kwargs": keywords}
    return PPO("MultiInputPolicy", Stereo(), n_steps=32, batch_size=16, n_epochs=1, policy_kwargs=kwargs)


def test_two_entries_may_have_one_network(tmp_path):
    model = stereo()
    encoder = find_sites(model)[0].encoder
    images = {side: torch.randint(0, 255, (4, 3, 36, 36), dtype=torch.uint8) for side in ("left", "right")}
    with torch.no_grad():
        _, maps = encoder.with_maps(images)
        _, other = encoder.with_maps({"left": images["right"], "right": images["left"]})
    assert torch.equal(maps["left"], other["right"]) and not torch.equal(maps["left"], maps["right"])
    callback = ContrastiveCallback("stdim", coef="ratio", batch_size=4)
    model.learn(64, callback=callback)
    assert callback.heads["shared"].steps == 4
    file = save_encoder(model, tmp_path / "siamese.safetensors")
    fresh = stereo()
    load_encoder(fresh, file)
    pairs = zip(model.policy.features_extractor.parameters(), fresh.policy.features_extractor.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


class OwnOptimizer(CnnPolicy):
    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        mine = {id(p) for p in self.features_extractor.parameters()}
        self.encoder_optimizer = torch.optim.Adam(self.features_extractor.parameters())
        self.optimizer = torch.optim.Adam([p for p in self.parameters() if id(p) not in mine])


def test_extractors_that_no_head_can_train_are_refused_with_a_reason():
    for keywords in ({"names": ("cnn",)}, {"holder": nn.ModuleList}):
        with pytest.raises(ValueError, match="under the name of an image entry"):
            stereo(**keywords).learn(32, callback=ContrastiveCallback("curl", batch_size=4))
    model = PPO(OwnOptimizer, make_model("PPO").get_env(), n_steps=32, batch_size=16)
    with pytest.raises(ValueError, match=r"No optimiser of this PPO's policy, .* holds the parameters"):
        model.learn(32, callback=ContrastiveCallback("curl", batch_size=4))


def test_a_forward_that_was_assigned_is_refused_where_it_does_harm_alone(tmp_path):
    model = make_model("PPO")
    extractor = model.policy.features_extractor
    extractor.forward = torch.compile(extractor.forward, backend="eager")
    for objective in ("atc", "stdim"):  # one copies the extractor, one looks into it
        with pytest.raises(ValueError, match=r"call extractor.compile\(\) instead"):
            model.learn(32, callback=ContrastiveCallback(objective, batch_size=4))
    assert encode(model, np.zeros((1, 36, 36, 3), np.uint8)).shape == (1, 32)
    save_encoder(model, tmp_path / "e.safetensors")
    callback = ContrastiveCallback("cpc", batch_size=4)
    model.learn(32, callback=callback)
    assert callback.heads["shared"].steps == 4


class Chosen(NatureCNN):
    """With a forward that is chosen when it is made, and a part that is compiled."""

    def __init__(self, observation_space, features_dim=32):
        super().__init__(observation_space, features_dim)
        self.cnn = torch.compile(self.cnn, backend="eager")
        self.forward = self.other

    def other(self, observations):
        return self.linear(self.cnn(observations))


class ByName(CnnPolicy):
    """Calls its extractor with a keyword."""

    def extract_features(self, obs, features_extractor=None):
        return self.features_extractor(observations=obs.float() / 255)


@pytest.mark.parametrize("objective", ["curl", "cpc"])
def test_extractors_of_other_makes_train_as_usual(objective):
    counts = []
    for kind in ("plain", "chosen", "compiled", "by name"):
        kwargs = {"features_extractor_class": Chosen} if kind == "chosen" else {}
        model = make_model("PPO", policy_kwargs=kwargs)
        if kind == "by name":
            kwargs = {"features_extractor_kwargs": {"features_dim": 32}}
            model = PPO(ByName, model.get_env(), n_steps=32, batch_size=16, n_epochs=2, policy_kwargs=kwargs)
        if kind == "compiled":
            model.policy.features_extractor.compile(backend="eager", fullgraph=True)
        callback = ContrastiveCallback(objective, batch_size=4)
        model.learn(64, callback=callback)
        counts.append(callback.heads["shared"].steps)
    assert counts == [8] * 4


def test_a_plain_learn_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_model("PPO").learn(64, callback=[ContrastiveCallback("curl", batch_size=4), TransferCallback(lr_scale=0.5)])


@pytest.mark.parametrize("name", ["PPO", "SAC"])
@pytest.mark.parametrize("objective", ["cpc", "spr", "masked"])
def test_another_default_type_than_when_the_policy_was_made(name, objective):
    models = []
    for dtype in (torch.float32, torch.float64):
        models.append(make_model(name))
        torch.set_default_dtype(dtype)
        try:
            callback = ContrastiveCallback(objective, batch_size=4)
            models[-1].learn(64 if name == "PPO" else 40, callback=callback)
        finally:
            torch.set_default_dtype(torch.float32)
        (head,) = callback.heads.values()
        assert head.steps >= 2
        assert {p.dtype for term in head.terms.values() for p in term.objective.parameters()} == {torch.float32}


class HalfInside(NatureCNN):
    """Convolutions whose weights are bfloat16, and features in float32."""

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.cnn.to(torch.bfloat16)

    def forward(self, observations):
        return self.linear(self.cnn(observations.bfloat16()).float())


@pytest.mark.parametrize("objective", ["curl", "atc", "cpc"])
def test_layers_in_half_precision(objective):
    model = make_model("PPO", policy_kwargs={"features_extractor_class": HalfInside, "ortho_init": False})
    callback = ContrastiveCallback(objective, batch_size=4)
    model.learn(64, callback=callback)
    assert callback.heads["shared"].steps >= 2
