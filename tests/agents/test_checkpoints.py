"""What a checkpoint holds, and that going on from one is going on."""

import copy
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_agent
from agents.arms import parse_arm
from agents.build import build_callback, build_model
from agents.checkpoints import list_checkpoints, load_model, read_progress
from agents.errors import UserError
from agents.evaluation import FINAL_SEEDS, PERIODIC_SEEDS, VIDEO_SEED, Evaluator
from agents.machine import environment_keywords_of
from agents.randomness import random_state, set_random_state, training_seed, undisturbed
from agents.run_folder import RunFolder
from agents.training import RunCallback
from cpc_rl import FrameStackReplayBuffer
from cpc_rl.persistence import stored_state
from envs import make_vec_env
from tests.agents.tiny import EVALUATED, tiny_configuration, tiny_run
from tests.algorithms import in_layout

ROOT = Path(__file__).parents[2]
FILES = {
    *("config.yaml", "evaluations.csv", "checkpoints", "model.zip", "encoder.safetensors", "video.mp4", "curve.png"),
    *("results.json", ".lock"),
}


def scalars(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of the run as TensorBoard reads it."""
    events = EventAccumulator(str(folder.path), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def evaluations(folder: RunFolder) -> list[dict[str, float]]:
    with open(folder.evaluations, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def check_whole(folder: RunFolder) -> None:
    """Every file is there, no evaluation is missing or there twice, and every curve runs forward."""
    assert {item.name for item in folder.path.iterdir() if "tfevents" not in item.name} == FILES
    rows = evaluations(folder)
    assert [row["timesteps"] for row in rows] == EVALUATED
    assert all(earlier["wall_seconds"] <= later["wall_seconds"] for earlier, later in pairwise(rows))
    curves = scalars(folder)
    assert [step for step, _ in curves["eval/mean_reward"]] == EVALUATED
    assert [value for _, value in curves["eval/mean_reward"]] == pytest.approx([row["mean_return"] for row in rows])
    check_forward(curves, EVALUATED[-1])
    assert not list(folder.checkpoints.glob(".*"))
    assert [read_progress(checkpoint).timesteps for checkpoint in list_checkpoints(folder.checkpoints)] == EVALUATED[-2:]


def check_forward(curves: dict[str, list[tuple[int, float]]], end: int) -> None:
    """No curve goes back or stands still; only the last update of all is logged where the one before it was."""
    for tag, points in curves.items():
        steps = [step for step, _ in points]
        if len(steps) > 1 and steps[-2] == end:
            del steps[-1]
        assert steps == sorted(set(steps)), tag


def same(a: Any, b: Any) -> bool:
    """Equality of nested containers of tensors, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.fixture(scope="module", params=["ppo", "dqn", "sac"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return tiny_run(tmp_path_factory.mktemp(request.param), tiny_configuration(request.param))


def test_a_finished_run_is_whole(finished: RunFolder) -> None:
    check_whole(finished)


def test_the_same_command_again_says_that_it_is_finished(finished: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.path.rglob("*") if file.is_file() and file.name != ".lock"}
    assert train_agent.main(["--resume", str(finished.path)]) == 0
    assert "is finished" in capsys.readouterr().out
    assert {
        file: file.stat().st_mtime_ns for file in finished.path.rglob("*") if file.is_file() and file.name != ".lock"
    } == before


@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "sac"])
def test_checkpoint_restores_model_heads_buffer_and_generators(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a second process would load equals, bit for bit, what the run had at that moment."""
    seen: dict[str, Any] = {}
    pause = RunCallback.pause

    def watched(self: RunCallback, evaluate: bool) -> None:
        pause(self, evaluate)
        if self.num_timesteps == 64:
            seen["parameters"] = {name: copy.deepcopy(value) for name, value in self.model.get_parameters().items()}
            seen["heads"] = stored_state(self.model)
            seen["random"] = random_state()
            seen["counters"] = (self.model.num_timesteps, self.model._n_updates, self.model._current_progress_remaining)
            buffer = getattr(self.model, "replay_buffer", None)
            seen["buffer"] = buffer and {"pos": buffer.pos, "full": buffer.full, "observations": stored(buffer)}

    monkeypatch.setattr(RunCallback, "pause", watched)
    configuration = tiny_configuration(algorithm)
    folder = tiny_run(tmp_path, configuration)
    checkpoint = next(item for item in list_checkpoints(folder.checkpoints) if read_progress(item).timesteps == 64)

    vec_env = make_vec_env(configuration.env, configuration.n_envs, 5, vec="dummy", **environment_keywords_of(configuration))
    model = load_model(checkpoint, algorithm, vec_env, "cpu")
    assert same(model.get_parameters(), seen["parameters"])  # optimisers included
    assert (model.num_timesteps, model._n_updates, model._current_progress_remaining) == seen["counters"]
    callback = build_callback(configuration.recipe, parse_arm("curl", "curl"), 0)
    assert callback is not None
    callback.init_callback(model)
    heads = stored_state(model)  # collected anew from the callback's live heads
    assert heads is not None and heads["heads"]["critic" if algorithm == "sac" else next(iter(heads["heads"]))]
    for state in (heads, seen["heads"]):
        state["windows"].pop(
            "next_episode", None
        )  # where the numbering of episodes goes on, once numbered anew from the buffer
    assert same(heads, seen["heads"])
    if seen["buffer"]:
        buffer = model.replay_buffer  # type: ignore[attr-defined]
        assert same({"pos": buffer.pos, "full": buffer.full, "observations": stored(buffer)}, seen["buffer"])
    with undisturbed():
        set_random_state(torch.load(checkpoint / "random.pt", weights_only=True))
        assert same(random_state(), seen["random"])


def stored(buffer: FrameStackReplayBuffer) -> np.ndarray:
    """A copy of all observations that the buffer holds."""
    slots = np.arange(buffer.size())
    return np.stack([buffer.observations[slots, np.full_like(slots, env)] for env in range(buffer.n_envs)])


def test_random_state_goes_through_a_file(tmp_path: Path) -> None:
    with undisturbed():
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        np.random.standard_normal()  # leaves half a pair behind
        torch.save(random_state(), tmp_path / "random.pt")
        first = random.random(), np.random.standard_normal(), torch.rand(2).tolist()
        set_random_state(torch.load(tmp_path / "random.pt", weights_only=True))
        assert (random.random(), np.random.standard_normal(), torch.rand(2).tolist()) == first


def test_no_two_runs_share_training_episodes() -> None:
    seeds = {training_seed(seed, timesteps) + env for seed in range(20) for timesteps in (0, 2048, 4096) for env in range(8)}
    assert len(seeds) == 20 * 3 * 8
    assert min(seeds) >= 10_000_000 > VIDEO_SEED > FINAL_SEEDS > PERIODIC_SEEDS


def start(log_dir: Path, algorithm: str, arm: str, rename: int) -> int:
    """A tiny run in its own process that kills itself at a rename; its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.agents.tiny", str(log_dir), algorithm, arm, str(rename)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=300).returncode


# The renames of a run: two files at the start, then one for each of the four checkpoints and one more, from the third on, for
# the oldest, which goes. After the last: model, encoder, curve, video, results.
@pytest.mark.parametrize(
    ("algorithm", "arm", "rename"),
    [
        ("ppo", "curl", 2),
        ("ppo", "curl", 3),
        ("ppo", "cpc", 5),
        ("ppo", "none", 6),
        ("dqn", "cpc", 7),
        ("sac", "curl", 5),
        ("ppo", "curl", 10),
    ],
)
def test_killed_and_resumed(algorithm: str, arm: str, rename: int, tmp_path: Path) -> None:
    assert start(tmp_path, algorithm, arm, rename) == -signal.SIGKILL
    configuration = tiny_configuration(algorithm, arm)
    folder = RunFolder.of(tmp_path, configuration)
    assert folder.read_results() is None if folder.config.exists() else rename == 2
    tiny_run(tmp_path, configuration)
    check_whole(folder)


def test_killed_in_the_middle_of_a_rollout(tmp_path: Path) -> None:
    """By another process, at no particular moment, more than once."""
    timesteps, eval_freq = 1024, 256
    configuration = tiny_configuration("ppo", "cpc", timesteps=timesteps, eval_freq=eval_freq)
    folder = RunFolder.of(tmp_path, configuration)
    script = (
        "import sys; from pathlib import Path; from tests.agents.tiny import *; "
        f"tiny_run(Path(sys.argv[1]), tiny_configuration('ppo', 'cpc', timesteps={timesteps}, eval_freq={eval_freq}))"
    )
    for rows in (2, 4):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not (folder.evaluations.exists() and len(folder.evaluations.read_text().splitlines()) > rows):
            assert process.poll() is None
        process.kill()
        process.wait()
        assert folder.read_results() is None
    assert train_agent.main(["--resume", str(folder.path), "--device", "cpu", "--vec", "dummy"]) == 0
    assert [row["timesteps"] for row in evaluations(folder)] == [0, 256, 512, 768, 1024]
    curves = scalars(folder)
    check_forward(curves, timesteps)
    rollouts = [step for step, _ in curves["rollout/ep_rew_mean"]]
    assert rollouts == list(range(16, timesteps + 1, 16))  # one point for each rollout, those around the kills included
    updates = [step for step, _ in curves["train/loss"]]
    assert updates[: len(rollouts) - 1] == rollouts[1:]  # an update is logged with the rollout after it


def test_resuming_twice_from_one_checkpoint_gives_one_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts: list[bool] = []
    begin = RunCallback._on_training_start

    def watched(self: RunCallback) -> None:
        layouts.append(in_layout(self.model, torch.channels_last))
        begin(self)

    monkeypatch.setattr(RunCallback, "_on_training_start", watched)
    assert start(tmp_path / "a", "ppo", "cpc", 6) == -signal.SIGKILL
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    configuration = tiny_configuration("ppo", "cpc")
    zips = [tiny_run(tmp_path / name, configuration).checkpoints for name in ("a", "b")]
    vec_env = make_vec_env(configuration.env, configuration.n_envs, 0, vec="dummy", **environment_keywords_of(configuration))
    first, second = (load_model(list_checkpoints(folder)[-1], "ppo", vec_env, "cpu") for folder in zips)
    assert same(first.get_parameters(), second.get_parameters())
    assert same(stored_state(first), stored_state(second))
    assert layouts and all(layouts)  # as the tiny recipe asks, after loading too


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration("dqn", "none"))
    folder.results.unlink()
    checkpoint = list_checkpoints(folder.checkpoints)[-1]
    whole = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    assert set(whole) == {"model.zip", "replay_buffer.pkl", "random.pt", "state.json"}
    csv_before = folder.evaluations.read_bytes()
    for name, content in whole.items():
        for damaged in (content[:-10], None, content[:100] + bytes([content[100] ^ 1]) + content[101:]):
            if damaged is None:
                (checkpoint / name).unlink()
            elif name == "state.json" and len(damaged) == len(content):
                continue  # a digit more or less in the state itself: nothing vouches for it
            else:
                (checkpoint / name).write_bytes(damaged)
            with pytest.raises(UserError, match="is damaged"):
                tiny_run(tmp_path, tiny_configuration("dqn", "none"))
            (checkpoint / name).write_bytes(content)
    assert folder.evaluations.read_bytes() == csv_before
    shutil.rmtree(checkpoint)  # as the sentence says: the one before goes on
    tiny_run(tmp_path, tiny_configuration("dqn", "none"))
    check_whole(folder)


def test_evaluation_leaves_no_trace(tmp_path: Path) -> None:
    """With evaluations between them, a run's rollouts and updates are those of a run without."""
    often = tiny_run(tmp_path / "often", tiny_configuration("ppo", "cpc", eval_freq=16, eval_episodes=2))
    never = tiny_run(tmp_path / "never", tiny_configuration("ppo", "cpc", eval_freq=10_000))
    configuration = tiny_configuration("ppo", "cpc")
    vec_env = make_vec_env(configuration.env, configuration.n_envs, 0, vec="dummy", **environment_keywords_of(configuration))
    first, second = (load_model(list_checkpoints(run.checkpoints)[-1], "ppo", vec_env, "cpu") for run in (often, never))
    assert len(evaluations(often)) == 7 and len(evaluations(never)) == 2
    assert same(first.get_parameters(), second.get_parameters())


def test_evaluation_depends_on_seeds_alone() -> None:
    """Not on the number of processes, nor on what was evaluated before."""
    configuration = tiny_configuration("ppo", "none")
    vec_env = make_vec_env(configuration.env, 1, 0, vec="dummy", **environment_keywords_of(configuration))
    model = build_model(configuration.recipe, vec_env, parse_arm("none", "curl"), 0, "cpu")
    one, two = (Evaluator(configuration.env, environment_keywords_of(configuration), processes) for processes in (1, 2))
    try:
        returns = one.evaluate(model, range(10, 15)).returns
        assert two.evaluate(model, range(10, 15)).returns.tolist() == returns.tolist()
        assert two.evaluate(model, [12]).returns.tolist() == [returns[2]]
        assert one.evaluate(model, range(10, 15)).lengths.tolist() == [7] * 5
        assert len(set(one.evaluate(model, range(40)).returns.tolist())) > 1
    finally:
        one.close(), two.close()
