"""
Figures of a matrix of scores (num_runs x num_tasks), and of the curves behind them.

The aggregates are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(https://arxiv.org/abs/2108.13264), section 4. Every function takes leading dimensions, which it keeps.
"""

from collections.abc import Callable

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]  # from (..., num_runs, num_tasks) to (...)
TwoArmStatistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """
    Mean of the middle half of all scores, runs and tasks together.

    Of n scores, the ``n // 4`` smallest and as many of the largest are left out.

    :param scores: (..., num_runs, num_tasks) float
    :return: (...) float64
    """
    scores = _matrix(scores)
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def median(scores: np.ndarray) -> np.ndarray:
    """
    Median over the tasks of the mean over the runs; with one task, it is that task's mean.

    :param scores: (..., num_runs, num_tasks) float
    :return: (...) float64
    """
    return np.median(_matrix(scores).mean(axis=-2), axis=-1)


def mean(scores: np.ndarray) -> np.ndarray:
    """
    Mean of all scores.

    :param scores: (..., num_runs, num_tasks) float
    :return: (...) float64
    """
    return _matrix(scores).mean(axis=-2).mean(axis=-1)


def median_run(scores: np.ndarray) -> np.ndarray:
    """
    Mean over the tasks of the median over the runs: what "median" means to readers of a single task's result.

    Scores may be infinite, such as the steps to a threshold that was not reached.

    :param scores: (..., num_runs, num_tasks) float
    :return: (...) float64
    """
    return np.median(_matrix(scores), axis=-2).mean(axis=-1)


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> np.ndarray:
    """
    By how much the scores stay below a target on average, those above it counting as the target.

    :param scores: (..., num_runs, num_tasks) float
    :return: (...) float64
    """
    return target - np.minimum(_matrix(scores), target).mean(axis=(-2, -1))


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    How likely a run of one arm beats a run of another on a task, averaged over the tasks; a tie counts half.

    :param scores: (..., num_runs, num_tasks) float
    :param others: (..., num_other_runs, num_tasks) float
    :return: (...) float64 in [0, 1]
    :raises ValueError: the numbers of tasks differ
    """
    scores, others = _matrix(scores), _matrix(others)
    if scores.shape[-1] != others.shape[-1]:
        raise ValueError(f"Both need scores of the same tasks; one has {scores.shape[-1]} and the other {others.shape[-1]}.")
    mine, theirs = scores[..., :, None, :], others[..., None, :, :]
    return ((mine > theirs) + 0.5 * (mine == theirs)).mean(axis=(-3, -2, -1))


def steps_ratio(steps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    How many times fewer steps the median run of an arm takes to a threshold than the median run of another, for each task.

    :param steps: (..., num_runs, num_tasks) as :func:`steps_to_threshold` gives them
    :param others: (..., num_other_runs, num_tasks)
    :return: (..., num_tasks) float64, others / steps: ``inf`` where only the others never get there or these are there before
        any training, 0 the other way round, and 1 where neither gets there, as where both do at once
    """
    mine, theirs = np.median(_matrix(steps), axis=-2), np.median(_matrix(others), axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mine == theirs, 1.0, theirs / mine)


def median_steps_ratio(steps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    The median over the tasks of :func:`steps_ratio`; of an even number of tasks the lower of the two in the middle, as there
    is nothing between a number and infinity.

    :param steps: (..., num_runs, num_tasks)
    :param others: (..., num_other_runs, num_tasks)
    :return: (...) float64
    """
    ratios = np.sort(steps_ratio(steps, others), axis=-1)
    return ratios[..., (ratios.shape[-1] - 1) // 2]


def area_under_curve(steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """
    Mean height of a curve of straight lines: its area, divided by its length, so in units of return.

    :param steps: (num_points,) increasing
    :param returns: (..., num_points) float
    :return: (...) float64
    :raises ValueError: steps that do not increase, or too few of them
    """
    steps, returns = _curve(steps, returns)
    if steps.size == 1:
        return returns[..., 0]
    areas = (returns[..., 1:] + returns[..., :-1]) / 2 * np.diff(steps)
    return areas.sum(axis=-1) / (steps[-1] - steps[0])


def steps_to_threshold(steps: np.ndarray, returns: np.ndarray, threshold: float) -> np.ndarray:
    """
    The first point at which a curve is at or above a threshold.

    :param steps: (num_points,) increasing
    :param returns: (..., num_points) float
    :return: (...) float64, ``inf`` where it is never reached
    :raises ValueError: steps that do not increase
    """
    steps, returns = _curve(steps, returns)
    reached = returns >= threshold
    return np.where(reached.any(axis=-1), steps[reached.argmax(axis=-1)], np.inf)


def resample_curve(at: np.ndarray, steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """
    A curve's height at other points, on straight lines between its own.

    :param at: (num_wanted,) within the curve's ends
    :param steps: (num_points,) increasing
    :param returns: (num_points,) float
    :return: (num_wanted,) float64
    :raises ValueError: steps that do not increase, or points beyond the curve's ends
    """
    steps, returns = _curve(steps, returns)
    if at[0] < steps[0] or at[-1] > steps[-1]:
        raise ValueError(f"The curve runs from {steps[0]:g} to {steps[-1]:g} and is not known from {at[0]:g} to {at[-1]:g}.")
    return np.interp(at, steps, returns)


def _matrix(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim < 2 or not scores.shape[-1] or not scores.shape[-2]:
        raise ValueError(f"Scores should have the shape (..., num_runs, num_tasks), none of them 0, and have {scores.shape}.")
    return scores


def _curve(steps: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps, returns = np.asarray(steps, dtype=np.float64), np.asarray(returns, dtype=np.float64)
    if steps.ndim != 1 or not steps.size or returns.shape[-1:] != steps.shape:
        raise ValueError(f"A curve needs one return for each of its points; {steps.shape} and {returns.shape} were given.")
    if np.any(np.diff(steps) <= 0):
        raise ValueError("The points of a curve should increase, and they do not.")
    return steps, returns
