"""``cpc-rl pretrain``: an encoder from recorded images."""

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cpc_rl.pretraining.loop import Pretrained, pretrain
from cpc_rl.pretraining.opening import open_dataset
from cpc_rl.pretraining.training import Training

WORDS = {"true": True, "false": False, "none": None, "null": None}


@dataclass(frozen=True, kw_only=True)
class PretrainArguments(Training):
    """Train an encoder on recorded images; under torchrun in several processes."""

    data: str
    """A Minari dataset (folder, or minari:ID), a folder of images or videos, or a replay buffer (.pkl, a pickle)."""
    out: Path
    """Folder of the run. A run that was interrupted goes on from its checkpoint."""
    objective: str = "cpc"
    """A name, or several with weights, as cpc=1,spr=2."""
    set: tuple[str, ...] = ()
    """Keywords of the objective, as horizon=3; with several objectives spr.horizon=3."""
    extractor: str = "nature"
    """nature, data_efficient, impala, drq or vit."""
    extractor_set: tuple[str, ...] = ()
    """Keywords of the extractor, as features_dim=256."""
    image_size: tuple[int, int] | None = None
    """Height and width for folders of images and videos."""
    grayscale: bool = False
    """One channel for folders of images and videos."""
    frame_stack: int = 1
    """Recorded frames in an observation, as an agent with a frame stack sees them."""
    device: str = "auto"
    """torch's name of a device."""


def run(arguments: PretrainArguments) -> None:
    """
    :raises ValueError: see :func:`cpc_rl.pretraining.pretrain`
    :raises KeyboardInterrupt: after Ctrl-C, saying where the same command goes on
    """
    try:
        done = _pretrain(arguments)
    except KeyboardInterrupt as error:
        told = str(error) or "stopped"
        raise KeyboardInterrupt(f"{told}; the same command {_next(arguments.out)}") from None
    if os.environ.get("RANK", "0") == "0":
        print(f"encoder: {done.encoder}")


def _next(out: Path) -> str:
    return f"goes on from {out / 'checkpoint.pt'}" if (out / "checkpoint.pt").exists() else "begins at the first step"


def _pretrain(arguments: PretrainArguments) -> Pretrained:
    images = {"image_size": arguments.image_size, "grayscale": arguments.grayscale}
    return pretrain(
        open_dataset(arguments.data, **{name: value for name, value in images.items() if value}),
        _objective(arguments.objective),
        arguments.extractor,
        out=arguments.out,
        frame_stack=arguments.frame_stack,
        objective_kwargs=keywords(arguments.set),
        extractor_kwargs=keywords(arguments.extractor_set),
        device=arguments.device,
        **{setting.name: getattr(arguments, setting.name) for setting in fields(Training)},
    )


def keywords(settings: Sequence[str]) -> dict[str, Any]:
    """
    ``("horizon=3", "augment=None")`` as keywords; ``"spr.horizon=3"`` goes into a dict of its own. ``true``, ``false``,
    ``none`` and ``null`` are no texts, whatever their case: as a text, ``false`` would count as true.

    :raises ValueError: if one is no NAME=VALUE, or one goes into what is no dict
    """
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise ValueError(f"A keyword is given as NAME=VALUE, such as horizon=3, but this one is {setting!r}.")
        value = _value(text)
        outer, dot, inner = name.partition(".")
        if not dot:
            found[name] = value
        elif isinstance(found.setdefault(outer, {}), dict):
            found[outer][inner] = value
        else:
            raise ValueError(f"{setting!r} is a keyword within {outer}, but {outer} is given as {found[outer]!r} before it.")
    return found


def _value(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError):  # the last: a list as a key, say
        return text


def _objective(text: str) -> Any:
    if "=" not in text and "," not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return {name: float(weight or 1) for name, _, weight in pairs}
    except ValueError as error:
        raise ValueError(f"objective is {text!r}, but several are given as cpc=1,spr=2.") from error
