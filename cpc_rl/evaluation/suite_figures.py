"""A comparison over several tasks as pictures."""

from collections.abc import Mapping
from math import ceil
from pathlib import Path

import numpy as np

from cpc_rl.evaluation.figures import (
    colour,
    count_in_thousands,
    draw_band,
    line_style,
    new_figure,
    save_figure,
    tidy,
)
from cpc_rl.evaluation.pairs import MEASURES, names_for
from cpc_rl.evaluation.statistics import interquartile_mean
from cpc_rl.evaluation.suite_comparison import SUITE_STATISTICS, SuiteComparison
from cpc_rl.evaluation.suite_words import SCORES, STATISTIC_NAMES

COLUMNS = 4  # of small pictures side by side


def write_suite_figures(folder: Path, comparison: SuiteComparison, ending: str = "", compact: bool = False) -> list[Path]:
    """
    Draw the aggregates, the curves, the performance profiles, and each task's curves.

    :param ending: of the files' names, before the suffix
    :param compact: see :func:`~cpc_rl.evaluation.figures.save_figure`
    :return: the files
    :raises ValueError: matplotlib is not installed
    """
    pictures = {"aggregates": _aggregates, "curves": _curves, "profiles": _profiles, "tasks": _tasks}
    return [
        file
        for name, draw in pictures.items()
        if comparison.arms or name == "tasks"
        for file in save_figure(draw(comparison), folder / f"{name}{ending}", compact)
    ]


def _aggregates(comparison: SuiteComparison) -> object:
    """A row of four figures for each measure, an arm on each line."""
    arms = comparison.arms
    figure = new_figure(11, 1.6 + 0.5 * len(arms))
    panels = figure.subplots(len(MEASURES), len(SUITE_STATISTICS), squeeze=False, sharey=True)
    for row, measure in zip(panels, MEASURES, strict=True):
        for axes, name in zip(row, SUITE_STATISTICS, strict=True):
            for place, arm in enumerate(arms):
                interval = arm.figures[measure][name]
                if np.isfinite(interval.lower):
                    axes.barh(place, interval.upper - interval.lower, 0.6, interval.lower, color=colour(place), alpha=0.35)
                axes.plot([interval.estimate] * 2, [place - 0.3, place + 0.3], color=colour(place), linewidth=2)
            axes.set_title(STATISTIC_NAMES[name] + (" (less is better)" if name == "optimality_gap" else ""), fontsize="small")
            axes.set_yticks(range(len(arms)), [arm.arm.label for arm in arms])
            axes.tick_params(labelsize="small")
            tidy(axes)
        row[0].set_ylabel(_score_names(comparison)[measure].replace(" ", "\n", 2), fontsize="small")
    panels[0, 0].invert_yaxis()  # and so all of them, which share it
    figure.suptitle(f"{_title(comparison)}: normalised scores, 95% intervals", fontsize="medium")
    return figure


def _curves(comparison: SuiteComparison) -> object:
    suite = comparison.suite
    figure = new_figure(8.5, 4.5)
    axes = figure.add_subplot()
    for index, arm in enumerate(comparison.arms):
        label = f"{arm.arm.label} ({len(arm.arm.runs)} x {len(suite.tasks)})"
        draw_band(axes, arm.arm.axis, arm.band, index, label, faint=len(comparison.arms) > 4)
    axes.set(title=_title(comparison), ylabel="normalised score (interquartile mean, 95% interval)")
    axes.set_xlabel("agent steps" if comparison.in_steps else "share of each task's training")
    if comparison.in_steps:
        count_in_thousands(axes)
    tidy(axes)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _score_names(comparison: SuiteComparison) -> Mapping[str, str]:
    return names_for(SCORES, comparison.suite.runs)


def _profiles(comparison: SuiteComparison) -> object:
    figure = new_figure(10, 4)
    for axes, measure in zip(figure.subplots(1, len(MEASURES), sharey=True), MEASURES, strict=True):
        for index, arm in enumerate(comparison.arms):
            label = arm.arm.label if measure == "area" else ""
            draw_band(axes, comparison.scores, arm.profiles[measure], index, label, faint=len(comparison.arms) > 4)
        axes.set(title=_score_names(comparison)[measure], xlabel="normalised score τ")
        tidy(axes)
    figure.axes[0].set_ylabel("share of runs above τ (95% interval)")
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _tasks(comparison: SuiteComparison) -> object:
    """Without intervals, which would hide each other."""
    tasks, names = comparison.suite.tasks, comparison.suite.names
    columns = min(COLUMNS, len(tasks))
    rows = ceil(len(tasks) / columns)
    figure = new_figure(1.5 + 2.6 * columns, 0.6 + 2.1 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, task in zip(panels, tasks, strict=False):
        for index, name in enumerate(names):
            arm = task.find(name)
            if arm is not None:
                heights = [float(interquartile_mean(arm.returns[:, :, point])) for point in range(arm.steps.size)]
                axes.plot(arm.steps, heights, color=colour(index), linestyle=line_style(index), linewidth=1.3, label=name)
        if task.threshold is not None:
            axes.axhline(task.threshold, color="0.5", linestyle=":", linewidth=1)
        axes.set_title(task.env, fontsize="small")
        axes.tick_params(labelsize="x-small")
        count_in_thousands(axes)
        tidy(axes)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    figure.supxlabel("agent steps", fontsize="small")
    figure.supylabel("return (interquartile mean)", fontsize="small")
    handles = {label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    ordered = [name for name in names if name in handles]
    figure.legend([handles[name] for name in ordered], ordered, loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _title(comparison: SuiteComparison) -> str:
    return f"{comparison.suite.algorithm} on {len(comparison.suite.tasks)} tasks"
