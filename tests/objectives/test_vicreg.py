import numpy as np
import pytest
import torch

from cpc_rl.diagnostics.representation import effective_rank
from cpc_rl.objectives.vicreg import VICReg, spread
from tests.objectives.views import (
    check_goes_on_after_loading,
    check_gradients,
    check_nothing_comes_from_beyond_the_end,
    literal_mlp,
    ragged,
)
from tests.synthetic import held_out, make_encoder, rolling_patterns, train


@pytest.mark.parametrize("horizon", [0, 1])
def test_loss_and_accuracy_equal_a_literal_loop(horizon):
    encoder = make_encoder(16)
    vicreg = VICReg(encoder, horizon=horizon, latent_dim=6, hidden_dim=12, augment=None)
    vicreg.expander[-1].weight.data.mul_(2)  # some variables vary more than the hinge asks for
    windows = ragged(8, horizon, 3)
    valid = np.flatnonzero(windows.mask[:, horizon].numpy())
    first = windows.observations[:, 0]
    second = torch.where(windows.mask[:, horizon, None, None, None], windows.observations[:, horizon], first)
    with torch.no_grad():
        z, other = (literal_mlp(vicreg.expander, encoder(view).double().numpy())[valid] for view in (first, second))
    invariance = np.mean([(a - b) ** 2 for a, b in zip(z, other, strict=True)])
    variance, covariance = [], []
    for view in (z, other):
        C = np.cov(view, rowvar=False)
        variance.append(np.mean([max(0.0, 1 - np.sqrt(np.var(view[:, j], ddof=1) + 1e-4)) for j in range(6)]))
        covariance.append(sum(C[i, j] ** 2 for i in range(6) for j in range(6) if i != j) / 6)
    loss, metrics = vicreg(encoder, windows)
    expected = {"invariance": invariance, "variance": np.mean(variance), "covariance": np.sum(covariance)}
    expected["loss"] = 25 * expected["invariance"] + 25 * expected["variance"] + expected["covariance"]
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (z, other)]
    expected["accuracy"] = np.mean((units[0] @ units[1].T).argmax(axis=1) == np.arange(len(valid)))
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(expected, rel=1e-3)
    assert float(loss.detach()) == float(metrics["loss"])
    assert 0 < expected["variance"] < 1


def test_two_rows_at_least_make_a_variance():
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for count in (0, 1):
        terms = spread(z, torch.arange(5) < count)
        (gradient,) = torch.autograd.grad(sum(terms), z)
        assert [float(term.detach()) for term in terms] == [0, 0] and float(gradient.abs().max()) == 0
    assert float(spread(torch.zeros(5, 3), torch.ones(5, dtype=torch.bool))[0]) == pytest.approx(1 - 0.01)


def test_gradients_state_and_ends_of_episodes():
    encoder = make_encoder(16)
    check_gradients(VICReg(encoder, latent_dim=32), encoder)
    check_goes_on_after_loading(lambda e: VICReg(e, horizon=1, latent_dim=32))
    check_nothing_comes_from_beyond_the_end(VICReg(encoder, horizon=1, latent_dim=32), encoder)


def test_it_learns_views_and_futures_and_nothing_where_there_is_nothing():
    encoder = make_encoder()
    vicreg = VICReg(encoder)
    train(vicreg, encoder, 40)
    assert held_out(vicreg, encoder)["accuracy"] > 0.8  # chance is 1/64
    encoder = make_encoder()
    vicreg = VICReg(encoder, horizon=1)
    train(vicreg, encoder, 60)
    assert held_out(vicreg, encoder)["accuracy"] > 0.12
    assert held_out(vicreg, encoder, structure=False)["accuracy"] < 0.08
    for keywords, structure in [({"shuffled": True}, True), ({"horizon": 1}, False)]:
        encoder = make_encoder()
        vicreg = VICReg(encoder, **keywords)
        train(vicreg, encoder, 40, structure)
        assert held_out(vicreg, encoder, structure, 256)["accuracy"] < 0.04


def test_variance_keeps_it_from_a_point_and_covariance_from_repeating_itself():
    deviations, ranks = {}, {}
    for absent in (None, "variance_weight", "covariance_weight"):
        encoder = make_encoder()
        vicreg = VICReg(encoder, latent_dim=128, **({absent: 0.0} if absent else {}))
        train(vicreg, encoder, 60)
        with torch.no_grad():
            z = vicreg.expander(encoder(rolling_patterns(256, 1, 7).observations[:, 0]))
        deviations[absent], ranks[absent] = float(z.std(dim=0).mean()), float(effective_rank(z - z.mean(dim=0)))
    assert deviations[None] > 0.5 and deviations["variance_weight"] < 0.1
    assert ranks[None] > 40 and ranks["covariance_weight"] < 30  # of 128


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="negative"):
        VICReg(make_encoder(), variance_weight=-1.0)
    with pytest.raises(ValueError, match="above 0"):
        VICReg(make_encoder(), invariance_weight=0.0, variance_weight=0.0, covariance_weight=0.0)
    with pytest.raises(ValueError, match="at least two windows"):
        VICReg(make_encoder())(make_encoder(), rolling_patterns(1, 1, 0))
