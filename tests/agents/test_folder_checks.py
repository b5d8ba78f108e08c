"""What is refused before any run of a grid begins: places that cannot be, and folders that another process is at work in."""

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import train_agent
from agents.errors import UserError
from agents.folder_checks import check_folders
from agents.grid import run_grid
from agents.jobs import Job, run_jobs
from agents.ray_grid import PATIENCE
from agents.run_folder import RunFolder
from tests.agents.test_jobs import MACHINE, make_jobs
from tests.agents.test_run_folder import snapshot
from tests.agents.tiny import IMAGES, tiny_configuration, tiny_recipe, tiny_run


def refused(jobs: list[Job], said: str, tmp_path: Path) -> None:
    """The grid is, in a sentence, and nothing has been made or changed."""
    before = {str(path) for path in tmp_path.rglob("*")}, snapshot(tmp_path)
    with pytest.raises(UserError) as error:
        run_grid(jobs, partial(run_jobs, parallel=2), MACHINE, overwrite=False, command="typed")
    assert str(error.value) == said
    assert ({str(path) for path in tmp_path.rglob("*")}, snapshot(tmp_path)) == before
    assert {job.state for job in jobs} == {"waiting"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_no_folder_where_the_arm_s_should_be(kind: str, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, ["none", "aug"])
    arm = jobs[1].folder.path.parent
    arm.parent.mkdir()
    if kind == "file":
        arm.touch()
    else:
        arm.symlink_to(tmp_path / "nowhere")
    refused(jobs, f"{arm} cannot be read or written (Not a directory): choose another place, or mend this one.", tmp_path)


@pytest.mark.parametrize("ending", ["log", "failed"])
def test_a_folder_where_a_file_should_be(ending: str, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, ["none"], (0, 1))
    place = jobs[1].folder.path.with_name(f"seed-1.{ending}")
    place.mkdir(parents=True)
    refused(jobs, f"{place} cannot be read or written (Is a directory): choose another place, or mend this one.", tmp_path)


def test_a_place_that_cannot_be_written_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path / "new", ["none"])
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    refused(
        jobs, f"{tmp_path} cannot be read or written (Permission denied): choose another place, or mend this one.", tmp_path
    )


def test_another_process_is_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Locks of this process's own shut it out as another one's do."""
    jobs = make_jobs(tmp_path, ["none"], (0, 1))
    busy = RunFolder(jobs[1].folder.path)
    busy.lock()
    said = f"Another process is training in {busy.path}; wait for it, or choose another --log-dir."
    refused(jobs, said, tmp_path)
    assert capsys.readouterr().err == ""
    threading.Timer(0.5, busy.unlock).start()  # as a process that is dying does
    check_folders(jobs, overwrite=False, patience=60.0)
    assert capsys.readouterr().err == f"Waiting for another process to leave {busy.path} ...\n"
    for job in jobs:
        RunFolder(job.folder.path).lock()  # which the look has left open to others


def test_what_is_finished_is_left_alone(tmp_path: Path) -> None:
    """Neither the kind of its log nor who may be in its folder matters then."""
    configuration = tiny_configuration("ppo", "none")
    jobs = [Job(configuration, tiny_run(tmp_path, configuration))]
    jobs[0].log.mkdir()
    busy = RunFolder(jobs[0].folder.path)
    busy.lock()
    check_folders(jobs, overwrite=False)
    assert jobs[0].state == "finished"
    with pytest.raises(UserError, match="Is a directory"):
        check_folders(make_jobs(tmp_path, ["none"]), overwrite=True)
    jobs[0].log.rmdir()
    with pytest.raises(UserError, match="Another process is training"):
        check_folders(make_jobs(tmp_path, ["none"]), overwrite=True)


@pytest.fixture
def tiny_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, with recipes that take seconds."""
    monkeypatch.setattr("agents.grid.load_recipe", lambda env_id, algorithm: tiny_recipe(algorithm.lower()))


def test_ray_s_dying_processes_are_waited_for(tiny_recipes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def run_nothing(*arguments: Any, patience: float = 0.0, **keywords: Any) -> int:
        asked.append(patience)
        return 0

    monkeypatch.setattr("agents.grid.run_grid", run_nothing)
    line = f"--env {IMAGES} --objective none --seeds 0 1 --device cpu --vec dummy --log-dir {tmp_path}"
    assert train_agent.main(line.split()) == train_agent.main([*line.split(), "--ray"]) == 0
    assert asked == [0.0, PATIENCE]


def test_paths_that_are_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"x\xff")
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    whole = repr(os.fsencode(tmp_path) + b"/x\xff")[:-1]
    common = ["--env", IMAGES]
    for argv, path in (
        ([*common, "--log-dir", name], r"b'x\xff'"),
        ([*common, "--seeds", "0", "1", "--log-dir", name], r"b'x\xff'"),
        ([*common, "--encoder", name], r"b'x\xff'"),
        (["--resume", "seed-0"], f"{whole}/seed-0'"),
        ([*common, "--ray"], f"{whole}/runs'"),
    ):
        assert train_agent.main(argv) == 2
        said = f"The path {path} is not UTF-8, as the files of a run are: choose another, or rename it."
        assert capsys.readouterr().err == f"train_agent.py: {said}\n"
    assert not list((tmp_path / name).iterdir())
