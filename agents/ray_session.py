"""Ray: the cluster at ``RAY_ADDRESS``, or one on this machine for as long as it is needed."""

import logging
import os
import socket
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from agents.errors import UserError
from agents.processes import ROOT, missing_paths

# Of the checkout, what no run reads; "/.*" would be everything, for Ray calls the checkout itself ".". What .gitignore and
# .rayignore name is left out as well.
NOT_SENT = ("/.?*", "/docs", "/benchmarks", "/runs", "/build", "/dist", "__pycache__")
OBJECT_STORE = 80 * 2**20  # bytes, near Ray's least: nothing large goes through it
ANSWERS_WITHIN = 20.0  # seconds for the head to take a connection
CHECKED_WITHIN = 120.0  # seconds for all nodes to say what they see


@contextmanager
def ray_session(log_dir: Path) -> Iterator[Any]:
    """
    A context that is given the module ``ray``, connected; every process that it starts has this checkout's code.

    :param log_dir: of the runs; not sent, should it lie in the checkout
    :raises UserError: Ray is not installed, or there is no connection
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray, which is not installed here: pip install -e '.[train,cluster]' brings it.") from None
    address = cluster_address()
    local: dict[str, Any] = {}
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # the runs come first on a machine that is started for them
        local = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    else:
        _check_address(address)
    excludes = list(NOT_SENT)
    if log_dir.resolve().is_relative_to(ROOT) and log_dir.resolve() != ROOT:
        excludes.append("/" + log_dir.resolve().relative_to(ROOT).as_posix())
    try:
        ray.init(
            address=address or "local",
            runtime_env={"working_dir": os.fspath(ROOT), "excludes": excludes},
            log_to_driver=False,
            logging_level=logging.ERROR,
            **local,
        )
    except Exception as error:  # nothing narrower: where a node is too slow to start, Ray raises just that
        ray.shutdown()
        if not address:
            raise UserError(f"--ray: Ray cannot be started: {reason(error)}") from error
        token = "" if os.environ.get("RAY_AUTH_MODE") else " (a cluster that asks for a token needs RAY_AUTH_MODE=token here)"
        raise UserError(f"--ray: the cluster at RAY_ADDRESS={address} cannot be used: {reason(error)}{token}") from error
    try:
        resources = ray.cluster_resources()
        size = f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
        print(f"Ray: {address or 'on this machine'}, {size}.", file=sys.stderr)
        yield ray
    finally:
        ray.shutdown()


def cluster_address() -> str | None:
    """The cluster's address; ``None`` if Ray shall be started on this machine."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address in ("", "local") else address


def _check_address(address: str) -> None:
    """Ray itself would try for many minutes before it said that nobody answers."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray: nobody answers at RAY_ADDRESS={address} ({error}); is the cluster's head there?") from None


def check_room(ray: Any, cpus: int) -> None:
    """
    See that a run can have so many CPUs.

    :raises UserError: not on this machine; a cluster may yet get a node that is large enough
    """
    largest = max([node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]], default=0)
    if cpus > largest:
        if not cluster_address():
            raise UserError(f"--cpus {cpus} is more than this machine has, which is {largest:g}.")
        print(f"No node of the cluster has {cpus} CPUs now; the runs wait for one.", file=sys.stderr)


def gpus_per_run(ray: Any, device: str, parallel: int | None) -> float:
    """
    How much of a GPU each run gets.

    :param device: as ``--device`` has it; ``auto`` takes GPUs if the cluster has any
    :param parallel: how many runs at a time; if there are fewer GPUs, they are shared
    :raises UserError: GPUs are asked for by number, or Ray on this machine finds none
    """
    if device not in ("auto", "cuda"):
        if device.startswith("cuda"):
            raise UserError(f"--device {device} picks a GPU by its number, but --ray picks them itself: say --device cuda.")
        return 0.0
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        return 1 / ceil(parallel / gpus) if parallel else 1.0
    if device == "cuda":
        if not cluster_address():
            raise UserError("--device cuda needs a GPU, and Ray finds none on this machine.")
        print("The cluster has no GPU now; the runs wait for one.", file=sys.stderr)
        return 1.0
    return 0.0


def check_nodes(ray: Any, paths: Sequence[str]) -> None:
    """
    See that every node has the paths.

    :raises UserError: one does not
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(missing_paths)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    answers = [
        look.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(paths)
        for node in nodes
    ]
    ready, _ = ray.wait(answers, num_returns=len(answers), timeout=CHECKED_WITHIN) if answers else ([], [])
    for node, answer in zip(nodes, answers, strict=True):
        if answer not in ready:
            continue  # busy; whatever runs there looks once more
        try:
            missing = ray.get(answer)
        except ray.exceptions.RayError as error:
            raise UserError(f"--ray: node {node['NodeName']} cannot run this code: {reason(error)}") from error
        if missing:
            raise UserError(not_shared(node["NodeName"], missing))


def not_shared(node: str, missing: Sequence[str]) -> str:
    """A sentence about a node that lacks paths."""
    folder = os.path.dirname(missing[0])
    return (
        f"Ray's node {node} does not see {missing[0]}: with --ray, {folder} must be one folder, "
        "on a disk that all nodes share and under the same path on each."
    )


def reason(error: BaseException) -> str:
    """What an exception of Ray's says, in one line; if it brings one from a node, what that says."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return f"{type(cause).__name__}: {reason(cause)}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    causes = [line for line in lines if line.startswith(("The actor died because", "The actor is dead because"))]
    return textwrap.shorten((causes or lines)[0], 200, placeholder=" ...")
