"""One arm held against another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal, Protocol, TypeVar

import numpy as np

from cpc_rl.evaluation.arm_names import PLAIN_ARMS, controls, split_encoder
from cpc_rl.evaluation.intervals import Interval, improvement_interval, permutation_p_value
from cpc_rl.evaluation.statistics import TwoArmStatistic, interquartile_mean, mean, probability_of_improvement
from cpc_rl.evaluation.table import Run

MEASURES = {"area": "mean return over the training", "final": "final return on unseen episodes"}
SIGNIFICANT = 0.05
Verdict = Literal["better", "worse", "hint of better", "hint of worse", "no evidence", "one seed"]


class ComparedArm(Protocol):
    """What a pair needs of its arms: of one task, as :class:`~cpc_rl.evaluation.arms.ArmRuns`, or of several."""

    @property
    def label(self) -> str: ...  # as a report calls it

    @property
    def algorithm(self) -> str: ...

    @property
    def arm(self) -> str: ...

    @property
    def head(self) -> str: ...  # its objectives, or an empty text

    @property
    def runs(self) -> Sequence[object]: ...  # as many as each task has

    @property
    def num_tasks(self) -> int: ...

    def final(self) -> np.ndarray: ...  # (num_runs, num_tasks)

    def area(self) -> np.ndarray: ...  # (num_runs, num_tasks)


AnyArm = TypeVar("AnyArm", bound=ComparedArm)


@dataclass(frozen=True)
class Pair:
    """
    One arm held against another in one measure.

    :param own_gain: whether this pair says what the head itself brings
    :param difference: of the interquartile means
    :param p_value: of a permutation test of the means; NaN where an arm has one run
    :param mean_difference: of the means, what the test is of
    """

    arm: ComparedArm
    over: ComparedArm
    measure: str
    own_gain: bool
    improvement: Interval
    difference: Interval
    p_value: float
    mean_difference: float

    @property
    def seeds(self) -> str:
        """On what it stands: ``5 and 4 seeds``, of several tasks if there are."""
        tasks = f" of {self.arm.num_tasks} tasks" if self.arm.num_tasks > 1 else ""
        return f"{len(self.arm.runs)} and {len(self.over.runs)} seeds{tasks}"

    @property
    def can_be_significant(self) -> bool:
        """Whether so many runs of one task could give a p-value of 5% at all. Of equal numbers, every split has its mirror."""
        mine, theirs = len(self.arm.runs), len(self.over.runs)
        return min(mine, theirs) > 1 and (1 + (mine == theirs)) / comb(mine + theirs, mine) <= SIGNIFICANT

    @property
    def means_disagree(self) -> bool:
        """Whether the means differ the other way than the interquartile means, which leave a task out where all is lost."""
        return self.mean_difference * self.difference.estimate < 0

    @property
    def verdict(self) -> Verdict:
        """
        ``better`` or ``worse`` needs both: an interval without 0 and a permutation test below 5%, which say the same.

        Of two equal arms with three runs each the interval alone leaves 0 out in more than a fifth of all cases.
        """
        if np.isnan(self.p_value):
            return "one seed"
        if not self.difference.excludes(0) or self.means_disagree:
            return "no evidence"
        if self.difference.estimate > 0:
            return "better" if self.p_value <= SIGNIFICANT else "hint of better"
        return "worse" if self.p_value <= SIGNIFICANT else "hint of worse"


def opponents(arm: ComparedArm, arms: Sequence[AnyArm]) -> list[tuple[AnyArm, bool]]:
    """
    What an arm is held against, and whether the difference is the head's own doing.

    An arm that starts from an encoder is held against those that start from the same one and those that start from none.
    """
    by_name = {other.arm: other for other in arms if other.algorithm == arm.algorithm}
    trained, encoder = split_encoder(arm.arm)
    words = trained.split("+")
    true_head = bool(arm.head) and "shuffled" not in words
    names = controls(trained)
    # Several arms may have trained longer; of those with the most tasks the last has most in common with this one.
    longer = [name for name in names if "compute" in name.split("+") and name + encoder in by_name]
    longest = max(reversed(longer), key=lambda name: min(by_name[name + encoder].num_tasks, arm.num_tasks), default="")
    own = {longest, *(name for name in names if (name == "aug" and "aug" in words) or "shuffled" in name.split("+"))}
    found = [(by_name[name + encoder], true_head and name in own) for name in names if name + encoder in by_name]
    if encoder:
        found += [(by_name[name], False) for name in PLAIN_ARMS if name in by_name]
    return found


def names_for(measures: Mapping[str, str], runs: Iterable[Run]) -> Mapping[str, str]:
    """What to call the measures of these runs: not all have an evaluation on unseen episodes."""
    if all(run.own_final for run in runs):
        return measures
    return {**measures, "final": measures["final"].replace("on unseen episodes", "(last evaluation)")}


def measured(arm: ComparedArm, measure: str) -> np.ndarray:
    """An arm's runs in one of :data:`MEASURES`, (num_runs, num_tasks)."""
    return arm.area() if measure == "area" else arm.final()


def hold_against(arm: ComparedArm, over: ComparedArm, measure: str, own_gain: bool, repetitions: int, seed: int = 0) -> Pair:
    """
    One arm against another in one measure.

    :param measure: ``area`` or ``final``
    :param own_gain: what the pair will say of itself
    """
    scores, others = measured(arm, measure), measured(over, measure)

    def difference(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return interquartile_mean(mine) - interquartile_mean(theirs)

    def interval(statistic: TwoArmStatistic) -> Interval:
        generator = np.random.default_rng(seed)
        return improvement_interval(scores, others, statistic, generator=generator, repetitions=repetitions)

    alone = min(len(scores), len(others)) < 2
    p_value = np.nan if alone else permutation_p_value(scores, others, generator=np.random.default_rng(seed))
    improvement = interval(probability_of_improvement)
    means = float(mean(scores) - mean(others))
    return Pair(arm, over, measure, own_gain, improvement, interval(difference), p_value, means)
