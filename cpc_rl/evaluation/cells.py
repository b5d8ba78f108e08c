"""Figures as a report prints them."""

import math
from collections.abc import Iterable, Sequence

from cpc_rl.evaluation.intervals import Interval


def interval_text(interval: Interval, never: str = "not reached") -> str:
    """
    ``12.3 [10, 14]``, or the figure alone where there is no interval.

    :param never: what infinity is called
    """
    if math.isnan(interval.lower):
        return number(interval.estimate, never)
    return f"{number(interval.estimate, never)} [{number(interval.lower, never)}, {number(interval.upper, never)}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown's."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def number(value: float, never: str = "not reached") -> str:
    """Three digits, or a whole number from a thousand on."""
    if math.isinf(value):
        return never
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
