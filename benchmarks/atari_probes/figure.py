"""The figure: F1 of every method on every game beside the published ones, and over the updates of one game."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.atari_probes.published import PUBLISHED
from benchmarks.atari_probes.table import f1
from cpc_rl.whole_file import whole_file

Curve = Mapping[str, list[tuple[int, dict[str, float]]]]  # by method: updates, and F1 by scale


def draw(found: Mapping[str, Mapping[str, dict[str, Any]]], scales: tuple[str, ...], file: Path) -> None:
    """
    Bars for each scale of the features, and a dot where the paper has a figure for the method.

    :param found: by game and method, what :func:`benchmarks.atari_probes.scores.scored` gives
    :param file: a PNG
    """
    methods = list(dict.fromkeys(method for row in found.values() for method in row))
    figure = Figure(figsize=(11, 2.6 * len(scales)), layout="constrained")
    for axes, scale in zip(np.atleast_1d(figure.subplots(len(scales), 1, sharex=True, sharey=True)), scales, strict=True):
        width = 0.8 / len(methods)
        for place, method in enumerate(methods):
            at = np.arange(len(found)) + (place - (len(methods) - 1) / 2) * width
            heights = [f1(row[method]["reports"][scale]) if method in row else np.nan for row in found.values()]
            theirs = [PUBLISHED.get(game, {}).get(method, np.nan) for game in found]
            axes.bar(at, heights, width, label=method)
            axes.plot(at, theirs, "k.", markersize=5, label="published" if place == 0 else None)
        axes.set_ylabel(f"F1, {scale} features")
        axes.set_ylim(0, 1)
        axes.grid(axis="y", alpha=0.3)
    axes.set_xticks(range(len(found)), list(found))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(methods) + 1, frameon=False)
    with whole_file(file) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def draw_curve(curve: Curve, game: str, scales: tuple[str, ...], file: Path) -> None:
    """
    F1 over the number of updates that a method was given, each a training of its own.

    :param file: a PNG
    """
    figure = Figure(figsize=(3.4 * len(scales), 2.8), layout="constrained")
    for axes, scale in zip(np.atleast_1d(figure.subplots(1, len(scales), sharey=True)), scales, strict=True):
        for method, points in curve.items():
            axes.plot([n for n, _ in points], [values[scale] for _, values in points], "o-", markersize=3, label=method)
        axes.set_xscale("log")
        axes.set_xlabel("updates")
        axes.set_title(f"{game}, {scale} features", fontsize=9)
        axes.grid(alpha=0.3)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    with whole_file(file) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
