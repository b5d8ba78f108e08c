"""Frames of an environment with labels, for probes and pictures."""

import os
import random
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from cpc_rl.diagnostics.label_sources import Labels, label_reader
from cpc_rl.frame_stacking import stacked

Observed = NDArray | dict[str, NDArray]
Policy = Callable[[Any], Any]


@dataclass(frozen=True)
class Recording:
    """
    ``N`` frames in the order in which they were seen.

    :ivar observations: ``(N, *obs)``, or a dict of such
    :ivar actions: taken at each frame, ``(N, D)``, as SB3's buffers store them; ``(N, 0)`` if they are not known
    :ivar episodes: which episode, ``(N,)``, int64
    :ivar labels: by name, ``(N,)`` each; integers are categorical
    """

    observations: Observed
    actions: NDArray
    episodes: NDArray[np.int64]
    labels: dict[str, NDArray]

    def save(self, file: str | os.PathLike) -> Path:
        """Write an ``.npz`` that :func:`load_recording` reads."""
        observed = self.observations if isinstance(self.observations, dict) else {"": self.observations}
        arrays: dict[str, Any] = {
            "actions": self.actions,
            "episodes": self.episodes,
            **{f"observations/{key}".rstrip("/"): value for key, value in observed.items()},
            **{f"labels/{name}": value for name, value in self.labels.items()},
        }
        with open(file, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        return Path(file)


def load_recording(file: str | os.PathLike) -> Recording:
    """
    Read an ``.npz``: ``observations`` (or ``observations/KEY`` of a Dict space), and if they are known ``episodes``,
    ``actions`` (of all frames, or of all but the last) and ``labels/NAME``. Without ``episodes`` all frames are of one.

    :raises ValueError: if it cannot be read, has no observations, or an array is not one entry for each frame
    """
    try:
        opened = np.load(file, allow_pickle=False)
        if not isinstance(opened, NpzFile):
            raise ValueError("it holds one array without a name; np.savez writes several, by their names")
        with opened:
            arrays = dict(opened)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} is not a readable .npz file of arrays: {error}.") from error
    observations: Any = arrays.get("observations")
    if observations is None:
        prefix = "observations/"
        observations = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        if not observations:
            raise ValueError(f"{file} has no 'observations', only {', '.join(arrays) or 'nothing'}.")
    first = next(iter(observations.values())) if isinstance(observations, dict) else observations
    count = len(np.atleast_1d(first))
    if "actions" in arrays and len(np.atleast_1d(arrays["actions"])) == count - 1:
        arrays["actions"] = np.concatenate([arrays["actions"], np.zeros_like(arrays["actions"][:1])])  # nothing follows it
    for key, value in arrays.items():
        if value.shape[:1] != (count,) and key.partition("/")[0] in ("observations", "episodes", "actions", "labels"):
            raise ValueError(
                f"'{key}' in {file} has the shape {value.shape}, but there are {count} frames: it must hold one each."
            )
    labels = {key.removeprefix("labels/"): value for key, value in arrays.items() if key.startswith("labels/")}
    episodes = arrays.get("episodes", np.zeros(count, np.int64))
    actions = arrays.get("actions", np.zeros((count, 0)))
    return Recording(observations, actions[:, None] if actions.ndim == 1 else actions, episodes, labels)


def record(
    env: gym.Env, frames: int, *, labels: Sequence[str] = (), policy: Policy | None = None, stack: int = 1, seed: int = 0
) -> Recording:
    """
    Play and keep what is seen. Nothing is drawn from the process's global generators.

    :param env: any environment; it is left open
    :param frames: how many to keep
    :param labels: sources as in :func:`cpc_rl.diagnostics.label_sources.label_reader`
    :param policy: from an observation to an action; uniformly random actions if ``None``
    :param stack: frames in a stack, along the channels, newest last, zeros before an episode's first (as SB3's
        ``VecFrameStack`` has them). The environment's images are then channel-last, and no Dict
    :param seed: of the environment and of the random actions
    :raises ValueError: if a step's ``info`` has not got a key that is asked for
    """
    read = label_reader(env, labels) if labels else None
    seen: list[Any] = []
    actions: list[Any] = []
    episodes: list[int] = []
    found: list[Labels] = []
    with untouched_randomness():
        env.action_space.seed(seed)
        number, fresh = 0, True
        observation, info = env.reset(seed=seed)
        observation = stacked(None, observation, stack)
        while len(seen) < frames:
            action = env.action_space.sample() if policy is None else policy(observation)
            now = read(info) if read else {}
            if now is not None:
                seen.append(_copied(observation))
                actions.append(np.asarray(action, np.float32 if isinstance(env.action_space, spaces.Box) else None).ravel())
                episodes.append(number)
                found.append(now)
            elif not fresh:
                raise ValueError(f"The environment's info has no entry for one of {list(labels)}; it has {sorted(info)}.")
            next_observation, _, terminated, truncated, info = env.step(action)
            observation, fresh = stacked(observation, next_observation, stack), False
            if terminated or truncated:
                number, fresh = number + 1, True
                observation, info = env.reset()
                observation = stacked(None, observation, stack)
    names = list(found[0]) if found else []
    return Recording(
        {key: np.stack([o[key] for o in seen]) for key in seen[0]} if isinstance(seen[0], dict) else np.stack(seen),
        np.stack(actions),
        np.array(episodes),
        {name: np.array([frame[name] for frame in found]) for name in names},
    )


def _copied(observation: Any) -> Any:
    return (
        {key: np.array(value) for key, value in observation.items()}
        if isinstance(observation, dict)
        else np.array(observation)
    )


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """After this block the global generators of Python, NumPy and PyTorch are as they were before it."""
    python, numpy_state = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
