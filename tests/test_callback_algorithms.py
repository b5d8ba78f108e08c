"""The callback on all twelve algorithms."""

import pytest
import torch

from cpc_rl import ContrastiveCallback, TransferCallback
from tests.algorithms import ALGORITHMS, CONTINUOUS, ON_POLICY, hooks_left, make_model, same_parameters, steps

OFF_POLICY_PAIRS = ("SAC", "TQC", "TD3", "DDPG", "CrossQ")


@pytest.mark.parametrize("objective", ["curl", "cpc"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_with_coefficient_zero_the_head_runs_and_the_agent_is_bit_identical(name, objective):
    plain = make_model(name).learn(steps(name))
    watched = make_model(name)
    callback = ContrastiveCallback(objective, coef=0, batch_size=4)
    watched.learn(steps(name), callback=callback)
    (head,) = callback.heads.values()
    assert head.steps >= 2
    assert same_parameters(plain, watched)
    assert hooks_left(watched) == 0


@pytest.mark.parametrize("name", ["DQN", *OFF_POLICY_PAIRS])
def test_a_compiled_policy_trains_as_the_plain_one(name):
    models = []
    for compiled in (False, True):
        model = make_model(name)
        if compiled:
            model.policy = torch.compile(model.policy)
        callback = ContrastiveCallback("atc", {"horizon": 1}, batch_size=4)
        model.learn(steps(name), callback=[callback, TransferCallback(lr_scale=0.5)])
        assert all(head.steps >= 2 for head in callback.heads.values())
        passes = [injection.shared_pass for injection in callback._injections]
        assert all((shared.target is None) == (name == "CrossQ") for shared in passes)
        model.policy = getattr(model.policy, "_orig_mod", model.policy)
        models.append(model)
    assert same_parameters(*models) and hooks_left(models[1]) == 0


@pytest.mark.parametrize(("objective", "keywords"), [("stdim", {}), ("driml", {})])
def test_an_extractor_compiled_in_place_shows_its_feature_map(objective, keywords):
    models = []
    for compiled in (False, True):
        model = make_model("PPO")
        if compiled:
            model.policy.features_extractor.compile(backend="eager")
        callback = ContrastiveCallback(objective, keywords, batch_size=4)
        models.append(model.learn(steps("PPO"), callback=callback))
        assert callback.heads["shared"].steps >= 2
    assert same_parameters(*models)


# sb3-contrib's CrossQ joins obs and next_obs as tensors, so that it takes no Dict with or without a head.
@pytest.mark.parametrize(
    ("name", "dict_obs"), [(n, d) for n in ALGORITHMS for d in (False, True) if (n, d) != ("CrossQ", True)]
)
def test_the_head_trains_the_encoder_and_logs(name, dict_obs):
    plain = make_model(name, 2, dict_obs).learn(2 * steps(name))
    model = make_model(name, 2, dict_obs)
    callback = ContrastiveCallback("cpc", batch_size=4, start=30)
    model.learn(2 * steps(name), callback=callback)
    (head,) = callback.heads.values()
    assert head.steps >= 2
    encoders = [dict(m.policy.named_parameters()) for m in (plain, model)]
    changed = [n for n in encoders[0] if "features_extractor" in n and not torch.equal(encoders[0][n], encoders[1][n])]
    assert changed
    assert hooks_left(model) == 0
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())


def first_ratio(model, batch) -> torch.Tensor:
    """Probability of the actions as the policy stands, over that at collection."""
    arguments = [batch.observations, batch.actions.long().flatten()]
    keep = torch.ones_like(batch.old_log_prob, dtype=torch.bool)
    keywords = {}
    if hasattr(batch, "lstm_states"):
        arguments += [batch.lstm_states, batch.episode_starts]
        keep = batch.mask > 1e-8
    if hasattr(batch, "action_masks"):
        keywords["action_masks"] = batch.action_masks
    with torch.no_grad():
        log_prob = model.policy.evaluate_actions(*arguments, **keywords)[1]
    return (log_prob - batch.old_log_prob).exp()[keep]


@pytest.mark.parametrize("name", ON_POLICY)
@pytest.mark.parametrize("gradient", ["joint", "separate"])
def test_on_policy_the_encoder_stands_still_between_collection_and_the_first_minibatch(name, gradient):
    model = make_model(name, 2)
    ratios = []
    original = model.rollout_buffer.get

    def get(*args, **keywords):
        first_epoch = not model.rollout_buffer.generator_ready
        for number, batch in enumerate(original(*args, **keywords)):
            if first_epoch and number == 0:
                ratios.append(first_ratio(model, batch))
            yield batch

    model.rollout_buffer.get = get
    callback = ContrastiveCallback("cpc", gradient=gradient, batch_size=4)
    model.learn(4 * steps(name), callback=callback)
    assert len(ratios) >= 4 and next(iter(callback.heads.values())).steps >= 2
    assert all((ratio - 1).abs().max() < 1e-5 for ratio in ratios)


@pytest.mark.parametrize("name", ["PPO", "DQN", "SAC"])
def test_a_separate_head_without_weight_leaves_the_agent_alone(name):
    plain = make_model(name).learn(steps(name))
    watched = make_model(name)
    watched.learn(steps(name), callback=ContrastiveCallback("curl", gradient="separate", coef=0, batch_size=4))
    assert same_parameters(plain, watched)


@pytest.mark.parametrize("name", ["PPO", "MaskablePPO", "A2C", "RecurrentPPO", "TRPO"])
def test_separate_extractors_of_actor_and_value(name):
    model = make_model(name, policy_kwargs={"share_features_extractor": False})
    callback = ContrastiveCallback("cpc", batch_size=4, encoder="both")
    model.learn(steps(name), callback=callback)
    assert set(callback.heads) == {"actor", "critic"}
    assert all(head.steps >= 2 for head in callback.heads.values())


@pytest.mark.parametrize("name", OFF_POLICY_PAIRS)
@pytest.mark.parametrize("encoder", ["critic", "actor", "both"])
def test_encoder_chooses_whom_the_head_trains(name, encoder):
    model = make_model(name)
    callback = ContrastiveCallback("curl", batch_size=4, encoder=encoder)
    model.learn(steps(name), callback=callback)
    assert set(callback.heads) == ({"actor", "critic"} if encoder == "both" else {encoder})
    for role, head in callback.heads.items():
        mine = {id(p) for p in getattr(model, role).features_extractor.parameters()}
        assert {id(p) for p in head.encoder_parameters} == mine
        assert head.steps >= 2


@pytest.mark.parametrize("name", OFF_POLICY_PAIRS)
def test_tied_the_actor_reads_the_critics_encoder_and_the_zip_stays_plain(name, tmp_path):
    model = make_model(name)
    callback = ContrastiveCallback("curl", batch_size=4, encoder="tied")
    model.learn(steps(name), callback=callback)
    actor, critic = model.actor.features_extractor, model.critic.features_extractor
    for mine, theirs in zip(actor.parameters(), critic.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.requires_grad and mine.data_ptr() != theirs.data_ptr()
    model.save(tmp_path / "model.zip")
    loaded = ALGORITHMS[name].load(tmp_path / "model.zip", env=model.get_env())
    assert same_parameters(model, loaded)
    loaded.learn(steps(name))


@pytest.mark.parametrize("name", ["SAC", "TQC", "TD3", "DDPG"])
def test_one_extractor_shared_by_actor_and_critic(name):
    shared = {"share_features_extractor": True}
    plain = make_model(name, policy_kwargs=shared).learn(steps(name))
    watched = make_model(name, policy_kwargs=shared)
    callback = ContrastiveCallback("cpc", batch_size=4, coef=0)
    watched.learn(steps(name), callback=callback)
    assert same_parameters(plain, watched) and callback.heads["shared"].steps >= 2
    trained = make_model(name, policy_kwargs=shared).learn(steps(name), callback=ContrastiveCallback("cpc", batch_size=4))
    assert not same_parameters(plain, trained)


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
def test_float_images(name):
    from gymnasium.wrappers import TransformObservation
    from stable_baselines3.common.vec_env import DummyVecEnv

    from tests.stamped_env import StampedEnv

    def make():
        import gymnasium as gym
        import numpy as np

        env = StampedEnv(0, "box" if name in CONTINUOUS else "discrete")
        space = gym.spaces.Box(0, 1, (3, 36, 36), np.float32)
        return TransformObservation(env, lambda image: (image / 255).astype(np.float32), space)

    keywords = (
        {"n_steps": 32, "batch_size": 16} if name == "PPO" else {"learning_starts": 24, "buffer_size": 200, "batch_size": 8}
    )
    model = ALGORITHMS[name]("CnnPolicy", DummyVecEnv([make]), seed=0, policy_kwargs={"normalize_images": False}, **keywords)
    callback = ContrastiveCallback("curl", batch_size=4)
    model.learn(steps(name), callback=callback)
    assert next(iter(callback.heads.values())).steps >= 2
