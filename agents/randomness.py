"""The random generators of the process: put aside while something else draws from them, written to a file and read back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """State of Python's, NumPy's, torch's and each CUDA device's generator, as tensors and plain numbers only."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators where :func:`random_state` found them; CUDA's only where there are as many devices as then."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def training_seed(seed: int, timesteps: int = 0) -> int:
    """
    Seed of the first training environment; the others count up from it.

    Runs whose seeds are neighbours share no episode, one that goes on does not play its first ones again, and none plays the
    evaluations' episodes, whose seeds are below ten million.

    :param seed: the run's
    :param timesteps: agent steps after which it goes on
    """
    return 10_000_000 + int(np.random.SeedSequence([seed, timesteps]).generate_state(1)[0] % 2**30)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever the block draws, the generators go on after it as if it had not run."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def save_random_state(file: Path) -> None:
    """Write the generators' state."""
    torch.save(random_state(), file)


def load_random_state(file: Path) -> None:
    """Read it back; nothing in the file can be run as code."""
    set_random_state(torch.load(file, weights_only=True))
