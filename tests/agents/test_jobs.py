"""Many runs at a time: what happens when one fails, when the user stops them, and when they are killed."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from agents.errors import Busy, UserError
from agents.folder_checks import check_folders
from agents.grid import run_grid
from agents.jobs import Job, run_jobs
from agents.live import LiveTable, steps_made
from agents.machine import Machine
from agents.processes import BUSY, WORKER, start_program
from agents.run_folder import RunFolder
from tests.agents.test_checkpoints import ROOT, check_whole
from tests.agents.test_run_folder import snapshot
from tests.agents.tiny import tiny_configuration, tiny_run

MACHINE = Machine("cpu", "dummy")

# Stands in for agents.worker: takes a moment, notes when, and does what its arm says.
STAND_IN = """
import json, os, sys, time
from pathlib import Path
task = json.loads(sys.stdin.readline())
folder, arm = Path(task["folder"]), task["configuration"]["arm"]
folder.mkdir(parents=True, exist_ok=True)
began = time.time()
try:
    time.sleep(60 if arm == "aug" else 0.4)
except KeyboardInterrupt:
    (folder / "checkpoint").touch()
    sys.exit(130)
if arm == "curl":
    print("RuntimeError: out of memory", file=sys.stderr)
    sys.exit(1)
(folder / "task.json").write_text(json.dumps({**task, "threads": os.environ.get("OMP_NUM_THREADS")}))
(folder / "times.json").write_text(json.dumps([began, time.time()]))
(folder / "results.json").write_text(json.dumps({"final": {"mean_return": 1.0, "std_return": 0.0, "episodes": 1}}))
"""


def make_jobs(log_dir: Path, arms: Sequence[str], seeds: Sequence[int] = (0,)) -> list[Job]:
    configurations = [tiny_configuration("ppo", arm, seed=seed) for seed in seeds for arm in arms]
    return [Job(configuration, RunFolder.of(log_dir, configuration)) for configuration in configurations]


def run_stand_ins(jobs: list[Job], parallel: int, watch: Callable[[Sequence[Job]], None] = lambda jobs: None) -> bool:
    program = (sys.executable, "-c", STAND_IN)
    return run_jobs(jobs, parallel, MACHINE, overwrite=False, command="typed", watch=watch, program=program)


def test_as_many_at_a_time_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for parallel, threads in ((1, None), (3, "1")):
        jobs = make_jobs(tmp_path / str(parallel), ["none"], range(4))
        most: list[int] = []
        assert run_stand_ins(jobs, parallel, lambda jobs, most=most: most.append(sum(job.state == "running" for job in jobs)))  # type: ignore[misc]
        assert max(most) == parallel and {job.state for job in jobs} == {"finished"}
        tasks = [json.loads((job.folder.path / "task.json").read_text()) for job in jobs]
        assert {task["threads"] for task in tasks} == {threads}
        assert tasks[2]["configuration"] == jobs[2].configuration.as_dict() and tasks[2]["command"] == "typed"


def test_a_failure_stops_no_other_and_is_marked(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, ["curl", "none"], (0, 1))
    assert run_stand_ins(jobs, 2)
    assert [job.state for job in jobs] == ["failed", "finished", "failed", "finished"]
    failed = jobs[0]
    before = failed.log.read_text()
    failed.log.write_text(f"Traceback (most recent call last):\nKeyError: 'step'\n{before}")
    assert failed.last_words() == "KeyError: 'step'"
    repeated = make_jobs(tmp_path, ["curl"])
    run_stand_ins(repeated, 1)
    assert repeated[0].last_words() == "RuntimeError: out of memory"  # and not what the attempt before it has said
    assert failed.log == tmp_path / "tests.agents.tiny-TinyImages-v0" / "ppo-curl" / "seed-0.log"
    said = json.loads(failed.failure.read_text())
    assert (said["arm"], said["seed"], said["exit_status"]) == ("curl", 0, 1)
    assert said["problem"] == "exit status 1, log seed-0.log: RuntimeError: out of memory"
    assert not jobs[1].failure.exists()
    again = [Job(tiny_configuration("ppo", "none"), failed.folder)]  # the next attempt takes the mark away
    run_stand_ins(again, 1)
    assert again[0].state == "finished" and not failed.failure.exists()


def test_one_that_cannot_start_stops_no_other(tmp_path: Path) -> None:
    """Where its log should be is a folder, or a file where its arm's folder should be, which leaves no place for the mark."""
    jobs = make_jobs(tmp_path, ["none", "aug"], (0, 1))
    log, arm = jobs[2].log, jobs[1].folder.path.parent
    log.mkdir(parents=True)
    arm.touch()
    assert run_stand_ins(jobs, 3)
    assert [job.state for job in jobs] == ["finished", "failed", "failed", "failed"]
    sentence = "cannot be read or written ({}): choose another place, or mend this one."
    assert jobs[2].problem == f"{log} {sentence.format('Is a directory')}"
    assert json.loads(jobs[2].failure.read_text())["problem"] == jobs[2].problem
    for job in (jobs[1], jobs[3]):
        assert job.problem and str(arm) in job.problem and job.problem.endswith(sentence.partition(": ")[2])
    assert arm.read_bytes() == b""


def test_a_process_that_cannot_be_had_is_said_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("agents.jobs.start_program", start)
    (job,) = make_jobs(tmp_path, ["none"])
    assert run_stand_ins([job], 1)
    assert job.state == "failed"
    assert job.problem == "it could not be started: [Errno 11] Resource temporarily unavailable"


def test_a_full_disk_takes_the_mark_and_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_text(file: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("agents.jobs.write_text", write_text)
    jobs = make_jobs(tmp_path, ["curl", "none"], (0, 1))
    assert run_stand_ins(jobs, 2)
    assert [job.state for job in jobs] == ["failed", "finished", "failed", "finished"]
    assert not jobs[0].failure.exists() and jobs[0].last_words() == "RuntimeError: out of memory"


def test_what_another_grid_is_at_work_on_is_left_for_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not marked failed: the other one may be well. Nothing else waits for it."""
    jobs = make_jobs(tmp_path, ["none"], (0, 1, 2))
    other = RunFolder(jobs[0].folder.path)
    other.lock()
    begun: list[str] = []

    def watch(jobs: Sequence[Job]) -> None:
        begun.extend(job.name for job in jobs if job.state == "running" and job.name not in begun)
        if jobs[2].state == "finished" and jobs[0].state == "waiting":
            other.unlock()

    assert run_stand_ins(jobs, 1, watch)
    assert begun == ["ppo-none seed 1", "ppo-none seed 2", "ppo-none seed 0"]
    assert {job.state for job in jobs} == {"finished"} and not any(job.failure.exists() for job in jobs)
    said = capsys.readouterr().err
    assert said.count("ppo-none seed 0 is left for later. Another process is training in") == 1


def test_what_another_grid_has_meanwhile_finished_is_not_thrown_away(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, ["none"], (0, 1))
    other = RunFolder(jobs[0].folder.path)
    other.lock()

    def watch(jobs: Sequence[Job]) -> None:
        if jobs[1].state == "finished":
            other.unlock()

    program = (sys.executable, "-c", STAND_IN)
    assert run_jobs(jobs, 1, MACHINE, overwrite=True, command="typed", watch=watch, program=program)
    tasks = [json.loads((job.folder.path / "task.json").read_text()) for job in jobs]
    assert [task["overwrite"] for task in tasks] == [False, True]


def test_a_disk_without_locks_is_a_sentence_and_no_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    folder = RunFolder(tmp_path / "run")
    monkeypatch.setattr("fcntl.flock", flock)
    for look in (folder.lock, folder.check_free):
        with pytest.raises(UserError, match="cannot be locked") as refused:
            look()
        assert not isinstance(refused.value, Busy)


def test_a_folder_that_cannot_be_locked_ends_no_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is started, and says itself what is wrong."""
    jobs = make_jobs(tmp_path, ["none"], (0, 1))

    def check_free(folder: RunFolder) -> None:
        if folder is jobs[0].folder:
            raise UserError("It cannot be locked.")

    monkeypatch.setattr(RunFolder, "check_free", check_free)
    assert run_stand_ins(jobs, 1)
    assert [job.state for job in jobs] == ["finished", "finished"]


def test_a_grid_that_comes_first_by_a_moment(tmp_path: Path) -> None:
    """The folder was free when the process was started, which then finds it taken."""
    (job,) = make_jobs(tmp_path, ["none"])
    first = f"""
import pathlib, sys
came = pathlib.Path({os.fspath(tmp_path / "came")!r})
if not came.exists():
    came.touch()
    sys.exit({BUSY})
"""
    program = (sys.executable, "-c", first + STAND_IN)
    assert run_jobs([job], 1, MACHINE, overwrite=False, command="typed", program=program)
    assert job.state == "finished" and not job.failure.exists()


def test_the_real_program_says_that_another_is_at_work(tmp_path: Path) -> None:
    (job,) = make_jobs(tmp_path, ["none"])
    tiny_run(tmp_path, job.configuration)  # there is a run, so that the program looks
    other = RunFolder(job.folder.path)
    other.lock()
    process = start_program(job.task(MACHINE, overwrite=True, command="typed"), job.log, WORKER, 1)
    assert process.wait() == BUSY
    job.end(BUSY, stopping=False)  # as on Ray, which does not try again
    assert job.state == "failed" and not job.failure.exists()
    assert job.last_words() == f"Another process is training in {other.path}; wait for it, or choose another --log-dir."


def interrupt(times: int, apart: float) -> None:
    def send() -> None:
        for _ in range(times):
            time.sleep(apart)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send).start()


@pytest.mark.parametrize(("times", "saved"), [(1, True), (2, False)])
def test_ctrl_c_stops_all_and_twice_at_once(times: int, saved: bool, tmp_path: Path) -> None:
    """aug would take a minute; none has not begun when the first Ctrl-C comes, and does not afterwards."""
    jobs = make_jobs(tmp_path, ["aug"], (0, 1)) + make_jobs(tmp_path, ["none"])
    before = signal.getsignal(signal.SIGINT)
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    program = (sys.executable, "-c", STAND_IN if saved else deaf + STAND_IN)
    interrupt(times, 1.5)
    began = time.monotonic()
    assert not run_jobs(jobs, 2, MACHINE, overwrite=False, command="typed", program=program)
    assert time.monotonic() - began < 30
    assert [job.state for job in jobs] == ["stopped", "stopped", "waiting"]
    assert [job.status for job in jobs] == ([130, 130, None] if saved else [-signal.SIGKILL, -signal.SIGKILL, None])
    assert all((job.folder.path / "checkpoint").exists() == saved for job in jobs[:2])
    assert not jobs[0].failure.exists() and signal.getsignal(signal.SIGINT) is before


def test_folders_are_checked_before_anything_runs(tmp_path: Path) -> None:
    other = tiny_run(tmp_path, tiny_configuration("ppo", "none", eval_episodes=2))
    jobs = make_jobs(tmp_path, ["aug", "none"])
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="another configuration: eval_episodes is 1 and was 2"):
        run_grid(jobs, partial(run_jobs, parallel=2), MACHINE, overwrite=False, command="typed")
    assert snapshot(tmp_path) == before
    check_folders(jobs, overwrite=True)
    assert {job.state for job in jobs} == {"waiting"}
    done = [Job(other.read_configuration(), other)]
    check_folders(done, overwrite=False)
    assert done[0].state == "finished"


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from agents.grid import run_grid
from agents.jobs import Job, run_jobs
from agents.machine import Machine
from agents.run_folder import RunFolder
from tests.agents.tiny import tiny_configuration
if __name__ == "__main__":
    short = tiny_configuration("ppo", "none")
    long = tiny_configuration("ppo", "none", seed=1, timesteps=1_000_000)
    jobs = [Job(one, RunFolder.of(Path(sys.argv[1]), one)) for one in (short, long)]
    two = partial(run_jobs, parallel=2)
    sys.exit(run_grid(jobs, two, Machine("cpu", "dummy"), overwrite=False, command="python grid.py"))
"""


def start_grid(log_dir: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(log_dir)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.1)


def test_killed_grid_goes_on(tmp_path: Path) -> None:
    """
    Real runs. When the grid's process is killed its runs end too; the same command then leaves the finished one alone and goes
    on with the other from its checkpoint; Ctrl-C stops that and says how to go on.
    """
    short, long = (
        RunFolder.of(tmp_path, tiny_configuration("ppo", "none", **more)) for more in ({}, {"seed": 1, "timesteps": 1_000_000})
    )

    def evaluations() -> int:
        return long.evaluations.read_text().count("\n") - 1 if long.evaluations.is_file() else 0

    process = start_grid(tmp_path)
    wait_for(lambda: short.results.is_file() and evaluations() >= 3, process)
    process.kill()
    process.communicate()

    def free() -> bool:
        try:
            long.lock()
        except UserError:
            return False
        long.unlock()
        return True

    wait_for(free)
    check_whole(short)
    finished, begun, seen = snapshot(short.path), long.config.read_bytes(), evaluations()
    process = start_grid(tmp_path)
    wait_for(lambda: evaluations() > seen, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert errors == "Stopping: each run writes a checkpoint first; Ctrl-C again stops at once.\n"
    assert output.endswith("the others go on from their newest checkpoint, by the same command: python grid.py\n")
    assert "ppo-none seed 1: stopped" in output and "[1/2 finished]" in output
    assert snapshot(short.path) == finished and long.config.read_bytes() == begun  # the one not run again, the other not anew
    steps = [row["timesteps"] for row in long.read_evaluations()]
    assert steps == list(range(0, 32 * len(steps), 32))
    assert not list(tmp_path.rglob("*.failed")) and not (short.path.parents[1] / "report").exists()


def shown(jobs: Sequence[Job], *, terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=100, height=10)
    with LiveTable(console) as table:
        table(jobs, last=True)
        table(jobs, last=True)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_shown(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, ["none"], range(3))
    jobs[0].folder.path.mkdir(parents=True)
    jobs[0].folder.evaluations.write_text(
        "timesteps,mean_return,std_return,episodes,wall_seconds\n0,1,0,1,0\n32,2.5,0,1,1\n64,"
    )
    jobs[0].log.write_text("  0%| | 0/96 [00:00<?]\r 50%|#### | 48/96 [00:01<00:01, 40.0step/s]\rEvaluating 3/5 [00:01]")
    jobs[0].state, jobs[0].began = "running", time.monotonic() - 61
    jobs[1].state, jobs[1].status = "failed", -9
    assert steps_made(jobs[0]) == 48
    jobs[0].folder.evaluations.write_text("timesteps,mean_return,std_return,episodes,wall_seconds\n0,1,0,1,0\n64,2.5,0,1,1\n")
    assert steps_made(jobs[0]) == 64
    lines = shown(jobs, terminal=False).splitlines()
    assert lines == [
        "[0/3 finished] ppo-none seed 0: running, 64 steps, return 2.5",
        f"[0/3 finished] ppo-none seed 1: failed with exit status -9, log {jobs[1].log}",
    ]
    table = shown(jobs, terminal=True)
    assert "1 waiting, 1 running, 1 failed" in table and "64 of 96 (66%)" in table and "1:01" in table
    many = jobs + make_jobs(tmp_path, ["aug"], range(40))
    assert "and 38 more" in shown(many, terminal=True)
