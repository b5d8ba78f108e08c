"""Intervals against rliable's (version 1.2.0, up to 50,000 repetitions), and against every resample gone through."""

from itertools import combinations, product

import numpy as np
import pytest

from cpc_rl.evaluation.intervals import (
    bootstrap_band,
    bootstrap_interval,
    improvement_interval,
    performance_profile,
    permutation_p_value,
)
from cpc_rl.evaluation.statistics import (
    Statistic,
    interquartile_mean,
    mean,
    median,
    median_run,
    optimality_gap,
    probability_of_improvement,
)
from tests.evaluation.test_statistics import X, Y

RLIABLE = [
    (interquartile_mean, (0.8667, 1.8667), (0.6667, 2.6667)),
    (median, (0.9, 2.3), (0.9, 2.4)),
    (mean, (1.1067, 1.8933), (0.9, 2.4)),
    (optimality_gap, (0.14, 0.34), (0.0, 0.3)),
]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("statistic", "three_tasks", "one_task"), RLIABLE)
def test_intervals_are_rliables(statistic: Statistic, three_tasks: tuple[float, float], one_task: tuple[float, float]) -> None:
    for scores, expected in ((X, three_tasks), (X[:, :1], one_task)):
        interval = bootstrap_interval(scores, statistic, generator=generator(), repetitions=20_000)
        assert interval.estimate == statistic(scores)
        assert interval[1:] == pytest.approx(expected, abs=0.04)


def test_improvement_interval_is_rliables() -> None:
    for scores, others, expected in ((X, Y, (0.3667, 0.8167)), (X[:, :1], Y[:, :1], (0.225, 1.0))):
        interval = improvement_interval(scores, others, probability_of_improvement, generator=generator(), repetitions=20_000)
        assert interval[1:] == pytest.approx(expected, abs=0.03)


def test_band_is_rliables() -> None:
    first = [[0, 1, 3], [5, 5, 6]], [[1, 2, 2], [4, 7, 8]], [[0.5, 4, 9], [4, 6, 6]], [[2, 2, 4], [1, 2, 3]]
    band = bootstrap_band(np.array(first), interquartile_mean, generator=generator(), repetitions=20_000)
    np.testing.assert_allclose(band[0], [2.0, 3.25, 4.75])
    np.testing.assert_allclose(band[1:], [[0.875, 2.0, 3.0], [3.0, 4.75, 7.25]], atol=0.13)


def test_profile_is_rliables() -> None:
    thresholds = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 2.5, 3.5])
    profile = performance_profile(X, thresholds, generator=generator(), repetitions=20_000)
    np.testing.assert_allclose(profile[0], [1, 0.86666667, 0.66666667, 0.46666667, 0.26666667, 0.2, 0.06666667])
    np.testing.assert_allclose(profile[1], [1, 0.73333333, 0.53333333, 0.26666667, 0.06666667, 0, 0], atol=0.01)
    np.testing.assert_allclose(profile[2], [1, 1, 0.8, 0.66666667, 0.46666667, 0.4, 0.2], atol=0.01)


def test_every_resample_of_three_runs() -> None:
    scores = np.array([1.0, 2.0, 10.0])
    means = np.sort([np.mean(drawn) for drawn in product(scores, repeat=3)])  # 27, each as likely
    interval = bootstrap_interval(scores[:, None], mean, generator=generator(), repetitions=50_000, confidence=0.8)
    assert interval[1:] == pytest.approx((means[int(0.1 * 27)], means[int(0.9 * 27)]))


def test_tasks_are_drawn_apart() -> None:
    """The sum of two tasks with opposite scores is constant only if a run's scores stay together."""
    scores = np.array([[0.0, 1.0], [1.0, 0.0]] * 5)
    interval = bootstrap_interval(scores, mean, generator=generator())
    assert interval.lower < 0.4 and interval.upper > 0.6


def test_one_run_gives_no_interval() -> None:
    one = bootstrap_interval(X[:1], mean, generator=generator())
    assert one.estimate == pytest.approx(1.4) and np.isnan(one[1:]).all() and not one.excludes(0)
    pair = improvement_interval(X[:1], Y, probability_of_improvement, generator=generator())
    assert np.isnan(pair[1:]).all() and not pair.excludes(0.5)
    band = bootstrap_band(X[:1, :, None], mean, generator=generator())
    assert band[0, 0] == pytest.approx(1.4) and np.isnan(band[1:]).all()


def test_interval_of_steps_that_were_not_reached() -> None:
    steps = np.array([[100.0], [200.0], [300.0], [np.inf], [np.inf]])
    interval = bootstrap_interval(steps, median_run, generator=generator())
    assert (interval.estimate, interval.upper) == (300, np.inf) and 100 <= interval.lower <= 200
    assert bootstrap_interval(steps[3:], median_run, generator=generator()) == (np.inf, np.inf, np.inf)


def test_own_generator() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    first = [bootstrap_interval(X, mean, generator=generator(seed), repetitions=200) for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]
    permutation_p_value(X, Y, generator=generator())
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index,arg-type]


def test_permutation_of_few_runs_is_exact() -> None:
    scores, others = np.array([5.0, 3.0, 4.5]), np.array([1.0, 2.0, 4.0, 0.5])
    pooled, as_large = np.concatenate([scores, others]), 0
    splits = list(combinations(range(7), 3))
    for split in splits:
        rest = [index for index in range(7) if index not in split]
        difference = pooled[list(split)].mean() - pooled[rest].mean()
        as_large += abs(difference) >= scores.mean() - others.mean() - 1e-9
    found = permutation_p_value(scores[:, None], others[:, None], generator=generator())
    assert found == as_large / len(splits)
    assert permutation_p_value(X[:3, :1] + 9, Y[:3, :1], generator=generator()) == 2 / 20  # as small as it can be
    assert permutation_p_value(X[:3, :1], X[:3, :1], generator=generator()) == 1


def test_permutation_of_many_runs_is_drawn() -> None:
    scores, others = generator(1).normal(0.7, 1, (12, 1)), generator(2).normal(0, 1, (12, 1))
    drawn = permutation_p_value(scores, others, generator=generator(), repetitions=5_000)
    both = np.concatenate([scores, others])[:, 0]
    seen, count, rng = abs(scores.mean() - others.mean()), 0, generator(3)
    for _ in range(5_000):
        mixed = rng.permutation(both)
        count += abs(mixed[:12].mean() - mixed[12:].mean()) >= seen
    assert drawn == pytest.approx(count / 5_000, abs=0.03)
    separated = permutation_p_value(np.repeat(X[:4], 3, 0) + 50, np.repeat(Y, 3, 0), generator=generator(), repetitions=999)
    assert separated == 1 / 1000
