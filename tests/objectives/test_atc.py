import math

import numpy as np
import pytest
import torch

from cpc_rl.objectives.atc import ATC
from tests.objectives.head_checks import (
    as_read,
    check_beyond_the_end,
    check_gradients,
    check_momentum,
    check_round_trip,
    ragged,
)
from tests.synthetic import held_out, make_encoder, train


def loop_atc(atc: ATC, encoder, windows) -> float:
    """The loss, pair by pair, from section 3 of the paper."""
    k, batch = atc.horizon, range(len(windows.mask))
    losses = []
    for i in batch:
        if not windows.mask[i, k]:
            continue
        c = atc.compressor(as_read(encoder(windows.observations[i, 0][None])[0], atc.feature_length))
        hidden = torch.relu(atc.predictor[0].weight @ c + atc.predictor[0].bias)
        p = c + atc.predictor[2].weight @ hidden + atc.predictor[2].bias
        scores = {}
        for j in batch:
            if windows.mask[j, k]:
                key = atc.key_compressor(as_read(atc.key_encoder(windows.observations[j, k][None])[0], atc.feature_length))
                scores[j] = float(p @ atc.W.weight.T @ key)
        losses.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[i])
    return float(np.mean(losses))


@pytest.mark.parametrize("length", [None, 7.0])
@pytest.mark.parametrize("horizon", [1, 3])
def test_loss_equals_a_literal_loop(horizon, length):
    encoder = make_encoder(16)
    atc = ATC(encoder, horizon=horizon, latent_dim=8, hidden_dim=12, feature_length=length, augment=None)
    for p in [*atc.key_encoder.parameters(), *atc.key_compressor.parameters(), *atc.W.parameters()]:
        p.data.mul_(1.5)  # the copies must be the ones that make the keys
    windows = ragged(atc, 7)
    with torch.no_grad():
        loss, metrics = atc(encoder, windows)
        assert float(loss) == pytest.approx(loop_atc(atc, encoder, windows), rel=1e-4)
    assert float(metrics["mi_ceiling"]) == pytest.approx(math.log(5)) and metrics["loss"] == loss


def test_gradients_momentum_round_trip_and_what_is_beyond_the_end():
    encoder = make_encoder(16)
    check_gradients(ATC(encoder, horizon=2), encoder)
    check_beyond_the_end(ATC(encoder, horizon=2), encoder)
    check_round_trip(lambda e: ATC(e, horizon=2, negatives={"source": "queue", "queue_size": 16}), encoder)
    atc = ATC(encoder, tau=0.1)
    check_momentum([(encoder, atc.key_encoder), (atc.compressor, atc.key_compressor)], atc, encoder, 0.1)


def test_atc_learns_the_future_and_shuffled_or_independent_futures_stay_at_chance():
    encoder = make_encoder()
    atc = ATC(encoder, horizon=1, tau=0.05, augment=None)
    train(atc, encoder, 200)
    result = held_out(atc, encoder)
    assert result["accuracy"] > 0.2 and result["mi_lower_bound"] > 1  # chance is 1/64 and 0
    assert held_out(atc, encoder, structure=False)["accuracy"] < 0.1
    for keywords, structure in [({"shuffled": True}, True), ({}, False)]:
        encoder = make_encoder()
        atc = ATC(encoder, horizon=1, tau=0.05, augment=None, **keywords)
        train(atc, encoder, 100, structure)
        result = held_out(atc, encoder, structure)
        assert result["accuracy"] < 0.1 and result["mi_lower_bound"] < 0.05


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="tau"):
        ATC(make_encoder(), tau=0.0)
    with pytest.raises(ValueError, match="horizon"):
        ATC(make_encoder(), horizon=-1)
