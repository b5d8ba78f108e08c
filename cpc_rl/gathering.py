"""Fetching the frames, actions and rewards of drawn windows out of a buffer's arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from cpc_rl.frame_store import FrameStacks
from cpc_rl.trajectories import Draw, TrajectoryRing
from cpc_rl.windows import Windows, encode_actions

Array = NDArray | FrameStacks
Arrays = Array | Mapping[str, Array]
"""``(slots, envs, *obs)``, or one such array for every key of a Dict space."""
Normalize = Callable[[Any], Any]


def check_array(array: object, leading: tuple[int, ...], shape: tuple[int, ...], what: str) -> None:
    """:raises ValueError: if ``array`` is not an array of shape ``(slots, envs, *shape)``, or stacks that read like one."""
    wanted = (*leading, *shape)
    found = type(array).__name__
    if isinstance(array, np.ndarray | FrameStacks):
        if array.shape == wanted:
            return
        found = f"an array of shape {array.shape}"
    raise ValueError(
        f"The buffer's {what} should be a NumPy array of shape {wanted} (slots, environments, ...), but it is {found}: "
        "temporal windows can only be taken from buffers that store their data as Stable-Baselines3's own do."
    )


def check_observations(arrays: object, leading: tuple[int, ...], shape: Any, what: str) -> None:
    """As :func:`check_array`, for one array or a dict of them. ``shape`` is a tuple, or a dict of tuples."""
    if not isinstance(shape, Mapping):
        check_array(arrays, leading, shape, what)
        return
    if not isinstance(arrays, Mapping) or set(arrays) != set(shape):
        raise ValueError(f"The buffer's {what} should be a dict with the keys {sorted(shape)}, but they are not.")
    for key, entry_shape in shape.items():
        check_array(arrays[key], leading, entry_shape, f"{what}[{key!r}]")


def check_request(
    batch_size: int, horizon: int, observations: Arrays, keys: tuple[str, ...] | None, per_trajectory: int = 1
) -> None:
    """:raises ValueError: if no window can answer the request."""
    if batch_size < 1 or horizon < 0:
        raise ValueError(f"batch_size must be at least 1 and horizon at least 0, but they are {batch_size} and {horizon}.")
    if per_trajectory < 1:
        raise ValueError(f"per_trajectory must be at least 1 window, but it is {per_trajectory}.")
    if keys is None:
        return
    if not isinstance(observations, Mapping):
        raise ValueError(f"The keys {keys} were asked for, but the observations are no Dict: leave keys out.")
    if not keys or not set(keys) <= set(observations):
        raise ValueError(f"The keys {keys} were asked for, but the observations have {tuple(observations)}.")


def gather_windows(
    ring: TrajectoryRing,
    draw: Draw,
    first: Arrays,
    later: Arrays | None,
    actions: NDArray,
    rewards: NDArray,
    action_space: spaces.Space,
    scaled: bool,
    device: torch.device | str,
    keys: tuple[str, ...] | None,
    normalize: Normalize | None = None,
    only: Sequence[int] | None = None,
) -> Windows:
    """
    :param first: Observations; holds frame 0 of a window.
    :param later: Next observations, whose slot ``t + i - 1`` holds frame i >= 1. None: ``first`` holds it, at slot ``t + i``.
    :param normalize: Applied to a batch of frames. It sees whole observations, also where only some ``keys`` are wanted.
    :param only: Fill in these frames of the observations alone; what the others hold means nothing. With none at all a tensor
        ``(B, L, 0)`` stands in their place.
    """
    transitions = draw.transition_rows()
    slots, envs = np.divmod(transitions, ring.episode.shape[1])
    real = draw.mask[:, 1:]
    encoded = encode_actions(actions[slots, envs], action_space, scaled) * real[..., None]
    return Windows(
        torch.empty(*draw.mask.shape, 0, device=device)
        if only is not None and not only
        else _frames(draw, first, later, device, keys, normalize, only),
        _tensor(encoded, device),
        _tensor(np.where(real, rewards[slots, envs], 0).astype(np.float32), device),
        _tensor(draw.mask, device),
        _tensor(ring.episode[draw.start, draw.env], device),
        _tensor(ring.step[draw.start, draw.env], device),
    )


def _frames(
    draw: Draw,
    first: Arrays,
    later: Arrays | None,
    device: torch.device | str,
    keys: tuple[str, ...] | None,
    normalize: Normalize | None,
    only: Sequence[int] | None,
) -> Tensor | dict[str, Tensor]:
    """The observations of the windows, ``(B, L, *obs)``."""
    rows = draw.frame_rows()
    wanted_frames = range(len(rows)) if only is None or normalize is not None else only
    if isinstance(first, Mapping):
        wanted = tuple(first) if keys is None or normalize is not None else keys
        assert later is None or isinstance(later, Mapping)
        frames: Any = {key: _gather(first[key], None if later is None else later[key], rows, wanted_frames) for key in wanted}
    else:
        assert not isinstance(later, Mapping)
        frames = _gather(first, later, rows, wanted_frames)
    if normalize is not None:
        frames = normalize(frames)
    if isinstance(frames, dict):
        return {key: _window_major(frames[key], device) for key in (keys or tuple(frames))}
    return _window_major(frames, device)


def _gather(first: Array, later: Array | None, rows: NDArray, wanted: Sequence[int]) -> NDArray:
    """
    :param wanted: The frames that are filled in.
    :return: ``(L, B, *obs)``: with time first, each source fills one block of memory, so that no frame is copied twice.
    """
    frames = np.empty((*rows.shape, *first.shape[2:]), dtype=first.dtype)
    n_envs = first.shape[1]
    for block in _blocks(wanted):
        if later is None:
            _take(first, rows[block], frames[block])
            continue
        if block.start == 0:
            _take(first, rows[0], frames[0])
            block = slice(1, block.stop)
        if block.start < block.stop:
            # Frame i is the next observation of the slot before
            _take(later, (rows[block] - n_envs) % (len(first) * n_envs), frames[block])
    return frames


def _blocks(wanted: Sequence[int]) -> list[slice]:
    """Runs of consecutive numbers."""
    blocks: list[slice] = []
    for i in wanted:
        if blocks and blocks[-1].stop == i:
            blocks[-1] = slice(blocks[-1].start, i + 1)
        else:
            blocks.append(slice(i, i + 1))
    return blocks


def _take(array: Array, rows: NDArray, out: NDArray) -> None:
    n_rows = array.shape[0] * array.shape[1]
    if isinstance(array, FrameStacks):
        array.take(rows, out)
    elif array.flags.c_contiguous:
        # With mode="raise" NumPy would write to a buffer first, and copy that
        np.take(array.reshape(n_rows, *array.shape[2:]), rows, axis=0, out=out, mode="clip")
    else:
        out[...] = array[rows // array.shape[1], rows % array.shape[1]]


def _window_major(frames: NDArray, device: torch.device | str) -> Tensor:
    return _tensor(frames, device).transpose(0, 1)


def _tensor(array: NDArray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
