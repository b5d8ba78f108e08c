"""The tables of single tasks: a row for each, a column for each arm."""

import math
from collections.abc import Callable, Iterable

import numpy as np

from cpc_rl.evaluation.arms import ArmRuns
from cpc_rl.evaluation.cells import number, table
from cpc_rl.evaluation.statistics import interquartile_mean, steps_ratio
from cpc_rl.evaluation.suite_comparison import SuiteComparison
from cpc_rl.evaluation.tasks import Task

MARKS = {"better": " ↑", "worse": " ↓", "hint of better": " (↑)", "hint of worse": " (↓)"}


def return_table(comparison: SuiteComparison) -> str:
    """The interquartile mean over a task's runs of the mean return over the training."""
    return _by_task(comparison, "area", lambda arm: arm.area())


def final_table(comparison: SuiteComparison) -> str:
    """The interquartile mean over a task's runs of the final return."""
    return _by_task(comparison, "final", lambda arm: arm.final())


def steps_table(comparison: SuiteComparison) -> str:
    """The median run's steps, and how many times fewer that is than plain training's."""
    suite = comparison.suite
    rows = [
        [task.env, number(task.threshold), *(_steps_text(task, name, task.threshold) for name in suite.names)]
        for task in suite.tasks
        if task.threshold is not None
    ]
    if not rows:
        return "No task has a threshold."
    medians = {speedup.arm.arm: f"median {_times(speedup.median.estimate)}" for speedup in comparison.speedups}
    return table(
        ["task", "threshold", *_code(suite.names)], [*rows, ["", "", *(medians.get(name, "") for name in suite.names)]]
    )


def _steps_text(task: Task, name: str, threshold: float) -> str:
    arm, plain = task.find(name), task.find("none")
    if arm is None:
        return ""
    steps = arm.steps_to(threshold)
    count = np.isfinite(steps).sum()
    middle = float(np.median(steps))
    text = f"{number(middle)}, {count} of {len(steps)}"
    if plain is None or plain is arm:
        return text
    others = plain.steps_to(threshold)
    if middle == 0 or np.median(others) == 0:  # there before any training: no number of times fewer
        return text
    ratio = float(steps_ratio(steps, others)[0])
    return text if ratio == 1 and not count else f"{text} ({_times(ratio)})"


def _times(ratio: float) -> str:
    return "only plain" if ratio == 0 else "only here" if math.isinf(ratio) else f"{ratio:.2g}x"


def _code(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _by_task(comparison: SuiteComparison, measure: str, scores: Callable[[ArmRuns], np.ndarray]) -> str:
    names = comparison.suite.names

    def cell(task: Task, name: str) -> str:
        arm = task.find(name)
        if arm is None:
            return ""
        pairs = comparison.task_pairs[task.env]
        verdicts = [pair.verdict for pair in pairs if pair.arm is arm and pair.measure == measure]
        return number(float(interquartile_mean(scores(arm)))) + "".join(MARKS.get(verdict, "") for verdict in verdicts)

    rows = [
        [task.env, f"{task.reference.low:g} to {task.reference.high:g}", *(cell(task, name) for name in names)]
        for task in comparison.suite.tasks
    ]
    return table(["task", "0 to 1", *_code(names)], rows)
