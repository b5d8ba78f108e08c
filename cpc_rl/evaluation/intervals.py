"""
How sure a figure is: stratified-bootstrap intervals, and an exact test for two arms.

The bootstrap draws runs with replacement, for each task on its own (Agarwal et al. 2021, https://arxiv.org/abs/2108.13264,
section 4.1), and takes percentiles. Nothing here touches NumPy's global generator.
"""

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from cpc_rl.evaluation.statistics import Statistic, TwoArmStatistic, mean

REPETITIONS = 5_000
CONFIDENCE = 0.95
MOST_EXACT = 20_000  # splits that the permutation test goes through one by one


class Interval(NamedTuple):
    """A figure and the ends of its interval; both are NaN where one run gives none."""

    estimate: float
    lower: float
    upper: float

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and it does not hold ``value``."""
        return bool(self.lower > value or self.upper < value)


def bootstrap_interval(
    scores: np.ndarray,
    statistic: Statistic,
    *,
    generator: np.random.Generator,
    repetitions: int = REPETITIONS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """
    A statistic of a matrix with its percentile interval.

    :param scores: (num_runs, num_tasks) float; may hold ``inf`` if the statistic bears it
    :param statistic: from (..., num_runs, num_tasks) to (...)
    :return: with one run the interval is NaN: nothing is known of others
    """
    scores = np.asarray(scores, dtype=np.float64)
    estimate = float(statistic(scores))
    if len(scores) < 2:
        return Interval(estimate, np.nan, np.nan)
    return Interval(estimate, *_percentiles(statistic(_resample(scores, repetitions, generator)), confidence))


def bootstrap_band(
    curves: np.ndarray,
    statistic: Statistic,
    *,
    generator: np.random.Generator,
    repetitions: int = REPETITIONS,
    confidence: float = CONFIDENCE,
) -> np.ndarray:
    """
    A statistic at every point of the runs' curves with its pointwise percentile interval.

    :param curves: (num_runs, num_tasks, num_points) float
    :param statistic: from (..., num_runs, num_tasks) to (...)
    :return: (3, num_points): estimate, lower and upper; with one run the latter two are NaN
    """
    curves = np.asarray(curves, dtype=np.float64)
    rows, tasks = _draws(curves.shape[:2], repetitions, generator)  # whole curves are drawn, the same ones at every point
    band = np.full((3, curves.shape[2]), np.nan)
    for point in range(curves.shape[2]):
        scores = curves[:, :, point]
        band[0, point] = statistic(scores)
        if len(scores) > 1:
            band[1:, point] = _percentiles(statistic(scores[rows, tasks]), confidence)
    return band


def performance_profile(
    scores: np.ndarray,
    thresholds: np.ndarray,
    *,
    generator: np.random.Generator,
    repetitions: int = REPETITIONS,
    confidence: float = CONFIDENCE,
) -> np.ndarray:
    """
    The share of runs above each threshold, averaged over the tasks (section 4.2's run-score distribution), with its interval.

    :param scores: (num_runs, num_tasks) float
    :param thresholds: (num_thresholds,)
    :return: (3, num_thresholds) in [0, 1]: estimate, lower and upper; with one run the latter two are NaN
    """
    above = np.asarray(scores)[..., None] > np.asarray(thresholds)
    return bootstrap_band(above, mean, generator=generator, repetitions=repetitions, confidence=confidence)


def improvement_interval(
    scores: np.ndarray,
    others: np.ndarray,
    statistic: TwoArmStatistic,
    *,
    generator: np.random.Generator,
    repetitions: int = REPETITIONS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """
    A statistic of two arms with its percentile interval, each arm's runs drawn on their own.

    :param scores: (num_runs, num_tasks) float
    :param others: (num_other_runs, num_tasks) float
    :param statistic: of both, such as :func:`~cpc_rl.evaluation.statistics.probability_of_improvement`
    :return: if an arm has one run, the interval is NaN
    """
    scores, others = np.asarray(scores, dtype=np.float64), np.asarray(others, dtype=np.float64)
    estimate = float(statistic(scores, others))
    if min(len(scores), len(others)) < 2:
        return Interval(estimate, np.nan, np.nan)
    mine, theirs = _resample(scores, repetitions, generator), _resample(others, repetitions, generator)
    return Interval(estimate, *_percentiles(statistic(mine, theirs), confidence))


def permutation_p_value(
    scores: np.ndarray, others: np.ndarray, *, generator: np.random.Generator, repetitions: int = MOST_EXACT
) -> float:
    """
    How often runs that were dealt to the two arms by chance would differ in the mean as much as these do, either way.

    With few runs a bootstrap interval is too narrow; this is exact for any number. With one task and few runs every split is
    gone through, otherwise ``repetitions`` are drawn, for each task on its own.

    :param scores: (num_runs, num_tasks) float, finite
    :param others: (num_other_runs, num_tasks) float, finite
    :return: in (0, 1]; with n and m runs of one task never below ``1 / comb(n + m, n)``
    """
    pooled = np.concatenate([scores, others]).astype(np.float64)  # (num_runs + num_other_runs, num_tasks)
    count, (total, tasks) = len(scores), pooled.shape
    seen = abs(float(mean(scores) - mean(others)))
    exact = tasks == 1 and comb(total, count) <= MOST_EXACT
    if exact:
        return float(as_large(all_differences(pooled[:count, 0], pooled[count:, 0]), seen).mean())
    order = generator.random((repetitions, total, tasks)).argsort(axis=1)[:, :count]
    sums = pooled[order, np.arange(tasks)].sum(axis=1)  # (repetitions, num_tasks)
    differences = (sums / count - (pooled.sum(axis=0) - sums) / (total - count)).mean(axis=1)
    return float((as_large(differences, seen).sum() + 1) / (repetitions + 1))


def all_differences(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    The difference of the means for every way to deal the runs to the two arms.

    :param scores: (num_runs,) float
    :param others: (num_other_runs,) float
    :return: (comb(num_runs + num_other_runs, num_runs),); the first is that of the arms as they are
    """
    pooled, count = np.concatenate([scores, others]), len(scores)
    sums = pooled[list(combinations(range(len(pooled)), count))].sum(axis=1)
    return sums / count - (pooled.sum() - sums) / (len(pooled) - count)


def as_large(differences: np.ndarray, seen: float) -> np.ndarray:
    """Which differences are as large as one that was seen, either way, whatever their rounding."""
    return np.abs(differences) >= abs(seen) * (1 - 1e-9) - 1e-12


def _draws(shape: tuple[int, ...], repetitions: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices that draw runs with replacement, for each task on its own, (repetitions, num_runs, num_tasks)."""
    runs, tasks = shape
    return generator.integers(runs, size=(repetitions, runs, tasks)), np.arange(tasks)


def _resample(scores: np.ndarray, repetitions: int, generator: np.random.Generator) -> np.ndarray:
    """(repetitions, num_runs, num_tasks)"""
    return scores[_draws(scores.shape, repetitions, generator)]


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Those that were drawn, not points between two: between a number and infinity there is none."""
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(lower), float(upper)
