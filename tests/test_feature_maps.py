import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import Tensor, nn

from cpc_rl import ContrastiveCallback, DrQExtractor, ImpalaExtractor, NatureExtractor
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.feature_map import map_module
from tests.algorithms import make_model

SPACE = spaces.Box(0, 255, (3, 44, 40), np.uint8)


class BatchNormCNN(BaseFeaturesExtractor):
    """Somebody's own: batch normalisation after the last convolution, a functional activation, one buffer-like counter."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 12) -> None:
        super().__init__(observation_space, features_dim)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Conv2d(8, 6, 3, stride=3)
        self.linear = nn.LazyLinear(features_dim)
        self.linear(self.last(self.first(torch.zeros(2, *observation_space.shape))).flatten(1))
        self.first[1].reset_running_stats()

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(torch.relu(self.last(self.first(images))).flatten(1))


class SharedActivation(nn.Module):
    """One activation in two places: its last output is not the feature map's."""

    features_dim = 5

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.cnn = nn.Sequential(nn.Conv2d(3, 4, 8, 8), self.relu)
        self.linear = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), self.relu)
        self(torch.zeros(1, 3, 44, 40))

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.cnn(images))


def reference_map(extractor: nn.Module, images: Tensor) -> Tensor:
    """What each class's own layers give, written out."""
    if isinstance(extractor, NatureCNN):
        return extractor.cnn[:6](images)  # the seventh flattens
    if isinstance(extractor, BatchNormCNN):
        return extractor.last(extractor.first(images))
    if isinstance(extractor, SharedActivation):
        return extractor.cnn[0](images)
    return extractor.feature_map(images)


EXTRACTORS = {
    "nature_cnn": (lambda: NatureCNN(SPACE, 16), (64, 2, 1)),
    "nature": (lambda: NatureExtractor(SPACE, 16), (64, 2, 1)),
    "impala": (lambda: ImpalaExtractor(SPACE, 16, width=0.25), (8, 6, 5)),
    "drq": (lambda: DrQExtractor(SPACE, 16), (32, 15, 13)),
    "own": (lambda: BatchNormCNN(SPACE), (6, 4, 4)),
    "shared_activation": (SharedActivation, (4, 5, 5)),
}


def make(name: str) -> Encoder:
    torch.manual_seed(0)
    return Encoder({IMAGE: EXTRACTORS[name][0]()}, SPACE)


def images(count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, *SPACE.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def hooks(encoder: Encoder) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in encoder.modules())


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_map_is_that_of_the_last_convolution_and_the_features_are_the_usual_ones(name):
    encoder = make(name).eval()
    features, maps = encoder.with_maps(images())
    assert torch.equal(features, encoder(images()))
    assert list(maps) == [IMAGE]
    torch.testing.assert_close(maps[IMAGE], reference_map(encoder.extractors[IMAGE], images() / 255))
    assert encoder.map_shapes() == {IMAGE: EXTRACTORS[name][1]} == {IMAGE: tuple(maps[IMAGE].shape[1:])}
    assert hooks(encoder) == 0


@pytest.mark.parametrize("name", EXTRACTORS)
def test_map_shapes_leaves_buffers_and_modes_as_they_were(name):
    encoder = make(name).train()
    frozen = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d)).eval()  # one module alone
    modes = [m.training for m in encoder.modules()]
    before = copy.deepcopy(encoder.state_dict())
    encoder.map_shapes()
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert [m.training for m in encoder.modules()] == modes and not frozen.training
    assert hooks(encoder) == 0


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_gradient_can_be_split_at_the_outputs(name):
    """What a head does: gradients at features and maps first, then both pushed through the encoder together."""
    encoder = make(name).eval()  # batch statistics would be moved by the second pass
    parameters = list(encoder.parameters())

    def loss_of(features: Tensor, feature_map: Tensor) -> Tensor:
        return features.square().sum() + 0.3 * (feature_map.flatten(1).mean(1) * features.sum(1)).sum() + feature_map.sum()

    with encoder.recording() as recording:
        features, maps = encoder.with_maps(images())
        loss = loss_of(features, maps[IMAGE])
    at_outputs = torch.autograd.grad(loss, recording.outputs, retain_graph=True)
    # By hand, as if features and map had nothing to do with each other.
    apart = [z.detach().requires_grad_() for z in (features, maps[IMAGE])]
    by_hand = torch.autograd.grad(loss_of(*apart), apart)
    found = {id(z): g for z, g in zip(recording.outputs, at_outputs, strict=True)}
    torch.testing.assert_close([found[id(features)], found[id(maps[IMAGE])]], list(by_hand))
    split = torch.autograd.grad(recording.outputs, parameters, at_outputs, allow_unused=True)
    features, maps = encoder.with_maps(images())
    plain = torch.autograd.grad(loss_of(features, maps[IMAGE]), parameters)
    torch.testing.assert_close(list(split), list(plain), rtol=1e-4, atol=1e-5)


def test_the_recorded_map_carries_the_whole_gradient_and_its_alias_the_direct_part():
    encoder = make("nature")
    with encoder.recording() as recording:
        features, maps = encoder.with_maps(images())
        loss = features.sum() + maps[IMAGE].sum()
    (whole,) = torch.autograd.grad(loss, recording.maps, retain_graph=True)
    (direct,) = torch.autograd.grad(loss, [maps[IMAGE]], retain_graph=True)
    (through_features,) = torch.autograd.grad(features.sum(), recording.maps)
    torch.testing.assert_close(direct, torch.ones_like(direct))
    torch.testing.assert_close(whole, direct + through_features)
    assert through_features.abs().sum() > 0


def test_the_probe_for_the_features_size_leaves_modes_and_buffers_as_they_were():
    module = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4).eval(), nn.Flatten())  # a frozen batch normalisation
    before = copy.deepcopy(module.state_dict())
    assert Encoder({IMAGE: module}, SPACE).features_dim == 4 * 5 * 5
    assert [m.training for m in module] == [True, False, True]
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_image_entries_have_a_map_each():
    space = spaces.Dict({"rgb": SPACE, "side": spaces.Box(0, 255, (1, 36, 36), np.uint8), "speed": spaces.Box(-1, 1, (2,))})
    torch.manual_seed(0)
    encoder = Encoder({"rgb": DrQExtractor(SPACE, 7), "side": NatureCNN(space["side"], 9)}, space)
    assert encoder.map_shapes() == {"rgb": (32, 15, 13), "side": (64, 1, 1)}
    assert encoder.view_dims == {"rgb": 7, "side": 9}
    side = torch.randint(0, 256, (3, 1, 36, 36), dtype=torch.uint8)
    features, maps = encoder.with_maps({"rgb": images(), "side": side})
    for key, image in (("rgb", images()), ("side", side)):
        torch.testing.assert_close(maps[key], reference_map(encoder.extractors[key], image / 255))
    assert torch.equal(features, encoder({"rgb": images(), "side": side}))


def test_hooks_are_gone_even_if_the_pass_fails():
    encoder = make("nature_cnn")
    with pytest.raises(RuntimeError):
        encoder.with_maps(images()[:, :2])
    assert hooks(encoder) == 0


def test_an_extractor_without_a_convolution_says_so():
    encoder = Encoder({IMAGE: nn.Sequential(nn.Flatten(), nn.Linear(3 * 44 * 40, 4))}, SPACE)
    with pytest.raises(ValueError, match="Sequential has no convolution, so it has no feature map; an objective that reads"):
        encoder.with_maps(images())
    with pytest.raises(ValueError, match="no convolution"):
        encoder.train().map_shapes()
    assert all(m.training for m in encoder.modules())
    with pytest.raises(ValueError, match="no convolution"):
        map_module(nn.Linear(2, 2))


class HalfPrecision(NatureCNN):
    """Convolutions under autocast, as on a GPU; features in single precision, which Stable-Baselines3 needs."""

    def forward(self, observations: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(observations).float()


class Half(NatureCNN):
    """The same in another half precision, in which squares below some 1e-8 are 0."""

    def forward(self, observations: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.float16):
            return super().forward(observations).float()


class Single(NatureCNN):
    """As it is; but Stable-Baselines3 gives other extractors than NatureCNN itself more layers behind."""


def test_small_gradients_of_half_precision_are_measured():
    norms = []
    for extractor in (Single, Half):
        kwargs = {"features_extractor_class": extractor, "features_extractor_kwargs": {"features_dim": 32}}
        model = make_model("DQN", policy_kwargs=kwargs)
        target = model.policy.q_net.forward  # gradients that are a tenth of what they were
        model.policy.q_net.forward = lambda observations, target=target: 0.1 * target(observations)
        callback = ContrastiveCallback("stdim", batch_size=8, coef="ratio")
        model.learn(60, callback=callback)
        balance = callback.heads["shared"].terms["stdim"].balance
        norms.append((float(balance.rl_norm), float(balance.auxiliary_norm)))
    assert norms[1] == pytest.approx(norms[0], rel=0.2)


@pytest.mark.parametrize("objective", ["stdim", "driml", "spr"])
def test_maps_of_convolutions_under_autocast(objective):
    kwargs = {"features_extractor_class": HalfPrecision, "features_extractor_kwargs": {"features_dim": 32}}
    model = make_model("PPO", policy_kwargs=kwargs)
    callback = ContrastiveCallback(objective, batch_size=8)
    model.learn(64, callback=callback)
    (head,) = callback.heads.values()
    assert head.steps > 0
    assert all(torch.isfinite(p).all() for p in [*head.parameters, *model.policy.parameters()])
