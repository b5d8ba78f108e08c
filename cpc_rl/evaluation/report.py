"""The report of a comparison: figures, words, curves and a TensorBoard page from the folders of its runs."""

import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from cpc_rl.evaluation.arms import group_arms
from cpc_rl.evaluation.comparison import ArmSummary, Comparison, check_threshold, compare
from cpc_rl.evaluation.event_log import write_event_log
from cpc_rl.evaluation.figures import write_curves
from cpc_rl.evaluation.intervals import REPETITIONS, Interval
from cpc_rl.evaluation.pairs import Pair
from cpc_rl.evaluation.sources import check_place, read_sources
from cpc_rl.evaluation.table import Run
from cpc_rl.evaluation.tidy_table import write_table
from cpc_rl.evaluation.words import in_words, markdown


def write_report(
    sources: Path | Sequence[Path],
    out: Path | None = None,
    *,
    arms: Collection[str] | None = None,
    threshold: float | None = None,
    repetitions: int = REPETITIONS,
    compact: bool = False,
) -> Comparison:
    """
    Compare the arms whose runs lie in a folder.

    Writes ``report.md``, ``report.json``, the tidy table ``runs.csv``, ``curves_steps`` and ``curves_seconds`` as PNG and SVG,
    and ``tensorboard/``. Only finished runs count; the others are named. The table is written even if no run is finished.

    :param sources: ``<log-dir>/<env>``, a tidy table of an earlier report, or several such of one environment, whose runs
        are put together
    :param out: where to write; if ``None``, ``report`` in the one folder among them, or beside the one table
    :param arms: those to compare; all if ``None``
    :param threshold: the return whose first reaching is compared; chosen from plain training's curve if ``None``
    :param repetitions: of the bootstrap
    :param compact: leave out SVG and ``tensorboard/``, and make the pictures small
    :raises ValueError: there are no runs, none of an arm, none that is finished, or runs on several environments; ``out`` has
        to be said; or the threshold is no finite number
    """
    given = [sources] if isinstance(sources, Path) else list(sources)
    environments = read_sources(given, arms)
    if len(environments) > 1:
        raise ValueError(f"The runs are on several environments: {', '.join(environments)}.")
    (runs,) = environments.values()
    out = default_place(given) if out is None else out
    check_place(given, out)
    return report_runs(runs, out, threshold=threshold, repetitions=repetitions, compact=compact)


def report_runs(
    runs: list[Run], out: Path, *, threshold: float | None = None, repetitions: int = REPETITIONS, compact: bool = False
) -> Comparison:
    """
    :func:`write_report`, of runs that were read.

    :raises ValueError: none is finished; or the threshold is no finite number, and nothing is written
    """
    check_threshold(threshold)
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "runs.csv", runs)
    comparison = compare(group_arms(runs), threshold, repetitions=repetitions)
    names = ", ".join(dict.fromkeys(run.env for run in runs if run.env))
    pictures = [
        file
        for name, over_time in (("curves_steps", False), ("curves_seconds", True))
        for file in write_curves(out / name, comparison.arms, names, over_time=over_time, compact=compact)
    ]
    shown = [picture for picture in pictures if picture.suffix == ".png"]
    text = markdown(f"Sample efficiency on {names}", comparison, runs, [picture.name for picture in shown])
    (out / "report.md").write_text(text, encoding="utf-8")
    content = as_dict(comparison, runs)
    (out / "report.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if not compact:
        write_event_log(out / "tensorboard", comparison, shown)
    return comparison


def default_place(sources: Sequence[Path]) -> Path:
    """
    Where the report of an environment's sources goes: into its folder, or beside its table.

    :raises ValueError: there are several such places
    """
    folders = [source for source in sources if source.is_dir()] or [source.parent for source in sources]
    if len(set(folders)) != 1:
        raise ValueError("The runs come from several places, so say with --out where the report should go.")
    return folders[0] / "report"


def as_dict(comparison: Comparison, runs: list[Run]) -> dict[str, Any]:
    """The figures as plain containers; what is not reached or not known is ``None``."""
    return {
        "env": list(dict.fromkeys(run.env for run in runs)),
        "threshold": comparison.threshold if len(set(comparison.thresholds.values())) == 1 else comparison.thresholds,
        "arms": {arm.runs.label: _arm(arm) for arm in comparison.arms},
        "pairs": [pair_as_dict(pair) for pair in comparison.pairs],
        "words": in_words(comparison),
        "runs": [
            {"algorithm": run.algorithm, "arm": run.arm, "seed": run.seed, "status": run.status, "problem": run.problem}
            for run in runs
        ],
    }


def _arm(arm: ArmSummary) -> dict[str, Any]:
    runs = arm.runs
    return {
        "seeds": [run.seed for run in runs.runs],
        "final": {name: interval_as_dict(value) for name, value in arm.figures["final"].items()},
        "area": {name: interval_as_dict(value) for name, value in arm.figures["area"].items()},
        "reached": arm.reached,
        "steps_to_threshold": interval_as_dict(arm.steps_to_threshold),
        "seconds_to_threshold": interval_as_dict(arm.seconds_to_threshold),
        "curve": {"steps": runs.steps.tolist(), **_band(arm.band)},
        "curve_over_time": {"seconds": runs.seconds.round(3).tolist(), **_band(arm.band_over_time)},
    }


def _band(band: Any) -> dict[str, list[float | None]]:
    return {name: [number_or_none(value) for value in row] for name, row in zip(("iqm", "lower", "upper"), band, strict=True)}


def pair_as_dict(pair: Pair) -> dict[str, Any]:
    """One pair's figures and its verdict."""
    return {
        "arm": pair.arm.label,
        "over": pair.over.label,
        "measure": pair.measure,
        "own_gain": pair.own_gain,
        "probability_of_improvement": interval_as_dict(pair.improvement),
        "difference_of_iqm": interval_as_dict(pair.difference),
        "difference_of_means": number_or_none(pair.mean_difference),
        "p_value": number_or_none(pair.p_value),
        "verdict": pair.verdict,
    }


def interval_as_dict(interval: Interval | None) -> dict[str, float | None] | None:
    """Estimate, lower and upper end."""
    return None if interval is None else {name: number_or_none(value) for name, value in interval._asdict().items()}


def number_or_none(value: float) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return round(float(value), 6) if math.isfinite(value) else None
