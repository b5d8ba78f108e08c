"""
What becomes of a grid's runs on a Ray cluster.

Ray decides where a run goes, and this process whether it goes once more: one whose process or node is lost goes on from its
newest checkpoint, one that fails by itself does not.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.checkpoints import list_checkpoints
from agents.jobs import PAUSE, STOPPING, Job, count_interrupts
from agents.machine import Machine
from agents.processes import Runner
from agents.ray_session import not_shared, reason

AHEAD = 8  # runs that Ray is asked for before it has room, so that a cluster that can grow knows that it should
LOSSES = 3  # so many in a row without a new checkpoint between them, and the run is given up
PATIENCE = 120.0  # seconds until a lost process has left its folder, or what a node has written is seen here


@dataclass
class Course:
    """
    One job's way through the cluster.

    :param before: ``config.yaml`` as it was at first
    :param newest: the newest checkpoint at the last loss
    :param losses: in a row without a new checkpoint
    :param attempts: begun so far
    :param actor: of the present attempt
    :param answer: what is awaited of it
    :param node: where it is, once it is anywhere
    :param ended: by ``time.monotonic``, when it said that it had ended
    """

    job: Job
    before: bytes | None
    newest: str | None = None
    losses: int = 0
    attempts: int = 0
    actor: Any = None
    answer: Any = None
    node: str | None = None
    ended: float | None = None


class RayGrid:
    """
    What the runs of a grid have in common.

    :param ray: the module, connected
    :param options: of every run's actor
    :param needed: paths without which no run can begin
    :param overwrite: replace what lies in the folders
    :param program: as in :func:`agents.jobs.run_jobs`
    """

    def __init__(
        self,
        ray: Any,
        options: dict[str, Any],
        needed: Sequence[str],
        machine: Machine,
        overwrite: bool,
        command: str,
        program: Sequence[str] | None,
    ):
        self.ray, self.options, self.needed = ray, options, list(needed)
        self.machine, self.overwrite, self.command, self.program = machine, overwrite, command, program
        self.stopping = False

    def bring_to_end(self, jobs: Sequence[Job], parallel: int | None, watch: Callable[[Sequence[Job]], None]) -> bool:
        """
        Bring those of the jobs that wait to their end.

        :param parallel: at most so many at a time
        :param watch: called with all jobs a few times a second
        :return: whether the user let it come to its end
        """
        waiting = [Course(job, _config(job)) for job in jobs if job.state == "waiting"]
        active: list[Course] = []
        told = 0
        with count_interrupts() as interrupts:
            while active or (waiting and not interrupts):
                while waiting and not interrupts and self._room(active, parallel):
                    active.append(waiting.pop(0))
                    self._ask(active[-1])
                if len(interrupts) > told:
                    told = len(interrupts)
                    self.stopping = True
                    if told == 1:
                        print(STOPPING, file=sys.stderr)
                    self._stop(active, at_once=told > 1)
                    active = [course for course in active if course.actor is not None]
                answers = [course.answer for course in active]
                ready, _ = self.ray.wait(answers, num_returns=len(answers), timeout=0) if answers else ([], [])
                for course in [course for course in active if course.answer in ready]:
                    self._answered(course)
                waiting[:0] = [course for course in active if course.actor is None and course.job.state == "waiting"]
                active = [course for course in active if course.actor is not None]
                watch(jobs)
                time.sleep(PAUSE)
        return not interrupts

    def _room(self, active: Sequence[Course], parallel: int | None) -> bool:
        if parallel is not None and len(active) >= parallel:
            return False
        return sum(course.node is None for course in active) < AHEAD

    def _ask(self, course: Course) -> None:
        """Ask Ray for a place."""
        course.actor = self.ray.remote(Runner).options(**self.options).remote()
        course.node = course.ended = None
        course.answer = course.actor.arrive.remote(self.needed)

    def _answered(self, course: Course) -> None:
        """A run has found its place, has ended, or is lost."""
        try:
            answer = self.ray.get(course.answer)
        except self.ray.exceptions.RayError as error:
            self._lost(course, reason(error))
            return
        if course.node is not None:
            self._ended(course, answer)
            return
        course.node, missing = answer
        if missing:
            self._leave(course)
            course.job.end(None, stopping=self.stopping, problem=not_shared(str(course.node), missing))
        else:
            self._begin(course)

    def _begin(self, course: Course) -> None:
        job = course.job
        try:
            job.forget()
        except OSError as error:
            self._leave(course)
            job.could_not_start(error)
            return
        again = course.attempts > 0
        task = job.task(
            self.machine,
            overwrite=self.overwrite and not self._has_begun(course),
            command=self.command,
            patience=PATIENCE if again else 0.0,
        )
        task["folder"] = os.fspath(job.folder.path.absolute())
        log = os.fspath(job.log.absolute())
        course.attempts += 1
        course.answer = course.actor.run.remote(task, log, self.program, self.options["num_cpus"], os.getcwd())
        job.state, job.began = "running", time.monotonic()

    def _ended(self, course: Course, status: int) -> None:
        job = course.job
        course.ended = course.ended or time.monotonic()
        problem = None
        if status < 0 and not self.stopping:
            self._lost(course, f"its process was ended by signal {-status}")
            return
        if status == 0 and not job.folder.results.is_file():
            if time.monotonic() - course.ended < PATIENCE:
                return  # a shared disk may show it a little later
            problem = f"finished on Ray's node {course.node}, but {job.folder.results} is not to be seen here"
        self._leave(course)
        job.end(status, stopping=self.stopping and status != 0, problem=problem)

    def _lost(self, course: Course, reason: str) -> None:
        """The process is gone, by no fault that the run knows of: again, unless that leads nowhere."""
        job = course.job
        where = f" on node {course.node}" if course.node is not None else ""
        newest = _newest(job) if not self.overwrite or self._has_begun(course) else None
        course.losses = 1 if newest != course.newest else course.losses + 1
        course.newest = newest
        self._leave(course)
        if self.stopping:
            job.end(None, stopping=True)
        elif course.losses >= LOSSES:
            job.end(None, stopping=False, problem=f"lost{where} {LOSSES} times without a new checkpoint; last: {reason}")
        else:
            job.state = "waiting"
            how = f"goes on from {newest}" if newest else "begins again"
            print(f"{job.name} was lost{where} and {how}: {reason}", file=sys.stderr)

    def _has_begun(self, course: Course) -> bool:
        """Whether what lies in the folder is this grid's run, not one that it replaces."""
        return _config(course.job) not in (None, course.before)

    def _stop(self, active: Sequence[Course], *, at_once: bool) -> None:
        for course in active:
            if course.node is None:
                self._leave(course)
            else:
                course.actor.stop.remote(at_once=at_once)

    def _leave(self, course: Course) -> None:
        """Give the place back; should a process still be there, it ends with its actor."""
        self.ray.kill(course.actor)
        course.actor = None


def _config(job: Job) -> bytes | None:
    try:
        return job.folder.config.read_bytes()
    except FileNotFoundError:
        return None


def _newest(job: Job) -> str | None:
    checkpoints = list_checkpoints(job.folder.checkpoints)
    return checkpoints[-1].name if checkpoints else None
