"""What a comparison says: the figures of each arm, and of each pair of arms that can be held against each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cpc_rl.evaluation.arms import HEADLESS, ArmRuns, choose_threshold
from cpc_rl.evaluation.intervals import (
    Interval,
    bootstrap_band,
    bootstrap_interval,
    improvement_interval,
    permutation_p_value,
)
from cpc_rl.evaluation.statistics import TwoArmStatistic, interquartile_mean, mean, median_run, probability_of_improvement

MEASURES = {"area": "mean return over the training", "final": "final return on unseen episodes"}
STATISTICS = {"iqm": interquartile_mean, "median": median_run, "mean": mean}
SIGNIFICANT = 0.05

Verdict = Literal["better", "worse", "hint of better", "hint of worse", "no evidence", "one seed"]


@dataclass(frozen=True)
class ArmSummary:
    """
    The figures of one arm.

    :param figures: by measure (see ``MEASURES``) and statistic (``iqm``, ``median``, ``mean``)
    :param reached: how many runs reached the threshold
    :param steps_to_threshold: median over the runs, ``inf`` if half of them never reached it; ``None`` without a threshold
    :param seconds_to_threshold: likewise, in seconds of training
    :param band: (3, num_points) interquartile mean, lower and upper end over ``runs.steps``
    :param band_over_time: (3, num_times) over ``runs.seconds``
    """

    runs: ArmRuns
    figures: dict[str, dict[str, Interval]]
    reached: int
    steps_to_threshold: Interval | None
    seconds_to_threshold: Interval | None
    band: np.ndarray
    band_over_time: np.ndarray


@dataclass(frozen=True)
class Pair:
    """
    One arm held against another in one measure.

    :param own_gain: whether this pair says what the head itself brings
    :param difference: of the interquartile means
    :param p_value: of a permutation test of the means; NaN where an arm has one run
    """

    arm: ArmRuns
    over: ArmRuns
    measure: str
    own_gain: bool
    improvement: Interval
    difference: Interval
    p_value: float

    @property
    def verdict(self) -> Verdict:
        """
        ``better`` or ``worse`` needs both: an interval without 0 and a permutation test below 5%.

        Of two equal arms with three runs each the interval alone leaves 0 out in more than a fifth of all cases.
        """
        if np.isnan(self.p_value):
            return "one seed"
        if not self.difference.excludes(0):
            return "no evidence"
        if self.difference.estimate > 0:
            return "better" if self.p_value <= SIGNIFICANT else "hint of better"
        return "worse" if self.p_value <= SIGNIFICANT else "hint of worse"


@dataclass(frozen=True)
class Comparison:
    """
    All of it.

    :param threshold: a return; ``None`` where there is none to choose
    :param threshold_given: whether the user named it
    """

    arms: tuple[ArmSummary, ...]
    pairs: tuple[Pair, ...]
    threshold: float | None
    threshold_given: bool
    empty: tuple[ArmRuns, ...] = field(default=())


def compare(arms: Sequence[ArmRuns], threshold: float | None = None, *, repetitions: int = 5_000, seed: int = 0) -> Comparison:
    """
    Compute every figure of a report.

    :param threshold: a return; chosen by :func:`~cpc_rl.evaluation.arms.choose_threshold` if ``None``
    :param repetitions: of the bootstrap
    :param seed: of each figure's own generator, so that no figure depends on which others there are
    """
    there = [arm for arm in arms if arm.runs]
    limit = choose_threshold(arms) if threshold is None else threshold
    summaries = tuple(_summarize(arm, limit, repetitions, seed) for arm in there)
    pairs = tuple(
        _hold_against(arm, over, measure, own_gain, repetitions, seed)
        for arm in there
        for over, own_gain in _opponents(arm, there)
        for measure in MEASURES
    )
    empty = tuple(arm for arm in arms if not arm.runs)
    return Comparison(summaries, pairs, limit, threshold is not None, empty)


def _summarize(arm: ArmRuns, threshold: float | None, repetitions: int, seed: int) -> ArmSummary:
    def interval(scores: np.ndarray, name: str) -> Interval:
        generator = np.random.default_rng(seed)
        return bootstrap_interval(scores, STATISTICS[name], generator=generator, repetitions=repetitions)

    def band(curves: np.ndarray) -> np.ndarray:
        return bootstrap_band(curves, interquartile_mean, generator=np.random.default_rng(seed), repetitions=repetitions)

    scores = {"area": arm.area(), "final": arm.final()}
    steps = None if threshold is None else arm.steps_to(threshold)
    return ArmSummary(
        runs=arm,
        figures={measure: {name: interval(scores[measure], name) for name in STATISTICS} for measure in MEASURES},
        reached=0 if steps is None else int(np.isfinite(steps).sum()),
        steps_to_threshold=None if steps is None else interval(steps, "median"),
        seconds_to_threshold=None if threshold is None else interval(arm.seconds_to(threshold), "median"),
        band=band(arm.returns),
        band_over_time=band(arm.returns_at),
    )


def _opponents(arm: ArmRuns, arms: Sequence[ArmRuns]) -> list[tuple[ArmRuns, bool]]:
    """What an arm is held against, and whether the difference is the head's own doing."""
    by_name = {other.arm: other for other in arms if other.algorithm == arm.algorithm}
    words = arm.arm.split("+")
    true_head = bool(arm.head) and "shuffled" not in words
    wrong = "+".join([*(["aug"] if "aug" in words else []), "shuffled", arm.head])
    found = []
    earlier = HEADLESS if arm.head else HEADLESS[: HEADLESS.index(arm.arm)]
    for name in (*earlier, *([wrong] if true_head else [])):
        if name in by_name:
            same_batches = "aug" in words if name == "aug" else name != "none"
            found.append((by_name[name], true_head and same_batches))
    return found


def _hold_against(arm: ArmRuns, over: ArmRuns, measure: str, own_gain: bool, repetitions: int, seed: int) -> Pair:
    scores, others = (each.area() if measure == "area" else each.final() for each in (arm, over))

    def difference(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return interquartile_mean(mine) - interquartile_mean(theirs)

    def interval(statistic: TwoArmStatistic) -> Interval:
        generator = np.random.default_rng(seed)
        return improvement_interval(scores, others, statistic, generator=generator, repetitions=repetitions)

    alone = min(len(scores), len(others)) < 2
    p_value = np.nan if alone else permutation_p_value(scores, others, generator=np.random.default_rng(seed))
    improvement = interval(probability_of_improvement)
    return Pair(arm, over, measure, own_gain, improvement, interval(difference), p_value)
