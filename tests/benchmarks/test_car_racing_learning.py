"""The benchmark of CarRacing: whose video it shows, how the clip is put together, and the table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agents.video import write_video
from benchmarks import car_racing_learning as benchmark
from cpc_rl.evaluation.table import read_runs
from tests.evaluation.folders import ENV, make_run

FPS = 12.5


def make_finished(log_dir: Path, arm: str, seed: int, final: float, frames: int, shade: int) -> None:
    """A run with its last evaluation's returns, and a video of one grey shade."""
    folder = make_run(log_dir, arm, seed, [0.0, final], final=final)
    results = json.loads((folder / "results.json").read_text())
    results["final"] |= {"returns": [final - 100, final + 100], "std_return": 100.0}
    (folder / "results.json").write_text(json.dumps(results))
    write_video(folder / "video.mp4", [np.full((40, 60, 3), shade, np.uint8)] * frames, FPS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, final in enumerate((700.0, 850.0, 500.0)):
        make_finished(tmp_path, "none", seed, final, frames=50, shade=60 + 60 * seed)
    make_finished(tmp_path, "cpc", 0, 820.0, frames=30, shade=250)
    make_run(tmp_path, "cpc", 1, [0.0, 10.0])  # was cut
    return tmp_path / ENV


def test_the_clip_shows_the_run_in_the_middle_of_each_arm_until_the_last_is_done(folder: Path, tmp_path: Path) -> None:
    runs = benchmark.typical_runs([run for run in read_runs(folder) if run.status == "finished"])
    assert [(run.arm, run.seed) for run in runs] == [("none", 0), ("cpc", 0)]
    clip = tmp_path / "clip.gif"
    benchmark.cut_clip(runs, clip, start=1.6, seconds=2.0)
    with Image.open(clip) as image:
        picture = np.asarray(image.convert("L")).astype(int)
    assert picture.shape == (100 + benchmark.LABEL_HEIGHT, 2 * benchmark.PANEL_WIDTH)
    middle = benchmark.LABEL_HEIGHT + 50
    assert abs(picture[middle, 75] - 60) < 8 and abs(picture[middle, 225] - 250) < 8
    assert (picture[: benchmark.LABEL_HEIGHT, :150] < 100).any() and (picture[: benchmark.LABEL_HEIGHT, 150:] < 100).any()


def test_frames_are_those_of_the_asked_seconds(folder: Path) -> None:
    video = folder / "ppo-none" / "seed-0" / "video.mp4"
    assert len(benchmark.read_frames(video, seconds=2.0)) == 13  # every second one of 25
    assert len(benchmark.read_frames(video, seconds=60.0)) == 25  # and of all 50


def test_report_clip_and_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["car_racing_learning", str(folder), "--out", str(out)])
    benchmark.main()
    assert {"report.md", "runs.csv", "arms.gif", "curves_steps.png"} <= {file.name for file in out.iterdir()}
    printed = capsys.readouterr().out.splitlines()
    assert "| `none` | 1 | 0 | 850 | 100 | 750 | 1 of 2 |" in printed
    assert json.loads(printed[-1])["final_mean_return"] == {"none 0": 700, "none 1": 850, "none 2": 500, "cpc 0": 820}


def test_a_committed_run_without_video_is_in_the_report_and_in_no_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, "none", 0, [0.0, 10.0], final=10.0)
    monkeypatch.setattr(sys, "argv", ["car_racing_learning", str(tmp_path / ENV), "--out", str(tmp_path / "out")])
    benchmark.main()
    assert (tmp_path / "out" / "report.md").exists() and not (tmp_path / "out" / "arms.gif").exists()
    assert benchmark.row(read_runs(tmp_path / ENV)[0]) == ["`none`", "0", "0", "10", "2", "", ""]


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, "cpc", 1, [0.0, 10.0])
    monkeypatch.setattr(sys, "argv", ["car_racing_learning", str(tmp_path / ENV)])
    with pytest.raises(SystemExit, match="no finished run"):
        benchmark.main()
