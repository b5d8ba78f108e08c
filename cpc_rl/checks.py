"""Settings that a user gave, checked before anything is built: sentences instead of errors from deep inside."""

import math
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def check_number(name: str, value: Any, *, whole: bool = False, low: float = -math.inf, above: bool = False) -> None:
    """
    See that a setting is a finite number.

    :param whole: it must be an integer
    :param low: its least value
    :param above: it must be greater than ``low``
    :raises ValueError: it is none, or too small
    """
    kind = "a whole number" if whole else "a finite number"
    limit = "" if low == -math.inf else f" above {low:g}" if above else f" of at least {low:g}"
    numeric = isinstance(value, int | np.integer if whole else int | float | np.integer | np.floating)
    good = numeric and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < low or (above and value == low):
        said = f"{value!r}, a text" if isinstance(value, str) else repr(value)
        hint = " (in YAML, 1e-3 is a text and 1.0e-3 a number)" if isinstance(value, str) and "e" in value else ""
        raise ValueError(f"{name} is {said}, but it must be {kind}{limit}{hint}.")


def check_flag(name: str, value: Any) -> None:
    """:raises ValueError: it is neither ``True`` nor ``False``: any text, ``"false"`` too, would count as true"""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {value!r}, but it takes True or False.")


def check_annotated(owner: str, function: Any, keywords: Mapping[str, Any]) -> None:
    """
    Hold keywords against a function's annotations, where these are ``bool``, ``int``, ``float`` or one of them or ``None``.

    Lengths (``..._dim``) are at least 1.

    :param owner: what the sentence names
    :raises ValueError: one is of another kind
    """
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):  # annotations that are no types here are not ours to judge
        return
    for name, value in keywords.items():
        hint = hints.get(name)
        kinds = set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}
        if not kinds <= {bool, int, float, type(None)} or (value is None and type(None) in kinds):
            continue
        label = f"{name} of {owner}"
        if bool in kinds:
            check_flag(label, value)
        elif float in kinds:
            check_number(label, value)
        elif int in kinds:
            check_number(label, value, whole=True, low=1 if name.endswith("_dim") else -math.inf)
