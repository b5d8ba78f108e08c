"""Recorded data: what is read is what was recorded, windows stay in their episodes, what is damaged is named and skipped."""

import pickle
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import h5py
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack
from torch import Tensor

from cpc_rl.pretraining import ImageEpisodes, MinariEpisodes, ReplayData, open_dataset
from cpc_rl.pretraining.batches import Batch, EpisodeBatches
from cpc_rl.pretraining.collect import collect
from cpc_rl.pretraining.episodes import ChannelsFirst, DamagedError
from cpc_rl.pretraining.opening import stacked
from cpc_rl.pretraining.policies import RandomPolicy
from cpc_rl.pretraining.stacked_episodes import StackedEpisodes
from cpc_rl.pretraining.starts import Starts
from tests.pretraining.toy import MOVES, Rolling, rolling_data


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rolling_data(tmp_path_factory.mktemp("recorded"), steps=100)


def images(batch: Batch) -> Tensor:
    assert isinstance(batch.windows.observations, Tensor)
    return batch.windows.observations


def test_minari_reads_what_minari_itself_reads(recorded: Path) -> None:
    from minari import MinariDataset

    data = open_dataset(recorded)
    assert isinstance(data, MinariEpisodes) and data.observation_space.shape == (1, 36, 36) and data.skipped == []
    theirs = list(MinariDataset(recorded / "data"))
    assert data.lengths.tolist() == [len(episode.rewards) + 1 for episode in theirs] == [8] * 14 + [3]
    for number in (0, 5, 14):
        episode = theirs[number]
        segment = data.read(number, 1, 3)
        assert np.array_equal(segment.observations, episode.observations[1:3].transpose(0, 3, 1, 2))
        assert np.array_equal(segment.actions, np.eye(4, dtype=np.float32)[episode.actions[1:2]])
        assert np.array_equal(segment.rewards, episode.rewards[1:2])


def test_jpeg_is_decoded_as_minari_does(tmp_path: Path) -> None:
    from minari import MinariDataset

    folder = rolling_data(tmp_path, steps=7, jpeg=True)
    theirs = next(iter(MinariDataset(folder / "data")))
    mine = MinariEpisodes(folder).read(0, 2, 6)
    assert np.array_equal(mine.observations, theirs.observations[2:6, None])


def test_windows_stay_in_their_episode(recorded: Path) -> None:
    """Each window's frames follow from each other by its actions; beyond the end the last frame stays, with nothing else."""
    horizon = 4
    data = MinariEpisodes(recorded)
    batch = EpisodeBatches(data, 80, horizon, seed=1)[3]
    windows, frames = batch.windows, images(batch)
    grids = frames[:, :, 0, ::9, ::9].numpy()  # (B, L, 4, 4)
    for b in range(80):
        left = int(data.lengths[windows.episode[b]]) - int(windows.step[b]) - 1  # frames after the first, to the end
        assert windows.mask[b].tolist() == [i <= left for i in range(horizon + 1)] and left >= 1
        for i in range(horizon):
            if i < left:
                axis, shift = MOVES[int(windows.actions[b, i].argmax())]
                assert np.array_equal(grids[b, i + 1], np.roll(grids[b, i], shift, axis))
                assert windows.rewards[b, i] == windows.actions[b, i].argmax()
            else:
                assert np.array_equal(grids[b, i + 1], grids[b, left])
                assert not windows.actions[b, i].any() and windows.rewards[b, i] == 0
    assert len(set(zip(windows.episode.tolist(), windows.step.tolist(), strict=True))) == 80
    assert not windows.mask.all() and all(frames[:, i].is_contiguous() for i in range(horizon + 1))


def test_every_start_is_drawn_as_often() -> None:
    starts = Starts(np.array([4, 1, 2, 5]), horizon=3)
    assert starts.total == 3 + 0 + 1 + 4
    counts = np.zeros((4, 5))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        np.add.at(counts, starts.draw(4, 1, rng), 1)
    possible = counts[[0, 0, 0, 2, 3, 3, 3, 3], [0, 1, 2, 0, 0, 1, 2, 3]]
    assert counts.sum() == possible.sum() == 8000 and np.abs(possible - 1000).max() < 100  # standard deviation 22
    assert Starts(np.array([4, 1]), horizon=0).total == 5


def test_groups_come_from_one_episode() -> None:
    starts = Starts(np.array([9, 9, 3, 9]), horizon=1)
    for seed in range(20):
        episodes, first = starts.draw(12, 4, np.random.default_rng(seed))
        runs = 1 + int((np.diff(episodes) != 0).sum())
        assert runs == len(set(episodes.tolist())) <= 4
        assert len(set(zip(episodes.tolist(), first.tolist(), strict=True))) == 12
    assert len(starts.draw(26, 4, np.random.default_rng(0))[0]) == 26  # all there are
    with pytest.raises(ValueError, match="has 26 windows, but a batch has 27"):
        starts.draw(27, 4, np.random.default_rng(0))


def test_batches_depend_neither_on_workers_nor_on_where_they_begin(recorded: Path) -> None:
    batches = EpisodeBatches(MinariEpisodes(recorded), 8, 2, seed=5)
    here = [images(batch) for batch in batches.stream(0, 4, workers=0)]
    before = torch.get_rng_state()
    there = [images(batch) for batch in batches.stream(2, 4, workers=2)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(here[2:], there, strict=True))
    assert not torch.equal(here[0], here[1])
    halves = [EpisodeBatches(MinariEpisodes(recorded), 8, 2, seed=5, rows=rows)[1] for rows in (slice(0, 3), slice(3, 8))]
    assert torch.equal(torch.cat([images(half) for half in halves]), here[1])


def test_a_damaged_episode_is_named_and_skipped(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(recorded, folder)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_3"]["rewards"]
        del file["episode_5"]
    data = MinariEpisodes(folder)
    assert len(data.lengths) == 13
    assert [text.split(", ")[1].split(":")[0] for text in data.skipped] == ["episode_3", "episode_5"]


def replaced(group: h5py.Group, name: str, values: Any) -> None:
    del group[name]
    group[name] = values


def test_what_does_not_fit_together_is_named_and_skipped(recorded: Path, tmp_path: Path) -> None:
    """In the order of the episodes: fewer actions than rewards, images of another size, others that are floats."""
    folder = tmp_path / "damaged"
    shutil.copytree(recorded, folder)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        replaced(file["episode_2"], "actions", file["episode_2"]["actions"][:5])
        replaced(file["episode_3"], "observations", file["episode_3"]["observations"][:, :30])
        replaced(file["episode_4"], "observations", file["episode_4"]["observations"][:].astype(np.float32))
        file["episode_5"]["actions"][2] = 4
        file["episode_6"]["actions"][2] = -1
    data = MinariEpisodes(folder)
    told = [text.partition("main_data.hdf5, ")[2] for text in data.skipped]
    assert told[0] == "episode_2: its actions are not as many as its rewards"
    assert told[1].startswith("episode_3: its frames are uint8 of shape (30, 36, 1), but they should be Box(0, 255, (36, 36")
    assert told[2].startswith("episode_4: its frames are float32") and len(told) == 3 and len(data.lengths) == 12
    read = list(EpisodeBatches(data, 32, 2).stream(0, 6, workers=0))
    named = {text.partition("main_data.hdf5, ")[2] for batch in read for text in batch.skipped}
    assert named == {f"episode_{number}: an action that is not of Discrete(4)" for number in (5, 6)}


def test_whole_numbers_of_another_type_are_read_where_they_fit(recorded: Path, tmp_path: Path) -> None:
    """Declared are 8 bits; an environment may give more of them."""
    folder = tmp_path / "wide"
    shutil.copytree(recorded, folder)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        for number in (1, 2):
            replaced(file[f"episode_{number}"], "observations", file[f"episode_{number}"]["observations"][:].astype(np.int64))
        file["episode_2"]["observations"][3, 0, 0] = 256
    read, before = MinariEpisodes(folder), MinariEpisodes(recorded)
    assert read.skipped == []
    found = read.read(1, 0, 8).observations
    assert isinstance(found, np.ndarray) and found.dtype == np.uint8
    assert np.array_equal(found, before.read(1, 0, 8).observations)
    with pytest.raises(DamagedError, match=r"episode_2: its frames have numbers from .* to 256, which uint8 does not hold"):
        read.read(2, 0, 8)


def test_a_sentence_from_a_worker_comes_without_its_traceback(pictures: Path) -> None:
    for file in pictures.rglob("*.png"):
        file.write_bytes(b"no image")
    batches = EpisodeBatches(ImageEpisodes(pictures, image_size=(36, 36)), 8, 2)
    with pytest.raises(ValueError, match=r"^100 windows one after the other could not be read, the last one because of .*$"):
        next(batches.stream(0, 2, workers=1))


class Faulty(MinariEpisodes):
    def read(self, episode: int, start: int, stop: int) -> Any:
        raise RuntimeError("a fault of the program")


def test_a_fault_in_a_worker_is_no_worker_that_has_ended(recorded: Path) -> None:
    with pytest.raises(RuntimeError, match="a fault of the program"):
        next(EpisodeBatches(Faulty(recorded), 8, 2).stream(0, 2, workers=1))


class Smooth(gymnasium.Env):
    """Float images, whose frames tell the step, and two numbers as actions; episodes of 7 steps."""

    observation_space, action_space = spaces.Box(0, 1, (36, 36, 1), np.float32), spaces.Box(-1, 1, (2,))

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at = 0
        return np.zeros((36, 36, 1), np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.at += 1
        return np.full((36, 36, 1), self.at / 10, np.float32), 0.0, self.at == 7, False, {}


def test_frames_and_actions_that_are_not_finite_are_named_and_skipped(tmp_path: Path) -> None:
    env = Smooth()
    folder = collect(env, RandomPolicy(env.action_space), steps=28, out=tmp_path / "data").folder
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_2"]["observations"][4, 3, 3, 0] = np.nan
        file["episode_3"]["actions"][0, 0] = np.nan
    batches = EpisodeBatches(MinariEpisodes(folder), 16, 1)
    read = list(batches.stream(0, 6, workers=0))
    assert all(torch.isfinite(images(batch)).all() and torch.isfinite(batch.windows.actions).all() for batch in read)
    named = {text.partition("main_data.hdf5, ")[2] for batch in read for text in batch.skipped}
    assert named == {
        f"episode_{place}: numbers that are not finite in the steps {first} to {first + 1}"
        for place, first in ((2, 3), (2, 4), (3, 0))
    }


def test_frames_of_8_bits_under_a_space_of_floats_are_read_as_floats(tmp_path: Path) -> None:
    """Stored by ``collect`` as the environment gave them, whatever its space says."""
    env = gymnasium.wrappers.TransformObservation(Rolling(), lambda image: image, spaces.Box(0, 255, (36, 36, 1), np.float32))
    data = MinariEpisodes(collect(env, RandomPolicy(env.action_space), steps=14, out=tmp_path / "data").folder)
    with h5py.File(data.file) as file:
        stored = file["episode_0"]["observations"][1:4]
    read = data.read(0, 1, 4).observations
    assert data.skipped == [] and isinstance(read, np.ndarray)
    assert stored.dtype == np.uint8 and read.dtype == np.float32 == data.observation_space.dtype
    assert np.array_equal(read, stored.transpose(0, 3, 1, 2))


def test_rewards_that_are_not_finite_keep_no_episode_from_a_training_without_rewards(tmp_path: Path) -> None:
    env = Smooth()
    folder = collect(env, RandomPolicy(env.action_space), steps=28, out=tmp_path / "data").folder
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        for group in file.values():
            group["rewards"][:] = np.nan
    assert MinariEpisodes(folder).read(0, 0, 8).rewards.shape == (7,)
    assert not any(batch.skipped for batch in EpisodeBatches(MinariEpisodes(folder), 16, 1).stream(0, 3, workers=0))


def test_a_half_written_file_says_so(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(recorded, folder)
    file = folder / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"main_data.hdf5 cannot be read, it may be half-written"):
        MinariEpisodes(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two folders with 3 and 12 images whose colour tells which they are."""
    for folder, count in (("a", 3), ("b", 12)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            image = np.zeros((36, 40, 3), np.uint8)
            image[:] = (number, 7, 100 if folder == "a" else 200)  # OpenCV writes blue, green, red
            cv2.imwrite(str(tmp_path / folder / f"frame_{number}.png"), image)
    return tmp_path


def test_a_folder_of_images_is_an_episode_in_the_order_of_its_numbers(pictures: Path) -> None:
    data = open_dataset(pictures)
    assert isinstance(data, ImageEpisodes) and data.action_space is None
    assert data.lengths.tolist() == [3, 12] and data.observation_space.shape == (3, 36, 40)
    read = data.read(1, 1, 12).observations
    assert isinstance(read, np.ndarray)
    assert read[:, 2, 0, 0].tolist() == list(range(1, 12))  # frame_2 before frame_10
    assert (read[:, 0] == 200).all() and (read[:, 1] == 7).all()  # red, green, blue
    assert data.read(1, 1, 12).actions.shape == (10, 0)
    small = ImageEpisodes(pictures, image_size=(20, 20), grayscale=True)
    assert small.read(0, 0, 2).observations.shape == (2, 1, 20, 20)  # type: ignore[union-attr]


def test_damaged_images_are_named_and_other_windows_take_their_place(pictures: Path) -> None:
    (pictures / "b" / "frame_4.png").write_bytes(b"no image")
    cv2.imwrite(str(pictures / "b" / "frame_7.png"), np.zeros((8, 8, 3), np.uint8))
    batches = EpisodeBatches(ImageEpisodes(pictures), 8, 2, seed=0)
    read = list(batches.stream(0, 6, workers=2))
    named = {text for batch in read for text in batch.skipped}
    assert len(named) == 2 and any("frame_4.png: no image" in t for t in named)
    assert any("frame_7.png: its size is 8 x 8, not 36 x 40" in t for t in named)
    seen = torch.cat([images(batch)[:, :, 2, 0, 0].flatten() for batch in read]).unique()
    assert not {4, 7} & set(seen.tolist()) and {0, 11} <= set(seen.tolist())


def test_videos(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), number * 12, np.uint8))
    writer.release()
    (tmp_path / "w.mp4").write_bytes(b"no video")
    data = ImageEpisodes(tmp_path, grayscale=True)
    assert data.lengths.tolist() == [20] and len(data.skipped) == 1 and "w.mp4" in data.skipped[0]
    for start, stop in ((5, 9), (0, 3), (17, 20)):
        frames = data.read(0, start, stop).observations
        assert isinstance(frames, np.ndarray) and frames.shape == (stop - start, 1, 48, 64)
        assert np.abs(frames.mean(axis=(1, 2, 3)) - 12 * np.arange(start, stop)).max() < 4  # JPEG loses a little


def test_images_of_more_than_8_bits_and_of_several_pages_are_refused(tmp_path: Path) -> None:
    for folder, image in (("deep", np.full((36, 40), 4095, np.uint16)), ("real", np.full((36, 40), 0.5, np.float32))):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.tiff"), image)
        with pytest.raises(ValueError, match=rf"a\.tiff: its numbers are {image.dtype}, but images of 8 bits are read: scale"):
            ImageEpisodes(tmp_path / folder)
    cv2.imwrite(str(tmp_path / "deep" / "b.png"), np.zeros((36, 40, 3), np.uint8))
    cv2.imwritemulti(str(tmp_path / "deep" / "c.tif"), [np.full((36, 40), number, np.uint8) for number in range(6)])
    data = ImageEpisodes(tmp_path / "deep")
    assert data.lengths.tolist() == [3] and data.read(0, 1, 2).observations.shape == (1, 3, 36, 40)  # type: ignore[union-attr]
    with pytest.raises(DamagedError, match="it holds 6 images, but one a file is read"):
        data.read(0, 2, 3)


def encoded(file: Path, *options: str) -> None:
    """A video of 60 frames whose brightness is 4 times their number."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "64x64"]
    frames = b"".join(np.full((64, 64), 4 * number, np.uint8).tobytes() for number in range(60))
    subprocess.run([*command, "-r", "30", "-i", "-", *options, str(file)], input=frames, check=True)


def test_videos_whose_frames_cannot_be_found_by_number_are_refused(tmp_path: Path) -> None:
    slower = ["-vf", "setpts='if(lt(N,30),N,30+(N-30)*3)/30/TB'", "-fps_mode", "vfr", "-c:v", "libx264"]
    for name, options in (("even.mp4", ["-c:v", "libx264"]), ("uneven.mp4", slower), ("uneven.mkv", slower)):
        encoded(tmp_path / name, *options)
    data = ImageEpisodes(tmp_path, grayscale=True)
    assert data.lengths.tolist() == [60] and len(data.skipped) == 2
    assert all(re.search(r"uneven\.(mp4|mkv): its frames cannot be found by their numbers", text) for text in data.skipped)
    for start in (1, 37, 56):
        frames = data.read(0, start, start + 3).observations
        assert isinstance(frames, np.ndarray)
        assert np.abs(frames.mean(axis=(1, 2, 3)) - 4 * np.arange(start, start + 3)).max() < 2
    (tmp_path / "even.mp4").unlink()
    with pytest.raises(ValueError, match=r"The first that cannot be read is .*convert it, as by ffmpeg"):
        ImageEpisodes(tmp_path)


@pytest.mark.parametrize("options", [("-c:v", "libx264"), ("-c:v", "mpeg4", "-vtag", "XVID", "-bf", "2")])
def test_avi_files_with_frames_that_depend_on_later_ones_are_read(options: tuple[str, ...], tmp_path: Path) -> None:
    """Their last frames come out of the decoder without a time."""
    encoded(tmp_path / "b_frames.avi", *options)
    data = ImageEpisodes(tmp_path, grayscale=True)
    assert data.lengths.tolist() == [60] and data.skipped == []
    for start, stop in ((50, 60), (17, 20), (58, 60), (0, 60)):
        frames = data.read(0, start, stop).observations
        assert isinstance(frames, np.ndarray)
        assert np.abs(frames.mean(axis=(1, 2, 3)) - 4 * np.arange(start, stop)).max() < 2


def test_a_replay_buffer(tmp_path: Path) -> None:
    space, actions = spaces.Box(0, 255, (1, 36, 36), np.uint8), spaces.Discrete(3)
    buffer = ReplayBuffer(30, space, actions, device="cpu")
    for step in range(24):
        frame, after = (np.full((1, 1, 36, 36), n, np.uint8) for n in (step, step + 1))
        buffer.add(frame, after, np.array([step % 3]), np.ones(1), np.array([step % 8 == 7]), [{}])
    with open(tmp_path / "buffer.pkl", "wb") as file:
        pickle.dump(buffer, file)
    data = open_dataset(tmp_path / "buffer.pkl")
    assert isinstance(data, ReplayData) and data.action_space == actions
    read = list(data.stream(0, 3, batch_size=6, horizon=2, per_trajectory=1, seed=0))
    again = list(data.stream(1, 3, batch_size=6, horizon=2, per_trajectory=1, seed=0))
    assert all(torch.equal(images(a), images(b)) for a, b in zip(read[1:], again, strict=True))
    with pytest.raises(ValueError, match="leave it at 1"):
        stacked(data, 4)
    values = images(read[0])[:, :, 0, 0, 0].int()
    assert torch.equal((values - values[:, :1])[read[0].windows.mask], torch.arange(3).expand(6, 3)[read[0].windows.mask])
    (tmp_path / "half.pkl").write_bytes((tmp_path / "buffer.pkl").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"half\.pkl is no pickle that can be read"):
        open_dataset(tmp_path / "half.pkl")


def test_a_replay_buffer_of_float_images(tmp_path: Path) -> None:
    for space, images in ((spaces.Box(0, 1, (1, 36, 36)), True), (spaces.Box(0, 1, (36, 36, 1)), False)):
        buffer = ReplayBuffer(30, space, spaces.Discrete(3), device="cpu")
        with open(tmp_path / "buffer.pkl", "wb") as file:
            pickle.dump(buffer, file)
        if images:
            assert open_dataset(tmp_path / "buffer.pkl").observation_space == space
        else:
            with pytest.raises(ValueError, match="floats with their channels first"):
                open_dataset(tmp_path / "buffer.pkl")


def saved_buffer(file: Path, space: spaces.Space, frame: Any) -> Path:
    """A buffer of 24 steps in two environments that show the same frame all the time."""
    make = DictReplayBuffer if isinstance(space, spaces.Dict) else ReplayBuffer
    buffer: Any = make(60, space, spaces.Discrete(3), device="cpu", n_envs=2)  # type: ignore[arg-type]
    for step in range(24):
        buffer.add(frame, frame, np.zeros(2), np.ones(2), np.full(2, step % 8 == 7), [{}, {}])
    with open(file, "wb") as opened:
        pickle.dump(buffer, opened)
    return file


@pytest.mark.parametrize(
    ("others", "images"),
    [
        ({"image": spaces.Box(0, 255, (3, 36, 36), np.uint8)}, ("image",)),
        ({"image": spaces.Box(0, 255, (3, 36, 36), np.uint8), "depth": spaces.Box(0, 1, (1, 36, 36))}, ("image",)),
        ({"depth": spaces.Box(0, 1, (1, 36, 36))}, ("depth",)),
    ],
)
def test_scans_with_three_axes_are_no_images(others: dict[str, spaces.Space], images: tuple[str, ...], tmp_path: Path) -> None:
    space = spaces.Dict({**others, "lidar": spaces.Box(-np.inf, np.inf, (2, 16, 16))})
    frame = {key: np.zeros((2, *entry.shape), entry.dtype) for key, entry in space.items()}  # type: ignore[misc]
    data = open_dataset(saved_buffer(tmp_path / "b.pkl", space, frame))
    assert isinstance(data, ReplayData) and data.keys == images


def test_raw_frames_under_a_normalised_space_are_refused(tmp_path: Path) -> None:
    """What SB3 stores behind ``VecNormalize``: frames of 0 .. 255 under a space of -10 .. 10."""
    space = spaces.Box(-10, 10, (3, 36, 36))
    frame = np.full((2, 3, 36, 36), 10, np.float32)
    assert isinstance(open_dataset(saved_buffer(tmp_path / "b.pkl", space, frame)), ReplayData)
    frame[1, 0, 5, 5] = 200
    with pytest.raises(ValueError, match=r"holds frames from 10 to 200, but their space is Box\(-10.*behind VecNormalize"):
        open_dataset(saved_buffer(tmp_path / "b.pkl", space, frame))
    unbounded = spaces.Box(-np.inf, np.inf, (3, 36, 36))
    assert isinstance(open_dataset(saved_buffer(tmp_path / "b.pkl", unbounded, frame)), ReplayData)


def test_a_folder_of_images_may_hold_a_metadata_json(pictures: Path, recorded: Path, tmp_path: Path) -> None:
    (pictures / "metadata.json").write_text('{"camera": "left"}')
    assert isinstance(open_dataset(pictures), ImageEpisodes)
    other = shutil.copytree(recorded, tmp_path / "other")
    (other / "data" / "main_data.hdf5").unlink()
    with pytest.raises(ValueError, match="is no readable Minari dataset: No data found"):
        open_dataset(other)


def test_what_is_no_data_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no data at"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no image and no video"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match="pre-training needs images"):
        ChannelsFirst(spaces.Box(-1, 1, (4,)))
    mixed = ChannelsFirst(spaces.Dict({"camera": spaces.Box(0, 255, (36, 40, 3), np.uint8), "speed": spaces.Box(-1, 1, (2,))}))
    assert isinstance(mixed.space, spaces.Dict) and {k: s.shape for k, s in mixed.space.items()} == {"camera": (3, 36, 40)}


def test_frames_are_stacked_as_stable_baselines_stacks_them(recorded: Path) -> None:
    """Against ``VecFrameStack`` over an environment that plays the recording."""
    data = MinariEpisodes(recorded)
    frames = data.read(2, 0, 8).observations

    class Replay(gymnasium.Env):
        observation_space, action_space = data.observation_space, spaces.Discrete(4)

        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict]:
            self.at = 0
            return frames[0], {}

        def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
            self.at += 1
            return frames[self.at], 0.0, False, False, {}

    env = VecFrameStack(DummyVecEnv([Replay]), 3, channels_order="first")
    wanted = [env.reset()[0], *(env.step(np.array([0]))[0][0] for _ in range(7))]
    mine = stacked(data, 3)
    assert isinstance(mine, StackedEpisodes) and mine.observation_space.shape == (3, 36, 36) == wanted[0].shape
    for start, stop in ((0, 8), (0, 1), (1, 3), (2, 8), (7, 8)):
        segment, single = mine.read(2, start, stop), data.read(2, start, stop)
        assert np.array_equal(segment.observations, np.stack(wanted[start:stop]))
        assert np.array_equal(segment.actions, single.actions) and np.array_equal(segment.rewards, single.rewards)
    assert images(EpisodeBatches(mine, 4, 2)[0]).shape == (4, 3, 3, 36, 36)
