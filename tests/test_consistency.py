"""DrAC's terms in PPO, A2C and MaskablePPO, and DrQ's augmentation off-policy."""

import pytest
import torch

from cpc_rl import AugmentationCallback, ContrastiveCallback, DrQExtractor, NatureExtractor, pinned_policy_kwargs
from tests.algorithms import ALGORITHMS, make_model, same_parameters, steps


def augmented_model(name, extractor=NatureExtractor, augment="random_shift", **keywords):
    kwargs = pinned_policy_kwargs(ALGORITHMS[name], extractor, features_dim=32, augment=augment)
    return make_model(name, policy_kwargs=kwargs, **keywords)


@pytest.mark.parametrize("name", ["PPO", "A2C", "MaskablePPO"])
@pytest.mark.parametrize("share", [True, False])
def test_on_policy_the_gradient_is_that_of_the_sum_with_dracs_terms(name, share):
    def run(weight):
        kwargs = pinned_policy_kwargs(ALGORITHMS[name], NatureExtractor, features_dim=32, augment="random_shift")
        kwargs["share_features_extractor"] = share
        model = make_model(name, policy_kwargs=kwargs, n_steps=16, max_grad_norm=1e12)
        extractor = model.policy.features_extractor
        extractor.augment_seed = 5
        callback = AugmentationCallback(weight)
        kept = []

        def keep(*_):
            if kept:
                return
            kept.append({n: p.grad.clone() for n, p in model.policy.named_parameters() if p.grad is not None})
            consistency = callback.driver.consistency
            if weight == 0:  # the terms' gradient, the plain way, at the same parameters, minibatch and draws
                extractor.augment_seed = 5
                with consistency.guard:
                    loss = 0.5 * consistency.loss(consistency._minibatch)
                    terms = torch.autograd.grad(loss, consistency.parameters, allow_unused=True)
                kept.append(dict(zip([n for n, _ in model.policy.named_parameters()], terms, strict=True)))

        model.policy.optimizer.register_step_pre_hook(keep)
        model.learn(32, callback=callback)
        return kept

    plain, terms = run(0.0)
    (summed,) = run(0.5)
    assert any(g is not None and g.abs().max() > 1e-6 for g in terms.values())
    for n, g in summed.items():
        torch.testing.assert_close(g, plain[n] + (0 if terms[n] is None else terms[n]), rtol=1e-3, atol=1e-6)


def test_on_policy_collection_and_ratio_see_no_augmentation():
    """With a weight of zero the run is that of the plain model: nothing but the added terms changes."""
    plain = make_model("PPO", policy_kwargs=pinned_policy_kwargs(ALGORITHMS["PPO"], NatureExtractor, features_dim=32))
    plain.learn(64)
    model = augmented_model("PPO")
    model.learn(64, callback=AugmentationCallback(weight=0.0))
    assert same_parameters(plain, model)
    model = augmented_model("PPO")
    model.learn(64, callback=AugmentationCallback())
    assert not same_parameters(plain, model)


@pytest.mark.parametrize("name", ["DQN", "SAC", "TD3", "CrossQ"])
def test_off_policy_every_pass_of_an_update_is_augmented_and_none_of_collection(name):
    model = augmented_model(name, DrQExtractor)
    calls = []

    def spy(module):
        original = module.augmentation

        def augmentation(images, generator=None):
            calls.append(module)
            return original(images, generator=generator)

        object.__setattr__(module, "augmentation", augmentation)

    policy = model.policy
    parts = [getattr(policy, p) for p in ("q_net", "q_net_target", "actor", "critic", "actor_target", "critic_target") if
             getattr(policy, p, None) is not None]  # fmt: skip
    extractors = list({id(p.features_extractor): p.features_extractor for p in parts}.values())
    for extractor in extractors:
        spy(extractor)
    callback = AugmentationCallback()
    model.learn(24, callback=callback)  # nothing but collection
    assert not calls
    model.learn(steps(name), callback=callback)
    assert {id(m) for m in calls} == {id(e) for e in extractors}
    calls.clear()
    model.predict(model.observation_space.sample())
    assert not calls and all(e.augment_mode == "off" for e in extractors)


def test_a_head_drives_the_augmentation_too_and_sees_each_image_augmented_once():
    model = augmented_model("DQN", DrQExtractor)
    callback = ContrastiveCallback("curl", batch_size=4)
    model.learn(40, callback=callback)
    assert callback.heads["shared"].steps >= 2
    assert callback._augmentation.online and callback._augmentation.targets
    assert callback.heads["shared"].encoder.extractors["image"].augment_mode == "off"


def test_what_cannot_be_augmented_is_refused():
    with pytest.raises(ValueError, match="no extractor with an augmentation"):
        make_model("PPO").learn(16, callback=AugmentationCallback())
    for name in ("TRPO", "RecurrentPPO"):
        with pytest.raises(ValueError, match="DrAC"):
            augmented_model(name).learn(32, callback=AugmentationCallback())


def test_the_augmentations_generators_travel_in_the_zip(tmp_path):
    model = augmented_model("DQN", DrQExtractor)
    model.learn(40, callback=AugmentationCallback())
    states = [e.augment_generator.get_state() for e in (model.q_net.features_extractor, model.q_net_target.features_extractor)]
    assert not torch.equal(*states)
    model.save(tmp_path / "model.zip")
    loaded = ALGORITHMS["DQN"].load(tmp_path / "model.zip", env=model.get_env())
    loaded.learn(1, callback=AugmentationCallback())
    for net, state in zip((loaded.q_net, loaded.q_net_target), states, strict=True):
        assert torch.equal(net.features_extractor.augment_generator.get_state(), state)
