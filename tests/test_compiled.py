"""What torch.compile made before hooks were put in place: heads and frozen encoders are the same with it and without."""

import copy
import functools
import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.torch_layers import NatureCNN

from cpc_rl import (
    AugmentationCallback,
    ContrastiveCallback,
    DataEfficientExtractor,
    DrQExtractor,
    ImpalaExtractor,
    NatureExtractor,
    TransferCallback,
    ViTExtractor,
)
from tests.algorithms import hooks_left, make_model, same_parameters

NETWORKS = ("actor", "critic", "critic_target", "q_net", "q_net_target", "quantile_net", "quantile_net_target")
IMAGES = spaces.Box(0, 255, (3, 64, 64), np.uint8)
EXTRACTORS = (NatureExtractor, ImpalaExtractor, DrQExtractor, DataEfficientExtractor, ViTExtractor)


def compiled_model(name, what, plain_steps=0, **keywords):
    """A model with its extractors, its networks or PPO's method compiled, and trained so without any callback of ours."""
    model = make_model(name, **keywords)
    policy = model.policy
    if what == "extractor":
        for module in policy.modules():
            if isinstance(module, NatureCNN):
                module.compile(backend="eager")
    elif what == "networks":
        for network in NETWORKS:
            if isinstance(getattr(policy, network, None), torch.nn.Module):
                getattr(policy, network).compile(backend="eager")
    elif what == "method":
        policy.evaluate_actions = torch.compile(policy.evaluate_actions, backend="eager")
    if plain_steps:
        model.learn(plain_steps)
    return model


def graphs(model):
    """Everything that is compiled, by its place."""
    found = {name: module._compiled_call_impl for name, module in model.policy.named_modules()}
    found |= {"method": vars(model.policy).get("evaluate_actions")}
    return {name: graph for name, graph in found.items() if graph is not None}


@pytest.mark.parametrize("extractor_class", EXTRACTORS)
def test_a_copy_of_a_compiled_extractor_computes_with_its_own_weights(extractor_class):
    extractor = extractor_class(IMAGES, features_dim=8).eval()
    extractor.compile(backend="eager")
    images = torch.rand(2, *IMAGES.shape)
    features = extractor(images)
    for other in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):
        assert torch.equal(other(images), features)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert not torch.equal(other(images), features) and torch.equal(extractor(images), features)


@pytest.mark.parametrize(
    ("name", "what", "plain_steps"),
    [
        *(("SAC", "networks", 0), ("TD3", "networks", 0), ("DQN", "networks", 40), ("QRDQN", "networks", 40)),
        *(("PPO", "method", 64), ("PPO", "extractor", 64), ("SAC", "extractor", 40)),
    ],
)
def test_a_frozen_encoder_of_compiled_networks_stays_the_same_to_the_bit(name, what, plain_steps):
    torch._dynamo.reset()
    model = compiled_model(name, what, plain_steps)
    online = {key: p for key, p in model.policy.named_parameters() if "features_extractor" in key and "target" not in key}
    others = {key: p for key, p in model.policy.named_parameters() if "features_extractor" not in key}
    before, made = {key: p.detach().clone() for key, p in model.policy.named_parameters()}, graphs(model)
    model.learn(64 if name == "PPO" else 40, callback=TransferCallback("frozen"))
    assert all(torch.equal(p, before[key]) for key, p in online.items())
    assert not all(torch.equal(p, before[key]) for key, p in others.items())
    assert graphs(model) == made and hooks_left(model) == 0  # compiled as before


@pytest.mark.parametrize(
    ("name", "what", "objective"),
    [
        *(("SAC", "extractor", "stdim"), ("TD3", "extractor", "spr"), ("SAC", "extractor", {"curl": 1, "stdim": 1})),
        *(("DQN", "networks", "curl"), ("SAC", "networks", "cpc"), ("PPO", "extractor", "stdim"), ("PPO", "method", "cpc")),
    ],
)
def test_a_head_has_the_same_say(name, what, objective):
    """Also where the networks were trained without it before, so that graphs without its hooks are there."""
    torch._dynamo.reset()
    models, norms = [], []
    for compiled in ("nothing", what):
        model = compiled_model(name, compiled, 64 if name == "PPO" else 40)
        made = graphs(model)
        callback = ContrastiveCallback(objective, batch_size=4)
        models.append(model.learn(64 if name == "PPO" else 40, callback=callback))
        (head,) = callback.heads.values()
        norms.append({term: float(each.balance.rl_norm) for term, each in head.terms.items()})
        assert head.steps >= 2 and graphs(model) == made
    assert all(norm > 0 for norm in norms[1].values()) and norms[0] == norms[1] and same_parameters(*models)


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_key_encoders_of_compiled_extractors_are_of_their_own(name):
    models = []
    for compiled in (False, True):
        model = make_model(name, policy_kwargs={"features_extractor_class": NatureExtractor})
        for module in model.policy.modules():
            if compiled and isinstance(module, NatureExtractor):
                module.compile(backend="eager")
        models.append(model.learn(64 if name == "PPO" else 40, callback=ContrastiveCallback("curl", batch_size=4)))
    assert same_parameters(*models)


def test_of_several_objectives_the_one_without_a_say_is_named():
    """The convolutions are frozen, so that no gradient of the agent's comes by the feature map."""
    model = make_model("PPO")
    model.policy.features_extractor.cnn.requires_grad_(False)
    with pytest.warns(UserWarning, match="^stdim had no say in this learn.*Give coef a number"):
        model.learn(64, callback=ContrastiveCallback({"curl": 1, "stdim": 1}, batch_size=4))


def test_a_wrapper_of_ones_own_around_a_graph_stays_in_its_place():
    """It bears the graph's attributes, which functools.wraps copies."""
    for callback in (ContrastiveCallback("cpc", batch_size=4), TransferCallback("frozen")):
        model = make_model("PPO")
        compiled = torch.compile(model.policy.evaluate_actions, backend="eager")
        calls = []

        @functools.wraps(compiled)
        def wrapper(*args, compiled=compiled, calls=calls):
            calls.append(1)
            return compiled(*args)

        model.policy.evaluate_actions = wrapper
        model.learn(64, callback=callback)
        assert len(calls) == 8


def interrupted(name, what, callback):
    """A compiled model, after Ctrl-C within its update."""
    torch._dynamo.reset()
    model = compiled_model(name, what)
    made, steps = graphs(model), []
    optimizer = model.policy.optimizer if name == "PPO" else model.critic.optimizer

    def interrupt(*_):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    handle = optimizer.register_step_post_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.learn(64, callback=callback)
    handle.remove()
    assert graphs(model) != made
    return model, made


@pytest.mark.parametrize(("name", "what"), [("PPO", "method"), ("SAC", "networks")])
@pytest.mark.parametrize("frozen", [True, False])
def test_after_an_interrupted_update_the_graphs_come_back(name, what, frozen):
    callback = TransferCallback("frozen") if frozen else ContrastiveCallback("cpc", batch_size=4)
    model, made = interrupted(name, what, callback)
    model.learn(64)
    assert graphs(model) == made and hooks_left(model) == 0


def test_what_was_put_in_a_graphs_place_meanwhile_stays():
    model, _ = interrupted("PPO", "method", ContrastiveCallback("cpc", batch_size=4))
    calls, method = [], type(model.policy).evaluate_actions
    model.policy.evaluate_actions = lambda *args: (calls.append(1), method(model.policy, *args))[1]
    model.learn(64, callback=ContrastiveCallback("cpc", batch_size=4))
    assert len(calls) == 8


@pytest.mark.parametrize("start", [None, 100_000])
def test_augmentation_terms_are_the_same_under_a_compiled_method(start):
    models = []
    for what in ("nothing", "method", "no callback"):
        torch._dynamo.reset()
        kwargs = {"features_extractor_class": NatureExtractor, "features_extractor_kwargs": {"augment": "random_shift"}}
        model = compiled_model("PPO", what, 64, policy_kwargs=kwargs)
        callback = AugmentationCallback(weight=1.0) if start is None else ContrastiveCallback("cpc", start=start, batch_size=4)
        models.append(model.learn(64, callback=None if what == "no callback" else callback))
    assert same_parameters(*models[:2]) and not same_parameters(*models[1:])


class Decorated(ActorCriticCnnPolicy):
    """Compiled where no attribute of the policy tells."""

    @torch.compile(backend="eager")
    def evaluate_actions(self, obs, actions):
        return super().evaluate_actions(obs, actions)


def test_a_frozen_encoder_that_moves_all_the_same_is_told_of():
    torch._dynamo.reset()
    model = PPO(Decorated, make_model("PPO").env, n_steps=32, batch_size=16, n_epochs=2, seed=0)
    model.learn(64)
    with pytest.warns(UserWarning, match="The encoder moved although it is frozen.*features_extractor.compile"):
        model.learn(64, callback=TransferCallback("frozen"))
