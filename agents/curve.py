"""The learning curve of one run, as an image."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from agents.files import whole_file


def write_curve(file: Path, rows: list[dict[str, float]], title: str, final_return: float | None = None) -> None:
    """
    Draw mean and standard deviation of the evaluations over agent steps.

    :param file: ends in ``.png``
    :param rows: of ``evaluations.csv``
    :param title: what was trained
    :param final_return: mean return of the last evaluation, on episodes of its own
    """
    steps, mean, std = (np.array([row[name] for row in rows]) for name in ("timesteps", "mean_return", "std_return"))
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, mean, marker="o", markersize=3, color="tab:blue", label="mean of the evaluation's episodes")
    axes.fill_between(steps, mean - std, mean + std, color="tab:blue", alpha=0.2, linewidth=0, label="± standard deviation")
    if final_return is not None:
        axes.axhline(
            final_return,
            color="tab:green",
            linestyle="--",
            linewidth=1,
            label=f"unseen episodes at the end: {final_return:.0f}",
        )
    axes.set(title=title, xlabel="agent steps", ylabel="return")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with whole_file(file) as temporary:
        figure.savefig(temporary)
