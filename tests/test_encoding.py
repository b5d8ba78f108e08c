"""Features of a trained model, and the encoder's file."""

import json
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from cpc_rl import NatureExtractor, encode, load_encoder, pinned_policy_kwargs, save_encoder
from cpc_rl.diagnostics.saved_encoder import read_encoder
from cpc_rl.encoding import _brightest
from tests.algorithms import ALGORITHMS, make_model


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
def test_features_are_those_of_the_policy(name):
    model = make_model(name, 3)
    observations = model.get_env().reset()
    part = {"PPO": model.policy, "SAC": getattr(model, "critic", None), "DQN": getattr(model, "q_net", None)}[name]
    with torch.no_grad():
        expected = part.features_extractor(torch.as_tensor(observations).float() / 255)
    assert torch.equal(encode(model, observations), expected)
    assert encode(model, observations[0]).shape == (1, 32)
    channels_last = np.moveaxis(observations, 1, -1)
    assert torch.equal(encode(model, channels_last), expected)


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
@pytest.mark.parametrize("training", [False, True])
def test_every_module_keeps_its_mode(name, training):
    model = make_model(name)
    model.policy.set_training_mode(training)
    parts = list(model.policy.modules())
    for part in parts:
        if isinstance(part, NatureCNN):
            part.linear.train(not training)  # somebody has set it otherwise
    modes = [part.training for part in parts]
    encode(model, model.get_env().reset())
    assert [part.training for part in parts] == modes


def test_a_dict_gives_the_image_part_alone():
    model = make_model("PPO", 2, dict_obs=True)
    observations = model.get_env().reset()
    assert encode(model, observations).shape == (2, 32)
    changed = {**observations, "vector": observations["vector"] + 1}
    assert torch.equal(encode(model, observations), encode(model, changed))


def test_the_file_goes_from_one_algorithm_to_another_target_networks_included(tmp_path):
    source, target = make_model("PPO"), make_model("SAC")
    file = save_encoder(source, tmp_path / "new" / "encoder.safetensors")
    load_encoder(target, file)
    wanted = source.policy.features_extractor.state_dict()
    for net in (target.actor, target.critic, target.critic_target):
        assert all(torch.equal(value, wanted[n]) for n, value in net.features_extractor.state_dict().items())
    with safe_open(file, "pt") as opened:
        description = json.loads(opened.metadata()["cpc_rl"])
        assert set(opened.keys()) == set(wanted)
    assert description["class"].endswith("NatureCNN") and description["keywords"] == {"features_dim": 32}
    assert description["normalize_images"] is True and description["observation_space"].startswith("Box(0, 255, (3, 36, 36)")
    assert [p.name for p in file.parent.iterdir()] == ["encoder.safetensors"]


def test_a_file_that_does_not_fit_says_which_layer_and_changes_nothing(tmp_path):
    file = save_encoder(make_model("PPO"), tmp_path / "encoder.safetensors")
    other = make_model("DQN", policy_kwargs=pinned_policy_kwargs(ALGORITHMS["DQN"], NatureExtractor, features_dim=16))
    before = {n: v.clone() for n, v in other.policy.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"'linear\.0\.bias' is \(32,\) in the file and \(16,\) in the model's NatureExtractor"
    ):
        load_encoder(other, file)
    assert all(torch.equal(v, before[n]) for n, v in other.policy.state_dict().items())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_encoder(other, file)
    for read in (partial(load_encoder, other), read_encoder):
        with pytest.raises(ValueError, match=f"{tmp_path} is a folder, but an encoder's file, such as .* is needed"):
            read(tmp_path)


def test_an_encoder_of_pixels_up_to_1_is_refused_where_they_go_up_to_255(tmp_path):
    divided, raw = (make_model("PPO", policy_kwargs=_policy_kwargs(normalize_images=yes)) for yes in (True, False))
    for source, target, sides in ((divided, raw, "0 to 1, .* 0 to 255"), (raw, divided, "0 to 255, .* 0 to 1 ")):
        file = save_encoder(source, tmp_path / "encoder.safetensors")
        before = {n: v.clone() for n, v in target.policy.state_dict().items()}
        with pytest.raises(ValueError, match=sides):
            load_encoder(target, file)
        assert all(torch.equal(v, before[n]) for n, v in target.policy.state_dict().items())
        load_encoder(source, file)
        save_file(load_file(file), file)  # without metadata nobody knows
        load_encoder(target, file)


class Floats(gymnasium.Env):
    """Float images with their channels first."""

    observation_space = spaces.Box(0, 1, (3, 36, 36), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def test_images_that_one_side_normalises_are_told_of(tmp_path, recwarn):
    """Float images keep their space behind VecNormalize, so that the space does not tell."""
    images = {"features_extractor_kwargs": {"features_dim": 16, "normalized_image": True}, "normalize_images": False}
    raw, normalised, alone = (
        PPO("CnnPolicy", VecNormalize(DummyVecEnv([Floats]), norm_obs=yes), n_steps=8, batch_size=8, policy_kwargs=images)
        for yes in (False, True, True)
    )
    files = {name: save_encoder(model, tmp_path / name) for name, model in (("raw", raw), ("normalised", normalised))}
    load_encoder(raw, files["raw"])
    load_encoder(normalised, files["normalised"])
    alone.env = None  # as a zip is loaded: nobody knows what it will see
    load_encoder(alone, files["raw"])
    assert not [w for w in recwarn if "VecNormalize" in str(w.message)]
    for name, model in (("raw", normalised), ("normalised", raw)):
        with pytest.warns(UserWarning, match="VecNormalize leaves images alone with norm_obs=False"):
            load_encoder(model, files[name])


def test_what_is_normalised_beside_the_images_is_no_matter(tmp_path, recwarn):
    """Of a Dict, what the encoder does not read."""
    plain = make_model("PPO", dict_obs=True)
    vectors = [key for key, space in plain.observation_space.spaces.items() if len(space.shape) != 3]
    normalised = VecNormalize(plain.env, norm_obs_keys=vectors)
    model = PPO("MultiInputPolicy", normalised, n_steps=8, batch_size=8, policy_kwargs=plain.policy_kwargs)
    load_encoder(model, save_encoder(plain, tmp_path / "file"))
    assert vectors and model.get_vec_normalize_env() is not None
    assert not [w for w in recwarn if "VecNormalize" in str(w.message)]


def _policy_kwargs(**more):
    return {**pinned_policy_kwargs(ALGORITHMS["PPO"], NatureExtractor, features_dim=16), **more}


@pytest.mark.parametrize(
    ("space", "normalize_images", "expected"),
    [
        (spaces.Box(0, 255, (3, 36, 36), np.uint8), True, 1),
        (spaces.Box(0, 255, (3, 36, 36), np.uint8), False, 255),
        (spaces.Box(0, 1, (3, 36, 36), np.float32), True, 1),
        (spaces.Box(0, 255, (3, 36, 36), np.float32), True, 255),  # the policy divides uint8 alone
        (spaces.Box(-10, 10, (3, 36, 36), np.float32), False, None),  # of VecNormalize
        (spaces.Box(-np.inf, np.inf, (3, 36, 36), np.float32), False, None),
        (spaces.Dict(a=spaces.Box(0, 255, (3, 8, 8), np.uint8), v=spaces.Box(-1, 1, (2,))), True, 1),
        (spaces.Dict(a=spaces.Box(0, 255, (3, 8, 8), np.uint8), b=spaces.Box(0, 1, (3, 8, 8))), False, None),
        (spaces.Box(np.zeros((1, 2, 2)), np.arange(4).reshape(1, 2, 2) + 1, dtype=np.float64), True, None),
        ("", True, None),
    ],
)
def test_the_brightest_pixel_of_a_space(space, normalize_images, expected):
    assert _brightest(str(space), normalize_images) == expected
