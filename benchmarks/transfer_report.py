"""Tables of :mod:`benchmarks.transfer`, from the folders of its runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cpc_rl.evaluation.arms import ArmRuns, group_arms
from cpc_rl.evaluation.intervals import REPETITIONS, improvement_interval, permutation_p_value
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.statistics import interquartile_mean, mean, median_run
from cpc_rl.evaluation.table import read_runs

KEPT = ("runs.csv", "report.md", "curves_steps.png")
PAIRS = (
    ("none@atc", "none"),
    ("none@atc", "none@shuffled"),
    ("none@atc-frozen", "none"),
    ("none@atc-frozen", "none@random-frozen"),
    ("none@atc-lr0.1", "none"),
    ("none@atc-lr0.1", "none@atc"),
    ("none@atc-frozen-10000", "none"),
    ("none@shuffled", "none"),
    ("none@cpc", "none"),
    ("none@cpc-frozen", "none"),
)


def report(work: Path, out: Path, repetitions: int = REPETITIONS) -> str:
    """
    Write ``runs.csv``, ``report.md`` and the curves of every environment into a folder of ``out``, by ``cpc-rl report``.

    :param work: where the benchmark's runs and encoders lie
    :param repetitions: of the bootstrap
    :return: Markdown, and as the last line all figures as one JSON object
    """
    parts, figures = ["# Transfer of encoders that were trained without reward"], []
    for folder in sorted(path for path in (work / "runs").iterdir() if path.is_dir()):
        full, own = work / "reports" / folder.name, out / folder.name
        comparison = write_report(folder, full, repetitions=repetitions)
        own.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            shutil.copyfile(full / name, own / name)
        arms = {arm.arm: arm for arm in group_arms(read_runs(folder))}
        rows = {name: _row(arm, comparison.threshold) for name, arm in arms.items() if arm.runs}
        pairs = [_pair(arms[mine], arms[other]) for mine, other in PAIRS if mine in rows and other in rows]
        facts = [json.loads(file.read_text()) for file in sorted((work / "encoders" / folder.name).glob("*/facts.json"))]
        figures.append(
            {"env": folder.name, "threshold": comparison.threshold, "arms": rows, "pairs": pairs, "encoders": facts}
        )
        parts += [f"## {folder.name}", _arm_table(rows, comparison.threshold), _pair_table(pairs), _fact_table(facts)]
    last = json.dumps({"benchmark": "transfer", "environments": figures})
    return "\n\n".join([*(part for part in parts if part), last])


def _row(arm: ArmRuns, threshold: float | None) -> dict[str, Any]:
    steps = None if threshold is None else arm.steps_to(threshold)[:, 0]
    middle = None if steps is None else float(median_run(steps[:, None]))
    return {
        "seeds": [run.seed for run in arm.runs],
        "over_the_training": round(float(mean(arm.area())), 4),
        "final": round(float(mean(arm.final())), 4),
        "steps_to_threshold": None if steps is None else [int(x) if np.isfinite(x) else None for x in steps],
        "median_steps": int(middle) if middle is not None and np.isfinite(middle) else None,
        "seconds": round(float(np.mean([run.column("wall_seconds")[-1] for run in arm.runs])), 1),
    }


def _pair(arm: ArmRuns, over: ArmRuns) -> dict[str, Any]:
    """The difference of interquartile means over the training, with its interval and the permutation test's p."""
    mine, theirs = arm.area(), over.area()
    several = min(len(mine), len(theirs)) > 1

    def difference(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
        return interquartile_mean(scores) - interquartile_mean(others)

    interval = improvement_interval(mine, theirs, difference, generator=np.random.default_rng(0))
    p_value = permutation_p_value(mine, theirs, generator=np.random.default_rng(0)) if several else None
    return {
        "arm": arm.arm,
        "over": over.arm,
        "difference": round(float(interval.estimate), 4),
        "interval": [round(float(end), 4) for end in (interval.lower, interval.upper)] if several else None,
        "p": None if p_value is None else round(float(p_value), 4),
    }


def _arm_table(rows: dict[str, dict[str, Any]], threshold: float | None) -> str:
    limit = "the threshold" if threshold is None else f"{threshold:.4g}"
    lines = [
        f"| arm | seeds | mean return over the training | final return | steps to {limit}, each seed | median | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        each = ", ".join("not" if steps is None else f"{steps:,}" for steps in row["steps_to_threshold"] or [])
        middle = "not reached" if row["median_steps"] is None else f"{row['median_steps']:,}"
        numbers = f"{row['over_the_training']:.4g} | {row['final']:.4g} | {each} | {middle} | {row['seconds']:.0f}"
        lines.append(f"| `{name}` | {len(row['seeds'])} | {numbers} |")
    return "\n".join(lines)


def _pair_table(pairs: list[dict[str, Any]]) -> str:
    lines = ["| arm | over | difference of IQM over the training | p |", "|---|---|---|---|"]
    for pair in pairs:
        ends = "" if pair["interval"] is None else f" [{pair['interval'][0]:.3g}, {pair['interval'][1]:.3g}]"
        p_value = "" if pair["p"] is None else f"{pair['p']:.2g}"
        lines.append(f"| `{pair['arm']}` | `{pair['over']}` | {pair['difference']:+.3g}{ends} | {p_value} |")
    return "\n".join(lines) if pairs else ""


def _fact_table(facts: list[dict[str, Any]]) -> str:
    if not facts:
        return ""
    facts = [
        {**fact, "read": {f"{name}, 100 steps": score for name, score in fact["read_in_100_steps"].items()}} for fact in facts
    ]
    names = [*facts[0]["probes"], *facts[0]["read"], *facts[0]["features"]]
    lines = [f"| encoder | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for fact in facts:
        values = {**fact["probes"], **fact["read"], **fact["features"]}
        shown = " | ".join(f"{values[name]:.3g}" if name in values else "" for name in names)
        lines.append(f"| {fact['encoder']} | {shown} |")
    return "\n".join(lines)
