"""Texts of objects that are the same in another process, where ``repr`` tells where they lie in memory."""

import functools
import re
from collections.abc import Mapping
from typing import Any

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def stable_text(thing: Any, within: tuple[Any, ...] = ()) -> str:
    """
    ``repr`` where it holds no address. Otherwise functions and methods by module and name, other objects by their class and
    what they hold.

    :param within: the objects that this one was found in
    """
    text = repr(thing)
    if not ADDRESS.search(text):
        return text
    if any(thing is outer for outer in within):
        return "..."
    parts = functools.partial(stable_text, within=(*within, thing))
    name = _name(type(thing))
    if isinstance(thing, functools.partial):
        return f"{name}({parts(thing.func)}, {parts(thing.args)}, {parts(thing.keywords)})"
    if isinstance(thing, Mapping):
        return f"{name}({', '.join(f'{parts(key)}: {parts(value)}' for key, value in thing.items())})"
    if isinstance(thing, list | tuple):
        return f"{name}({', '.join(map(parts, thing))})"
    if isinstance(thing, set | frozenset):  # which come in any order
        return f"{name}({', '.join(sorted(map(parts, thing)))})"
    owner = getattr(thing, "__self__", None)
    if callable(thing) and hasattr(thing, "__qualname__"):
        is_method = owner is not None and not isinstance(owner, type)
        return f"{parts(owner)}.{thing.__name__}" if is_method else _name(thing)
    if hasattr(thing, "__dict__"):
        return f"{name}({', '.join(f'{key}={parts(value)}' for key, value in vars(thing).items())})"
    return ADDRESS.sub("", text)


def _name(thing: Any) -> str:
    module = getattr(thing, "__module__", None)  # None for some built-in ones
    return f"{module}.{thing.__qualname__}" if module else thing.__qualname__
