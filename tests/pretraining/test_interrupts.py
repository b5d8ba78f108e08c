"""Ctrl-C: a pre-training writes a checkpoint and goes on from it, a recording leaves nothing, and each says so in a line."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from cpc_rl import cli
from cpc_rl.interrupts import interruptible, interrupts_ignored
from cpc_rl.pretraining import pretrain
from cpc_rl.pretraining.collect import collect
from cpc_rl.pretraining.policies import RandomPolicy
from cpc_rl.pretraining.training import Learner
from tests.pretraining.test_a_process_dies import free_port
from tests.pretraining.toy import Rolling, rolling_data

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    **{"extractor_kwargs": {"features_dim": 32}, "steps": 6, "batch_size": 8, "warmup": 2, "workers": 0},
    **{"log_every": 3, "verbose": 0, "device": "cpu"},
}


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Ctrl-C in the middle of these steps, as often as they are named."""
    real = Learner.gradient

    def gradient(self: Learner, windows: Any, step: int = 0) -> Any:
        for _ in range(steps.count(step)):
            interrupt()
        return real(self, windows, step)

    monkeypatch.setattr(Learner, "gradient", gradient)


@pytest.mark.parametrize("settings", [{}, {"workers": 1}, {"checkpoint_every": 1}], ids=str)
def test_the_step_is_ended_and_the_run_goes_on_bit_for_bit(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = rolling_data(tmp_path)
    whole = pretrain(data, "moco", out=tmp_path / "whole", **SETTINGS)
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt, match=r"^stopped after step 3 of 6$"):
        interrupt_at(patched, 2)
        pretrain(data, "moco", out=tmp_path / "parts", **{**SETTINGS, **settings})
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err == "Stopping at the end of this step; Ctrl-C again stops at once.\n"
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 3
    assert not (tmp_path / "parts" / "encoder.safetensors").exists()
    again = pretrain(data, "moco", out=tmp_path / "parts", **{**SETTINGS, **settings})
    assert again.encoder.read_bytes() == whole.encoder.read_bytes()


def test_a_second_one_stops_at_once_and_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 4, 4)
    with pytest.raises(KeyboardInterrupt):
        pretrain(rolling_data(tmp_path), "moco", out=tmp_path / "run", **{**SETTINGS, "checkpoint_every": 2})
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert [file.name for file in (tmp_path / "run").iterdir() if file.name.startswith(".")] == []


COMMAND = [
    *("pretrain", "--steps", "1000000", "--batch-size", "8", "--warmup", "2", "--log-every", "1", "--device", "cpu"),
    *("--objective", "curl", "--extractor-set", "features_dim=16", "--workers", "1"),
]


def start(count: int, arguments: Sequence[str]) -> list[subprocess.Popen]:
    """The command in several processes, each in a group of its own, as a terminal or torchrun has it."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    several = {"WORLD_SIZE": str(count)} if count > 1 else {}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "cpc_rl.cli", *arguments],
            env={**os.environ, **common, **several, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_the_command_says_where_it_goes_on_though_one_process_alone_is_told(count: int, tmp_path: Path) -> None:
    """The processes that read the data are in the group that the signal goes to, too."""
    data, out = rolling_data(tmp_path), tmp_path / "run"
    processes = start(count, [*COMMAND, "--data", str(data), "--out", str(out)])
    try:
        assert processes[0].stderr is not None
        while not (line := processes[0].stderr.readline()).startswith("2/1000000"):
            assert line and processes[0].poll() is None
        os.killpg(processes[-1].pid, signal.SIGINT)
        errors = [process.communicate(timeout=100)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [130] * count
    assert not any("Traceback" in error for error in errors)
    step = torch.load(out / "checkpoint.pt", weights_only=True)["step"]
    said = f"cpc-rl: stopped after step {step} of 1000000; the same command goes on from {out / 'checkpoint.pt'}.\n"
    assert errors[0].endswith(said) and step >= 2 and not any("cpc-rl:" in error for error in errors[1:])
    assert [file.name for file in out.iterdir() if file.name.startswith(".")] == []


def test_before_the_first_step_the_same_command_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = rolling_data(tmp_path)
    monkeypatch.setattr("cpc_rl.pretraining.loop.signature", lambda *_: interrupt())
    assert cli.main([*COMMAND, "--data", str(data), "--out", str(tmp_path / "run")]) == 130
    assert capfd.readouterr().err == "cpc-rl: stopped; the same command begins at the first step.\n"


class Interrupting(Rolling):
    def step(self, action: int) -> Any:
        if self.steps == 5:
            interrupt()
        return super().step(action)


def interrupting(env_id: str) -> Interrupting:
    return Interrupting()


def test_a_recording_leaves_nothing_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    env = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        collect(env, RandomPolicy(env.action_space), steps=100, out=tmp_path / "data")
    factory = f"{__name__}:interrupting"
    arguments = ["collect", "--env", "any", "--env-factory", factory, "--steps", "100", "--out", str(tmp_path / "data")]
    assert cli.main(arguments) == 130
    said = f"cpc-rl: stopped; nothing is kept, for a dataset is whole or not there: {tmp_path / 'data'}.\n"
    assert capfd.readouterr().err == said
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_handler_and_other_threads_are_left_alone() -> None:
    mine: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: mine.append(number))
    try:
        with interruptible("said") as request:
            interrupt()
        assert mine == [signal.SIGINT] and not request.made
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere() -> None:
        with interruptible("said") as request, interrupts_ignored():
            seen.append((request.made, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
