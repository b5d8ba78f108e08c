"""Where the labels of a probe come from: an environment's ``info``, its attributes, or Atari's RAM."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from cpc_rl.diagnostics.atari_ram import ram_labels, ram_variables

Labels = dict[str, int | float]
Reader = Callable[[Mapping[str, Any]], Labels | None]


def label_reader(env: gym.Env, sources: Sequence[str]) -> Reader:
    """
    A function from a step's ``info`` to the labels of the frame that came with it.

    Integers and booleans become categorical labels, floating-point numbers continuous ones.

    :param env: whose state is read, as it is when the function is called
    :param sources: any of

        - ``"ram"``: the variables of AtariARI, of an ``ale-py`` environment
        - ``"info:KEY"``: a number or an array of numbers in ``info``
        - ``"attr:PATH"``: the same in an attribute of ``env.unwrapped``, such as ``"attr:state"`` of Gymnasium's classic
          control or ``"attr:car.hull.position"`` of CarRacing

        ``"info:KEY=a,b,c"`` and ``"attr:PATH=a,b,c"`` name the entries; otherwise they are numbered. ``_`` drops one.
    :return: a function that gives ``None`` where a reset's ``info`` has not got a key
    :raises ValueError: if a source is none of these, or the environment has no RAM that is known
    """
    readers = [_reader(env, source) for source in sources]
    if not readers:
        raise ValueError("A probe needs labels: name at least one of 'ram', 'info:KEY' and 'attr:PATH'.")

    def read(info: Mapping[str, Any]) -> Labels | None:
        labels: Labels = {}
        for reader in readers:
            found = reader(info)
            if found is None:
                return None
            labels.update(found)
        return labels

    return read


def _reader(env: gym.Env, source: str) -> Reader:
    if source == "ram":
        ale = getattr(env.unwrapped, "ale", None)
        kwargs = getattr(env.unwrapped.spec, "kwargs", {})
        if ale is None or "game" not in kwargs:
            raise ValueError("Labels from RAM ('ram') need an Atari environment of ale-py, and this is none.")
        variables = ram_variables(kwargs["game"])
        return lambda info: ram_labels(ale.getRAM(), variables)  # type: ignore[return-value]
    kind, _, place = source.partition(":")
    path, _, given = place.partition("=")
    names = given.split(",") if given else None
    if kind == "info" and path:
        return lambda info: _numbers(info[path], path, names, source) if path in info else None
    if kind == "attr" and path:

        def read(info: Mapping[str, Any]) -> Labels:
            value: Any = env.unwrapped
            for name in path.split("."):
                if not hasattr(value, name):
                    raise ValueError(f"{source!r}: {type(value).__name__} has no attribute {name!r}.")
                value = getattr(value, name)
            return _numbers(value, path.rpartition(".")[2], names, source)

        return read
    raise ValueError(f"There are no labels {source!r}: write 'ram', 'info:KEY' or 'attr:PATH'.")


def _numbers(value: Any, name: str, names: list[str] | None, source: str) -> Labels:
    """One or several numbers, by name."""
    # Box2D's vectors are iterable but no sequences, so that NumPy would not look inside.
    array = np.asarray(list(value) if hasattr(value, "__iter__") and not isinstance(value, str | np.ndarray) else value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{source!r} gives {value!r}, which is neither a number nor an array of numbers.")
    flat = array.ravel().tolist()
    if names is None:
        names = [name] if array.ndim == 0 else [f"{name}_{i}" for i in range(len(flat))]
    if len(names) != len(flat):
        raise ValueError(f"{source!r} names {len(names)} entries, but there are {len(flat)}.")
    flat = [float(x) if array.dtype.kind == "f" else int(x) for x in flat]
    return {key: number for key, number in zip(names, flat, strict=True) if key != "_"}
