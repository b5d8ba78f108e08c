import numpy as np
import pytest
import torch
from torch import nn

from cpc_rl.diagnostics.representation import effective_rank
from cpc_rl.objectives.byol import BYOL
from tests.objectives.views import (
    check_goes_on_after_loading,
    check_gradients,
    check_momentum,
    check_nothing_comes_from_beyond_the_end,
    literal_mlp,
    ragged,
)
from tests.synthetic import held_out, make_encoder, rolling_patterns, train


@pytest.mark.parametrize("horizon", [0, 1])
def test_loss_and_accuracy_equal_a_literal_loop(horizon):
    encoder = make_encoder(16)
    byol = BYOL(encoder, horizon=horizon, latent_dim=8, hidden_dim=12, augment=None)
    for p in [*byol.target_encoder.parameters(), *byol.target_projection.parameters()]:
        p.data.mul_(1.2).add_(0.01)  # the targets must come from the copies
    windows = ragged(8, horizon, 3)
    valid = windows.mask[:, horizon].numpy()
    first = windows.observations[:, 0]
    second = windows.observations[:, horizon].clone()
    second[~windows.mask[:, horizon]] = first[~windows.mask[:, horizon]]
    total, found = 0.0, []
    for one, other in [(first, second), (second, first)]:
        with torch.no_grad():
            features, target_features = encoder(one).double().numpy(), byol.target_encoder(other).double().numpy()
        predictions = literal_mlp(byol.predictor, literal_mlp(byol.projection, features))
        targets = literal_mlp(byol.target_projection, target_features)
        units = [x / np.sqrt((x**2).sum(axis=1, keepdims=True)) for x in (predictions, targets)]
        total += np.mean([((units[0][i] - units[1][i]) ** 2).sum() for i in range(8) if valid[i]])
        for i in np.flatnonzero(valid):
            found.append(max(np.flatnonzero(valid), key=lambda j: units[0][i] @ units[1][j]) == i)
    loss, metrics = byol(encoder, windows)
    assert float(loss.detach()) == pytest.approx(total, rel=1e-3)
    assert float(metrics["loss"]) == float(loss.detach())
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(found))


def test_gradients_momentum_state_and_ends_of_episodes():
    encoder = make_encoder(16)
    byol = BYOL(encoder)
    check_gradients(byol, encoder, frozen=[byol.target_encoder, byol.target_projection])
    byol = BYOL(encoder, tau=0.3)
    check_momentum(byol, encoder, [(byol.target_encoder, encoder), (byol.target_projection, byol.projection)], 0.3)
    check_goes_on_after_loading(lambda e: BYOL(e, horizon=1))
    check_nothing_comes_from_beyond_the_end(BYOL(encoder, horizon=1), encoder)


def test_it_learns_views_and_futures_and_nothing_where_there_is_nothing():
    encoder = make_encoder()
    byol = BYOL(encoder)
    train(byol, encoder, 80)
    assert held_out(byol, encoder)["accuracy"] > 0.3  # chance is 1/64
    encoder = make_encoder()
    byol = BYOL(encoder, horizon=1, augment=None)
    train(byol, encoder, 80)
    assert held_out(byol, encoder)["accuracy"] > 0.1
    assert held_out(byol, encoder, structure=False)["accuracy"] < 0.06
    for keywords, structure in [({"shuffled": True}, True), ({"horizon": 1}, False)]:
        encoder = make_encoder()
        byol = BYOL(encoder, **keywords)
        train(byol, encoder, 60, structure)
        assert held_out(byol, encoder, structure)["accuracy"] < 0.06


def test_predictor_and_slow_target_keep_it_from_the_collapse_that_happens_without_both():
    ranks = []
    for collapses in (False, True):
        encoder = make_encoder()
        byol = BYOL(encoder, tau=1.0 if collapses else 0.01)
        if collapses:
            byol.predictor = nn.Identity()
        train(byol, encoder, 100)
        with torch.no_grad():
            projections = byol.projection(encoder(rolling_patterns(128, 1, 7).observations[:, 0]))
        ranks.append(float(effective_rank(nn.functional.normalize(projections, dim=1))))
    assert ranks[0] > 25 and ranks[1] < 12  # of 128


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="tau"):
        BYOL(make_encoder(), tau=0.0)
    with pytest.raises(ValueError, match="at least two windows"):
        BYOL(make_encoder())(make_encoder(), rolling_patterns(1, 1, 0))
