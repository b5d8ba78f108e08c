"""Checkpoints that are written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from cpc_rl.whole_file import whole_file


def save_checkpoint(state: dict[str, Any], file: Path) -> None:
    """
    :param state: tensors, numbers and texts in dicts and lists
    :param file: where to; an existing file is replaced at once
    """
    with whole_file(file) as temporary, open(temporary, "wb") as opened:
        torch.save(state, opened)
        opened.flush()
        os.fsync(opened.fileno())


SHAPE_WINDOWS = {"objectives", "keywords", "frame_stack", "observations"}  # what the data's digest depends on


def load_checkpoint(file: Path, signature: str) -> dict[str, Any] | None:
    """
    :param signature: of the run that wants to go on
    :return: what was saved; ``None`` if there is no such file
    :raises ValueError: if it cannot be read, or another run wrote it
    """
    if not file.exists():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise ValueError(f"{file} is no checkpoint that can be read ({error}): delete it to start anew.") from error
    if not isinstance(state, dict) or not isinstance(state.get("signature"), str):
        raise ValueError(f"{file} is no checkpoint of a pre-training: choose another folder, or move it away.")
    if state["signature"] != signature:
        raise ValueError(
            f"{file} was written with other settings or other data than those of now, so that training cannot go on from it: "
            f"give the same ones, or choose another folder. {_differences(state['signature'], signature)}"
        )
    return state


def _differences(then: str, now: str) -> str:
    """What the two texts say otherwise."""
    before, after = json.loads(then), json.loads(now)
    told = []
    differ = {name for name in after if before.get(name) != after[name]}
    if differ & SHAPE_WINDOWS:
        after.pop("data", None)  # the same data would have another digest
    for name in after:
        if name not in before:
            told.append(f"{name}: an earlier version did not write it down")
        elif before[name] != after[name]:
            told.append(f"{name}: then {json.dumps(before[name])}, now {json.dumps(after[name])}")
    return "; ".join(told)
