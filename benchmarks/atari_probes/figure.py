"""The pictures: F1 of every method on every game, and over the updates of one game."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.atari_probes.published import PUBLISHED
from benchmarks.atari_probes.scores import SCALES
from benchmarks.atari_probes.table import f1
from cpc_rl.evaluation.figures import new_figure, save_figure


def draw(found: Mapping[str, Mapping[str, dict[str, Any]]], methods: Sequence[str], stem: Path) -> None:
    """
    Bars for each scale of the features, and a dot where the paper has a figure for the method.

    :param found: by game and method, what :func:`benchmarks.atari_probes.scores.scored` gives
    :param stem: path of the PNG without its suffix
    """
    figure = new_figure(11, 2.6 * len(SCALES))
    width = 0.8 / len(methods)
    for axes, scale in zip(figure.subplots(len(SCALES), 1, sharex=True, sharey=True), SCALES, strict=True):
        for place, method in enumerate(methods):
            at = np.arange(len(found)) + (place - (len(methods) - 1) / 2) * width
            heights = [f1(row[method]["reports"][scale]) if method in row else np.nan for row in found.values()]
            theirs = [PUBLISHED.get(game, {}).get(method, np.nan) for game in found]
            axes.bar(at, heights, width, label=method)
            axes.plot(at, theirs, "k.", markersize=5, label="published, raw" if place == 0 else None)
        axes.set(ylabel=f"F1, features {scale}", ylim=(0, 1), xticks=range(len(found)))
        axes.set_xticklabels(list(found))
        axes.grid(axis="y", alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(methods) + 1, frameon=False)
    save_figure(figure, stem, compact=True)


def draw_curve(curve: Mapping[str, list[tuple[int, dict[str, float]]]], game: str, stem: Path) -> None:
    """
    F1 over the number of updates that a method was given, each a training of its own.

    :param curve: by method: updates, and F1 by scale
    :param stem: path of the PNG without its suffix
    """
    figure = new_figure(3.6 * len(SCALES), 2.8)
    for axes, scale in zip(figure.subplots(1, len(SCALES), sharey=True), SCALES, strict=True):
        for method, points in curve.items():
            axes.plot([n for n, _ in points], [values[scale] for _, values in points], "o-", markersize=3, label=method)
        for method in curve:
            if method in PUBLISHED.get(game, {}):
                axes.axhline(PUBLISHED[game][method], color="0.5", linestyle=":", label=f"{method}, published, raw")
        axes.set_xscale("symlog", linthresh=50)
        axes.set(xlabel="updates", ylim=(0, 1))
        axes.set_title(f"{game}, features {scale}", fontsize=9)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    save_figure(figure, stem, compact=True)
