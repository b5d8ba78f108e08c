"""What a head makes of the length of an agent's features: nothing."""

import pytest
import torch
from gymnasium.wrappers import TransformReward
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import DummyVecEnv

from cpc_rl import ContrastiveCallback
from cpc_rl.nets import at_length, tempered
from cpc_rl.objectives import ATC, CPC, CURL, DRIML, SPR, STDIM, Objective
from tests.objectives.head_checks import as_read
from tests.objectives.map_encoder import make_map_encoder
from tests.stamped_env import StampedEnv
from tests.synthetic import ACTIONS, make_encoder, rolling_patterns

CLASSES = (CPC, CURL, ATC)


def loss_and_slopes(cls: type[Objective], length: float | None, factor: float) -> tuple[float, torch.Tensor]:
    """The loss over features ``factor`` times as long, and how it changes as each of them grows, (N,)."""
    encoder = make_encoder()
    for p in encoder.extractors["image"].linear.parameters():  # the last layer, with a ReLU behind it
        p.data.mul_(factor)
    torch.manual_seed(1)
    objective = cls(encoder, ACTIONS, feature_length=length, augment=None)
    with encoder.recording() as recording:
        loss, _ = objective(encoder, rolling_patterns(16, objective.horizon + 1, 0))
    (gradient,) = torch.autograd.grad(loss, recording.features)
    return float(loss.detach()), (recording.features[0] * gradient).sum(dim=1)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_loss_does_not_depend_on_it_and_cannot_fall_by_it(cls):
    for length, invariant in [(7.0, True), (None, False)]:
        losses, slopes = zip(*(loss_and_slopes(cls, length, factor) for factor in (0.01, 1.0, 30.0)), strict=True)
        assert (max(losses) - min(losses) < 1e-3) == invariant
        assert (max(float(slope.abs().max()) for slope in slopes) < 1e-4) == invariant


@pytest.mark.parametrize("cls", [STDIM, DRIML])
def test_maps_as_a_whole_neither(cls):
    """Anchors' map and features grow, the keys' stay: a head over maps as they are gains by it, one of a length does not."""
    for length in (7.0, None):
        slopes = []
        for factor in (0.01, 1.0, 30.0):
            encoder = make_map_encoder(8, stride=2)
            for p in encoder.extractors["image"].cnn[2].parameters():  # the map, and the features behind it
                p.data.mul_(factor)
            torch.manual_seed(1)
            objective = cls(encoder, ACTIONS, feature_length=length, augment=None)
            seen: list[torch.Tensor] = []
            read_map = objective.read_map
            objective.read_map = lambda m, seen=seen, read_map=read_map: read_map(seen.append(m) or m)
            loss, _ = objective(encoder, rolling_patterns(8, 2, 0))
            slopes += [(m * g).flatten(1).sum(dim=1) for m, g in zip(seen, torch.autograd.grad(loss, seen), strict=True)]
        assert (max(float(slope.abs().max()) for slope in slopes) < 1e-4) == (length is not None)
        assert all(slope.isfinite().all() for slope in slopes)


@pytest.mark.parametrize("dim", [1, 5, 512])
def test_vectors_lose_their_mean_and_get_the_length(dim):
    z = torch.randn(6, dim, generator=torch.Generator().manual_seed(0)) * 1e-3 + 5e-4
    z[2] = 0.0  # every unit of a layer of ReLUs may be silent
    read = at_length(z.requires_grad_(), 3.0)
    for row, vector in zip(read, z, strict=True):
        expected = as_read(vector, 3.0) if dim > 1 and vector.any() else torch.zeros(dim)
        torch.testing.assert_close(row, expected, rtol=1e-3, atol=1e-5)
    read.square().sum().backward()
    assert torch.isfinite(z.grad).all()
    assert at_length(z, None) is z


@pytest.mark.parametrize("cls", [*CLASSES, STDIM, DRIML])
@pytest.mark.parametrize("length", [0.0, -1.0])
def test_a_length_that_is_none_is_refused(cls, length):
    with pytest.raises(ValueError, match="above 0, or None"):
        cls(make_map_encoder(), ACTIONS, feature_length=length)


def test_a_dqn_keeps_the_length_of_its_features():
    """As Stable-Baselines3 starts a DQN, its features are short, and a head of plain inner products wants them long."""

    def make() -> TransformReward:
        return TransformReward(StampedEnv(0, "discrete", lengths=(9, 14, 20)), lambda reward: 0.01 * reward)

    growth = {}
    for length in (7.0, None):
        model = DQN(
            "CnnPolicy",
            DummyVecEnv([make]),
            learning_starts=60,
            buffer_size=250,
            batch_size=32,
            gradient_steps=4,
            learning_rate=3e-4,
            seed=0,
            policy_kwargs={"net_arch": []},
        )
        images = torch.rand(32, *model.observation_space.shape, generator=torch.Generator().manual_seed(0))
        extractor = model.q_net.features_extractor
        before = extractor(images).detach().norm()
        callback = ContrastiveCallback("cpc", batch_size=32, objective_kwargs={"feature_length": length})
        model.learn(260, callback=callback)
        growth[length] = float(extractor(images).detach().norm() / before)
    assert growth[7.0] < 1.3  # 0.9 when this was written
    assert growth[None] > 1.5  # 2.0


def gradient_norms(cls: type[Objective], blank: int, bias: float) -> tuple[float, float]:
    """Of what the head reads of the encoder and of its weights, with so many black frames in a batch of 32."""
    encoder = make_encoder()
    for name, p in encoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(p, std=bias) if bias else torch.nn.init.zeros_(p)
    torch.manual_seed(1)
    objective = cls(encoder, ACTIONS, augment=None)
    windows = rolling_patterns(32, objective.horizon + 1, 0)
    windows.observations[:blank] = 0
    with encoder.recording() as recording:
        loss, _ = objective(encoder, windows)
    read = recording.maps if objective.local else recording.features
    weights = [p for p in encoder.parameters() if p.dim() > 1]
    found = (torch.autograd.grad(loss, each, retain_graph=True, allow_unused=True) for each in (read, weights))
    return tuple(float(sum(g.square().sum() for g in each if g is not None).sqrt()) for each in found)


@pytest.mark.parametrize("bias", [0.0, 1e-3])
@pytest.mark.parametrize("cls", [*CLASSES, STDIM, DRIML, SPR])
def test_black_frames_do_not_drown_the_others(cls, bias):
    """Their features are all but zero in a young agent, and the gradient through their length as large as these are small."""
    usual, black = gradient_norms(cls, 0, bias), gradient_norms(cls, 2, bias)
    for before, after in zip(usual, black, strict=True):
        assert 0.6 < after / before < 1.7


def test_what_varies_as_the_others_do_keeps_its_gradient_to_the_bit():
    torch.manual_seed(0)
    rows = torch.randn(20, 8) * torch.rand(20, 1).add(0.2)
    rows[0] *= 1e-3
    rows[1] = 3.0
    rows[2] *= 1e6  # larger than the others, by whatever there was to see
    rows.requires_grad_()
    spread = rows.detach().std(dim=-1, correction=0, keepdim=True)
    gradient = torch.randn(20, 8)
    out = tempered(rows, spread)
    out.backward(gradient)
    assert torch.equal(out, rows) and torch.equal(rows.grad[2:], gradient[2:])
    share = float(spread[0] / (0.1 * spread.flatten().sort().values[14])) ** 2
    assert torch.allclose(rows.grad[0], share * gradient[0]) and 0 < share < 1e-3
    assert (rows.grad[1] == 0).all()
    rows.grad = None
    broken = rows.detach().clone().requires_grad_()
    broken.data[3] = torch.nan
    tempered(broken, broken.detach().std(dim=-1, correction=0, keepdim=True)).backward(gradient)
    assert torch.equal(broken.grad[4:], gradient[4:])  # what is not a number silences no other row
    nothing = torch.zeros(3, 4, requires_grad=True)
    tempered(nothing, torch.zeros(3, 1)).sum().backward()
    assert nothing.grad is not None and (nothing.grad == 0).all()
