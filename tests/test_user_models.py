"""Extractors, policies and buffers of the user's own: what does not fit says so at once."""

import copy
import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.utils import set_random_seed
from torch import nn
from torch.overrides import TorchFunctionMode

from cpc_rl import ContrastiveCallback, encode
from cpc_rl.encoder import Encoder
from cpc_rl.shared_pass import SharedPass
from tests.algorithms import make_model, same_parameters
from tests.test_extractors import TinyImages


def dqn(space: spaces.Box, extractor: type | None = None, policy: str = "CnnPolicy", **keywords) -> DQN:
    kwargs = {"features_extractor_kwargs": {"features_dim": 16}}
    kwargs = kwargs if extractor is None else {"features_extractor_class": extractor}
    settings = {"learning_starts": 24, "buffer_size": 200, "batch_size": 8, "seed": 0, "policy_kwargs": kwargs}
    return DQN(policy, TinyImages(ACTIONS, space), **{**settings, **keywords})


IMAGES, ACTIONS = spaces.Box(0, 255, (3, 36, 36), np.uint8), spaces.Discrete(3)


class ChannelsLast(BaseFeaturesExtractor):
    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 16)
        convolution = nn.Conv2d(space.shape[2], 8, 5, 3)
        self.layers = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(968, 16))

    def forward(self, images):
        return self.layers(images.permute(0, 3, 1, 2))


def test_images_that_nobody_put_the_channels_of_first():
    model = dqn(spaces.Box(0, 1, (36, 36, 3), np.float32), ChannelsLast, "MlpPolicy")
    with pytest.warns(
        UserWarning, match=r"seem to have their channels last, .* and so mixes the colours: let VecTransposeImage"
    ):
        model.learn(60, callback=ContrastiveCallback("curl", batch_size=8))
    for augment in (None, lambda images, generator: images):  # the user's own knows its images
        model = dqn(spaces.Box(0, 1, (36, 36, 3), np.float32), ChannelsLast, "MlpPolicy")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.learn(60, callback=ContrastiveCallback("curl", {"augment": augment}, batch_size=8))


class EachFrame(BaseFeaturesExtractor):
    """One network for all frames of a stack."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 16)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 5, 3), nn.ReLU(), nn.Flatten())
        self.linear = nn.Linear(4 * 968, 16)

    def forward(self, images):
        return self.linear(self.layers(images.flatten(0, 1)[:, None]).view(len(images), -1))


@pytest.mark.parametrize("objective", ["stdim", "driml", "spr"])
def test_maps_of_single_frames_are_refused_before_anything_is_trained(objective):
    model = dqn(spaces.Box(0, 255, (4, 36, 36), np.uint8), EachFrame)
    with pytest.raises(ValueError, match=r"last convolution of EachFrame gives 4 maps for 1 observations.* cpc, curl or atc"):
        model.learn(60, callback=ContrastiveCallback(objective, batch_size=8))
    assert model.num_timesteps == 0
    model.learn(60, callback=ContrastiveCallback("curl", batch_size=8))


class Bare(nn.Module):
    """Stable-Baselines3 takes and trains it."""

    features_dim = 16

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(968, 16))

    def forward(self, images):
        return self.layers(images)


def test_an_extractor_of_another_class():
    model = dqn(IMAGES, Bare)
    with pytest.raises(ValueError, match=r"of this DQN \(Bare\) is no BaseFeaturesExtractor .*derive its class from that"):
        model.learn(60, callback=ContrastiveCallback("curl"))


class TwoCritics(ActorCriticCnnPolicy):
    def __init__(self, *args, **keywords):
        super().__init__(*args, share_features_extractor=False, **keywords)

    def _build(self, lr_schedule):
        self.vf_second_extractor = NatureCNN(self.observation_space, 32)
        super()._build(lr_schedule)

    def evaluate_actions(self, obs, actions):
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        return (
            values + self.vf_second_extractor(preprocess_obs(obs, self.observation_space)).mean(1, keepdim=True),
            log_prob,
            entropy,
        )


def test_two_extractors_of_the_critic_s():
    model = PPO(TwoCritics, TinyImages(ACTIONS, IMAGES), n_steps=16, batch_size=16, n_epochs=1)
    with pytest.raises(ValueError, match=r"several features extractors for one of .*vf_second_extractor.*one of each"):
        model.learn(32, callback=ContrastiveCallback("curl", batch_size=8))
    callback = ContrastiveCallback("curl", batch_size=8, encoder="actor")  # of which there is one
    model.learn(32, callback=callback)
    assert callback.heads["actor"].steps > 0
    assert encode(model, np.zeros((2, 3, 36, 36), np.uint8)).shape == (2, 512)


class TwoActors(ActorCriticCnnPolicy):
    def _build(self, lr_schedule):
        self.pi_second_extractor = NatureCNN(self.observation_space, 32)
        super()._build(lr_schedule)


def test_no_extractor_of_the_critic_s():
    model = PPO(TwoActors, TinyImages(ACTIONS, IMAGES), n_steps=16, batch_size=16, n_epochs=1)
    for use in (
        lambda: model.learn(32, callback=ContrastiveCallback("curl", batch_size=8)),
        lambda: encode(model, np.zeros((2, 3, 36, 36), np.uint8)),
    ):
        with pytest.raises(ValueError, match="none is the critic's by its name"):
            use()


class ThreeSteps(ReplayBuffer):
    """Returns of three steps, without the attribute that Stable-Baselines3's own buffer has."""

    def _get_samples(self, batch_inds, env=None):
        last = np.minimum(batch_inds + 2, self.size() - 1)
        following = self.to_torch(self.next_observations[last, 0])
        return super()._get_samples(batch_inds, env)._replace(next_observations=following)


class Shifted(ReplayBuffer):
    """Augments what it hands out."""

    def _get_samples(self, batch_inds, env=None):
        samples = super()._get_samples(batch_inds, env)
        return samples._replace(next_observations=samples.next_observations.roll(1, 3))


@pytest.mark.parametrize(
    ("buffer", "keywords", "one_step"),
    [
        (Shifted, {}, False),
        (ReplayBuffer, {}, True),
        (ReplayBuffer, {"replay_buffer_kwargs": {"handle_timeout_termination": False}, "optimize_memory_usage": True}, True),
        (ThreeSteps, {}, False),
    ],
)
def test_next_observations_that_are_further_off_are_no_keys(buffer, keywords, one_step, monkeypatch):
    seen, batch = [], SharedPass.batch

    def noted(self, head, names, rows, output):
        seen.append(rows.next_is_one_step)
        return batch(self, head, names, rows, output)

    monkeypatch.setattr(SharedPass, "batch", noted)
    callback = ContrastiveCallback("cpc", batch_size=8)
    dqn(IMAGES, replay_buffer_class=buffer, **keywords).learn(80, callback=callback)
    assert len(seen) > 5 and set(seen) == {one_step} and callback.heads["shared"].steps > 5


@pytest.mark.parametrize("batch_size", [2, 8])
def test_frames_that_stand_still_say_nothing_of_steps(batch_size):
    """As a game's first ones: what they are is seen once they move, and move on."""

    class Stands(TinyImages):
        def _image(self):
            still = super()._image()
            return np.zeros_like(still) if self.np_random.random() < 0.9 else still

    seen = []

    class Three(ThreeSteps):
        def _get_samples(self, batch_inds, env=None):
            samples = super()._get_samples(batch_inds, env)
            seen.append(samples)
            return samples

    settings = {"learning_starts": 24, "buffer_size": 200, "batch_size": batch_size}
    for seed in range(4):
        model = DQN("CnnPolicy", Stands(ACTIONS, IMAGES), replay_buffer_class=Three, seed=seed, **settings)
        callback = ContrastiveCallback("cpc", batch_size=batch_size)
        model.learn(200, callback=callback)
        assert callback._sharing is not None and callback._sharing.minibatches._one_step is False
    still = [torch.equal(each.observations, each.next_observations) for each in seen]
    assert any(still) and not all(still)


def looked(monkeypatch):
    """How often a head looked what comes next, of five times at most, and what it found."""
    monkeypatch.setattr("cpc_rl.minibatch.LOOKS", 5)
    callback = ContrastiveCallback("cpc", batch_size=8)
    dqn(IMAGES).learn(100, callback=callback)
    assert callback._sharing is not None and callback.heads["shared"].steps > 5
    return callback._sharing.minibatches._looks, callback._sharing.minibatches._one_step


def test_what_never_moves_is_not_looked_at_for_ever(monkeypatch):
    monkeypatch.setattr(TinyImages, "_image", lambda self: np.zeros((3, 36, 36), np.uint8))
    assert looked(monkeypatch) == (5, False)


def test_episodes_of_one_step_tell_nothing_and_stay_as_they_are(monkeypatch):
    step = TinyImages.step
    monkeypatch.setattr(TinyImages, "step", lambda self, action: (*step(self, action)[:2], True, False, {}))
    assert looked(monkeypatch) == (0, None)


class Loads(BaseCallback):
    def __init__(self, file) -> None:
        super().__init__()
        self.file = file

    def _on_training_start(self) -> None:
        self.model.load_replay_buffer(self.file)

    def _on_step(self) -> bool:
        return True


def test_a_replay_buffer_that_is_loaded_amid_is_noticed(tmp_path):
    model = make_model("DQN").learn(60)
    model.save_replay_buffer(tmp_path / "buffer")
    with pytest.warns(UserWarning, match="The replay buffer of this model was made anew or replaced in the midst of learn"):
        model.learn(60, callback=[Loads(tmp_path / "buffer"), ContrastiveCallback("curl", batch_size=4)])
    model.load_replay_buffer(tmp_path / "buffer")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(60, callback=ContrastiveCallback("curl", batch_size=4), reset_num_timesteps=False)


def test_a_run_that_is_seeded_by_set_random_seed_alone():
    def trained(seed):
        set_random_seed(seed)
        model = dqn(IMAGES, seed=None)
        model.action_space.seed(seed)
        model.env.seed(seed)
        callback = ContrastiveCallback("curl", batch_size=8)
        return model.learn(60, callback=callback), callback.heads["shared"]

    (first, head), (second, same), (_, other) = trained(3), trained(3), trained(4)
    model = dqn(IMAGES, seed=None)
    again = ContrastiveCallback("curl", batch_size=8)
    model.learn(30, callback=again)  # another model of this process, which nobody seeded anew, has draws of its own
    seeds = [each.window_generator.initial_seed() for each in (head, same, other, again.heads["shared"])]
    assert seeds[0] == seeds[1] and len(set(seeds)) == 3
    assert same_parameters(first, second)
    for mine, theirs, others in zip(head.parameters, same.parameters, other.parameters, strict=True):
        assert torch.equal(mine, theirs) and not torch.equal(mine, others)


class DefaultDevice(TorchFunctionMode):
    """What torch.set_default_device("cuda") does to a draw that names no device, from a generator of the CPU's."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if function in (torch.randint, torch.randperm, torch.rand, torch.randn) and kwargs.get("device") is None:
            assert generator is None or generator.device.type != "cpu"
        return function(*args, **kwargs)


@pytest.mark.parametrize(
    ("objective", "keywords"),
    [
        ("simclr", {}),
        ("cpc", {"negatives": "same_trajectory"}),
        ("curl", {"negatives": {"mining": "hard", "mask_duplicates": True}}),
        ("masked", {}),
        ("taco", {}),
        ("spr", {}),
    ],
)
def test_another_default_device_draws_no_windows(objective, keywords):
    for name in ("DQN", "PPO"):
        model = make_model(name)
        with DefaultDevice():
            callback = ContrastiveCallback(objective, keywords, batch_size=4, gradient="separate")
            model.learn(64, callback=callback)
        assert callback.heads["shared"].steps > 0


def test_passes_on_other_devices_than_the_cpu_stay_there():
    """No scratch memory of the CPU's; ``meta`` stands for them, which holds no numbers."""
    encoder = Encoder({"image": NatureCNN(IMAGES, 16).to("meta")}, IMAGES)
    images = torch.zeros(2, 3, 36, 36, dtype=torch.uint8, device="meta")
    with torch.no_grad():
        assert encoder(images).device.type == "meta"
    assert not encoder._scratch
    assert not copy.deepcopy(encoder)._scratch
