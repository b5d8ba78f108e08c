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


def span_text(low: float, high: float) -> str:
    """``1,000``, or ``1,000 to 5,000``; whole numbers."""
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown's."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def number(value: float, never: str = "not reached") -> str:
    """Three digits, or a whole number from a thousand on."""
    return never if math.isinf(value) else digits(value, 3)


def digits(value: float, count: int = 4, sign: str = "") -> str:
    """
    So many digits, or the whole number that has more.

    :param sign: ``+`` to show it always
    """
    return f"{value:{sign},.0f}" if abs(value) >= 10**count - 0.5 else f"{value:{sign}.{count}g}"
