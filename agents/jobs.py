"""
Several runs at a time, each in a process of its own.

A run that fails stops no other. What a run prints goes to ``seed-<n>.log`` beside its folder; if it fails, ``seed-<n>.failed``
says so there until it is run again. A process ends when this one does, however that ends, so that the same command can go on.
A run that another grid is at work on is left for later: it may then be finished.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from agents.configuration import RunConfiguration
from agents.errors import Busy, UserError
from agents.files import write_text
from agents.machine import Machine
from agents.processes import BUSY, STOPPED, WORKER, start_program
from agents.run_folder import RunFolder
from agents.run_log import last_words
from cpc_rl.file_errors import file_error

PAUSE = 0.2  # seconds between two looks at the processes
STOPPING = "Stopping: each run writes a checkpoint first; Ctrl-C again stops at once."

State = Literal["waiting", "running", "finished", "failed", "stopped"]


@dataclass
class Job:
    """
    One run and what became of it.

    :param status: the process's exit status, once it has ended
    :param problem: why it failed, if the log does not say
    :param began: by ``time.monotonic``, when the process was started
    :param logged: bytes of the log before that
    :param met: another process was seen at work on it
    """

    configuration: RunConfiguration
    folder: RunFolder
    state: State = "waiting"
    status: int | None = None
    problem: str | None = None
    began: float = 0.0
    seconds: float = 0.0
    logged: int = 0
    met: bool = False

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
        """What the log says of its end."""
        return last_words(self.log, self.status, self.logged)

    def forget(self) -> None:
        """
        Leave what an earlier attempt has said out of what this one says.

        :raises OSError: its mark cannot be removed
        """
        self.failure.unlink(missing_ok=True)
        self.logged = self.log.stat().st_size if self.log.exists() else 0

    def task(self, machine: Machine, *, overwrite: bool, command: str, patience: float = 0.0) -> dict[str, Any]:
        """
        What :mod:`agents.worker` is told.

        :param patience: seconds to wait for another process that is still at work in the folder
        """
        return {
            "configuration": self.configuration.as_dict(),
            "folder": os.fspath(self.folder.path),
            "device": machine.device,
            "vec": machine.vec,
            "processes": machine.processes,
            "overwrite": overwrite,
            "command": command,
            "patience": patience,
        }

    def end(self, status: int | None, *, stopping: bool, problem: str | None = None) -> None:
        """
        Note what became of it, and mark it if it has failed.

        :param status: the process's; ``None`` if it could not be started, or not be brought to an end
        :param stopping: the user wants all runs to stop
        :param problem: why it could not
        """
        self.status, self.problem = status, problem
        self.seconds = time.monotonic() - self.began if self.began else 0.0
        if status == 0 and self.folder.results.is_file():
            self.state = "finished"
        elif stopping or status == STOPPED:
            self.state = "stopped"
        else:
            self.state = "failed"
            if status == BUSY:
                return  # the folder is another grid's, and so is what becomes of the run there
            run = self.configuration
            content = {
                "env": run.env,
                "algorithm": run.recipe.algorithm,
                "arm": run.arm,
                "seed": run.seed,
                "exit_status": status,
                "log": self.log.name,
                "problem": problem or f"exit status {status}, log {self.log.name}: {self.last_words()}",
            }
            with suppress(OSError):  # a full disk, say: then the failure is told of at the grid's end alone
                self.failure.parent.mkdir(parents=True, exist_ok=True)
                write_text(self.failure, json.dumps(content, indent=1) + "\n")

    def could_not_start(self, error: OSError) -> None:
        """Note that it has failed before it began."""
        self.end(None, stopping=False, problem=file_error(error) or f"it could not be started: {error}")


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
    with count_interrupts() as interrupts:
        try:
            told = 0
            while running or (waiting and not interrupts):
                while len(running) < parallel and not interrupts and (job := _next(waiting)):
                    waiting.remove(job)
                    # What another grid has meanwhile made is not thrown away.
                    task = job.task(machine, overwrite=overwrite and not job.met, command=command)
                    try:
                        job.forget()
                        process = start_program(task, job.log, program, 1 if parallel > 1 else None)
                    except OSError as error:
                        job.could_not_start(error)
                        continue
                    running[process.pid] = job, process
                    job.state, job.began = "running", time.monotonic()
                if len(interrupts) > told:
                    told = len(interrupts)
                    if told == 1:
                        print(STOPPING, file=sys.stderr)
                    _stop([process for _, process in running.values()], at_once=told > 1)
                for pid, (job, process) in list(running.items()):
                    if process.poll() is not None:
                        del running[pid]
                        assert process.stdin is not None
                        process.stdin.close()
                        if process.returncode == BUSY and not interrupts:
                            job.state, job.met = "waiting", True  # another grid came before it
                            waiting.append(job)
                            continue
                        job.end(process.returncode, stopping=bool(interrupts))
                watch(jobs)
                time.sleep(PAUSE)
        finally:
            _stop([process for _, process in running.values()], at_once=True)
    return not interrupts


def _next(waiting: Sequence[Job]) -> Job | None:
    """The first that no other process is at work on; ``None`` as long as there is none."""
    for job in waiting:
        try:
            job.folder.check_free()
        except Busy as error:
            if not job.met:
                print(f"{job.name} is left for later. {error}", file=sys.stderr)
            job.met = True
        except (OSError, UserError):
            return job  # the run will say what it is
        else:
            return job
    return None


def _stop(processes: Sequence["subprocess.Popen[bytes]"], *, at_once: bool) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if at_once else signal.SIGINT)
    if at_once:
        for process in processes:
            process.wait()


@contextmanager
def count_interrupts() -> Iterator[list[int]]:
    """Within this block Ctrl-C only adds to the list that the block is given."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
