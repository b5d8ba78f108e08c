"""
The process that a run has to itself, started on this machine or, by Ray, on another.

Ray imports this beside every run, so it imports nothing but the standard library.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORKER = (sys.executable, "-m", "agents.worker")
STOPPED, BUSY = 130, 75  # of the program: the user stopped it; another process is at work in the folder


def start_program(
    task: Mapping[str, Any], log: Path, program: Sequence[str], threads: int | None, directory: str | None = None
) -> "subprocess.Popen[bytes]":
    """
    Start a program and tell it a run.

    :param task: what it reads, as a line of JSON, from its standard input; that stays open, and its end tells the program that
        nobody waits for it any more
    :param log: gets what it prints
    :param threads: of torch; as many as torch likes if ``None``
    :param directory: to start it in; this process's own if ``None``
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    environment["TQDM_MININTERVAL"] = "5"  # the log holds every state of the bar
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            list(program),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            start_new_session=True,  # Ctrl-C in the terminal reaches it through this process alone
        )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended already, which its status will say
    return process


def missing_paths(paths: Sequence[str]) -> list[str]:
    """Those that this machine does not have."""
    return [path for path in paths if not os.path.exists(path)]


class Runner:
    """One run's process on the node where Ray has put this object: an actor with two threads, one of which waits."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self.lock = threading.Lock()

    def arrive(self, paths: Sequence[str]) -> tuple[str, list[str]]:
        """
        The first thing to ask.

        :param paths: that the run needs
        :return: the node's name, and which of the paths it does not have
        """
        return socket.gethostname(), missing_paths(paths)

    def run(self, task: Mapping[str, Any], log: str, program: Sequence[str] | None, threads: int, directory: str) -> int:
        """
        Bring the run to its end.

        :param program: :data:`WORKER` if ``None``
        :param directory: to run it in, where the node has it
        :return: the process's exit status
        """
        # Ray's processes ignore Ctrl-C by a mask, which the program would inherit and never hear that it shall stop.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with self.lock:
            if self.stopped:
                return STOPPED
            where = directory if os.path.isdir(directory) else None
            self.process = start_program(task, Path(log), program or WORKER, threads, where)
        with self.process:
            return self.process.wait()

    def stop(self, *, at_once: bool) -> None:
        """Let the process write a checkpoint and end, or kill it; one that has not begun does not begin."""
        with self.lock:
            self.stopped = True
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL if at_once else signal.SIGINT)
