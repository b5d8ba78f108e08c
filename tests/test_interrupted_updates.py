"""Ctrl-C within an update: the next learn(), with a callback or plain, finds the model as if nothing had been attached."""

import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from cpc_rl import AugmentationCallback, ContrastiveCallback, DrQExtractor, pinned_policy_kwargs
from tests.algorithms import ALGORITHMS, hooks_left, make_model, same_parameters

TIED = ("SAC", "TQC", "TD3", "DDPG", "CrossQ")


def interrupted(name: str, callback: BaseCallback, dict_obs: bool = False) -> BaseAlgorithm:
    """A model whose critic's fifth step was interrupted."""
    kwargs = (
        None if dict_obs else pinned_policy_kwargs(ALGORITHMS[name], DrQExtractor, features_dim=16, augment="random_shift")
    )
    model = make_model(name, dict_obs=dict_obs, policy_kwargs=kwargs)
    steps = []

    def interrupt(*_) -> None:
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt

    handle = model.critic.optimizer.register_step_post_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.learn(100, callback=callback)
    handle.remove()
    assert is_tied(model) and hooks_left(model) > 0
    return model


def is_tied(model: BaseAlgorithm) -> bool:
    pairs = list(zip(model.actor.features_extractor.parameters(), model.critic.features_extractor.parameters(), strict=True))
    shared = {actor.data_ptr() == critic.data_ptr() for actor, critic in pairs}
    assert shared == {not actor.requires_grad for actor, _ in pairs}
    return shared == {True}


def modes(model: BaseAlgorithm) -> set[str]:
    return {module.augment_mode for module in model.policy.modules() if isinstance(module, DrQExtractor)}


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("head", [True, False])
def test_a_plain_learn_finds_no_tie_no_augmentation_and_no_hook(name, head):
    callback = ContrastiveCallback("curl", batch_size=4, encoder="tied") if head else AugmentationCallback(tied=True)
    model = interrupted(name, callback)
    assert modes(model) >= {"train"}
    passes = []
    augmentation = model.critic.features_extractor.augmentation
    for module in model.policy.modules():
        if isinstance(module, DrQExtractor):
            object.__setattr__(module, "augmentation", lambda *args, **kw: (passes.append(1), augmentation(*args, **kw))[1])
    before = [p.clone() for p in model.actor.features_extractor.parameters()]
    model.learn(40)
    assert not is_tied(model) and modes(model) == {"off"} and hooks_left(model) == 0 and not passes
    after = list(model.actor.features_extractor.parameters())
    assert all(p.grad is not None for p in after)
    assert any(not torch.equal(p, q) for p, q in zip(before, after, strict=True))


@pytest.mark.parametrize("encoder", ["critic", "both", "tied"])
@pytest.mark.parametrize("dict_obs", [False, True])
def test_another_callback_begins_with_a_clean_model(encoder, dict_obs):
    model = interrupted("SAC", ContrastiveCallback("curl", batch_size=4, encoder="tied"), dict_obs)
    tied = []
    model.critic.optimizer.register_step_post_hook(lambda *_: tied.append(is_tied(model)))
    model.learn(40, callback=ContrastiveCallback("curl", batch_size=4, encoder=encoder))
    assert len(tied) > 3 and set(tied) == {encoder == "tied"}
    model.critic.optimizer._optimizer_step_post_hooks.clear()
    assert not is_tied(model) and hooks_left(model) == 0


@pytest.mark.parametrize("name", ["SAC", "TD3"])
def test_weights_that_are_loaded_afterwards_are_each_networks_own(name, tmp_path):
    """Those of a training without a tie, in which actor and critic have learnt encoders of their own."""
    model = interrupted(name, ContrastiveCallback("curl", batch_size=4, encoder="tied"))
    kwargs = pinned_policy_kwargs(ALGORITHMS[name], DrQExtractor, features_dim=16, augment="random_shift")
    other = make_model(name, policy_kwargs=kwargs, seed=1)
    with torch.no_grad():
        for number, parameter in enumerate(other.policy.parameters()):
            parameter.add_(0.01 * number)
    other.save(tmp_path / "best")
    model.set_parameters(tmp_path / "best")
    assert not is_tied(model) and same_parameters(model, other)
    assert all(p.requires_grad for p in model.actor.parameters())


class Loads(BaseCallback):
    """Gives the policy its own weights once, in the midst of a training."""

    def __init__(self):
        super().__init__()
        self.loaded = False

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if self.num_timesteps > 30 and not self.loaded:
            self.loaded = True
            extractor = self.model.actor.features_extractor
            handle = extractor.register_load_state_dict_pre_hook(lambda *given: None)  # of somebody else
            self.model.policy.load_state_dict(self.model.policy.state_dict())
            handle.remove()


@pytest.mark.parametrize("name", ["SAC", "TD3"])
def test_a_tie_outlasts_its_own_weights(name):
    models = []
    for loads in (None, Loads()):
        callbacks = [ContrastiveCallback("curl", batch_size=4, encoder="tied"), *([] if loads is None else [loads])]
        models.append(make_model(name).learn(50, callback=callbacks))
    assert loads.loaded and same_parameters(*models)
    assert not any(part._load_state_dict_pre_hooks for part in models[1].policy.modules())
