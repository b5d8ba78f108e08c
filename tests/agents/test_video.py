"""The video of the trained agent."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from agents.arms import parse_arm
from agents.build import build_model, environment_keywords
from agents.video import MAX_BYTES, record_episode, write_video
from envs import make_vec_env
from tests.agents.test_checkpoints import FILES
from tests.agents.tiny import IMAGES, TinyImages, tiny_configuration, tiny_recipe, tiny_run


def read(file: Path) -> tuple[dict, int]:
    """What the file says of itself, and its number of frames."""
    frames = imageio_ffmpeg.read_frames(str(file))
    return next(frames), sum(1 for _ in frames)


def test_one_episode_one_frame_for_each_agent_step() -> None:
    recipe = tiny_recipe()
    keywords = environment_keywords(recipe, pixels=False)
    model = build_model(recipe, make_vec_env(IMAGES, 1, 0, vec="dummy", **keywords), parse_arm("none", "curl"), 0, "cpu")
    frames, fps = record_episode(model, IMAGES, keywords)
    assert (len(frames), fps) == (7, 10)  # the last step's picture would be the next episode's
    assert frames[0].shape == (36 * 7, 36 * 7, 3) and frames[0].dtype == np.uint8  # small pictures are enlarged
    again, _ = record_episode(model, IMAGES, keywords)
    assert np.array_equal(frames, again)
    halved, fps = record_episode(model, IMAGES, {**keywords, "frame_skip": 2})
    assert (len(halved), fps) == (4, 5)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 97)])
def test_every_player_shows_it(height: int, width: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(5)]
    write_video(tmp_path / "video.mp4", frames, 12.5)
    meta, count = read(tmp_path / "video.mp4")
    assert (meta["codec"], meta["size"], meta["fps"], count) == ("h264", (96, 64), 12.5, 5)
    assert meta["pix_fmt"].startswith("yuv420p")
    assert [item.name for item in tmp_path.iterdir()] == ["video.mp4"]


def test_noise_is_squeezed_below_a_megabyte(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in range(100)]
    write_video(tmp_path / "video.mp4", frames, 25)
    assert (tmp_path / "video.mp4").stat().st_size <= MAX_BYTES
    assert read(tmp_path / "video.mp4")[1] == 100


def test_without_pictures_a_run_is_finished_without_a_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configuration = tiny_configuration("ppo", "none", env="tests.agents.tiny:UndrawnImages-v0")
    folder = tiny_run(tmp_path, configuration)
    output = capfd.readouterr()
    said = [line for line in output.err.splitlines() if line.startswith("There is no video: ")]
    reason = f"{configuration.env} cannot be rendered as 'rgb_array'; its render modes are []."
    assert said == [f"There is no video: {reason}"] and "UserWarning" not in output.err
    assert {item.name for item in folder.path.iterdir() if "tfevents" not in item.name} == FILES - {"video.mp4"}
    assert "results.json" in output.out and "video.mp4" not in output.out
    tiny_run(tmp_path, configuration)
    assert "is finished" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("raises", "reason"), [(False, "its render() gave nothing."), (True, "its render() raised OSError: no display")]
)
def test_a_drawing_that_fails_costs_the_video_alone(
    raises: bool, reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(self: TinyImages) -> None:
        if raises:
            raise OSError("no display")

    monkeypatch.setattr(TinyImages, "render", draw)
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    assert f"There is no video: {reason}" in capfd.readouterr().err
    assert folder.read_results() is not None and not folder.video.exists()
