"""The replay buffer of a Stable-Baselines3 run as a data set."""

import os
from collections.abc import Iterator

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.save_util import load_from_pkl

from cpc_rl.pretraining.batches import Batch
from cpc_rl.replay_windows import ReplayWindows

LOOKED_AT = 64  # stored frames of which the bounds are checked


class ReplayData:
    """
    What ``model.save_replay_buffer`` wrote, read whole into memory as it is no other way. It is a pickle, which runs code when
    it is opened: open none from a source that you do not trust.

    :param file: the ``.pkl``
    :raises ValueError: if it holds no replay buffer with images, or float images outside the bounds of their space, as one
        recorded behind ``VecNormalize`` does
    """

    def __init__(self, file: str | os.PathLike) -> None:
        try:
            buffer = load_from_pkl(os.fspath(file))
            self.windows = ReplayWindows(buffer, buffer.action_space)
        except (OSError, EOFError, AttributeError, ImportError, ValueError) as error:
            raise ValueError(f"{file} is no replay buffer that can be read: {error}.") from error
        except Exception as error:  # a damaged pickle raises anything
            raise ValueError(f"{file} is no pickle that can be read: {error!r}.") from error
        space = buffer.observation_space
        entries = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
        images = _images(entries)
        if not images:
            raise ValueError(
                f"{file} holds observations of {space}, but pre-training needs images: of 8 bits, or of floats with their "
                "channels first."
            )
        self.observation_space: spaces.Space = spaces.Dict(images) if isinstance(space, spaces.Dict) else space
        self.keys = tuple(images) if isinstance(space, spaces.Dict) else None
        self.action_space: spaces.Space | None = buffer.action_space
        self.skipped: list[str] = []
        self._check_bounds(file)

    def stream(
        self, first: int, last: int, *, batch_size: int, horizon: int, per_trajectory: int, seed: int
    ) -> Iterator[Batch]:
        """
        The batches ``first .. last - 1``, each a function of the seed and its number.

        :raises ValueError: if the buffer holds fewer windows than a batch
        """
        for number in range(first, last):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
            windows = self.windows.sample(batch_size, horizon, generator, "cpu", self.keys, per_trajectory)
            if windows is None:
                raise ValueError(f"The replay buffer holds fewer than {batch_size} windows: make the batch smaller.")
            yield Batch(windows, [])

    def _check_bounds(self, file: str | os.PathLike) -> None:
        """Behind ``VecNormalize`` SB3 stores frames as they were before it, under the space of what comes after it."""
        buffer = self.windows.replay_buffer
        slots = np.unique(np.linspace(0, buffer.size() - 1, min(LOOKED_AT, buffer.size())).astype(int))
        space = self.observation_space
        for key, entry in space.items() if isinstance(space, spaces.Dict) else [("", space)]:
            if not isinstance(entry, spaces.Box) or not np.issubdtype(entry.dtype, np.floating):
                continue
            stored = buffer.observations[key] if key else buffer.observations
            slack = (np.float64(entry.high) - entry.low) / 1000  # what rounding adds is no other space
            for slot in slots:
                frames = stored[slot]  # (n_envs, *obs)
                if ((frames < entry.low - slack) | (frames > entry.high + slack)).any():
                    raise ValueError(
                        f"{file} holds frames from {frames.min():.4g} to {frames.max():.4g}, but their space is {entry}. A "
                        "buffer recorded behind VecNormalize is like that: it holds raw frames, and the agent sees normalised "
                        "ones. Record with norm_obs=False, and let the agent that gets the encoder see raw frames, too."
                    )


def _images(entries: dict[str, spaces.Space]) -> dict[str, spaces.Space]:
    """
    The entries that are images: those of 8 bits, and only where there are none those of floats, which Stable-Baselines3
    neither takes for images nor turns. Of several entries a float one needs finite bounds, for a lidar's scans have three axes
    too.
    """
    of_8_bits = {key: entry for key, entry in entries.items() if is_image_space(entry)}
    if of_8_bits:
        return of_8_bits
    return {key: entry for key, entry in entries.items() if _is_float_image(entry, bounded=len(entries) > 1)}


def _is_float_image(space: spaces.Space, bounded: bool) -> bool:
    """:param bounded: whether it takes finite bounds to be one"""
    if not (isinstance(space, spaces.Box) and len(space.shape) == 3 and np.issubdtype(space.dtype, np.floating)):
        return False
    return is_image_space_channels_first(space) and (not bounded or space.is_bounded())
