"""How often an update runs the convolutions: counts, which no machine changes."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from torch import nn

import cpc_rl
from cpc_rl import ContrastiveCallback
from cpc_rl.minibatch import Minibatches, WatchedSamples
from tests.algorithms import make_model, same_parameters, steps

CURL, CPC, ATC = ("curl", {}), ("cpc", {}), ("atc", {"horizon": 1})
# (algorithm, objective, keywords, forward passes, backward passes) of one update; plain SB3 first
COUNTS = [
    ("PPO", None, {}, 1, 1),
    ("PPO", CURL, {}, 2, 1),
    ("PPO", CPC, {"rollout_keys": False}, 2, 1),
    ("PPO", CPC, {"share_passes": False}, 2, 2),
    ("PPO", CPC, {}, 1, 1),
    ("RecurrentPPO", ATC, {}, 1, 1),
    ("RecurrentPPO", CURL, {}, 2, 1),
    ("DQN", None, {}, 2, 1),
    ("DQN", CURL, {}, 3, 1),
    ("DQN", CPC, {}, 2, 1),
    ("DQN", ATC, {}, 2, 1),
    ("DQN", ("cpc", {"horizon": 3}), {}, 4, 1),
    ("DQN", ("atc", {"horizon": 1, "negatives": "same_trajectory"}), {}, 4, 2),
    ("PPO", ("atc", {"horizon": 1, "negatives": "same_trajectory"}), {}, 3, 2),
    ("SAC", None, {}, 5, 3),
    ("SAC", CURL, {}, 6, 2),
    ("SAC", ATC, {}, 5, 2),
    ("SAC", CPC, {"encoder": "tied"}, 5, 1),
    ("SAC", CURL, {"encoder": "tied"}, 6, 1),
    ("TQC", CURL, {"encoder": "tied"}, 6, 1),
    ("CrossQ", None, {}, 4, 3),
    ("CrossQ", CPC, {}, 4, 2),
    ("SAC", CURL, {"share_passes": False}, 7, 4),
]


def passes_of_an_update(name: str, objective, keywords, monkeypatch) -> tuple[float, float]:
    """Forward and backward passes of the first convolution, wherever it stands, for each call of an optimiser's step."""
    model = make_model(name, **({"policy_delay": 1} if name == "CrossQ" else {}))
    first = {id(m) for m in model.policy.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3}
    counts = {"forward": 0, "backward": 0, "updates": 0}
    convolve = nn.Conv2d.forward
    training = False

    def counted(module, images):
        output = convolve(module, images)
        if training and module.in_channels == 3:
            counts["forward"] += 1
            if output.requires_grad:
                output.register_hook(lambda _: counts.__setitem__("backward", counts["backward"] + 1))
        return output

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    train = model.train

    def watched(*args, **kwargs):
        nonlocal training
        training = True
        before = model._n_updates
        train(*args, **kwargs)
        rows = 32 // 16  # minibatches in an epoch
        counts["updates"] += (model._n_updates - before) * (rows if name in ("PPO", "RecurrentPPO") else 1)
        training = False

    model.train = watched
    callback = None if objective is None else ContrastiveCallback(*objective, batch_size=8, **keywords)
    model.learn(steps(name), callback=callback)
    assert first and counts["updates"] >= 4
    return counts["forward"] / counts["updates"], counts["backward"] / counts["updates"]


@pytest.mark.parametrize(("name", "objective", "keywords", "forward", "backward"), COUNTS)
def test_convolution_passes_of_an_update(name, objective, keywords, forward, backward, monkeypatch):
    assert passes_of_an_update(name, objective, keywords, monkeypatch) == (forward, backward)


@pytest.mark.parametrize("name", ["SAC", "TQC", "CrossQ", "TD3", "DDPG"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_spared_backward_pass_changes_nothing(name, n_envs):
    plain = make_model(name, n_envs).learn(60 * n_envs)
    spared = make_model(name, n_envs)
    spared.learn(60 * n_envs, callback=ContrastiveCallback("cpc", coef=0, batch_size=4))
    assert same_parameters(plain, spared)


@pytest.mark.parametrize("name", ["DQN", "PPO"])
def test_anchors_have_negatives_of_their_own_trajectory(name, monkeypatch):
    model = make_model(name)  # episodes of 9, 14 and 20 steps
    counts = []
    loss = cpc_rl.ContrastiveObjective._loss

    def counted(self, scores, targets, positives, negatives, rows, **bound):
        if torch.is_grad_enabled():
            counts.append(int(rows.sum()))
        return loss(self, scores, targets, positives, negatives, rows, **bound)

    monkeypatch.setattr(cpc_rl.ContrastiveObjective, "_loss", counted)
    objective = {"horizon": 1, "negatives": "same_trajectory"}
    model.learn(128, callback=ContrastiveCallback("atc", objective, batch_size=8))
    assert len(counts) > 10 and set(counts) == {8}


class OtherDraws(ReplayBuffer):
    """Draws something else before the environments, so that what it samples cannot be told from its generator."""

    def _get_samples(self, batch_inds, env=None):
        np.random.randint(0, 2, size=3)
        return super()._get_samples(batch_inds, env=env)


def test_a_buffer_that_draws_in_another_way_is_noticed():
    model = make_model("DQN", 2, replay_buffer_class=OtherDraws)
    callback = ContrastiveCallback("curl", batch_size=4)
    with pytest.warns(UserWarning, match="OtherDraws does not tell which transitions"):
        model.learn(120, callback=callback)
    assert callback.heads["shared"].steps > 10
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())


def test_an_interrupted_update_leaves_a_buffer_that_can_be_saved_and_cleans_itself(tmp_path, monkeypatch):
    model = make_model("DQN", 2)
    original = model.train
    model.train = lambda *args, **kwargs: (original(*args, **kwargs), (_ for _ in ()).throw(KeyboardInterrupt()))[0]
    with pytest.raises(KeyboardInterrupt):
        model.learn(200, callback=ContrastiveCallback("curl", batch_size=4))
    del model.train
    assert isinstance(vars(model.replay_buffer)["_get_samples"], WatchedSamples)
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    model.learn(100, reset_num_timesteps=False)
    assert "_get_samples" not in vars(model.replay_buffer)
    model.load_replay_buffer(tmp_path / "buffer.pkl")
    model.learn(100, reset_num_timesteps=False)
    callback = ContrastiveCallback("curl", batch_size=4)
    watched = []
    watch = Minibatches.watch
    monkeypatch.setattr(Minibatches, "watch", lambda *args, **kwargs: (watched.append(1), watch(*args, **kwargs))[1])
    model.learn(100, reset_num_timesteps=False, callback=callback)
    assert callback.heads["shared"].steps > 10 and len(watched) > 10


@pytest.mark.parametrize("name", ["PPO", "A2C", "RecurrentPPO", "MaskablePPO"])
def test_keys_from_the_rollout_are_the_features_of_the_next_frames(name):
    model = make_model(name, 2, **({"n_steps": 16} if name == "A2C" else {}))
    seen = []

    class Watched(cpc_rl.CPC):
        def forward(self, encoder, windows, shared=None):
            if not seen:  # the first update: the encoder is still the one that collected
                observations = windows.observations
                with torch.no_grad():
                    fresh = encoder(observations[:, 1])
                seen.append((shared.next_keys, fresh, windows.mask[:, 1]))
            return super().forward(encoder, windows, shared)

    model.learn(128, callback=ContrastiveCallback(Watched, batch_size=16))
    keys, fresh, rows = seen[0]
    assert rows.sum() >= 8
    torch.testing.assert_close(keys[rows], fresh[rows], rtol=1e-4, atol=1e-5)
