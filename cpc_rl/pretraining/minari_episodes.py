"""Minari datasets: the recorded episodes of the Farama Foundation's format, read frame by frame."""

import io
import json
import math
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image

from cpc_rl.pretraining.episodes import ChannelsFirst, DamagedError, Episodes, Segment
from cpc_rl.windows import action_layout, encode_actions

NEEDED = ("observations", "actions", "rewards")


class MinariEpisodes(Episodes):
    """
    The episodes of one Minari dataset in its HDF5 format. Entries of a Dict observation that are no images are not read.

    :param folder: that holds ``data/metadata.json``, or the ``data`` folder itself
    :raises ValueError: if it is no Minari dataset that can be read, or it has no images
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        try:
            import h5py
            from minari.dataset.minari_storage import MinariStorage, is_image_space
        except ImportError as error:
            raise ValueError(
                f"Reading a Minari dataset needs the package {error.name}: pip install -e '.[pretrain]'."
            ) from error
        folder = Path(folder)
        data = folder / "data" if (folder / "data" / "metadata.json").exists() else folder
        self.file = data / "main_data.hdf5"
        if (read_metadata(data) or {}).get("data_format", "hdf5") != "hdf5":
            raise ValueError(f"{folder} is a Minari dataset in another format than HDF5, the one that is read here.")
        try:
            storage: Any = MinariStorage.read(data)
        except (ValueError, KeyError, AssertionError, OSError, ImportError, gymnasium.error.Error) as error:
            raise ValueError(f"{folder} is no readable Minari dataset: {str(error).rstrip('.')}.") from error
        if not self.file.exists():
            raise ValueError(f"{folder} is a Minari dataset without its {self.file.name}.")
        self._images = ChannelsFirst(storage.observation_space)
        self.observation_space = self._images.space
        self.action_space = _vector_space(storage.action_space)
        self._stored = storage.observation_space.spaces if self._images.is_dict else {"": storage.observation_space}
        jpeg = getattr(storage, "jpeg_encoding", True)  # before version 0.5.4 always
        self._jpeg = {key for key in self._images.orders if jpeg and is_image_space(self._stored[key])}
        self._opened: tuple[int, Any] | None = None
        self.names, lengths, self.skipped = [], [], []
        try:
            with h5py.File(self.file, "r") as opened:
                for number in range(max(storage.total_episodes, len(opened.keys()))):
                    try:
                        lengths.append(self._length(opened[f"episode_{number}"]))
                        self.names.append(f"episode_{number}")
                    except (KeyError, OSError, RuntimeError, ValueError) as error:
                        self.skipped.append(f"{self.file}, episode_{number}: {error}")
        except OSError as error:
            raise ValueError(f"{self.file} cannot be read, it may be half-written: {error}.") from error
        self.lengths = np.array(lengths, dtype=np.int64)

    def read(self, episode: int, start: int, stop: int) -> Segment:
        try:
            group = self._file()[self.names[episode]]
            frames = {key: self._frames(group, key, start, stop) for key in self._images.orders}
            rewards = group["rewards"][start : stop - 1].astype(np.float32)
            actions = np.zeros((stop - start - 1, 0), dtype=np.float32)
            if self.action_space is not None:
                actions = _encoded(group["actions"][start : stop - 1], self.action_space)
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise DamagedError(f"{self.name(episode)}: {error}") from error
        # Rewards are let through: most objectives read none, and a loss that is not finite for their sake ends the training.
        if not all(np.isfinite(values).all() for values in (*frames.values(), actions)):
            raise DamagedError(f"{self.name(episode)}: numbers that are not finite in the steps {start} to {stop - 1}")
        return Segment(self._images(frames), actions, rewards)

    def labels(self, episode: int) -> dict[str, NDArray]:
        """What ``cpc-rl collect --labels`` stored."""
        try:
            stored = self._file()[self.names[episode]].get("infos", {}).get("labels", {})
            found = {key: values[()] for key, values in stored.items()}
        except (KeyError, OSError, RuntimeError, ValueError, AttributeError, TypeError) as error:
            raise DamagedError(f"{self.name(episode)}, labels: {error}") from error
        wrong = [key for key, values in found.items() if np.shape(values)[:1] != (self.lengths[episode],)]
        if wrong:
            raise DamagedError(f"{self.name(episode)}, labels: {', '.join(wrong)} are not as many as the frames")
        return found

    def name(self, episode: int) -> str:
        return f"{self.file}, {self.names[episode]}"

    def _entry(self, group: Any, key: str) -> Any:
        return group["observations"][key] if key else group["observations"]

    def _length(self, group: Any) -> int:
        """Frames of an episode, one more than its steps, if all of it is there."""
        missing = [name for name in NEEDED if name not in group]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        lengths = {len(self._entry(group, key)) for key in self._images.orders}
        if len(lengths) > 1 or lengths.pop() != len(group["rewards"]) + 1:
            raise ValueError("its observations are not one more than its rewards")
        if self.action_space is not None and len(group["actions"]) != len(group["rewards"]):
            raise ValueError("its actions are not as many as its rewards")
        for key in set(self._images.orders) - self._jpeg:
            stored, wanted = self._entry(group, key), self._stored[key]
            if stored.shape[1:] != wanted.shape or not _fits(stored.dtype, wanted.dtype):
                raise ValueError(f"its frames are {stored.dtype} of shape {stored.shape[1:]}, but they should be {wanted}")
        return len(group["rewards"]) + 1

    def _frames(self, group: Any, key: str, start: int, stop: int) -> NDArray:
        stored = self._entry(group, key)[start:stop]
        if key not in self._jpeg:
            # An environment may declare floats and give 8 bits, or these and give 64, and what it gives may be stored.
            wanted = self._stored[key].dtype
            told = stored.astype(wanted, copy=False)
            if wanted.kind != "f" and (told != stored).any():
                found = f"{stored.min()} to {stored.max()}"
                raise ValueError(f"its frames have numbers from {found}, which {wanted} does not hold")
            return told
        frames = np.stack([np.asarray(Image.open(io.BytesIO(np.asarray(row).tobytes()))) for row in stored])
        if frames.shape[1:] != self._stored[key].shape:
            raise ValueError(f"its frames are of shape {frames.shape[1:]}, but they should be {self._stored[key]}")
        return frames

    def _file(self) -> Any:
        """The open file of this process: HDF5's handles must not be shared."""
        if self._opened is None or self._opened[0] != os.getpid():
            import h5py

            self._opened = os.getpid(), h5py.File(self.file, "r")
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def read_metadata(data: Path) -> dict[str, Any] | None:
    """What a folder's ``metadata.json`` says; nothing if it is no dataset's, and ``None`` if it cannot be read."""
    try:
        told = json.loads((data / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else {}


def _fits(stored: np.dtype, wanted: np.dtype) -> bool:
    """Whether frames of one type can be read as another: as floats any numbers, as whole ones whole ones."""
    return stored.kind in "iufb" and (wanted.kind == "f" or stored.kind != "f")


def _vector_space(space: spaces.Space) -> spaces.Space | None:
    """The space, or ``None`` if its actions cannot be written as one vector."""
    try:
        action_layout(space)
    except ValueError:
        return None
    return space


def _encoded(actions: NDArray, space: spaces.Space) -> NDArray[np.float32]:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        actions = actions - space.start  # encode_actions counts from 0
        if ((actions < 0) | (actions >= (space.n if isinstance(space, spaces.Discrete) else space.nvec))).any():
            raise ValueError(f"an action that is not of {space}")
    return encode_actions(actions.reshape(len(actions), math.prod(actions.shape[1:])), space)
