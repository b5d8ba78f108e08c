"""Figures of matrices; the literals of aggregates were computed with rliable 1.2.0."""

import math

import numpy as np
import pytest

from cpc_rl.evaluation.statistics import (
    area_under_curve,
    interquartile_mean,
    mean,
    median,
    median_run,
    median_steps_ratio,
    optimality_gap,
    probability_of_improvement,
    resample_curve,
    steps_ratio,
    steps_to_threshold,
)

X = np.array([[1.0, 0.2, 3.0], [2.0, 0.4, 2.5], [0.5, 0.9, 2.0], [1.5, 0.1, 4.0], [3.0, 0.3, 1.0]])
Y = np.array([[0.9, 0.2, 2.9], [1.0, 0.5, 2.0], [0.5, 0.8, 2.6], [2.5, 0.0, 0.7]])

# matrix, then rliable's aggregate_iqm, aggregate_median, aggregate_mean, aggregate_optimality_gap with gamma 1 and 2
RLIABLE = {
    "five runs of three tasks": (X, 1.3111111111, 1.6, 1.4933333333, 0.24, 0.8066666667),
    "four runs of three tasks": (Y, 0.9833333333, 1.225, 1.2166666667, 0.2833333333, 0.95),
    "one task, five runs": (X[:, :1], 1.5, 1.6, 1.6, 0.1, 0.6),
    "one task, four runs": (Y[:, 1:2], 0.35, 0.375, 0.375, 0.625, 1.625),
    "one run of one task": (X[:1, :1], 1.0, 1.0, 1.0, 0.0, 1.0),
}


@pytest.mark.parametrize("name", RLIABLE)
def test_aggregates_are_rliables(name: str) -> None:
    scores, *expected = RLIABLE[name]
    found = [interquartile_mean(scores), median(scores), mean(scores), optimality_gap(scores), optimality_gap(scores, 2.0)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_probability_of_improvement_is_rliables() -> None:
    assert probability_of_improvement(X, Y) == pytest.approx(0.6)
    assert probability_of_improvement(Y, X) == pytest.approx(0.4)
    assert probability_of_improvement(X[:, :1], Y[:, :1]) == pytest.approx(0.65)  # one tie among twenty pairs
    assert probability_of_improvement(X, X) == 0.5
    with pytest.raises(ValueError, match="same tasks; one has 3 and the other 2"):
        probability_of_improvement(X, Y[:, :2])


def test_leading_dimensions_are_kept() -> None:
    stack = np.stack([X[:4], Y, X[1:]])
    for statistic in (interquartile_mean, median, mean, optimality_gap, median_run):
        np.testing.assert_array_equal(statistic(stack), [statistic(scores) for scores in stack])
    expected = [probability_of_improvement(scores, Y) for scores in stack]
    np.testing.assert_array_equal(probability_of_improvement(stack, np.stack([Y] * 3)), expected)


def test_median_run_bears_runs_that_never_arrive() -> None:
    assert median_run(X) == pytest.approx((1.5 + 0.3 + 2.5) / 3)
    assert median_run(np.array([[100.0], [np.inf], [300.0]])) == 300
    assert median_run(np.array([[100.0], [np.inf]])) == np.inf
    assert median_run(np.array([[np.inf], [np.inf]])) == np.inf


def test_area_under_curve_is_the_mean_height() -> None:
    steps = np.array([0.0, 10.0, 40.0])
    returns = np.array([[0.0, 10.0, 10.0], [4.0, 4.0, 4.0]])
    np.testing.assert_allclose(area_under_curve(steps, returns), [(10 * 5 + 30 * 10) / 40, 4.0])
    assert area_under_curve(steps[:1], returns[0, :1]) == 0.0


def test_steps_to_threshold() -> None:
    steps = np.array([0.0, 10.0, 40.0])
    returns = np.array([[0.0, 5.0, 4.0], [6.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(steps_to_threshold(steps, returns, 5.0), [10.0, 0.0, math.inf])


def test_steps_ratio() -> None:
    inf = math.inf
    mine = np.array([[100.0, 50.0, inf, 10.0, inf, 0.0], [300.0, 50.0, inf, 20.0, inf, 0.0]])
    theirs = np.array([[400.0, 25.0, 30.0, inf, inf, 0.0]])
    np.testing.assert_array_equal(steps_ratio(mine, theirs), [2.0, 0.5, 0.0, inf, 1.0, 1.0])
    assert median_steps_ratio(mine, theirs) == 1.0  # of 0, 0.5, 1, 1, 2, inf the lower one in the middle
    assert median_steps_ratio(mine[:, :1], theirs[:, :1]) == 2.0
    assert median_steps_ratio(mine[:, [0, 3]], theirs[:, [0, 3]]) == 2.0  # of 2 and inf
    np.testing.assert_array_equal(median_steps_ratio(np.stack([mine, mine]), np.stack([theirs, mine[:1]])), [1.0, 1.0])


def test_resample_curve() -> None:
    steps, returns = np.array([0.0, 10.0, 40.0]), np.array([0.0, 10.0, 4.0])
    np.testing.assert_allclose(resample_curve(np.array([5.0, 10.0, 25.0]), steps, returns), [5.0, 10.0, 7.0])
    with pytest.raises(ValueError, match="is not known from 5 to 41"):
        resample_curve(np.array([5.0, 41.0]), steps, returns)


def test_shapes_that_make_no_sense() -> None:
    for scores in (np.ones(3), np.ones((0, 2)), np.ones((2, 0))):
        with pytest.raises(ValueError, match="num_runs, num_tasks"):
            mean(scores)
    with pytest.raises(ValueError, match="one return for each of its points"):
        area_under_curve(np.arange(3), np.ones(4))
    with pytest.raises(ValueError, match="should increase"):
        steps_to_threshold(np.array([0, 2, 2]), np.ones(3), 1.0)
