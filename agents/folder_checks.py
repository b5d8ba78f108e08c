"""What is seen before any run of a grid begins: whether each can begin or go on where it shall."""

import errno
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agents.errors import Busy, UserError
from agents.jobs import Job
from cpc_rl.file_errors import file_error


def check_folders(jobs: Sequence[Job], *, overwrite: bool, patience: float = 0.0) -> None:
    """
    See that every run can begin or go on, before any does; finished runs are marked so.

    :param patience: seconds, for all runs together, to wait for processes that are still at work in the folders
    :raises UserError: a folder holds something else, or a run with another configuration, or cannot be made or written in; or
        another process is training there
    """
    for job in jobs:
        if job.folder.is_there():
            _check_run(job, overwrite=overwrite)
        if job.state != "finished":
            _check_place(job)
    end = time.monotonic() + patience
    for job in jobs:
        if job.state != "finished":
            _check_free(job, end)


def check_utf8(path: Path) -> None:
    """
    See that a path can be written down in text files, such as ``config.yaml``.

    :raises UserError: it cannot
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        name = os.fsencode(path)
        raise UserError(f"The path {name!r} is not UTF-8, as the files of a run are: choose another, or rename it.") from None


def _check_run(job: Job, *, overwrite: bool) -> None:
    """See that the run that lies in the folder is the one that is wanted, or may be replaced."""
    if overwrite:
        job.folder.check_replaceable()
        return
    job.folder.check_same(job.configuration)
    if job.folder.read_results() is not None:
        job.state = "finished"


def _check_place(job: Job) -> None:
    """See that the folder, and the files beside it, can be made and written."""
    path = job.folder.path
    above = next(parent for parent in path.parents if os.path.lexists(parent))
    for place in (above, path) if os.path.lexists(path) else (above,):
        if not place.is_dir():
            raise _not_possible(errno.ENOTDIR, place)
        if not os.access(place, os.W_OK | os.X_OK):
            raise _not_possible(errno.EACCES, place)
    for file in (job.log, job.failure):
        if file.is_dir():
            raise _not_possible(errno.EISDIR, file)


def _not_possible(number: int, path: Path) -> UserError:
    """What the run itself would say of the place."""
    return UserError(file_error(OSError(number, os.strerror(number), os.fspath(path))))


def _check_free(job: Job, end: float) -> None:
    """See that no other process is at work in the folder, or wait for it until ``end``, by ``time.monotonic``."""
    try:
        job.folder.check_free()
    except Busy:
        left = end - time.monotonic()
        if left <= 0:
            raise
        print(f"Waiting for another process to leave {job.folder.path} ...", file=sys.stderr)
        job.folder.check_free(left)
