"""Settings that a user gave, checked before anything is built: sentences instead of errors from deep inside."""

import inspect
import math
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def check_number(name: str, value: Any, *, whole: bool = False, low: float = -math.inf, above: bool = False) -> Any:
    """
    See that a setting is a finite number: whatever ``float`` takes, but no text.

    :param whole: it must be without a fraction, as ``1e4`` is
    :param low: its least value
    :param above: it must be greater than ``low``
    :return: it as a float, or as an int if ``whole``
    :raises ValueError: it is none, or too small
    """
    number = as_number(value)
    good = math.isfinite(number) and (number > low if above else number >= low) and not (whole and number % 1)
    if not good:
        limit = "" if low == -math.inf else f" above {low:g}" if above else f" of at least {low:g}"
        raise _refusal(name, value, ("a whole number" if whole else "a finite number") + limit)
    return int(value) if whole else number


def as_number(value: Any) -> float:
    """A number, or what is one (a tensor or an array of one); not a number otherwise."""
    if isinstance(value, str | bytes):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan


def check_flag(name: str, value: Any) -> None:
    """:raises ValueError: it is neither true nor false: any text, ``"false"`` too, would count as true"""
    if not isinstance(value, bool | np.bool_) and not (isinstance(value, int | np.integer) and value in (0, 1)):
        raise ValueError(f"{name} is {value!r}, but it takes True or False.")


def check_annotated(owner: str, function: Any, keywords: Mapping[str, Any]) -> None:
    """
    Hold keywords against a function's annotations, where these are ``bool``, ``int`` or ``float``, or one of them or ``None``.

    Lengths (``..._dim``) are at least 1. What equals its default passes, whatever the annotation says.

    :param owner: what the sentence names
    :raises ValueError: one is of another kind
    """
    try:
        hints = get_type_hints(function)
    except Exception:  # annotations are anybody's code, and what cannot be read is not judged
        return
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for name, value in keywords.items():
        hint = hints.get(name)
        kinds = set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}
        if value is None and (type(None) in kinds or defaults.get(name, 0) is None):
            continue
        label, kinds = f"{name} of {owner}", kinds - {type(None)}
        if kinds == {bool}:
            check_flag(label, value)
        elif kinds == {int}:
            is_length = name.endswith("_dim")
            if not isinstance(value, int | np.integer) or (is_length and value < 1):
                raise _refusal(label, value, "a whole number of at least 1" if is_length else "a whole number")
        elif kinds in ({float}, {float, int}) and math.isnan(as_number(value)):
            raise _refusal(label, value, "a number")


def _refusal(name: str, value: Any, wanted: str) -> ValueError:
    told, hint = repr(value), ""
    if isinstance(value, str):
        told += ", a text"
        hint = " (in YAML, 1e-3 is a text and 1.0e-3 a number)" if "e" in value.lower() else ""
    return ValueError(f"{name} is {told}, but it must be {wanted}{hint}.")
