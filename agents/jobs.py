"""
Several runs at a time, each in a process of its own.

A run that fails stops no other. What a run prints goes to ``seed-<n>.log`` beside its folder; if it fails, ``seed-<n>.failed``
says so there until it is run again. A process ends when this one does, however that ends, so that the same command can go on.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from agents.configuration import RunConfiguration
from agents.errors import UserError
from agents.files import write_text
from agents.run import Machine
from agents.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
WORKER = (sys.executable, "-m", "agents.worker")
PAUSE = 0.2  # seconds between two looks at the processes
STOPPED = 130

State = Literal["waiting", "running", "finished", "failed", "stopped"]


@dataclass
class Job:
    """
    One run and what became of it.

    :param status: the process's exit status, once it has ended
    :param began: by ``time.monotonic``, when the process was started
    """

    configuration: RunConfiguration
    folder: RunFolder
    state: State = "waiting"
    status: int | None = None
    began: float = 0.0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Algorithm, arm and seed."""
        run = self.configuration
        return f"{run.recipe.algorithm}-{run.arm} seed {run.seed}"

    @property
    def log(self) -> Path:
        """Everything that the process prints."""
        return self.folder.path.with_name(f"{self.folder.path.name}.log")

    @property
    def failure(self) -> Path:
        """There while the last attempt has failed."""
        return self.folder.path.with_name(f"{self.folder.path.name}.failed")

    def last_words(self) -> str:
        """The last line of the log that says something."""
        lines = read_end(self.log).replace("\r", "\n").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def run_jobs(
    jobs: Sequence[Job],
    parallel: int,
    machine: Machine,
    *,
    overwrite: bool,
    command: str,
    watch: Callable[[Sequence[Job]], None] = lambda jobs: None,
    program: Sequence[str] = WORKER,
) -> bool:
    """
    Bring runs to their end, some at a time; ``state`` of each job then says what became of it.

    The first Ctrl-C lets every run write a checkpoint, the second ends them at once.

    :param parallel: how many run at a time; if several, each keeps to one thread of torch's
    :param overwrite: replace what lies in the folders
    :param command: what the user typed, for ``config.yaml``
    :param watch: called with all jobs a few times a second
    :param program: what is told a run by a line of JSON on its standard input, and brings it to its end
    :return: whether the user let it come to its end
    """
    waiting = [job for job in jobs if job.state == "waiting"]
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    with _interrupts() as interrupts:
        try:
            told = 0
            while running or (waiting and not interrupts):
                while waiting and len(running) < parallel and not interrupts:
                    job = waiting.pop(0)
                    process = _start(job, machine, overwrite, command, program, one_thread=parallel > 1)
                    running[process.pid] = job, process
                if len(interrupts) > told:
                    told = len(interrupts)
                    if told == 1:
                        print("Stopping: each run writes a checkpoint first; Ctrl-C again stops at once.", file=sys.stderr)
                    _stop([process for _, process in running.values()], at_once=told > 1)
                for pid, (job, process) in list(running.items()):
                    if process.poll() is not None:
                        del running[pid]
                        _end(job, process, stopping=bool(interrupts))
                watch(jobs)
                time.sleep(PAUSE)
        finally:
            _stop([process for _, process in running.values()], at_once=True)
    return not interrupts


def read_end(file: Path, size: int = 4096) -> str:
    """The end of a text file; empty if there is none."""
    try:
        with open(file, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
            return stream.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _start(
    job: Job, machine: Machine, overwrite: bool, command: str, program: Sequence[str], *, one_thread: bool
) -> "subprocess.Popen[bytes]":
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.failure.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    environment["TQDM_MININTERVAL"] = "5"  # the log holds every state of the bar
    if one_thread:
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    task = {
        "configuration": job.configuration.as_dict(),
        "folder": os.fspath(job.folder.path),
        "device": machine.device,
        "vec": machine.vec,
        "processes": machine.processes,
        "overwrite": overwrite,
        "command": command,
    }
    with open(job.log, "ab") as log:
        process = subprocess.Popen(
            list(program),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal reaches it through this process alone
        )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()  # and stays open: its end tells the worker that nobody waits for it any more
    except BrokenPipeError:
        pass  # it has ended already, which its status will say
    job.state, job.began = "running", time.monotonic()
    return process


def _end(job: Job, process: "subprocess.Popen[bytes]", *, stopping: bool) -> None:
    """Note what became of a job whose process has ended."""
    assert process.stdin is not None
    process.stdin.close()
    job.status, job.seconds = process.returncode, time.monotonic() - job.began
    if process.returncode == 0 and job.folder.results.is_file():
        job.state = "finished"
    elif stopping or process.returncode == STOPPED:
        job.state = "stopped"
    else:
        job.state = "failed"
        run = job.configuration
        content = {
            "env": run.env,
            "algorithm": run.recipe.algorithm,
            "arm": run.arm,
            "seed": run.seed,
            "exit_status": job.status,
            "log": job.log.name,
            "problem": f"exit status {job.status}, log {job.log.name}: {job.last_words()}",
        }
        write_text(job.failure, json.dumps(content, indent=1) + "\n")


def _stop(processes: Sequence["subprocess.Popen[bytes]"], *, at_once: bool) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if at_once else signal.SIGINT)
    if at_once:
        for process in processes:
            process.wait()


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Within this block Ctrl-C only adds to the list that the block is given."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def check_folders(jobs: Sequence[Job], *, overwrite: bool) -> None:
    """
    See that every run can begin or go on, before any does; finished runs are marked so.

    :raises UserError: a folder holds something else, or a run with another configuration
    """
    for job in jobs:
        if not job.folder.is_there() or overwrite:
            continue
        differences = job.configuration.differences(job.folder.read_configuration())
        if differences:
            raise UserError(
                f"{job.folder.path} holds a run with another configuration: {differences[0]}; "
                "--overwrite replaces it, another --log-dir keeps both."
            )
        if job.folder.read_results() is not None:
            job.state = "finished"
