"""Drop-in extractors: shapes, initialisation, augmentation of the RL batch, and inside SB3's algorithms."""

import copy
import pickle
import warnings

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from cpc_rl.augment import RandomShift
from cpc_rl.extractors import DataEfficientExtractor, DrQExtractor, ImpalaExtractor, NatureExtractor

EXTRACTORS = [NatureExtractor, DataEfficientExtractor, ImpalaExtractor, DrQExtractor]
MAPS = {  # (channels, h, w) of the feature map of 64 x 64 and of 84 x 84 images
    NatureExtractor: ((64, 4, 4), (64, 7, 7)),
    DataEfficientExtractor: ((64, 2, 2), (64, 3, 3)),
    ImpalaExtractor: ((32, 8, 8), (32, 11, 11)),
    DrQExtractor: ((32, 25, 25), (32, 35, 35)),
}
FEATURES = {NatureExtractor: 512, DataEfficientExtractor: 256, ImpalaExtractor: 256, DrQExtractor: 50}


class TinyImages(gym.Env):
    """Noise images, channel-first; an episode has ten steps."""

    def __init__(self, action_space, image_space=None):
        self.action_space = action_space
        self.observation_space = image_space or spaces.Box(0, 255, (3, 36, 36), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._image(), {}

    def step(self, action):
        self.steps += 1
        return self._image(), float(self.np_random.random()), False, self.steps == 10, {}

    def _image(self):
        image = self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)
        return image if self.observation_space.dtype == np.uint8 else (image / 255).astype(np.float32)


def image_space(size=64, channels=4):
    return spaces.Box(0, 255, (channels, size, size), np.uint8)


def float_space(size=36, channels=3):
    return spaces.Box(0.0, 1.0, (channels, size, size), np.float32)


def augmenting(mode="train", extractor_class=DrQExtractor, **keywords):
    extractor = extractor_class(image_space(36), augment=keywords.pop("augment", "random_shift"), **keywords)
    extractor.augment_mode = mode
    return extractor


def images(n=5, size=36, channels=4):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("extractor_class", EXTRACTORS)
@pytest.mark.parametrize(("which", "size"), [(0, 64), (1, 84)])
def test_sizes_of_feature_map_and_features(extractor_class, which, size):
    for extractor in (
        extractor_class(image_space(size)),
        extractor_class(float_space(size, 4), normalized_image=True, features_dim=20),
    ):
        batch = images(2, size)
        feature_map, features = extractor.feature_map(batch), extractor(batch)
        assert feature_map.shape == (2, *MAPS[extractor_class][which])
        assert features.shape == (2, extractor.features_dim)
        assert torch.equal(extractor.linear(feature_map.flatten(1)), features)
        assert feature_map.min() == 0  # after the last ReLU
    assert extractor.features_dim == 20
    assert extractor_class(image_space()).features_dim == FEATURES[extractor_class]


@pytest.mark.parametrize("extractor_class", EXTRACTORS)
def test_spaces_without_images_are_refused(extractor_class):
    for space in (spaces.Box(-1, 1, (7,)), spaces.Discrete(3), float_space()):
        with pytest.raises(ValueError, match="needs image observations, a Box of shape"):
            extractor_class(space)


def test_images_too_small_are_refused():
    with pytest.raises(ValueError, match=r"Images of shape \(4, 20, 20\) are too small for NatureExtractor"):
        NatureExtractor(image_space(20))


def test_nature_takes_the_weights_of_sb3s():
    stock, ours = NatureCNN(image_space()), NatureExtractor(image_space())
    ours.load_state_dict(stock.state_dict(), strict=True)
    assert torch.equal(ours(images(3, 64)), stock(images(3, 64)))


def test_impala_is_the_papers_network():
    extractor = ImpalaExtractor(image_space(64, 3))
    kernels = [tuple(module.weight.shape) for module in extractor.cnn.modules() if isinstance(module, nn.Conv2d)]
    expected = [(16, 3), *[(16, 16)] * 4, (32, 16), *[(32, 32)] * 4, (32, 32), *[(32, 32)] * 4]
    assert kernels == [(*pair, 3, 3) for pair in expected]
    assert sum(isinstance(module, nn.MaxPool2d) for module in extractor.cnn.modules()) == 3
    wide = ImpalaExtractor(image_space(64, 3), width=2)
    assert wide.feature_map(images(1, 64, 3)).shape == (1, 64, 8, 8)
    with pytest.raises(ValueError, match="width must leave at least one channel"):
        ImpalaExtractor(image_space(), width=0)


def test_residual_blocks_add_to_their_input():
    block = ImpalaExtractor(image_space()).cnn[2]
    nn.init.zeros_(block.residual[3].weight)
    x = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("extractor_class", "linear_gain"), [(NatureExtractor, 2.0), (DrQExtractor, 1.0)])
def test_weights_are_orthogonal(extractor_class, linear_gain):
    for module in extractor_class(image_space()).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.flatten(1)
            rows = weight if weight.shape[0] <= weight.shape[1] else weight.T
            gain = 2.0 if isinstance(module, nn.Conv2d) else linear_gain  # squared
            torch.testing.assert_close(rows @ rows.T, gain * torch.eye(len(rows)), atol=1e-5, rtol=0)
            assert not module.bias.any()


def test_data_efficient_rainbows_layers():
    """Two 5 x 5 convolutions of stride 5: 3,232 and 51,264 weights of 4 x 84 x 84 images, and 576 inputs to 256 units."""
    extractor = DataEfficientExtractor(image_space(84))
    assert [parameter.numel() for parameter in extractor.parameters()] == [3200, 32, 51200, 64, 576 * 256, 256]
    assert extractor(images(2, 84)).min() == 0


def test_impalas_weights_follow_their_fan_in():
    linear = ImpalaExtractor(image_space()).linear[0]
    bound = 2 / linear.in_features**0.5
    assert linear.weight.abs().max() <= bound
    # The standard deviation of a normal cut at two of its own is 0.8796 of it.
    assert linear.weight.std().item() == pytest.approx(0.8796 * bound / 2, rel=0.01)
    assert not linear.bias.any()


def test_drqs_features_are_normalised_and_bounded():
    features = DrQExtractor(image_space())(images(6, 64))
    assert features.abs().max() < 1
    torch.testing.assert_close(torch.atanh(features).mean(1), torch.zeros(6), atol=1e-4, rtol=0)


@pytest.mark.parametrize("extractor_class", EXTRACTORS)
def test_modes_of_the_augmentation(extractor_class):
    extractor, batch = augmenting("off", extractor_class), images()
    plain = extractor.feature_map(batch)
    seen = {}
    for mode in ("off", "train", "always"):
        for training in (False, True):
            extractor.augment_mode = mode
            extractor.train(training)
            with torch.no_grad():
                seen[mode, training] = not torch.equal(extractor.augmented(batch), batch)
                changed = not torch.equal(extractor(batch), extractor.linear(plain.flatten(1)))
            assert changed == seen[mode, training]
            assert torch.equal(extractor.feature_map(batch), plain)
    assert {key for key, augmented in seen.items() if augmented} == {("train", True), ("always", False), ("always", True)}
    with pytest.raises(ValueError, match="augment_mode must be one of off, train, always, but it is 'on'"):
        extractor.augment_mode = "on"


def test_the_draws_are_the_generators_own():
    batch, state = images(), torch.get_rng_state()
    first, second = augmenting("train"), augmenting("train")
    one, two = first.augmented(batch), first.augmented(batch)
    torch.set_rng_state(state)
    assert torch.equal(second.augmented(batch), one) and torch.equal(second.augmented(batch), two)
    assert not torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), state)
    first.augment_seed = 1
    assert not torch.equal(first.augmented(batch), one)
    first.augment_seed = 0
    assert torch.equal(first.augmented(batch), one)


def test_a_target_network_draws_apart_from_the_online_one():
    online, target = augmenting("train"), augmenting("always")
    assert not torch.equal(online.augmented(images()), target.augmented(images()))


def test_the_draws_go_on_through_changes_of_mode():
    batch = images()
    once, switched = augmenting("train"), augmenting("train")
    expected = [once.augmented(batch) for _ in range(2)]
    assert torch.equal(switched.augmented(batch), expected[0])
    switched.augment_mode = "off"
    assert torch.equal(switched.augmented(batch), batch)
    switched.augment_mode = "train"
    assert torch.equal(switched.augmented(batch), expected[1])


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: cloudpickle.loads(cloudpickle.dumps(x))],
    ids=["deepcopy", "pickle", "cloudpickle"],
)
def test_copies_go_on_with_the_same_draws(again):
    extractor, batch = augmenting("train"), images()
    extractor.augmented(batch)
    copied = again(extractor)
    assert copied.augment_mode == "train" and copied.augmentation == RandomShift(4)
    assert torch.equal(copied(batch), extractor(batch))


def test_the_augmentation_adds_nothing_to_parameters_or_state():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images, generator=None):
            return images * self.scale

    plain, augmented = DrQExtractor(image_space(36)), augmenting(augment=Weighted())
    augmented(images())
    assert list(augmented.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in augmented.named_parameters()] == [name for name, _ in plain.named_parameters()]
    plain.load_state_dict(augmented.state_dict(), strict=True)


def test_an_augmentation_that_cannot_work_here_is_refused_at_once():
    with pytest.raises(ValueError, match="There is no augmentation 'shift'"):
        DrQExtractor(image_space(), augment="shift")
    with pytest.raises(ValueError, match=r"turns images of shape \(4, 64, 64\) into \(4, 60, 60\)"):
        DrQExtractor(image_space(), augment={"random_crop": {"size": 60}})
    with pytest.raises(ValueError, match="needs stacks of RGB frames"):
        DrQExtractor(image_space(), augment="grayscale")


def test_an_augmentation_that_nothing_drives_warns_once():
    extractor = augmenting("off")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor.eval()(images())
        extractor.train()
        with torch.no_grad():
            extractor(images())
    with pytest.warns(UserWarning, match=r"A callback must drive it: pass ContrastiveCallback or AugmentationCallback"):
        extractor(images())
    driven = augmenting("train")
    driven.augment_mode = "off"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor(images())
        driven(images())


@pytest.mark.parametrize("extractor_class", EXTRACTORS)
@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC])
def test_training_inside_sb3_without_a_callback(algorithm, extractor_class, tmp_path):
    actions = spaces.Box(-1, 1, (2,)) if algorithm is SAC else spaces.Discrete(3)
    sizes = {"n_steps": 32, "batch_size": 16, "n_epochs": 2} if algorithm is PPO else {"learning_starts": 32, "batch_size": 8}
    if algorithm is not PPO:
        sizes |= {"buffer_size": 128, "train_freq": 8}
    policy_kwargs = {"features_extractor_class": extractor_class, "features_extractor_kwargs": {"features_dim": 16}}
    model = algorithm("CnnPolicy", TinyImages(actions), policy_kwargs=policy_kwargs, seed=0, **sizes)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(112)
    extractor_names = [name for name, _ in model.policy.named_parameters() if "extractor" in name and "target" not in name]
    moved = {name for name, value in model.policy.state_dict().items() if not torch.equal(value, before[name])}
    assert extractor_names and set(extractor_names) <= moved
    model.save(tmp_path / "model")
    observation = model.env.reset()
    again = algorithm.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )


def test_training_on_floating_point_images():
    env = TinyImages(spaces.Discrete(3), float_space())
    policy_kwargs = {
        "features_extractor_class": ImpalaExtractor,
        "features_extractor_kwargs": {"normalized_image": True, "augment": "random_shift"},
        "normalize_images": False,
    }
    model = PPO("CnnPolicy", env, policy_kwargs=policy_kwargs, n_steps=32, batch_size=16, n_epochs=1)
    model.policy.features_extractor.augment_mode = "train"
    seen = []
    model.policy.features_extractor.cnn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.learn(32)
    collected = torch.cat([batch for batch in seen if len(batch) == 1])
    updates = torch.cat([batch for batch in seen if len(batch) == 16])
    # Noise that was not shifted is found again in the buffer. Collection also looks at three truncated episodes' last images
    # and at the one after the rollout, for their values: those are not stored.
    known = {image.tobytes() for image in model.rollout_buffer.observations.reshape(-1, 3, 36, 36)}
    assert len(collected) == 36 and sum(image.numpy().tobytes() in known for image in collected) == 32
    assert len(updates) == 32 and sum(image.numpy().tobytes() in known for image in updates) < 4
