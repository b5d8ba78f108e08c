"""Which kind of data a name stands for."""

import os
from pathlib import Path
from typing import Any

from cpc_rl.pretraining.episodes import Episodes
from cpc_rl.pretraining.image_episodes import ImageEpisodes
from cpc_rl.pretraining.minari_episodes import MinariEpisodes, read_metadata
from cpc_rl.pretraining.replay import ReplayData
from cpc_rl.pretraining.stacked_episodes import StackedEpisodes

Data = Episodes | ReplayData
MINARI = "minari:"


def dataset_path(name: str | os.PathLike) -> Path:
    """
    The folder that a name stands for: itself, or after ``minari:`` the dataset of this id under ``MINARI_DATASETS_PATH``
    (Minari's own ``~/.minari/datasets`` if that is not set).
    """
    text = os.fspath(name)
    if not text.startswith(MINARI):
        return Path(text)
    root = os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets"
    return Path(root) / text.removeprefix(MINARI)


def open_dataset(dataset: Data | str | os.PathLike, **keywords: Any) -> Data:
    """
    Open recorded data. Nothing is ever downloaded.

    :param dataset: the folder of a Minari dataset, or ``"minari:ID"``; a folder of images or of videos; an SB3 replay buffer
        (``.pkl``); or what this function returned
    :param keywords: of :class:`ImageEpisodes`, for folders of images and of videos
    :raises ValueError: if it is none of these, or cannot be read
    """
    if isinstance(dataset, Episodes | ReplayData):
        return dataset
    path = dataset_path(dataset)
    if not path.exists():
        raise ValueError(
            f"There is no data at {path}: give the folder of a Minari dataset, 'minari:ID' for one under "
            "MINARI_DATASETS_PATH, a folder of images or videos, or a replay buffer (.pkl)."
        )
    is_minari = _is_minari(path) or _is_minari(path / "data")
    if keywords and (is_minari or path.is_file()):
        raise ValueError(f"{', '.join(keywords)} go with folders of images and of videos, which {path} is not.")
    if path.is_file():
        return ReplayData(path)
    return MinariEpisodes(path) if is_minari else ImageEpisodes(path, **keywords)


def _is_minari(folder: Path) -> bool:
    """Other folders may hold a ``metadata.json`` as well."""
    content = read_metadata(folder)
    if content is None:
        return (folder / "metadata.json").exists() and (folder / "main_data.hdf5").exists()
    return "total_episodes" in content


def stacked(data: Data, frames: int) -> Data:
    """
    :param frames: that an observation holds, see :class:`StackedEpisodes`; 1 for the data as they are
    :raises ValueError: if it is below 1, or the data is a replay buffer, whose frames are stacked already if they ever are
    """
    if frames == 1:
        return data
    if not isinstance(data, Episodes):
        raise ValueError(
            f"frame_stack is {frames}, but a replay buffer holds observations as the agent saw them: leave it at 1."
        )
    return StackedEpisodes(data, frames)
