"""DrQ's one encoder, without a head."""

import pytest
import torch

from cpc_rl import AugmentationCallback, DrQExtractor, pinned_policy_kwargs
from tests.algorithms import ALGORITHMS, hooks_left, make_model, same_parameters


def augmented_model(name: str):
    kwargs = pinned_policy_kwargs(ALGORITHMS[name], DrQExtractor, features_dim=16, augment="random_shift")
    return make_model(name, policy_kwargs=kwargs)


def encoders(model) -> list[list[torch.Tensor]]:
    return [list(part.features_extractor.parameters()) for part in (model.actor, model.critic)]


@pytest.mark.parametrize("name", ["SAC", "TQC", "TD3"])
def test_the_actor_reads_the_critic_s_encoder(name: str, tmp_path):
    model = augmented_model(name)
    callback = AugmentationCallback(tied=True)
    shared, optimized = [], {id(p) for group in model.actor.optimizer.param_groups for p in group["params"]}

    def look(*_):
        actor, critic = encoders(model)
        shared.append(all(a.data_ptr() == c.data_ptr() and not a.requires_grad for a, c in zip(actor, critic, strict=True)))

    model.critic.optimizer.register_step_post_hook(look)
    before = [p.clone() for p in encoders(model)[1]]
    model.learn(40, callback=callback)
    actor, critic = encoders(model)
    assert len(shared) > 3 and all(shared)
    assert any(not torch.equal(p, q) for p, q in zip(before, critic, strict=True))  # the critic trained it
    assert all(torch.equal(a, c) for a, c in zip(actor, critic, strict=True))
    assert all(a.data_ptr() != c.data_ptr() and a.requires_grad for a, c in zip(actor, critic, strict=True))
    assert {id(p) for group in model.actor.optimizer.param_groups for p in group["params"]} == optimized
    model.save(tmp_path / "model.zip")
    ALGORITHMS[name].load(tmp_path / "model.zip")


def test_untied_each_trains_its_own():
    model = augmented_model("SAC")
    model.learn(40, callback=AugmentationCallback())
    assert any(not torch.equal(a, c) for a, c in zip(*encoders(model), strict=True))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["SAC", "TQC", "CrossQ"])
def test_the_gradient_that_nobody_reads_is_spared_and_nothing_else_changes(name: str, tied: bool, monkeypatch):
    models, counts = [], []
    for spares in (True, False):
        if not spares:
            monkeypatch.setattr("cpc_rl.augmentation._sharing", lambda *_: None)
        model = augmented_model(name)  # seeds all of torch: one after the other
        passes: list[torch.Tensor] = []
        handle = next(model.critic.features_extractor.parameters()).register_hook(passes.append)
        model.learn(40, callback=AugmentationCallback(tied=tied))
        handle.remove()
        models.append(model)
        counts.append(len(passes))
    spared, whole = models
    assert same_parameters(spared, whole)
    assert counts[0] == spared._n_updates and counts[1] > counts[0]
    assert hooks_left(spared) == 0 and "_get_samples" not in vars(spared.replay_buffer)


def test_nothing_to_tie_is_refused():
    with pytest.raises(ValueError, match="actor and critic have an optimiser and an extractor each"):
        augmented_model("DQN").learn(8, callback=AugmentationCallback(tied=True))
