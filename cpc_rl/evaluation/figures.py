"""The curves of a comparison as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cpc_rl.evaluation.comparison import ArmSummary

SUFFIXES = (".png", ".svg")
STYLES = ("-", "--", ":", "-.")
UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def write_curves(
    stem: Path, arms: Sequence[ArmSummary], title: str, *, over_time: bool, threshold: float | None = None
) -> list[Path]:
    """
    Draw each arm's interquartile mean with its interval.

    :param stem: path without a suffix; ``.png`` and ``.svg`` are written
    :param over_time: over seconds of training instead of environment steps
    :param threshold: drawn as a line
    :return: the files; none if there is nothing to draw
    :raises ValueError: matplotlib is not installed
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter
    except ImportError as error:
        raise ValueError("Drawing the curves needs matplotlib: pip install 'cpc-rl[train]'.") from error
    drawn = [arm for arm in arms if not over_time or arm.runs.seconds.size]
    if not drawn:
        return []
    longest = max(float(arm.runs.seconds[-1]) for arm in drawn) if over_time else 0.0
    scale, unit = next((pair for pair in UNITS if longest >= 2 * pair[0]), UNITS[-1])
    figure = Figure(figsize=(8.5, 4.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, arm in enumerate(drawn):
        x = arm.runs.seconds / scale if over_time else arm.runs.steps
        middle, lower, upper = arm.band_over_time if over_time else arm.band
        color, style = colour(arms.index(arm)), STYLES[index // 10 % len(STYLES)]
        count = len(arm.runs.runs)
        label = f"{arm.runs.label} ({count} seed{'s' * (count > 1)})"
        axes.plot(x, middle, color=color, linestyle=style, linewidth=1.8, label=label)
        if not np.isnan(lower).all():
            axes.fill_between(x, lower, upper, color=color, alpha=0.14 if len(drawn) < 5 else 0.07, linewidth=0)
            for edge in (lower, upper):  # bands of many arms lie over each other
                axes.plot(x, edge, color=color, alpha=0.5, linewidth=0.5)
    if threshold is not None:
        axes.axhline(threshold, color="0.5", linestyle=":", linewidth=1, label=f"threshold {threshold:.4g}")
    axes.set(title=title, ylabel="return (interquartile mean, 95% interval)")
    axes.set_xlabel(f"{unit} of training" if over_time else "environment steps")
    if not over_time:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    files = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    with matplotlib.rc_context({"svg.hashsalt": "cpc-rl", "svg.fonttype": "none"}):  # the same curves make the same file
        for file in files:
            figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files


def colour(index: int) -> str:
    """The colour of the arm at this place: plain training's is black."""
    return "black" if index == 0 else f"C{(index - 1) % 10}"
