"""Batches of windows from recorded episodes, read and decoded by worker processes, each batch a function of its number."""

import os
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cpc_rl.interrupts import interrupts_ignored
from cpc_rl.pretraining.episodes import DamagedError, Episodes, Segment
from cpc_rl.pretraining.starts import Starts
from cpc_rl.windows import Windows

MOST_DAMAGED = 100  # windows tried in place of one that cannot be read


class Batch(NamedTuple):
    """Windows, and what could not be read while they were made."""

    windows: Windows
    skipped: list[str]


class EpisodeBatches(Dataset):
    """
    The batches of a training, by number. Which windows a batch holds depends on the seed and the number alone, neither on
    workers nor on processes, so that a training goes on where it stopped with nothing remembered.

    :param episodes: the data
    :param batch_size: windows in a batch, over all processes
    :param horizon: frames after the first of a window
    :param per_trajectory: windows side by side from one episode, see :meth:`Starts.draw`
    :param seed: of the draws
    :param rows: the part of each batch that this process reads; all of it if ``None``
    :raises ValueError: if the data holds fewer windows than a batch
    """

    def __init__(
        self,
        episodes: Episodes,
        batch_size: int,
        horizon: int,
        per_trajectory: int = 1,
        seed: int = 0,
        rows: slice | None = None,
    ) -> None:
        self.episodes, self.batch_size, self.horizon, self.per_trajectory = episodes, batch_size, horizon, per_trajectory
        self.seed, self.rows = seed, slice(None) if rows is None else rows
        self.starts = Starts(episodes.lengths, horizon)
        self.starts.draw(batch_size, per_trajectory, np.random.default_rng(seed))  # complains at once

    def __getitem__(self, number: int) -> Batch:
        chosen = self.starts.draw(self.batch_size, self.per_trajectory, np.random.default_rng((self.seed, number)))
        skipped: list[str] = []
        windows = []
        for row in range(self.batch_size)[self.rows]:
            windows.append(self._window(number, row, int(chosen[0][row]), int(chosen[1][row]), skipped))
        return Batch(_stacked(windows), skipped)

    def _window(self, number: int, row: int, episode: int, start: int, skipped: list[str]) -> Windows:
        """The window, or if it is damaged another one, that depends on the seed, the batch and the row."""
        rng = np.random.default_rng((self.seed, number, row))
        for _ in range(MOST_DAMAGED):
            stop = min(start + self.horizon + 1, int(self.episodes.lengths[episode]))
            try:
                return _padded(self.episodes.read(episode, start, stop), episode, start, self.horizon + 1)
            except DamagedError as error:
                skipped.append(str(error))
            places = self.starts.place(rng.integers(self.starts.total, size=1))
            episode, start = int(places[0][0]), int(places[1][0])
        raise ValueError(
            f"{MOST_DAMAGED} windows one after the other could not be read, the last one because of {skipped[-1]}."
        )

    def stream(self, first: int, last: int, workers: int, pin: bool = False) -> Iterator[Batch]:
        """
        The batches ``first .. last - 1``.

        :param workers: processes that read and decode; 0: this one does. They import the script that runs, so that what it
            does must stand under ``if __name__ == "__main__":``
        :param pin: into memory that a GPU copies from faster
        :raises ValueError: if windows cannot be read
        """
        loader: Any = DataLoader(
            _Told(self),
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            pin_memory=pin,
            # Not forked: a child of a process in which OpenCV has threads waits for them for ever.
            multiprocessing_context=("forkserver" if os.name == "posix" else "spawn") if workers > 0 else None,
            worker_init_fn=_prepare if workers > 0 else None,
            generator=torch.Generator().manual_seed(self.seed),  # else the loader draws from the global one
        )
        with interrupts_ignored():  # the processes are needed until the step that Ctrl-C came in has ended
            loaded = iter(loader)
        try:
            for batch in loaded:
                if isinstance(batch, str):
                    raise ValueError(batch)
                yield batch
        except RuntimeError as error:
            if "DataLoader worker (pid" not in str(error):  # others are raised in one, and arrive here
                raise
            raise ValueError(
                f"A process that reads the data has ended ({' '.join(str(error).split())}). If the memory was used up, take "
                f"fewer workers than {workers}; 0 reads in this process."
            ) from error


class _Told(Dataset):
    """Batches, or what is wrong with one: an error that is raised in a worker arrives with its traceback as its text."""

    def __init__(self, batches: EpisodeBatches) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> Batch | str:
        try:
            return self.batches[number]
        except ValueError as error:
            return str(error)


def _prepare(worker: int) -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the server that forks was there before and hears it


def _padded(segment: Segment, episode: int, start: int, length: int) -> Windows:
    """One window as tensors without a batch dimension."""
    observations = segment.observations
    known = len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
    images: Any = (
        {key: _repeated(frames, length) for key, frames in observations.items()}
        if isinstance(observations, dict)
        else _repeated(observations, length)
    )
    actions = np.zeros((length - 1, segment.actions.shape[1]), dtype=np.float32)
    actions[: known - 1] = segment.actions
    rewards = np.zeros(length - 1, dtype=np.float32)
    rewards[: known - 1] = segment.rewards
    return Windows(
        images,
        torch.from_numpy(actions),
        torch.from_numpy(rewards),
        torch.arange(length) < known,
        torch.tensor(episode),
        torch.tensor(start),
    )


def _repeated(frames: NDArray, length: int) -> Tensor:
    """The last frame as often as it takes to make ``length`` of them."""
    missing = length - len(frames)
    return torch.from_numpy(np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]) if missing else frames)


def _stacked(windows: list[Windows]) -> Windows:
    columns: list[Any] = []
    for column in zip(*windows, strict=True):
        first: Any = column[0]
        if isinstance(first, dict):
            columns.append({key: torch.stack([entry[key] for entry in column]) for key in first})
        else:
            columns.append(torch.stack(list(column)))
    return frame_by_frame(Windows(*columns))


def frame_by_frame(windows: Windows) -> Windows:
    """The same windows, laid out so that every ``observations[:, i]`` is contiguous."""
    images = windows.observations
    if isinstance(images, dict):
        return windows._replace(observations={k: v.transpose(0, 1).contiguous().transpose(0, 1) for k, v in images.items()})
    return windows._replace(observations=images.transpose(0, 1).contiguous().transpose(0, 1))
