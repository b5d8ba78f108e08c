import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from cpc_rl.diagnostics.representation import effective_rank
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.objectives.spr import SPR
from tests.objectives.head_checks import check_beyond_the_end, check_gradients, check_momentum, check_round_trip, ragged
from tests.synthetic import ACTIONS, SPACE, held_out, make_encoder, rolling_patterns, train


def map_encoder(channels: int = 3, seed: int = 0) -> Encoder:
    """Its feature map has 4 x 4 places."""
    torch.manual_seed(seed)
    return Encoder({IMAGE: cnn(channels)}, SPACE)


def cnn(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, channels, 9, 9), nn.ReLU(), nn.Flatten(), nn.Linear(16 * channels, 12))


def unit_interval(x):
    return (x - x.min()) / (x.max() - x.min())


def loop_spr(spr: SPR, encoder, windows) -> float:
    """The loss, window by window and step by step, from section 2 of the paper."""
    predicted, real = {}, {}
    target_encoder = spr.target_encoder or encoder
    target_projection = spr.target_projection or spr.projection
    for i, mask in enumerate(windows.mask):
        read = (lambda e, o: e.with_maps(o)[1][IMAGE]) if spr.local else (lambda e, o: e(o))
        z = unit_interval(read(encoder, windows.observations[i, 0][None])[0])
        layers = spr.transitions[0].layers
        for k in range(spr.horizon):
            action = windows.actions[i, k]
            if spr.local:
                hidden = F.conv2d(
                    torch.cat([z, torch.ones(1, 4, 4) * action[:, None, None]]), *layers[0].parameters(), padding=1
                )
            else:
                hidden = layers[0].weight @ torch.cat([z, action]) + layers[0].bias
            hidden = torch.relu(hidden)
            hidden = (hidden - hidden.mean()) / torch.sqrt(hidden.var(unbiased=False) + 1e-5)
            hidden = F.conv2d(hidden, *layers[3].parameters(), padding=1) if spr.local else layers[3](hidden)
            z = unit_interval(torch.relu(hidden))
            if mask[k + 1]:
                predicted[i, k] = spr.projection(z.flatten())
                real[i, k] = unit_interval(read(target_encoder, windows.observations[i, k + 1][None])[0])
                real[i, k] = target_projection(real[i, k].flatten())
    losses = []
    for vectors in (predicted, real):
        table = torch.stack(list(vectors.values()))
        for place, vector in vectors.items():
            if spr.standardize:
                vectors[place] = (vector - table.mean(0)) / torch.sqrt(table.var(0, unbiased=False) + 1e-5)
    for place in predicted:
        p = spr.predictor.weight @ predicted[place] + spr.predictor.bias
        losses.append(2 - 2 * float(p @ real[place] / p.norm() / real[place].norm()))
    return float(np.mean(losses))


@pytest.mark.parametrize("space", ["map", "features"])
@pytest.mark.parametrize(("tau", "standardize"), [(1.0, True), (0.5, False)])
def test_loss_equals_a_literal_loop(space, tau, standardize):
    encoder = map_encoder()
    spr = SPR(encoder, ACTIONS, horizon=3, latent_dim=8, space=space, tau=tau, standardize=standardize, augment=None)
    assert spr.local == (space == "map") and not SPR.local
    for p in [*encoder.parameters()]:
        p.data.mul_(1.5)  # where there is a target encoder, it must be the one that makes the targets
    windows = ragged(spr, 6)
    with torch.no_grad():
        loss, metrics = spr(encoder, windows)
        assert float(loss) == pytest.approx(loop_spr(spr, encoder, windows), rel=1e-3)
    assert float(metrics["loss"]) == float(loss)


def test_gradients_momentum_round_trip_and_what_is_beyond_the_end():
    for encoder in (map_encoder(), make_encoder(16)):
        # Nothing comes through the linear layer when the map is read. It has the last names of both encoders.
        last = ("extractors.image.3", "extractors.image.linear")
        check_gradients(SPR(encoder, ACTIONS, horizon=2, tau=0.1), encoder, without=last)
        encoder.zero_grad()
        check_gradients(SPR(encoder, ACTIONS, horizon=2, space="features"), encoder)
    encoder = map_encoder()
    for space in ("map", "features"):
        check_round_trip(lambda e, space=space: SPR(e, ACTIONS, horizon=2, space=space, tau=0.1), encoder)
        check_beyond_the_end(SPR(encoder, ACTIONS, horizon=2, space=space), encoder)
    spr = SPR(encoder, ACTIONS, augment=None)
    assert spr.tau == 0.01 and SPR(encoder, ACTIONS).tau == 1
    check_momentum([(encoder, spr.target_encoder), (spr.projection, spr.target_projection)], spr, encoder, 0.01)


def test_every_image_of_a_dict_has_a_transition_model():
    box = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    encoder = Encoder({"left": cnn(2), "right": cnn(3)}, spaces.Dict({"left": box, "right": box}))
    spr = SPR(encoder, ACTIONS, horizon=2, latent_dim=8)
    windows = rolling_patterns(6, 3, 0)
    windows = windows._replace(observations={"left": windows.observations, "right": windows.observations.flip(-1)})
    spr(encoder, windows)[0].backward()
    assert [t.layers[3].out_channels for t in spr.transitions] == [2, 3] and spr.projection.in_features == 5 * 16
    assert all(p.grad.abs().sum() > 0 for p in spr.parameters())


def test_spr_learns_the_future_and_shuffled_or_independent_futures_stay_at_chance():
    encoder = map_encoder(16)
    spr = SPR(encoder, ACTIONS, horizon=1, augment=None, latent_dim=128)
    train(spr, encoder, 100)
    assert held_out(spr, encoder)["accuracy"] > 0.5  # chance is 1/64
    assert held_out(spr, encoder, structure=False)["accuracy"] < 0.1
    windows = rolling_patterns(64, 2, 7)
    other_actions = windows._replace(actions=windows.actions.roll(1, -1))
    assert spr(encoder, other_actions)[0] > spr(encoder, windows)[0] + 0.1
    for keywords, structure in [({"shuffled": True}, True), ({}, False)]:
        encoder = map_encoder(16)
        spr = SPR(encoder, ACTIONS, horizon=1, augment=None, latent_dim=128, **keywords)
        train(spr, encoder, 60, structure)
        assert held_out(spr, encoder, structure)["accuracy"] < 0.1


class WithTargetGradient(SPR):
    """What the paper says must collapse: the targets move towards the predictions."""

    targets = SPR.targets.__wrapped__


@torch.no_grad()
def rank(encoder) -> float:
    return float(effective_rank(encoder(rolling_patterns(256, 1, 7).observations[:, 0])))


@pytest.mark.parametrize("space", ["map", "features"])
def test_the_representation_keeps_its_rank_and_collapses_with_a_gradient_through_the_targets(space):
    ranks = [rank(make_encoder())]
    keywords = {"horizon": 1, "space": space, "tau": 1.0, "augment": None, "latent_dim": 64}
    for make, standardize in [(SPR, True), (WithTargetGradient, False)]:
        encoder = make_encoder()
        train(make(encoder, ACTIONS, standardize=standardize, **keywords), encoder, 80, batch_size=32)
        ranks.append(rank(encoder))
    before, kept, collapsed = ranks
    assert before > 15 and kept > 8 and collapsed < 4


def test_settings_that_make_no_sense_are_refused():
    for message, keywords in [("horizon", {"horizon": 0}), ("space", {"space": "pixels"}), ("tau", {"tau": 0.0})]:
        with pytest.raises(ValueError, match=message):
            SPR(make_encoder(), ACTIONS, **keywords)
    with pytest.raises(ValueError, match="actions"):
        SPR(make_encoder(), 0)
