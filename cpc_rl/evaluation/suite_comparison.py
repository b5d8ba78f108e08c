"""What several tasks say together of each arm, of each pair of arms, and of each task by itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cpc_rl.evaluation.intervals import (
    Interval,
    bootstrap_band,
    bootstrap_interval,
    improvement_interval,
    performance_profile,
)
from cpc_rl.evaluation.pairs import MEASURES, Pair, hold_against, opponents
from cpc_rl.evaluation.statistics import interquartile_mean, mean, median, median_steps_ratio, optimality_gap
from cpc_rl.evaluation.suite import Suite, SuiteArm, common_axis
from cpc_rl.evaluation.tasks import Task

SUITE_STATISTICS = {"iqm": interquartile_mean, "median": median, "mean": mean, "optimality_gap": optimality_gap}
PROFILE_POINTS = 51


@dataclass(frozen=True)
class SuiteArmSummary:
    """
    The figures of one arm over all tasks.

    :param figures: of normalised scores, by measure (``area``, ``final``) and statistic (see ``SUITE_STATISTICS``)
    :param band: (3, num_points) interquartile mean over the arm's axis, lower and upper end
    :param profiles: by measure, (3, num_scores) share of runs above each of the suite's scores, lower and upper end
    """

    arm: SuiteArm
    figures: dict[str, dict[str, Interval]]
    band: np.ndarray
    profiles: dict[str, np.ndarray]


@dataclass(frozen=True)
class Speedup:
    """
    How many times fewer steps than plain training an arm takes to the thresholds.

    :param over: plain training, on the same tasks
    :param median: over the tasks that both have and that have a threshold
    """

    arm: SuiteArm
    over: SuiteArm
    median: Interval

    @property
    def nobody_arrives(self) -> bool:
        """Whether no run of either gets to the threshold of any task: each ratio is then 1, and says nothing."""
        return not (np.isfinite(self.arm.steps).any() or np.isfinite(self.over.steps).any())


@dataclass(frozen=True)
class SuiteComparison:
    """
    All of it, for one algorithm.

    :param arms: those that have a finished run on every task
    :param in_steps: whether their curves are over agent steps, not shares of each task's training
    :param scores: (num_scores,) normalised scores at which the profiles are known
    :param pairs: each over the tasks that both arms have
    :param task_pairs: by task, every arm over plain training, with all of the task's runs
    """

    suite: Suite
    arms: tuple[SuiteArmSummary, ...]
    in_steps: bool
    scores: np.ndarray
    pairs: tuple[Pair, ...]
    speedups: tuple[Speedup, ...]
    task_pairs: dict[str, tuple[Pair, ...]]

    def verdicts(self, wanted: str) -> Iterator[tuple[Task, Pair]]:
        """The tasks' pairs with this verdict."""
        for task in self.suite.tasks:
            for pair in self.task_pairs[task.env]:
                if pair.verdict == wanted:
                    yield task, pair


def compare_suite(suite: Suite, *, repetitions: int = 5_000, seed: int = 0) -> SuiteComparison:
    """
    Compute every figure of one algorithm's suite.

    :param repetitions: of the bootstrap
    :param seed: of each figure's own generator, so that no figure depends on which others there are
    """
    arms = suite.complete()
    every = np.concatenate(
        [np.ravel(matrix) for arm in arms for matrix in (arm.area(), arm.final())] or [np.array([0.0, 1.0])]
    )
    scores = np.linspace(min(0.0, every.min()), max(1.0, every.max()), PROFILE_POINTS)
    return SuiteComparison(
        suite,
        tuple(_summarize(arm, scores, repetitions, seed) for arm in arms),
        common_axis(suite.tasks)[1],
        scores,
        tuple(_joint_pairs(suite, repetitions, seed)),
        tuple(_speedups(suite, repetitions, seed)),
        {task.env: tuple(_over_plain(task, repetitions, seed)) for task in suite.tasks},
    )


def _joint_pairs(suite: Suite, repetitions: int, seed: int) -> Iterator[Pair]:
    singles = [arms[0] for name in suite.names if (arms := suite.stack(name))]
    for single in singles:
        for opponent, own_gain in opponents(single, singles):
            both = suite.stack(single.arm, opponent.arm)
            for measure in MEASURES if both else ():
                yield hold_against(both[0], both[1], measure, own_gain, repetitions, seed)


def _speedups(suite: Suite, repetitions: int, seed: int) -> Iterator[Speedup]:
    for name in suite.names:
        both = suite.stack(name, "none") if name != "none" and "none" in suite.names else []
        if both and both[0].steps.size:
            arm, plain = both
            generator = np.random.default_rng(seed)
            ratio = improvement_interval(
                arm.steps, plain.steps, median_steps_ratio, generator=generator, repetitions=repetitions
            )
            yield Speedup(arm, plain, ratio)


def _over_plain(task: Task, repetitions: int, seed: int) -> Iterator[Pair]:
    plain = task.find("none")
    for arm in task.arms if plain else ():
        if arm.runs and plain and arm is not plain:
            for measure in MEASURES:
                yield hold_against(arm, plain, measure, False, repetitions, seed)


def _summarize(arm: SuiteArm, scores: np.ndarray, repetitions: int, seed: int) -> SuiteArmSummary:
    measured = {"area": arm.area(), "final": arm.final()}

    def generator() -> np.random.Generator:
        return np.random.default_rng(seed)

    def figures(matrix: np.ndarray) -> dict[str, Interval]:
        return {
            name: bootstrap_interval(matrix, statistic, generator=generator(), repetitions=repetitions)
            for name, statistic in SUITE_STATISTICS.items()
        }

    def profile(matrix: np.ndarray) -> np.ndarray:
        return performance_profile(matrix, scores, generator=generator(), repetitions=repetitions)

    return SuiteArmSummary(
        arm,
        {measure: figures(matrix) for measure, matrix in measured.items()},
        bootstrap_band(arm.curves, interquartile_mean, generator=generator(), repetitions=repetitions),
        {measure: profile(matrix) for measure, matrix in measured.items()},
    )
