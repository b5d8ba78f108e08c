"""
Checkpoints: everything a run needs to go on as if it had not stopped, but for the episodes that were under way and the draws
of random actions, which are new ones.
"""

import json
import os
import shutil
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms import find_algorithm
from agents.errors import UserError
from agents.files import WRITING, flush_to_disk, remove_folder
from agents.randomness import load_random_state, save_random_state

KEPT = 2
MODEL, BUFFER, RANDOM, STATE = "model.zip", "replay_buffer.pkl", "random.pt", "state.json"


@dataclass
class Progress:
    """What a checkpoint knows of its run, besides the model."""

    timesteps: int = 0
    wall_seconds: float = 0.0  # spent on training, evaluations and checkpoints left out
    log_lengths: dict[str, int] = field(default_factory=dict)  # bytes of evaluations.csv and of each event file
    pending: dict[str, float] = field(default_factory=dict)  # recorded by the logger, not yet dumped


def save_checkpoint(folder: Path, model: BaseAlgorithm, progress: Progress) -> Path:
    """
    Write a checkpoint under a temporary name, rename it, and remove all but the newest two.

    Stable-Baselines3's own formats hold the model (the heads ride inside) and the replay buffer: both are pickles in part, so
    read only those that you trust.

    :param folder: the run's ``checkpoints``
    :return: the checkpoint
    """
    checkpoint = folder / f"step-{progress.timesteps:012d}"
    temporary = folder / f"{WRITING}{checkpoint.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save(temporary / MODEL)
    if isinstance(model, OffPolicyAlgorithm):
        model.save_replay_buffer(temporary / BUFFER)
    save_random_state(temporary / RANDOM)
    contents = {file.name: [file.stat().st_size, _checksum(file)] for file in temporary.iterdir()}
    (temporary / STATE).write_text(json.dumps({**asdict(progress), "contents": contents}, indent=1), encoding="utf-8")
    for file in temporary.iterdir():
        flush_to_disk(file)
    if checkpoint.exists():
        remove_folder(checkpoint)
    os.replace(temporary, checkpoint)
    flush_to_disk(folder)
    for old in list_checkpoints(folder)[:-KEPT]:
        remove_folder(old)
    return checkpoint


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a run's ``checkpoints``, oldest first."""
    return sorted(item for item in folder.glob("step-*") if item.is_dir())


def read_progress(checkpoint: Path) -> Progress:
    """
    What a checkpoint says of itself, once all of it was found to be as it was written.

    :raises UserError: a part is missing, cut short or altered
    """
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        contents = state.pop("contents")
        progress = Progress(**state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(checkpoint, f"{STATE} cannot be read ({error})") from None
    for name, (size, checksum) in contents.items():
        file = checkpoint / name
        if not file.is_file() or file.stat().st_size != size:
            found = f"{file.stat().st_size} bytes long" if file.is_file() else "missing"
            raise _damaged(checkpoint, f"{name} is {found} and should have {size} bytes")
        if _checksum(file) != checksum:
            raise _damaged(checkpoint, f"{name} is not as it was written")
    return progress


def load_model(checkpoint: Path, algorithm: str, vec_env: VecEnv, device: str) -> BaseAlgorithm:
    """
    The model of a checkpoint, its replay buffer included.

    :param algorithm: the algorithm's name
    :param vec_env: what it goes on training in
    :raises UserError: the files cannot be read by the installed versions
    """
    try:
        model = find_algorithm(algorithm).load(checkpoint / MODEL, env=vec_env, device=device)
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(checkpoint / BUFFER)
            _cut_episodes(model.replay_buffer)
    except (OSError, ValueError, KeyError, AttributeError, ImportError, AssertionError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(checkpoint, f"the model cannot be loaded ({' '.join(str(error).split())})") from error
    return model


def _cut_episodes(buffer: Any) -> None:
    """
    Episodes begin anew after a checkpoint: returns of several steps must not go on from the newest transitions into others.
    A timeout without an end changes nothing else.
    """
    if buffer.size() > 0 and hasattr(buffer, "timeouts"):
        newest = (buffer.pos - 1) % buffer.buffer_size
        buffer.timeouts[newest] = np.maximum(buffer.timeouts[newest], buffer.dones[newest] == 0)


def restore_randomness(checkpoint: Path) -> None:
    """Put the process's generators where they were; to be done last, for building models draws from them."""
    load_random_state(checkpoint / RANDOM)


def _damaged(checkpoint: Path, what: str) -> UserError:
    return UserError(
        f"The checkpoint {checkpoint} is damaged: {what}; remove it to go on from the one before, or use --overwrite."
    )


def _checksum(file: Path) -> int:
    checksum = 0
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum
