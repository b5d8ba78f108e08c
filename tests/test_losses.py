import math

import numpy as np
import pytest
import torch

from cpc_rl.losses import contrast_metrics, info_nce, masked_mean


def loop_info_nce(scores: np.ndarray, targets: np.ndarray, candidates: np.ndarray) -> list[float]:
    losses = []
    for row, target, allowed in zip(scores, targets, candidates, strict=True):
        total = sum(math.exp(s) for s, ok in zip(row, allowed, strict=True) if ok)
        losses.append(-math.log(math.exp(row[target]) / total))
    return losses


def test_info_nce_equals_a_literal_loop():
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(5, 7)), rng.integers(0, 7, 5)
    candidates = rng.random((5, 7)) < 0.6
    candidates[np.arange(5), targets] = True
    contrast = info_nce(torch.tensor(scores), torch.tensor(targets), torch.tensor(candidates))
    np.testing.assert_allclose(contrast.loss, loop_info_nce(scores, targets, candidates), rtol=1e-12)
    np.testing.assert_allclose(contrast.ceiling, np.log(candidates.sum(1)))
    best = np.where(candidates, scores, -np.inf).argmax(1)
    np.testing.assert_array_equal(contrast.correct, best == targets)


def test_equal_scores_give_the_logarithm_of_the_number_of_candidates():
    contrast = info_nce(torch.zeros(4, 4), torch.arange(4))
    torch.testing.assert_close(contrast.loss, torch.full((4,), math.log(4)))
    metrics = contrast_metrics(contrast)
    assert float(metrics["mi_lower_bound"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["mi_ceiling"]) == pytest.approx(math.log(4))
    assert float(metrics["accuracy"]) == 0.25


def test_adding_a_constant_to_a_row_changes_nothing():
    scores = torch.randn(6, 6, dtype=torch.float64)
    shifted = scores + 100 * torch.randn(6, 1, dtype=torch.float64)
    torch.testing.assert_close(info_nce(scores, torch.arange(6)).loss, info_nce(shifted, torch.arange(6)).loss)


def test_rows_without_a_candidate_leave_no_trace_in_the_gradient():
    scores = torch.randn(3, 3, requires_grad=True)
    rows = torch.tensor([True, False, True])
    contrast = info_nce(scores, torch.arange(3), candidates=torch.tensor([True, False, True]))
    masked_mean(contrast.loss, rows).backward()
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[1] == 0).all() and (scores.grad[:, 1] == 0).all() and (scores.grad[0, [0, 2]] != 0).all()


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="targets"):
        info_nce(torch.zeros(3, 4), torch.zeros(4, dtype=torch.long))
