"""Heads travel in the model's own zip, as bytes that a process without this package can load and save again."""

import io
from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

ATTRIBUTE = "_cpc_rl_state"


class LiveState:
    """
    Stands in the model's ``__dict__`` and is pickled as what it collects at that moment, as builtin ``bytes``.

    :param collect: gives the state as nested dicts of tensors and plain numbers
    """

    __slots__ = ("collect",)  # SB3 writes the text of everything in an object's __dict__ into the zip's JSON

    def __init__(self, collect: Callable[[], dict[str, Any]]) -> None:
        self.collect = collect

    def __bytes__(self) -> bytes:
        stream = io.BytesIO()
        torch.save(self.collect(), stream)
        return stream.getvalue()

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (bytes(self),)


def stored_state(model: BaseAlgorithm) -> dict[str, Any] | None:
    """
    What a callback left in this model, in this process or before it was saved; ``None`` if nothing.

    :raises ValueError: if it is damaged
    """
    stored = getattr(model, ATTRIBUTE, None)
    if stored is None:
        return None
    try:
        return torch.load(io.BytesIO(bytes(stored)), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"The state of the heads in this model is damaged and cannot be read: {error}") from error


def store_live(model: BaseAlgorithm, collect: Callable[[], dict[str, Any]]) -> None:
    """From now on every save of the model holds what ``collect`` gives at that time."""
    setattr(model, ATTRIBUTE, LiveState(collect))
