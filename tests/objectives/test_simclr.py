import math

import pytest
import torch

from cpc_rl.objectives.simclr import SimCLR
from tests.objectives.views import (
    check_goes_on_after_loading,
    check_gradients,
    check_nothing_comes_from_beyond_the_end,
    ragged,
)
from tests.synthetic import held_out, make_encoder, rolling_patterns, train


def loop_nt_xent(simclr: SimCLR, encoder, windows) -> float:
    """Equation 1 of the paper, pair by pair."""
    views = [(b, i) for b in range(len(windows.mask)) for i in (0, simclr.horizon)]
    z = [simclr.projection(encoder(windows.observations[b, i][None]))[0] for b, i in views]
    similarity = [[float(u @ v / (u.norm() * v.norm())) / simclr.temperature for v in z] for u in z]
    losses = []
    for n, (b, _) in enumerate(views):
        partner = n ^ 1
        if not windows.mask[b, simclr.horizon]:
            continue
        others = [k for k in range(len(views)) if k != n and windows.mask[views[k]]]
        losses.append(math.log(sum(math.exp(similarity[n][k]) for k in others)) - similarity[n][partner])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("horizon", [0, 2])
def test_loss_equals_a_literal_loop(horizon):
    encoder = make_encoder(16)
    simclr = SimCLR(encoder, horizon=horizon, latent_dim=8, hidden_dim=12, temperature=0.3, augment=None)
    windows = ragged(6, horizon, 3)
    with torch.no_grad():
        loss, metrics = simclr(encoder, windows)
        assert float(loss) == pytest.approx(loop_nt_xent(simclr, encoder, windows), rel=1e-4)
    assert float(metrics["loss"]) == float(loss)
    candidates = 11 if horizon == 0 else 8  # 3 windows have no second view
    assert float(metrics["mi_ceiling"]) == pytest.approx(math.log(candidates))


def test_gradients_state_and_ends_of_episodes():
    encoder = make_encoder(16)
    check_gradients(SimCLR(encoder), encoder)
    for negatives in ("batch", {"source": "queue", "queue_size": 20}):
        check_goes_on_after_loading(lambda e, n=negatives: SimCLR(e, horizon=1, negatives=n))
    for norm in (None, "batch"):
        check_nothing_comes_from_beyond_the_end(SimCLR(encoder, horizon=1, norm=norm), encoder)


def test_without_any_second_view_there_is_nothing_to_learn():
    encoder = make_encoder(16)
    windows = rolling_patterns(4, 2, 0)
    windows.mask[:, 1] = False
    loss, metrics = SimCLR(encoder, horizon=1)(encoder, windows)
    loss.backward()
    assert float(loss.detach()) == 0 and float(metrics["accuracy"]) == 0
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_the_negatives_of_a_queue_are_both_views_of_the_last_batches():
    encoder = make_encoder(16)
    simclr = SimCLR(encoder, negatives={"source": "queue", "queue_size": 12}, augment=None)
    windows = [rolling_patterns(4, 1, seed) for seed in range(3)]
    for w in windows[:2]:
        simclr(encoder, w)
        simclr.after_step(encoder)
    assert simclr.queue is not None and bool(simclr.queue.valid.all())
    with torch.no_grad():
        z = [torch.nn.functional.normalize(simclr.projection(encoder(w.observations[:, 0])), dim=1) for w in windows]
        negatives = torch.cat([z[0], z[1], z[1]])  # two views alike of each; the first four keys are gone
        loss = float(simclr(encoder, windows[2])[0])
    total = 0.0
    for anchor in z[2]:
        positive = float(anchor @ anchor) / 0.1
        total += math.log(math.exp(positive) + sum(math.exp(float(anchor @ n) / 0.1) for n in negatives)) - positive
    assert loss == pytest.approx(total / 4, rel=1e-4)


def test_it_learns_views_and_futures_and_nothing_where_there_is_nothing():
    encoder = make_encoder()
    simclr = SimCLR(encoder)
    untrained = held_out(simclr, encoder)["accuracy"]
    train(simclr, encoder, 60)
    assert held_out(simclr, encoder)["accuracy"] > max(0.8, untrained + 0.3)  # chance is 1/127
    encoder = make_encoder()
    simclr = SimCLR(encoder, horizon=1)
    train(simclr, encoder, 160)
    assert held_out(simclr, encoder)["accuracy"] > 0.08
    assert held_out(simclr, encoder, structure=False)["accuracy"] < 0.05
    for keywords, structure in [({"shuffled": True}, True), ({"horizon": 1}, False)]:
        encoder = make_encoder()
        simclr = SimCLR(encoder, **keywords)
        train(simclr, encoder, 60, structure)
        result = held_out(simclr, encoder, structure)
        assert result["accuracy"] < 0.05 and result["mi_lower_bound"] < 0.05


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="temperature"):
        SimCLR(make_encoder(), temperature=0.0)
    with pytest.raises(ValueError, match="horizon"):
        SimCLR(make_encoder(), horizon=-1)
