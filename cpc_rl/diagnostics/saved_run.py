"""A finished run, read from its folder: the model and its encoder."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm

from cpc_rl.diagnostics.features import encoder_of
from cpc_rl.diagnostics.saved_encoder import read_encoder
from cpc_rl.encoder import Encoder
from cpc_rl.encoding import load_encoder
from cpc_rl.saved_model import algorithm_class, load_algorithm


class Subject(NamedTuple):
    """What is looked at."""

    encoder: Encoder
    model: BaseAlgorithm | None
    """``None`` where there is an encoder only."""


def load_subject(path: str | os.PathLike, algorithm: str | None = None, encoder: str | os.PathLike | None = None) -> Subject:
    """
    The encoder of a run, with its model if there is one.

    :param path: a run's folder or model as for :func:`load_model`, or a folder with ``encoder.safetensors`` or such a file
    :param algorithm: see :func:`load_model`
    :param encoder: see :func:`load_model`
    :raises ValueError: if there is neither, or it cannot be read
    """
    place = Path(path)
    file = place / "encoder.safetensors" if place.is_dir() else place
    if file.suffix == ".safetensors" and file.is_file() and not (place.is_dir() and _model_files(place)):
        return Subject(read_encoder(file), None)
    model = load_model(place, algorithm, encoder)
    return Subject(encoder_of(model), model)


def load_model(
    path: str | os.PathLike, algorithm: str | None = None, encoder: str | os.PathLike | None = None
) -> BaseAlgorithm:
    """
    The model of a run, on a GPU if there is one, without an environment.

    :param path: a run's folder with ``model.zip`` (or, while it trains, ``checkpoints/*/model.zip``), or the file itself
    :param algorithm: such as ``"PPO"``, in any case; found in ``config.yaml`` beside the model if ``None``
    :param encoder: a file of :func:`cpc_rl.save_encoder`, whose weights replace the model's
    :raises ValueError: if there is no model, nobody knows its algorithm, or it is none of that algorithm
    """
    file = _model_file(Path(path))
    name = algorithm or _algorithm(file)
    if name is None:
        raise ValueError(
            f"Which algorithm {file} is of is not known, for there is no config.yaml beside it: name it (--algo PPO)."
        )
    model = load_algorithm(algorithm_class(name), file)
    if encoder is not None:
        load_encoder(model, encoder)
    return model


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.yaml`` says of the run; empty if there is none."""
    file = folder / "config.yaml"
    if not file.is_file():
        return {}
    try:
        import yaml
    except ImportError as error:
        raise ValueError(f"Reading {file} needs PyYAML: pip install -e '.[train]'.") from error
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    run = content.get("run") if isinstance(content, dict) else None
    return run if isinstance(run, dict) else {}


def _model_file(path: Path) -> Path:
    if path.is_file():
        return path
    if files := _model_files(path):
        return files[0]
    raise ValueError(f"There is no model in {path}: a run's folder holds model.zip, or checkpoints/*/model.zip.")


def _model_files(folder: Path) -> list[Path]:
    """The final one, then those of the checkpoints, newest first."""
    found = [folder / "model.zip", *sorted(folder.glob("checkpoints/*/model.zip"), key=_number, reverse=True)]
    return [file for file in found if file.is_file()]


def _number(file: Path) -> int:
    return int((re.findall(r"\d+", file.parent.name) or ["0"])[-1])


def _algorithm(file: Path) -> str | None:
    for folder in file.parents[:3]:
        recipe = read_config(folder).get("recipe")
        if isinstance(recipe, dict) and recipe.get("algorithm"):
            return str(recipe["algorithm"])
    return None
