"""The table, the CSV and the figure of what was found."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.atari_probes.published import PUBLISHED
from cpc_rl.whole_file import whole_file

CATEGORIES = (
    "agent localisation",
    "small object localisation",
    "other localisation",
    "score, clock, lives, display",
    "misc",
)
Found = Mapping[str, Mapping[str, dict[str, Any]]]  # by game and method: what cpc_rl's probe report says, as plain containers


def f1(report: dict[str, Any]) -> float:
    """Mean over the categories of the mean F1 of their variables."""
    return float(report["mean"]["categorical"])


def majority(report: dict[str, Any]) -> float:
    """The same of guesses that know no features: always the commonest class, as in the paper (earlier files: ``baseline``)."""
    by_category: dict[str, list[float]] = {}
    for variable in report["variables"]:
        for category in variable["categories"]:
            by_category.setdefault(category, []).append(variable.get("majority", variable["baseline"]))
    return float(np.mean([np.mean(values) for values in by_category.values()]))


def means(found: Found) -> dict[str, dict[str, float]]:
    """F1 by game and method, ``majority`` among the methods."""
    return {
        game: {"majority": majority(next(iter(reports.values()))), **{method: f1(r) for method, r in reports.items()}}
        for game, reports in found.items()
    }


def markdown(found: Found, methods: list[str]) -> str:
    """Ours, and the published figure in parentheses where there is one."""
    columns, table = ["majority", *methods], means(found)
    lines = [f"| game | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for game, row in table.items():
        cells = []
        for column in columns:
            theirs = PUBLISHED.get(game, {}).get(column)
            ours = f"{row[column]:.2f}" if column in row else ""
            cells.append(ours + (f" ({theirs:.2f})" if theirs is not None else ""))
        lines.append(f"| {game} | {' | '.join(cells)} |")
    cells = []
    for column in columns:
        ours_all = [row[column] for row in table.values() if column in row]
        theirs_all = [PUBLISHED[game][column] for game in table if column in PUBLISHED.get(game, {})]
        whole = len(ours_all) == len(table)
        cells.append(
            (f"{np.mean(ours_all):.2f}" if whole else "")
            + (f" ({np.mean(theirs_all):.2f})" if len(theirs_all) == len(table) else "")
        )
    return "\n".join([*lines, f"| mean | {' | '.join(cells)} |"])


def write_csv(found: Mapping[str, Mapping[str, dict[str, Any]]], file: Path) -> None:
    """
    A row for each game, method and scale of the features.

    :param found: by game and method, what :func:`benchmarks.atari_probes.scores.scored` gives
    """
    fields = ["game", "method", "features", "f1", *CATEGORIES, "published_f1", "updates", "training_frames"]
    fields += ["probe_train_frames", "probe_test_frames", "variables", "training_cpu_seconds", "probes_cpu_seconds"]
    with whole_file(file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, fields)
        writer.writeheader()
        for game, results in found.items():
            for method, result in results.items():
                for scale, report in result["reports"].items():
                    writer.writerow({"game": game, "method": method, "features": scale, **_row(report, result)})


def _row(report: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    settings, seconds = result["settings"], result["seconds"]
    own_frames = settings["method"] not in ("random", "supervised")
    return {
        "f1": f"{f1(report):.4f}",
        **{name: f"{value:.4f}" for name, value in report["category_means"]["categorical"].items()},
        "published_f1": PUBLISHED.get(settings["game"], {}).get(settings["method"], ""),
        "updates": settings["budget"]["steps"],
        "training_frames": settings["frames"]["training"] if own_frames else 0,
        "probe_train_frames": report["frames"]["train"],
        "probe_test_frames": report["frames"]["test"],
        "variables": len(report["variables"]),
        "training_cpu_seconds": seconds["training"],
        "probes_cpu_seconds": seconds["probes"],
    }
