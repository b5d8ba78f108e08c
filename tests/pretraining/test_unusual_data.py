"""Data that users have and that is not quite what the formats' own tools write."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces

from cpc_rl.pretraining import ImageEpisodes, MinariEpisodes, open_dataset, pretrain
from cpc_rl.pretraining.collect import collect
from cpc_rl.pretraining.episodes import ChannelsFirst, DamagedError
from cpc_rl.pretraining.policies import RandomPolicy
from tests.pretraining.toy import Rolling, rolling_data

TINY: dict[str, Any] = {"steps": 2, "batch_size": 4, "workers": 0, "verbose": 0, "extractor_kwargs": {"features_dim": 8}}


def write_images(folder: Path, names: list[str]) -> None:
    """One grey image a name, each brighter than the last."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), np.full((8, 8), 10 * number, np.uint8))


@pytest.mark.parametrize(
    "names",
    [
        ["-1.png", "0.png", "2.png", "10.png"],
        ["100.0.png", "100.25.png", "100.5.png", "100.75.png", "101.0.png"],
        ["1700000000000000001.png", "1700000000000000002.png", "01700000000000000003.png"],  # more digits than a float has
        ["v1.9.png", "v1.10.png"],  # versions, say
        ["2.11.png", *[f"3.{frame}.png" for frame in range(1, 13)], "4.1.png"],  # an episode's number and a frame's
        ["3.8.png", "3.9.png", "3.10.png", "3.11.png"],
        ["3.8.png", "3.9.png", "3.11.png", "3.12.png"],  # a frame is missing
        [f"3.{frame}.png" for frame in range(0, 14, 2)],
        ["1.9.png", *[f"3.{frame}.png" for frame in (5, 8, 11, 14)]],
        ["100.900000000.png", "101.50000000.png", "101.900000000.png"],  # seconds and billionths
        ["0.9.png", "1.png", "1.05.png", "1.1.png"],
        ["1.02.png", "1.03.png", "1.1.png"],
        ["3.08.png", "3.09.png", "3.10.png", "3.98.png", "3.99.png", "3.100.png", "3.101.png"],  # padded, and outgrown
        ["0.1.png", "0.12.png", "0.14.png", "0.16.png", "0.18.png", "0.2.png", "0.22.png"],
        ["\u00b21.png", "\u00b22.png"],
    ],
)
def test_numbers_in_names_are_sorted_by_their_values(names: list[str], tmp_path: Path) -> None:
    write_images(tmp_path / "images", names)
    (tmp_path / "images" / "notes.txt").touch()
    data = ImageEpisodes(tmp_path / "images", grayscale=True)
    frames = data.read(0, 0, len(names)).observations
    assert isinstance(frames, np.ndarray) and frames[:, 0, 0, 0].tolist() == [10 * number for number in range(len(names))]


def test_links_to_folders_are_followed_and_none_is_read_twice(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(3):
        write_images((root if number == 0 else tmp_path) / f"episode-{number}", [f"{i}.png" for i in range(4 + number)])
    for number in (1, 2):
        (root / f"episode-{number}").symlink_to(tmp_path / f"episode-{number}")
    (root / "round").symlink_to(root)
    (root / "same").symlink_to(root / "episode-0")
    assert ImageEpisodes(root).lengths.tolist() == [4, 5, 6]


def test_what_was_skipped_is_told_where_no_windows_are_left(tmp_path: Path) -> None:
    folder = rolling_data(tmp_path, steps=7)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as opened:
        del opened["episode_0"]["rewards"]
    with pytest.raises(ValueError, match=r"The data has 0 windows.*Skipped were 1 files or episodes, the first: .*no rewards"):
        pretrain(folder, "curl", out=tmp_path / "out", **TINY)


def test_what_of_a_dict_is_read_as_images() -> None:
    """A matrix of features and a scan beside a picture are none, depth is."""
    picture = spaces.Box(0, 255, (36, 36, 3), np.uint8)
    matrix, scan = spaces.Box(-1, 1, (10, 8), np.float32), spaces.Box(-np.inf, np.inf, (4, 10, 10), np.float32)
    depth = spaces.Box(0, 1, (36, 36, 1), np.float32)

    def read(**entries: spaces.Space) -> list[str]:
        return list(ChannelsFirst(spaces.Dict(entries)).orders)

    assert read(picture=picture, matrix=matrix, scan=scan, depth=depth) == ["depth", "picture"]
    assert read(scan=scan, depth=depth) == ["depth"]
    assert read(scan=scan) == ["scan"]


class Careless(Rolling):
    """Declares 8 bits and gives something else, which Stable-Baselines3 casts."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def _image(self) -> np.ndarray:
        return super()._image().astype(self.dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_frames_of_another_dtype_than_the_declared_one_are_recorded_as_declared(dtype: Any, tmp_path: Path) -> None:
    right, cast = (
        MinariEpisodes(collect(env, RandomPolicy(env.action_space), steps=7, out=tmp_path / type(env).__name__).folder)
        for env in (Rolling(), Careless(dtype))
    )
    assert cast.skipped == [] and cast.lengths.tolist() == [8]
    one, other = (data.read(0, 0, 8).observations for data in (right, cast))
    assert isinstance(other, np.ndarray) and other.dtype == np.uint8 and np.array_equal(one, other)


def edited(folder: Path, to: Path, **entries: Any) -> Path:
    """A copy of a data set with other metadata; ``None`` takes an entry away."""
    shutil.copytree(folder, to)
    file = to / "data" / "metadata.json"
    told = {**json.loads(file.read_text()), **entries}
    file.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    return to


def test_data_sets_that_minari_cannot_open_here_are_a_sentence(tmp_path: Path) -> None:
    folder = rolling_data(tmp_path, steps=7)
    with pytest.raises(ValueError, match="in another format than HDF5"):
        open_dataset(edited(folder, tmp_path / "arrow", data_format="arrow"))
    spec = copy.deepcopy(gymnasium.spec("CartPole-v1"))
    for name, entry in (("gone", "gone.module:Env"), ("none", None)):
        spec.id, spec.entry_point = f"{name}/Gone-v0", entry
        no_spaces = edited(folder, tmp_path / name, observation_space=None, action_space=None, env_spec=spec.to_json())
        with pytest.raises(ValueError, match="is no readable Minari dataset"):
            open_dataset(no_spaces)


def test_groups_among_the_labels_are_damage(tmp_path: Path) -> None:
    data = MinariEpisodes(rolling_data(tmp_path, steps=7, labels=("attr:brightness",)))
    with h5py.File(data.file, "a") as opened:
        opened["episode_0/infos/labels"].create_group("nested")
    with pytest.raises(DamagedError, match="labels"):
        data.labels(0)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "a", ["0.png", "1.png"])
    write_images(tmp_path / "b", ["0.png"])
    scandir = os.scandir

    def refuse(place: Any) -> Any:  # root may read every folder
        if os.fspath(place) == str(tmp_path / "b"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    data = ImageEpisodes(tmp_path)
    assert data.lengths.tolist() == [2]
    assert len(data.skipped) == 1 and str(tmp_path / "b") in data.skipped[0]
