"""The runs of a grid on a Ray cluster, each in a process of its own on some node, in the folders that ``--jobs`` uses."""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from agents.jobs import Job
from agents.machine import Machine
from agents.ray_grid import RayGrid
from agents.ray_session import check_nodes, check_room, gpus_per_run, ray_session


def run_jobs_on_ray(
    jobs: Sequence[Job],
    parallel: int | None,
    machine: Machine,
    *,
    overwrite: bool,
    command: str,
    watch: Callable[[Sequence[Job]], None] = lambda jobs: None,
    program: Sequence[str] | None = None,
    cpus: int = 1,
) -> bool:
    """
    Bring runs to their end, as :func:`agents.jobs.run_jobs` does.

    :param parallel: at most so many at a time; as many as there are CPUs and GPUs for if ``None``
    :param cpus: of each run, which has as many threads
    :raises UserError: there is no Ray, or a node does not share the runs' folder; then no run has begun
    """
    waiting = [job for job in jobs if job.state == "waiting"]
    if not waiting:
        return True
    place = waiting[0].folder.path.absolute().parents[1]
    with ExitStack() as cleanup:
        ray = cleanup.enter_context(ray_session(place.parent))
        check_room(ray, cpus)
        options = {"num_cpus": cpus, "num_gpus": gpus_per_run(ray, machine.device, parallel), "max_concurrency": 2}
        place.mkdir(parents=True, exist_ok=True)
        needed = [cleanup.enter_context(tempfile.NamedTemporaryFile(prefix=".seen-by-all-", dir=place)).name]
        if waiting[0].configuration.encoder is not None:
            needed += [os.path.abspath(waiting[0].configuration.encoder), os.getcwd()]
        check_nodes(ray, needed)
        grid = RayGrid(ray, options, needed, replace(machine, processes=cpus), overwrite, command, program)
        return grid.bring_to_end(jobs, parallel, watch)
