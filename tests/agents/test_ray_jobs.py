"""Runs on two nodes of Ray's, both on this machine: they are those of ``--jobs``, and outlive killed processes and nodes."""

import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import train_agent
from agents import ray_grid
from agents.errors import UserError
from agents.jobs import Job, run_jobs
from agents.machine import Machine
from agents.ray_grid import Course, RayGrid
from agents.ray_jobs import run_jobs_on_ray
from agents.ray_session import OBJECT_STORE, check_nodes, gpus_per_run, ray_session, reason
from agents.run_folder import RunFolder
from tests.agents.test_checkpoints import check_whole, same
from tests.agents.test_jobs import interrupt, make_jobs
from tests.agents.test_run_folder import snapshot
from tests.agents.tiny import IMAGES, tiny_configuration

MACHINE = Machine("cpu", "dummy")


# Ray asks for a token where it starts by itself, and would write one into the home directory if there were none here. Its
# processes have to agree on it, and it reads it once, so all tests have the same.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


@pytest.fixture(autouse=True, scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield patch


@pytest.fixture(scope="module")
def two_nodes(environment: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def cluster(two_nodes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same; ``RAY_ADDRESS`` names them."""
    monkeypatch.setenv("RAY_ADDRESS", two_nodes.address)
    return two_nodes


# Stands in for agents.worker and does what its arm says. The first attempt leaves a file beside the log.
STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
task = json.loads(sys.stdin.readline())
folder, arm = Path(task["folder"]), task["configuration"]["arm"]
again = folder.with_suffix(".begun").exists()
folder.with_suffix(".begun").touch()
folder.mkdir(exist_ok=True)
if arm == "aug":
    (folder / "config.yaml").write_text("new")
try:
    time.sleep(60 if arm == "cpc" else 0.3)
except KeyboardInterrupt:
    (folder / "checkpoint").touch()
    sys.exit(130)
if arm == "curl":
    print("RuntimeError: out of memory", file=sys.stderr)
    sys.exit(1)
if arm == "shuffled" or (arm == "aug" and not again):
    print("No memory left")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
if arm != "compute":
    threads, root = os.environ["OMP_NUM_THREADS"], os.environ["PYTHONPATH"].split(os.pathsep)[0]
    sent = sorted(os.listdir(root))
    (folder / "task.json").write_text(json.dumps({**task, "threads": threads, "root": root, "sent": sent}))
    (folder / "results.json").write_text(json.dumps({"final": {"mean_return": 1.0, "std_return": 0.0, "episodes": 1}}))
"""


def run_stand_ins(jobs: list[Job], parallel: int | None = None, *, overwrite: bool = False, **more: Any) -> bool:
    program = (sys.executable, "-c", STAND_IN)
    return run_jobs_on_ray(jobs, parallel, MACHINE, overwrite=overwrite, command="typed", program=program, **more)


def test_what_becomes_of_runs(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_grid, "PATIENCE", 1.5)
    monkeypatch.setattr(ray_grid, "LOSSES", 2)
    jobs = make_jobs(tmp_path, ["curl", "none", "aug", "shuffled", "compute"])
    none, aug, most = jobs[1], jobs[2], 0
    aug.folder.path.mkdir(parents=True)
    aug.folder.config.write_text("of a run that is to be replaced")

    def watch(jobs: Sequence[Job]) -> None:
        nonlocal most
        most = max(most, sum(job.state == "running" for job in jobs))

    assert run_stand_ins(jobs, overwrite=True, watch=watch)
    assert [job.state for job in jobs] == ["failed", "finished", "finished", "failed", "failed"] and most == 2
    task = json.loads((none.folder.path / "task.json").read_text())
    assert task["configuration"] == none.configuration.as_dict() and task["command"] == "typed"
    assert (task["threads"], task["processes"], task["patience"], task["overwrite"]) == ("1", 1, 0.0, True)
    assert "working_dir_files" in task["root"] and {"agents", "cpc_rl", "envs", "tests", "train_agent.py"} <= set(task["sent"])
    assert not {".git", ".venv", "docs", "benchmarks"} & set(task["sent"])
    again = json.loads((aug.folder.path / "task.json").read_text())  # which goes on with what the first attempt has begun
    assert (again["patience"], again["overwrite"]) == (1.5, False)
    problems = [json.loads(job.failure.read_text())["problem"] for job in (jobs[0], jobs[3], jobs[4])]
    assert problems[0] == "exit status 1, log seed-0.log: RuntimeError: out of memory"
    assert problems[1].endswith("2 times without a new checkpoint; last: its process was ended by signal 9")
    assert problems[2].endswith(f"but {jobs[4].folder.results} is not to be seen here")
    assert jobs[3].log.read_text() == 2 * "No memory left\n" and jobs[0].log.read_text().count("memory") == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"Ray: {cluster.address}, 2 CPUs and 0 GPUs.\n")
    assert errors.count("ppo-aug seed 0 was lost") == 1 and errors.count("ppo-shuffled seed 0 was lost") == 1

    jobs = make_jobs(tmp_path / "stopped", ["cpc", "none"])
    before = signal.getsignal(signal.SIGINT)

    def stop(jobs: Sequence[Job]) -> None:
        if jobs[0].folder.path.exists() and not sent:
            sent.append(True)
            interrupt(1, 0.5)

    sent: list[bool] = []
    assert not run_stand_ins(jobs, 1, watch=stop)
    assert [(job.state, job.status) for job in jobs] == [("stopped", 130), ("waiting", None)]
    assert (jobs[0].folder.path / "checkpoint").exists() and signal.getsignal(signal.SIGINT) is before

    # A disk that a node does not have: seen before anything runs, or, on a node that came later, when a run gets there.
    (late,) = make_jobs(tmp_path / "late", ["none"])
    with ray_session(tmp_path) as ray:
        with pytest.raises(UserError, match=r"does not see /nowhere/file: with --ray, /nowhere must"):
            check_nodes(ray, [str(tmp_path), "/nowhere/file"])
        grid = RayGrid(ray, {"num_cpus": 1, "max_concurrency": 2}, ["/nowhere/file"], MACHINE, False, "typed", None)
        assert grid.bring_to_end([late], None, lambda jobs: None)
    assert late.state == "failed" and "does not see /nowhere/file" in str(late.problem)
    assert late.problem == json.loads(late.failure.read_text())["problem"]
    assert not list(tmp_path.rglob(".seen-by-all-*"))


def test_a_mark_that_cannot_be_removed_stops_no_other(tmp_path: Path) -> None:
    """Found when the run has got its place, which it gives back."""
    given_back: list[object] = []
    ray = SimpleNamespace(
        get=lambda answer: ("node", []), kill=given_back.append, exceptions=SimpleNamespace(RayError=KeyError)
    )
    grid = RayGrid(ray, {"num_cpus": 1}, [], MACHINE, False, "typed", None)
    (job,) = make_jobs(tmp_path, ["none"])
    job.failure.mkdir(parents=True)
    course = Course(job, None, actor="actor")
    grid._answered(course)
    assert job.state == "failed" and job.problem is not None and job.problem.startswith(f"{job.failure} cannot be read")
    assert given_back == ["actor"] and course.actor is None


# agents.worker, but the first attempts of seeds 1 and 2 stand still after 64 steps, and the ids of its processes are known.
STALLING = """
import json, os, sys, time
from pathlib import Path
from agents import worker
from agents.training import RunCallback
init, pause = RunCallback.__init__, RunCallback.pause
def watched_init(self, folder, configuration, evaluator, progress):
    init(self, folder, configuration, evaluator, progress)
    self.stalls = progress is None and configuration.seed > 0
    raylet = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
    said = {"worker": os.getppid(), "raylet": raylet, "from": progress and progress.timesteps}
    folder.path.with_suffix(".begun").open("a").write(json.dumps(said) + "\\n")
def watched_pause(self, evaluate):
    pause(self, evaluate)
    if self.num_timesteps == 64 and self.stalls:
        self.folder.path.with_suffix(".stalled").touch()
        time.sleep(600)
RunCallback.__init__, RunCallback.pause = watched_init, watched_pause
sys.exit(worker.main())
"""


def test_killed_worker_and_killed_node(cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Real runs. One ends, two stand in the middle, one on each node. The process that Ray has for one of them is killed, and the
    second node as a whole: both runs go on from their checkpoints, and the finished one is left alone.
    """
    head, second = cluster.head_node, *cluster.worker_nodes
    jobs = make_jobs(tmp_path / "ray", ["curl"], (0, 1, 2))
    done = jobs[0].folder
    seen: dict[str, Any] = {}

    def begun(job: Job) -> list[dict[str, int]]:
        return [json.loads(line) for line in job.folder.path.with_suffix(".begun").read_text().splitlines()]

    def watch(jobs: Sequence[Job]) -> None:
        if seen or jobs[0].state != "finished":
            return
        if all(job.folder.path.with_suffix(".stalled").exists() for job in jobs[1:]):
            seen["finished"] = snapshot(done.path)
            places = [begun(job)[0] for job in jobs[1:]]
            raylets = {node: node.all_processes["raylet"][0].process.pid for node in (head, second)}
            assert {place["raylet"] for place in places} == set(raylets.values())
            (here,) = [place["worker"] for place in places if place["raylet"] == raylets[head]]
            os.kill(here, signal.SIGKILL)
            cluster.remove_node(second, allow_graceful=False)

    program = (sys.executable, "-c", STALLING)
    assert run_jobs_on_ray(jobs, None, MACHINE, overwrite=True, command="typed", watch=watch, program=program)
    assert [job.state for job in jobs] == ["finished"] * 3
    assert snapshot(done.path) == seen["finished"]
    for job in jobs:
        check_whole(job.folder)
        assert [attempt["from"] for attempt in begun(job)] == ([None] if job is jobs[0] else [None, 64])
    errors = capsys.readouterr().err
    for job in jobs[1:]:
        assert errors.count(f"{job.name} was lost on node") == 1
    assert errors.count("goes on from step-000000000064") == 2

    alike = make_jobs(tmp_path / "jobs", ["curl"])
    assert run_jobs([*alike], 2, MACHINE, overwrite=False, command="typed")
    assert_same_run(alike[0].folder, done)


def assert_same_run(first: RunFolder, second: RunFolder) -> None:
    """The same returns, and the same parameters bit for bit."""
    from stable_baselines3 import PPO

    one, two = (json.loads(folder.results.read_text()) for folder in (first, second))
    assert one["final"] == two["final"]
    returns = [[row["mean_return"] for row in folder.read_evaluations()] for folder in (first, second)]
    assert returns[0] == returns[1]
    assert same(*(PPO.load(folder.model, device="cpu").get_parameters() for folder in (first, second)))


def test_command_line_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A Ray of its own, which is gone afterwards; one run, with the report."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("agents.grid.load_recipe", lambda env_id, algorithm: tiny_configuration(algorithm.lower()).recipe)
    line = f"--env {IMAGES} --objective none --device cpu --vec dummy --ray --log-dir {tmp_path}"
    assert train_agent.main(line.split()) == 0
    output = capfd.readouterr()
    place = tmp_path / "tests.agents.tiny-TinyImages-v0"
    check_whole(RunFolder(place / "ppo-none" / "seed-0"))
    assert f"Report: {place / 'report' / 'report.md'}" in output.out
    assert output.err.startswith("Ray: on this machine, ")
    assert train_agent.main(line.split()) == 0  # nothing left to run: no Ray either
    assert "Ray: " not in capfd.readouterr().err


def fail_to_start(**keywords: Any) -> None:
    raise Exception("the node timed out")


def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, ["none"])
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"nobody answers at RAY_ADDRESS=127\.0\.0\.1:1 "):
        run_stand_ins(jobs)
    monkeypatch.delenv("RAY_ADDRESS")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ray", SimpleNamespace(init=fail_to_start, shutdown=lambda: None))
        with pytest.raises(UserError, match=r"Ray cannot be started: the node timed out$"):
            run_stand_ins(jobs)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--ray needs Ray, .* pip install -e '.\[train,cluster\]'"):
        run_stand_ins(jobs)
    assert not list(tmp_path.iterdir())


def test_reasons_are_one_line() -> None:
    from ray.exceptions import RayTaskError

    died = "The actor died unexpectedly.\n\tpid: 7\nThe actor is dead because its worker process has died." + 300 * " because"
    assert reason(RuntimeError(died)).startswith("The actor is dead because its worker process has died. because")
    assert len(reason(RuntimeError(died))) <= 200
    task_error = RayTaskError("run", "Traceback ...", PermissionError("no\nmore"))
    assert reason(task_error.as_instanceof_cause()) == "PermissionError: no"
    assert reason(RuntimeError()) == "RuntimeError"


def test_gpus_are_shared_when_there_are_fewer_than_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    none, two = (SimpleNamespace(cluster_resources=lambda gpus=gpus: {"CPU": 8.0, **gpus}) for gpus in ({}, {"GPU": 2.0}))
    assert [gpus_per_run(two, "auto", parallel) for parallel in (None, 1, 2, 3, 4, 5)] == [1, 1, 1, 1 / 2, 1 / 2, 1 / 3]
    assert gpus_per_run(two, "cuda", 4) == 1 / 2
    assert gpus_per_run(two, "cpu", None) == gpus_per_run(none, "auto", None) == 0
    with pytest.raises(UserError, match="say --device cuda"):
        gpus_per_run(two, "cuda:1", None)
    with pytest.raises(UserError, match="Ray finds none"):
        gpus_per_run(none, "cuda", None)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    assert gpus_per_run(none, "cuda", None) == 1  # the cluster may grow
