"""What a comparison says: the figures of each arm, and of each pair of arms that can be held against each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cpc_rl.evaluation.arms import ArmRuns, choose_threshold
from cpc_rl.evaluation.intervals import Interval, bootstrap_band, bootstrap_interval
from cpc_rl.evaluation.pairs import MEASURES, Pair, hold_against, opponents
from cpc_rl.evaluation.statistics import interquartile_mean, mean, median_run

STATISTICS = {"iqm": interquartile_mean, "median": median_run, "mean": mean}


@dataclass(frozen=True)
class ArmSummary:
    """
    The figures of one arm.

    :param figures: by measure (see ``MEASURES``) and statistic (``iqm``, ``median``, ``mean``)
    :param threshold: a return; ``None`` where there is none to choose
    :param reached: how many runs reached the threshold
    :param steps_to_threshold: median over the runs, ``inf`` if half of them never reached it; ``None`` without a threshold
    :param seconds_to_threshold: likewise, in seconds of training
    :param band: (3, num_points) interquartile mean, lower and upper end over ``runs.steps``
    :param band_over_time: (3, num_times) over ``runs.seconds``
    """

    runs: ArmRuns
    figures: dict[str, dict[str, Interval]]
    threshold: float | None
    reached: int
    steps_to_threshold: Interval | None
    seconds_to_threshold: Interval | None
    band: np.ndarray
    band_over_time: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """
    All of it.

    :param thresholds: a return for each algorithm that has a finished run; ``None`` where there is none to choose
    :param threshold_given: whether the user named it
    """

    arms: tuple[ArmSummary, ...]
    pairs: tuple[Pair, ...]
    thresholds: dict[str, float | None]
    threshold_given: bool
    empty: tuple[ArmRuns, ...] = field(default=())

    @property
    def threshold(self) -> float | None:
        """The threshold, where all algorithms have the same."""
        different = set(self.thresholds.values())
        return different.pop() if len(different) == 1 else None


def compare(arms: Sequence[ArmRuns], threshold: float | None = None, *, repetitions: int = 5_000, seed: int = 0) -> Comparison:
    """
    Compute every figure of a report.

    :param threshold: a return; chosen for each algorithm by :func:`~cpc_rl.evaluation.arms.choose_threshold` if ``None``
    :param repetitions: of the bootstrap
    :param seed: of each figure's own generator, so that no figure depends on which others there are
    """
    there = [arm for arm in arms if arm.runs]
    thresholds: dict[str, float | None] = {}
    for algorithm in dict.fromkeys(arm.algorithm for arm in there):
        own = [arm for arm in arms if arm.algorithm == algorithm]
        thresholds[algorithm] = choose_threshold(own) if threshold is None else threshold
    summaries = tuple(_summarize(arm, thresholds[arm.algorithm], repetitions, seed) for arm in there)
    pairs = tuple(
        hold_against(arm, over, measure, own_gain, repetitions, seed)
        for arm in there
        for over, own_gain in opponents(arm, there)
        for measure in MEASURES
    )
    empty = tuple(arm for arm in arms if not arm.runs)
    return Comparison(summaries, pairs, thresholds, threshold is not None, empty)


def check_threshold(threshold: float | None) -> None:
    """
    To be asked before a report writes anything.

    :raises ValueError: it is given and no finite number
    """
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(
            f"threshold is {threshold}, but it must be a finite number, a return or over several environments a normalised "
            "score; leave it out to have one chosen."
        )


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
        threshold=threshold,
        reached=0 if steps is None else int(np.isfinite(steps).sum()),
        steps_to_threshold=None if steps is None else interval(steps, "median"),
        seconds_to_threshold=interval(arm.seconds_to(threshold), "median") if threshold is not None and arm.timed else None,
        band=band(arm.returns),
        band_over_time=band(arm.returns_at),
    )
