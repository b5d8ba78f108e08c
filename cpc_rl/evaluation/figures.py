"""The curves of a comparison as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cpc_rl.evaluation.cells import digits
from cpc_rl.evaluation.comparison import ArmSummary

SUFFIXES = (".png", ".svg")
COMPACT_DPI = 80
STYLES = ("-", "--", ":", "-.")
UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def write_curves(
    stem: Path,
    arms: Sequence[ArmSummary],
    title: str,
    *,
    over_time: bool,
    compact: bool = False,
) -> list[Path]:
    """
    Draw each arm's interquartile mean with its interval, and its algorithm's threshold as a line.

    :param stem: path without a suffix
    :param over_time: over seconds of training instead of agent steps
    :param compact: see :func:`save_figure`
    :return: the files; none if there is nothing to draw
    :raises ValueError: matplotlib is not installed
    """
    drawn = [arm for arm in arms if not over_time or arm.runs.seconds.size]
    if not drawn:
        return []
    longest = max(float(arm.runs.seconds[-1]) for arm in drawn) if over_time else 0.0
    scale, unit = next((pair for pair in UNITS if longest >= 2 * pair[0]), UNITS[-1])
    figure = new_figure(8.5, 4.5)
    axes = figure.add_subplot()
    for arm in drawn:
        x = arm.runs.seconds / scale if over_time else arm.runs.steps
        count = len(arm.runs.runs)
        label = f"{arm.runs.label} ({count} seed{'s' * (count > 1)})"
        draw_band(axes, x, arm.band_over_time if over_time else arm.band, arms.index(arm), label, faint=len(drawn) > 4)
    for threshold in dict.fromkeys(arm.threshold for arm in drawn if arm.threshold is not None):
        axes.axhline(threshold, color="0.5", linestyle=":", linewidth=1, label=f"threshold {digits(threshold)}")
    axes.set(title=title, ylabel="return (interquartile mean, 95% interval)")
    axes.set_xlabel(f"{unit} of training" if over_time else "agent steps")
    if not over_time:
        count_in_thousands(axes)
    tidy(axes)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return save_figure(figure, stem, compact)


def new_figure(width: float, height: float) -> Any:
    """
    A matplotlib figure that no window and no global state knows of.

    :param width: in inches
    :param height: in inches
    :raises ValueError: matplotlib is not installed
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("Drawing the curves needs matplotlib: pip install -e '.[train]'.") from error
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, stem: Path, compact: bool = False) -> list[Path]:
    """
    Write a figure as PNG and SVG.

    :param stem: path without a suffix
    :param compact: a PNG of a third of the bytes alone, to be committed: fewer pixels, and 256 colours
    :return: the files; the same figure makes the same ones
    """
    import matplotlib

    files = [stem.with_name(stem.name + suffix) for suffix in (SUFFIXES[:1] if compact else SUFFIXES)]
    with matplotlib.rc_context({"svg.hashsalt": "cpc-rl", "svg.fonttype": "none"}):
        for file in files:
            metadata = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(file, metadata=metadata, dpi=COMPACT_DPI if compact else figure.dpi)
    if compact:
        with Image.open(files[0]) as image:
            reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        reduced.save(files[0], optimize=True)
    return files


def draw_band(axes: Any, x: np.ndarray, band: np.ndarray, index: int, label: str, *, faint: bool) -> None:
    """
    A curve with its interval.

    :param band: (3, num_points) middle, lower and upper
    :param index: the arm's place among all, which gives colour and style
    :param faint: for bands of many arms, which lie over each other
    """
    middle, lower, upper = band
    color = colour(index)
    axes.plot(x, middle, color=color, linestyle=line_style(index), linewidth=1.8, label=label)
    if not np.isnan(lower).all():
        axes.fill_between(x, lower, upper, color=color, alpha=0.07 if faint else 0.14, linewidth=0)
        for edge in (lower, upper):
            axes.plot(x, edge, color=color, alpha=0.5, linewidth=0.5)


def tidy(axes: Any) -> None:
    """A faint grid, and no frame above and on the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def count_in_thousands(axes: Any) -> None:
    """``60k`` for 60000 on the horizontal axis."""
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def line_style(index: int) -> str:
    """The line of the arm at this place: after eleven arms the colours begin again."""
    return STYLES[max(0, index - 1) // 10 % len(STYLES)]


def colour(index: int) -> str:
    """The colour of the arm at this place: plain training's is black."""
    return "black" if index == 0 else f"C{(index - 1) % 10}"
