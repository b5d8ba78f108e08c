"""The table and the figure of the accuracies."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

LABELS = (5, 10, 0)  # per class; 0: all


def table(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Prints it. :return: accuracies of the seeds by encoder, method and number of labels"""
    print("| encoder | method | seeds | 5 labels per class | 10 | all |\n|---|---|---|---|---|---|")
    figures: dict[str, Any] = {}
    for kind, method in dict.fromkeys((row["encoder"], row["method"]) for row in rows):
        cells = []
        for labels in LABELS:
            own = [r for r in rows if (r["encoder"], r["method"], r["labels"]) == (kind, method, str(labels or "all"))]
            found = [float(r["accuracy"]) for r in own]
            figures.setdefault(kind, {}).setdefault(method, {})[str(labels or "all")] = found
            spread = f" ({min(found):.3f} to {max(found):.3f})" if len(found) > 1 else ""
            cells.append(f"{np.mean(found):.3f}{spread}")
        print(f"| {kind} | {method} | {len(found)} | {' | '.join(cells)} |")
    return figures


def draw(figures: dict[str, Any], file: Path) -> None:
    """Every seed a dot, their mean a line; the raw pixels across."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    kinds = [kind for kind in figures if kind != "none"]
    for panel, labels in zip(figure.subplots(1, len(LABELS)), LABELS, strict=True):
        names = list(dict.fromkeys(method for kind in kinds for method in figures[kind]))
        for offset, kind in enumerate(kinds):
            for method, found in figures[kind].items():
                place, values = names.index(method) + 0.3 * offset - 0.15, found[str(labels or "all")]
                panel.plot([place - 0.12, place + 0.12], [np.mean(values)] * 2, color=f"C{offset}")
                label = kind if method == next(iter(figures[kind])) else None
                panel.plot([place] * len(values), values, ".", color=f"C{offset}", label=label)
        panel.axhline(figures["none"]["raw"][str(labels or "all")][0], color="grey", linestyle=":", label="raw pixels")
        panel.set_xticks(range(len(names)), names, rotation=90)
        panel.set_title(f"{labels} labels per class" if labels else "all labels")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.supylabel("test accuracy")
    figure.savefig(file, dpi=90)
