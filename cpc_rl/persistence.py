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
    :param learn: when the ``learn()`` that it belongs to began, nanoseconds
    :param detach: takes away what the callback whose state it is may have left on the model
    """

    __slots__ = ("collect", "detach", "learn")  # SB3 writes the text of everything in an object's __dict__ into the zip's JSON

    def __init__(self, collect: Callable[[], dict[str, Any]], learn: float, detach: Callable[[], None]) -> None:
        self.collect, self.learn, self.detach = collect, learn, detach

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


def refuse_second(model: BaseAlgorithm) -> None:
    """
    To be asked before a callback attaches anything.

    :raises ValueError: if another one has done so in this ``learn()``
    """
    live = getattr(model, ATTRIBUTE, None)
    if isinstance(live, LiveState) and live.learn == model.start_time:
        raise ValueError(
            "This learn() has a ContrastiveCallback or an AugmentationCallback already, and two of them would add to each "
            "other's gradients and overwrite each other's state: give one ContrastiveCallback all objectives, such as "
            "ContrastiveCallback({'curl': 1, 'cpc': 1}). It drives the extractor's augmentation as well."
        )


def release_last(model: BaseAlgorithm) -> None:
    """Take away what an interrupted update of an earlier ``learn()`` left on the model, whichever callback it was."""
    live = getattr(model, ATTRIBUTE, None)
    if isinstance(live, LiveState):
        live.detach()


def store_live(model: BaseAlgorithm, collect: Callable[[], dict[str, Any]], detach: Callable[[], None]) -> None:
    """
    From now on every save of the model holds what ``collect`` gives at that time.

    :param detach: for :func:`release_last`; harmless where there is nothing to take away
    """
    setattr(model, ATTRIBUTE, LiveState(collect, model.start_time, detach))
