"""The report over several environments, from the folders of their runs."""

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from cpc_rl.evaluation.comparison import check_threshold
from cpc_rl.evaluation.event_log import write_suite_log
from cpc_rl.evaluation.intervals import REPETITIONS
from cpc_rl.evaluation.pairs import MEASURES
from cpc_rl.evaluation.references import References, choose_references
from cpc_rl.evaluation.report import interval_as_dict, number_or_none, pair_as_dict
from cpc_rl.evaluation.sources import check_place, read_sources
from cpc_rl.evaluation.suite import make_suites
from cpc_rl.evaluation.suite_comparison import SuiteArmSummary, SuiteComparison, compare_suite
from cpc_rl.evaluation.suite_figures import write_suite_figures
from cpc_rl.evaluation.suite_words import suite_in_words, suite_markdown
from cpc_rl.evaluation.table import Run
from cpc_rl.evaluation.tasks import Task, make_tasks
from cpc_rl.evaluation.tidy_table import write_table

SCORE_COLUMNS = (
    *("task", "algorithm", "arm", "seed", "mean_return_over_training", "final_return", "score_over_training"),
    *("final_score", "threshold", "steps_to_threshold", "steps", "wall_seconds"),
)


def write_suite_report(
    sources: Sequence[Path],
    out: Path,
    *,
    normalise: str | None = None,
    arms: Collection[str] | None = None,
    threshold: float | None = None,
    repetitions: int = REPETITIONS,
    compact: bool = False,
) -> list[SuiteComparison]:
    """
    Compare the arms over all environments, algorithm by algorithm.

    Writes ``report.md``, ``report.json``, ``scores.csv`` (a row for each finished run), ``runs/<env>.csv`` (one for each
    evaluation), four pictures for each algorithm as PNG and SVG, and ``tensorboard/``.

    :param sources: environments' folders and tidy tables of earlier reports; those of one environment are put together
    :param out: where to write
    :param normalise: reference scores, see :func:`~cpc_rl.evaluation.references.load_references`; the shipped ones if ``None``
    :param arms: those to compare; all if ``None``
    :param threshold: a normalised score whose first reaching is compared; chosen on each task if ``None``
    :param repetitions: of the bootstrap
    :param compact: leave out SVG and ``tensorboard/``, and make the pictures small
    :return: a comparison for each algorithm
    :raises ValueError: there are no runs, none of an arm, none that is finished, or no reference scores for any task; or the
        threshold is no finite number
    """
    check_place(sources, out)
    environments = read_sources(sources, arms)
    return report_environments(
        environments, out, normalise=normalise, threshold=threshold, repetitions=repetitions, compact=compact
    )


def report_environments(
    environments: dict[str, list[Run]],
    out: Path,
    *,
    normalise: str | None = None,
    threshold: float | None = None,
    repetitions: int = REPETITIONS,
    compact: bool = False,
) -> list[SuiteComparison]:
    """
    :func:`write_suite_report`, of runs that were read.

    :param environments: of :func:`~cpc_rl.evaluation.sources.read_sources`
    :raises ValueError: none is finished, or there are no reference scores for any task; or the threshold is no finite number,
        and nothing is written
    """
    check_threshold(threshold)
    references = choose_references(environments, normalise)
    (out / "runs").mkdir(parents=True, exist_ok=True)
    for env, every in environments.items():
        write_table(out / "runs" / f"{env.replace('/', '-').replace(':', '-')}.csv", every)
    left_out = [env for env in environments if references.find(env) is None]
    environments = {env: every for env, every in environments.items() if env not in left_out}
    runs = [run for every in environments.values() for run in every]
    tasks = make_tasks(environments, references, threshold)
    comparisons = [compare_suite(suite, repetitions=repetitions) for suite in make_suites(tasks)]
    _write_scores(out / "scores.csv", tasks)
    shown = []
    for comparison in comparisons:
        ending = f"-{comparison.suite.algorithm}" if len(comparisons) > 1 else ""
        files = write_suite_figures(out, comparison, ending, compact)
        shown.append([file for file in files if file.suffix == ".png"])
    text = suite_markdown(comparisons, references, runs, left_out, [[file.name for file in files] for files in shown])
    (out / "report.md").write_text(text, encoding="utf-8")
    content = {**suite_as_dict(comparisons, references, runs), "left_out": left_out}
    (out / "report.json").write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    if not compact:
        write_suite_log(out / "tensorboard", comparisons, [file for files in shown for file in files])
    return comparisons


def suite_as_dict(comparisons: Sequence[SuiteComparison], references: References, runs: Sequence[Run]) -> dict[str, Any]:
    """The figures as plain containers; what is not reached or not known is ``None``."""
    return {
        "references": references.name,
        "algorithms": {comparison.suite.algorithm: _comparison(comparison) for comparison in comparisons},
        "unfinished": [
            {"env": run.env, "algorithm": run.algorithm, "arm": run.arm, "seed": run.seed, "status": run.status}
            for run in runs
            if run.status != "finished"
        ],
    }


def _comparison(comparison: SuiteComparison) -> dict[str, Any]:
    suite = comparison.suite
    return {
        "tasks": {
            task.env: {
                "low": task.reference.low,
                "high": task.reference.high,
                "threshold": None if task.threshold is None else number_or_none(task.threshold),
                "over_plain": [pair_as_dict(pair) for pair in comparison.task_pairs[task.env]],
            }
            for task in suite.tasks
        },
        "arms": {arm.arm.arm: _arm(arm) for arm in comparison.arms},
        "pairs": [pair_as_dict(pair) for pair in comparison.pairs],
        "median_times_fewer_steps": {
            speedup.arm.arm: {"tasks": speedup.arm.steps.shape[1], **(interval_as_dict(speedup.median) or {})}
            for speedup in comparison.speedups
        },
        "lacking": {name: lacking for name in suite.names if (lacking := suite.lacks(name))},
        "not_counted": list(suite.not_counted),
        "axis": "agent steps" if comparison.in_steps else "share of each task's training",
        "profile_scores": _row(comparison.scores),
        "words": suite_in_words(comparison),
    }


def _arm(arm: SuiteArmSummary) -> dict[str, Any]:
    return {
        "runs": len(arm.arm.runs),
        **{measure: {name: interval_as_dict(value) for name, value in arm.figures[measure].items()} for measure in MEASURES},
        "curve": {"at": _row(arm.arm.axis), **_band(arm.band)},
        "profile": {measure: _band(arm.profiles[measure], "share") for measure in MEASURES},
    }


def _band(band: Any, name: str = "iqm") -> dict[str, list[float | None]]:
    return {end: _row(values) for end, values in zip((name, "lower", "upper"), band, strict=True)}


def _row(values: Any) -> list[float | None]:
    return [number_or_none(value) for value in values]


def _write_scores(file: Path, tasks: Sequence[Task]) -> None:
    """The matrices runs x tasks as a tidy table, every finished run in it."""
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SCORE_COLUMNS)
        writer.writerows(row for task in tasks for row in _score_rows(task))


def _score_rows(task: Task) -> Iterator[list[Any]]:
    for arm in task.arms:
        if not arm.runs:
            continue
        areas, finals = arm.area()[:, 0], arm.final()[:, 0]
        scores = task.reference.normalised(areas), task.reference.normalised(finals)
        steps = None if task.threshold is None else arm.steps_to(task.threshold)[:, 0]
        for place, run in enumerate(arm.runs):
            reached = "" if steps is None else number_or_none(steps[place])
            last = run.rows[-1]
            yield [
                *(task.env, task.algorithm, arm.arm, run.seed),
                *(f"{values[place]:.6g}" for values in (areas, finals, *scores)),
                *("" if task.threshold is None else f"{task.threshold:.6g}", "" if reached is None else reached),
                *(f"{last['timesteps']:.0f}", f"{last['wall_seconds']:.6g}" if "wall_seconds" in last else ""),
            ]
