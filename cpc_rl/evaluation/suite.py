"""The runs of each arm over several tasks, as matrices of normalised scores (num_runs x num_tasks)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cpc_rl.evaluation.arm_names import arm_order, head_of
from cpc_rl.evaluation.statistics import resample_curve
from cpc_rl.evaluation.table import Run
from cpc_rl.evaluation.tasks import Task


@dataclass(frozen=True)
class SuiteArm:
    """
    One arm on several tasks, with as many runs for each: a task counts as much as any other.

    :param label: the arm, with its algorithm before it where there are several
    :param runs: (num_runs, num_tasks) tuples; of a task that has more finished runs the lowest seeds are taken
    :param axis: (num_points,) of the curves
    :param curves: (num_runs, num_tasks, num_points) normalised scores
    :param areas: (num_runs, num_tasks) mean normalised scores over the training, of each task's own evaluations
    :param finals: (num_runs, num_tasks) normalised scores of the final evaluation on unseen episodes
    :param steps: (num_runs, num_thresholds) agent steps to the threshold, ``inf`` where it was not reached
    :param left_out: how many finished runs are in no joint figure, as another task has fewer
    """

    label: str
    algorithm: str
    arm: str
    tasks: tuple[Task, ...]
    runs: tuple[tuple[Run, ...], ...]
    axis: np.ndarray
    curves: np.ndarray
    areas: np.ndarray
    finals: np.ndarray
    steps: np.ndarray
    left_out: int

    @property
    def head(self) -> str:
        """The arm's objectives, such as ``cpc``; empty if it trains none."""
        return head_of(self.arm)

    @property
    def num_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.tasks)

    def final(self) -> np.ndarray:
        """(num_runs, num_tasks) normalised scores of the final evaluation."""
        return self.finals

    def area(self) -> np.ndarray:
        """(num_runs, num_tasks) mean normalised score over the training."""
        return self.areas


@dataclass(frozen=True)
class Suite:
    """
    The tasks of one algorithm.

    :param label: what stands before an arm's name: the algorithm and a hyphen where there are several, or nothing
    :param tasks: those on which plain training has a finished run; without such an arm all of them
    :param names: the arms that have a finished run on any of them
    :param not_counted: environments that are left out, as plain training has no finished run there
    """

    algorithm: str
    label: str
    tasks: tuple[Task, ...]
    names: tuple[str, ...]
    not_counted: tuple[str, ...]

    @property
    def runs(self) -> list[Run]:
        """All runs of its tasks, finished or not."""
        return [run for task in self.tasks for run in task.runs]

    def lacks(self, name: str) -> list[str]:
        """The environments on which an arm has no finished run."""
        return [task.env for task in self.tasks if task.find(name) is None]

    def stack(self, *names: str) -> list[SuiteArm]:
        """The arms on the tasks that all of these arms have; none if there is no such task."""
        tasks = [task for task in self.tasks if all(task.find(name) for name in names)]
        return [_stack(self.label + name, name, tasks) for name in names] if tasks else []

    def complete(self) -> list[SuiteArm]:
        """The arms that have a finished run on every task, on all of them."""
        return self.stack(*(name for name in self.names if not self.lacks(name)))

    def without_threshold(self) -> list[str]:
        """The environments that have none."""
        return [task.env for task in self.tasks if task.threshold is None]


def make_suites(tasks: Sequence[Task]) -> list[Suite]:
    """
    A suite for each algorithm.

    :raises ValueError: there are no tasks
    """
    if not tasks:
        raise ValueError("No run on a task with reference scores is finished, so there is nothing to compare yet.")
    suites = []
    for algorithm in dict.fromkeys(task.algorithm for task in tasks):
        every = [task for task in tasks if task.algorithm == algorithm]
        counted = [task for task in every if task.find("none")] or every
        names = {arm.arm for task in counted for arm in task.arms if arm.runs}
        label = "" if len(every) == len(tasks) else f"{algorithm}-"
        others = tuple(task.env for task in every if task not in counted)
        suites.append(Suite(algorithm, label, tuple(counted), tuple(sorted(names, key=arm_order)), others))
    return suites


def common_axis(tasks: Sequence[Task]) -> tuple[np.ndarray, bool]:
    """
    The points at which the tasks' curves are put together.

    :return: (num_points,) agent steps where all tasks' evaluations agree, else shares of each task's training; and
        whether they are steps
    """
    axes = [task.arms[0].steps for task in tasks]
    if all(np.array_equal(axis, axes[0]) for axis in axes):
        return axes[0], True
    return np.linspace(0, 1, max(2, *(axis.size for axis in axes))), False


def _stack(label: str, name: str, tasks: Sequence[Task]) -> SuiteArm:
    arms = [arm for task in tasks if (arm := task.find(name))]
    axis, in_steps = common_axis(tasks)
    count = min(len(arm.runs) for arm in arms)
    curves, areas, finals, steps = [], [], [], []
    for arm, task in zip(arms, tasks, strict=True):
        at = axis if in_steps else arm.steps[0] + axis * (arm.steps[-1] - arm.steps[0])
        at = np.minimum(at, arm.steps[-1])  # rounding
        returns = [resample_curve(at, arm.steps, curve) for curve in arm.returns[:count, 0]]
        curves.append(task.reference.normalised(np.array(returns)))
        areas.append(task.reference.normalised(arm.area()[:count, 0]))
        finals.append(task.reference.normalised(arm.final()[:count, 0]))
        if task.threshold is not None:
            steps.append(arm.steps_to(task.threshold)[:count, 0])
    return SuiteArm(
        label,
        tasks[0].algorithm,
        name,
        tuple(tasks),
        runs=tuple(zip(*(arm.runs[:count] for arm in arms), strict=True)),
        axis=axis,
        curves=np.stack(curves, axis=1),
        areas=np.stack(areas, axis=1),
        finals=np.stack(finals, axis=1),
        steps=np.stack(steps, axis=1) if steps else np.empty((count, 0)),
        left_out=sum(len(arm.runs) - count for arm in arms),
    )
