"""Models of Stable-Baselines3 and sb3-contrib, read from their zips by the names of their algorithms."""

import os
from importlib import import_module
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """
    :param name: of the class in any case, such as ``ppo``; those of sb3-contrib are known where it is installed
    :raises ValueError: if there is no such algorithm
    """
    packages = [stable_baselines3]
    try:
        packages.append(import_module("sb3_contrib"))
    except ImportError:
        pass
    known = {key.lower(): value for package in packages for key, value in vars(package).items() if _is_algorithm(value)}
    if name.lower() not in known:
        there = ", ".join(sorted(cls.__name__ for cls in known.values()))
        raise ValueError(f"There is no algorithm {name!r}; there are {there}.")
    return known[name.lower()]


def load_algorithm(cls: type[BaseAlgorithm], file: str | os.PathLike, device: torch.device | str = "auto") -> BaseAlgorithm:
    """
    A model without an environment. Its zip is a pickle in part: load none that you do not trust.

    :param cls: that saved it, as a zip does not tell
    :param file: the zip
    :param device: that it is loaded to, as SB3 names it
    :raises ValueError: if the file cannot be read, or is no model of this class
    """
    try:
        return cls.load(os.fspath(file), device=device)
    except OSError as error:
        raise ValueError(f"{os.fspath(file)} cannot be read: {error}.") from error
    except Exception as error:  # whatever another algorithm's settings, or a zip of something else, lead to
        told = str(error).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{os.fspath(file)} cannot be read as a model of {cls.__name__} ({told}): it must be a zip that "
            f"{cls.__name__}.save wrote. If it is another algorithm's, name that one (--algo)."
        ) from error


def _is_algorithm(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseAlgorithm)
