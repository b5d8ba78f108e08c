import math
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN

from cpc_rl.encoder import Encoder
from cpc_rl.objectives.multiview import Multiview
from cpc_rl.sampling import Windows
from tests.objectives.map_encoder import FieldCNN
from tests.objectives.training import assert_gradients, held_out_on, loss_from, train_on
from tests.synthetic import SPACE, make_encoder, rolling_patterns

RGB, DEPTH = spaces.Box(0, 255, (3, 36, 36), np.uint8), spaces.Box(0, 1, (1, 36, 44), np.float32)


def rgb_and_depth(batch_size: int, length: int, seed: int, structure: bool = True) -> Windows:
    """The same fields in colour and, farther where brighter, as a wider depth image; unrelated ones without ``structure``."""
    windows = rolling_patterns(batch_size, length, seed)
    grey = windows.observations
    rgb = torch.cat([grey, 255 - grey, grey // 2], dim=2)
    seen = grey if structure else rolling_patterns(batch_size, length, seed + 10_000).observations
    depth = torch.nn.functional.pad(seen.float() / 255, (4, 4)).sqrt()
    return windows._replace(observations={"rgb": rgb, "depth": depth})


def make_two_view_encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    extractors = {"rgb": NatureCNN(RGB, 64), "depth": NatureCNN(DEPTH, 32, normalized_image=True)}
    for extractor in extractors.values():
        extractor.apply(partial(ActorCriticPolicy.init_weights, gain=2**0.5))
    return Encoder(extractors, spaces.Dict({"rgb": RGB, "depth": DEPTH}))


def three_views() -> tuple[Encoder, Windows]:
    torch.manual_seed(0)
    names = ("left", "right", "wrist")
    encoder = Encoder({name: FieldCNN(8 + n) for n, name in enumerate(names)}, spaces.Dict(dict.fromkeys(names, SPACE)))
    windows = [rolling_patterns(5, 2, n) for n in range(3)]
    return encoder, windows[0]._replace(observations={n: w.observations for n, w in zip(names, windows, strict=True)})


@pytest.mark.parametrize("horizon", [0, 1])
def test_loss_equals_a_literal_loop_over_the_full_graph(horizon):
    encoder, windows = three_views()
    windows = windows._replace(mask=windows.mask[:, : horizon + 1].clone())
    windows.mask[3, horizon + (horizon == 0) :] = False  # beyond the end at a horizon of 1
    multiview = Multiview(encoder, horizon=horizon, temperature=0.2, latent_dim=6, augment=None)
    loss, metrics = multiview(encoder, windows)
    valid = [0, 1, 2, 4] if horizon else [0, 1, 2, 3, 4]

    @torch.no_grad()
    def vectors(name: str, t: int) -> np.ndarray:
        linear = multiview.projections[name][0]
        z = linear(encoder.extractors[name](windows.observations[name][:, t] / 255)).double().numpy()
        return np.array([row / np.sqrt((row**2).sum()) for row in z])

    losses = []
    for one, other in permutations(windows.observations, 2):
        anchors, keys = vectors(one, 0), vectors(other, horizon)
        for i in valid:
            scores = [anchors[i] @ keys[j] / 0.2 for j in valid]
            losses.append(math.log(sum(math.exp(s) for s in scores)) - scores[valid.index(i)])
    assert len(losses) == 6 * len(valid)
    assert float(loss.detach()) == pytest.approx(np.mean(losses), rel=1e-4)
    assert float(metrics["mi_ceiling"]) == pytest.approx(math.log(len(valid)), rel=1e-5)


@pytest.mark.parametrize("hidden_dim", [None, 16])
def test_every_parameter_gets_a_gradient(hidden_dim):
    encoder = make_two_view_encoder()
    assert_gradients(Multiview(encoder, hidden_dim=hidden_dim), encoder, rgb_and_depth(16, 1, 0))


def test_views_are_told_to_belong_together_and_nothing_is_learnt_of_strangers():
    encoder = make_two_view_encoder()
    multiview = Multiview(encoder)
    train_on(rgb_and_depth, multiview, encoder, 60)
    assert held_out_on(rgb_and_depth, multiview, encoder)["accuracy"] > 0.25  # chance is 1/64
    strangers = held_out_on(rgb_and_depth, multiview, encoder, structure=False)
    assert strangers["accuracy"] < 0.08 and strangers["mi_lower_bound"] < 0
    encoder = make_two_view_encoder()
    shuffled = Multiview(encoder, shuffled=True)
    train_on(rgb_and_depth, shuffled, encoder, 40)
    result = held_out_on(rgb_and_depth, shuffled, encoder)
    assert result["accuracy"] < 0.08 and result["mi_lower_bound"] < 0.05


def test_the_state_survives_a_round_trip():
    encoder = make_two_view_encoder()
    multiview, other = Multiview(encoder), Multiview(encoder)
    windows = rgb_and_depth(6, 1, 0)
    assert loss_from(multiview, encoder, windows) != loss_from(other, encoder, windows)
    other.load_state_dict(multiview.state_dict())
    assert loss_from(multiview, encoder, windows) == loss_from(other, encoder, windows)


def test_the_picture_shows_one_view_above_the_other():
    encoder = make_two_view_encoder()
    windows = rgb_and_depth(4, 1, 0)
    above, below = Multiview(encoder, augment=None).pictures(encoder, windows)
    assert torch.equal(above, windows.observations["rgb"][:, 0])
    assert below.shape == (4, 1, 36, 36) and below.dtype == torch.float32
    # The fields' middles, of a picture that is 44 wide and brought to 36.
    middle = windows.observations["depth"][:, 0, 0, 4::9, 22]
    torch.testing.assert_close(below[:, 0, 4::9, 18], middle)


def test_too_few_views_are_refused_with_the_reason():
    with pytest.raises(ValueError, match="at least two of them, but the observation has one image, not a Dict"):
        Multiview(make_encoder())
    lonely = Encoder({"rgb": FieldCNN(8)}, spaces.Dict({"rgb": SPACE, "speed": spaces.Box(-1, 1, (2,))}))
    with pytest.raises(ValueError, match=r"only \['rgb'\]"):
        Multiview(lonely)
    with pytest.raises(ValueError, match="queue"):
        Multiview(make_two_view_encoder(), negatives="queue")


def test_duplicates_are_of_the_view_that_is_the_key():
    """A view that stands still tells no two moments apart, though the other one moves."""
    encoder = make_two_view_encoder()
    windows = rgb_and_depth(8, 1, 0)
    windows.observations["depth"][:] = windows.observations["depth"][:1].clone()
    multiview = Multiview(encoder, augment=None, negatives={"mask_duplicates": True})
    counted = []
    contrast = multiview.contrast_scores
    multiview.contrast_scores = lambda *a, **k: counted.append(contrast(*a, **k)) or counted[-1]
    multiview(encoder, windows)
    to_depth, to_rgb = counted
    assert not to_depth.rows.all() or float(to_depth.loss.detach()) == 0.0  # no negative is left
    assert float(to_rgb.loss.detach()) > 0.0
