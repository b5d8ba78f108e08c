"""Figures of a representation against loops, and the warnings that they give rise to."""

import math
import warnings

import numpy as np
import pytest
import torch

from cpc_rl.diagnostics.representation import dormant_units, feature_norm, linear_cka
from cpc_rl.diagnostics.watch import CHANCE_FLUSHES, COLLAPSED_FLUSHES, Watch
from cpc_rl.monitor import Monitor
from cpc_rl.objectives import CURL
from tests.synthetic import make_encoder, rolling_patterns


def test_dormant_units_equal_a_loop_over_units():
    rng = np.random.default_rng(0)
    activations = rng.exponential(size=(30, 8)) * [0, 0.002, 0.02, 0.04, 1, 2, 0.5, -1]
    sizes = [np.mean([abs(row[i]) for row in activations]) for i in range(8)]
    for threshold in (0.0, 0.025, 0.1):
        expected = np.mean([size / np.mean(sizes) <= threshold for size in sizes])
        assert float(dormant_units(torch.tensor(activations), threshold)) == pytest.approx(expected)
    assert 0 < float(dormant_units(torch.tensor(activations))) < float(dormant_units(torch.tensor(activations), 0.1))
    assert float(dormant_units(torch.zeros(4, 3))) == 1
    maps = torch.zeros(2, 4, 3, 3)
    maps[:, 1, 2, 2] = 1
    assert float(dormant_units(maps)) == 0.75


def test_feature_norm_is_the_mean_length():
    assert float(feature_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))) == 3


@pytest.mark.parametrize("frames", [6, 40])  # fewer and more than features
def test_cka_equals_centred_gram_matrices(frames):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(frames, 5)), rng.normal(size=(frames, 4)) + 2
    y[:, 0] += 3 * x[:, 1]
    centring = np.eye(frames) - np.ones((frames, frames)) / frames
    k, l = (centring @ side @ side.T @ centring for side in (x, y))  # noqa: E741  # as in the paper
    expected = np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))
    assert 0.1 < expected < 0.95
    assert float(linear_cka(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected)
    rotated = x @ np.linalg.qr(rng.normal(size=(5, 5)))[0] * 7 - 4
    assert float(linear_cka(torch.tensor(x), torch.tensor(rotated))) == pytest.approx(1)
    assert float(linear_cka(torch.tensor(x), torch.ones(frames, 3))) == 0


def test_cka_to_first_compares_the_same_frames_then_and_now():
    encoder, watch = make_encoder(16), Watch("x")
    first = rolling_patterns(32, 1, 0).observations[:, 0]
    before = encoder(first).detach()
    assert watch.figures(encoder, first.clone(), before)["cka_to_first"] == pytest.approx(1)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.3 * p.std(correction=0) * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    other = rolling_patterns(32, 1, 1).observations[:, 0]
    figures = watch.figures(encoder, other, encoder(other).detach())
    assert figures["cka_to_first"] == pytest.approx(float(linear_cka(before, encoder(first))), abs=1e-6)
    assert figures["cka_to_first"] < 0.999
    assert figures["feature_norm"] == pytest.approx(float(encoder(other).norm(dim=1).mean()))


def test_a_collapse_is_said_once_and_only_if_it_stays():
    encoder = make_encoder(16)
    frames = rolling_patterns(16, 1, 0).observations[:, 0]
    good, bad = encoder(frames).detach(), torch.ones(16, 16)
    watch = Watch("contrastive/x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for features in [bad] * (COLLAPSED_FLUSHES - 1) + [good] + [bad] * (COLLAPSED_FLUSHES - 1):
            watch.figures(encoder, frames, features)
    with pytest.warns(UserWarning, match=r"contrastive/x: the representation has collapsed.*\(now 1.00\)"):
        watch.figures(encoder, frames, bad)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            watch.figures(encoder, frames, bad)


def test_an_accuracy_at_chance_for_long_is_said():
    watch = Watch("contrastive/x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for accuracy in [1 / 64] * (CHANCE_FLUSHES - 1) + [0.1] + [1.2 / 64] * (CHANCE_FLUSHES - 1):
            watch.note_accuracy(accuracy, math.log(64))
    with pytest.warns(UserWarning, match="guessing among 64 candidates"):
        watch.note_accuracy(1 / 64, math.log(64))


class Log(dict):
    """A logger that keeps what it is told last."""

    def record(self, name, value, exclude=None):
        self[name] = value


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_monitor_says_so_but_not_of_shuffled_controls(shuffled):
    encoder, log = make_encoder(16), Log()
    objective = CURL(encoder, shuffled=shuffled)
    objective.generator = torch.Generator().manual_seed(0)
    monitor = Monitor("curl")
    windows = rolling_patterns(16, 1, 0)
    told = {"loss": torch.tensor(3.0), "accuracy": torch.tensor(1 / 16), "mi_ceiling": torch.tensor(math.log(16))}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(CHANCE_FLUSHES):
            monitor.add(told, windows)
            monitor.flush(log, encoder, objective, step)
    assert [("guessing among 16" in str(w.message)) for w in caught] == [True] * (not shuffled)
    names = {"effective_rank", "alignment", "uniformity", "dormant_units", "feature_norm", "cka_to_first"}
    assert {f"representation/{name}" for name in names} <= log.keys()
    assert {"contrastive/curl/pairs", "contrastive/curl/scores"} <= log.keys()
