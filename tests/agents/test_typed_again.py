"""What a user is told at the end: commands quoted as a shell needs them, and what the episodes were."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.grid import run_grid
from agents.run import _how_to_resume
from agents.summary import summarize
from tests.agents.test_jobs import MACHINE, make_jobs
from tests.agents.tiny import tiny_configuration

RESULTS = {
    "final": {"mean_return": 1.0, "std_return": 0.0, "episodes": 1},
    **{"algorithm": "PPO", "timesteps": 1, "frames": 1, "wall_seconds": 1, "first_return": 1, "last_return": 1},
}


def test_paths_can_be_typed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = make_jobs(tmp_path / "my runs", ["none"])
    monkeypatch.setattr("agents.grid.write_report", lambda folder: None)
    monkeypatch.setattr("agents.grid.in_words", lambda comparison: [])
    assert run_grid(jobs, lambda jobs, **keywords: True, MACHINE, overwrite=False, command="typed") == 0
    assert capsys.readouterr().out.endswith(f"\nCurves: tensorboard --logdir '{tmp_path}/my runs'\n")
    folder = jobs[0].folder
    runner: Any = SimpleNamespace(saved=96)
    assert _how_to_resume(folder, runner).endswith(f"train_agent.py --resume '{folder.path}'")
    shown = summarize(jobs[0].configuration, folder, RESULTS)
    assert shown.endswith(f"\nCurves: tensorboard --logdir '{tmp_path}/my runs'")


@pytest.mark.parametrize("env", ["CarRacing-v3", "some.module:CarRacing-v3", "PixelCatch-v0"])
def test_carracing_has_tracks(env: str, tmp_path: Path) -> None:
    shown = summarize(tiny_configuration("ppo", "none", env=env), make_jobs(tmp_path, ["none"])[0].folder, RESULTS)
    assert ("over 1 unseen tracks, on the stock picture" in shown) == ("CarRacing" in env)
