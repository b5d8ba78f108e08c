"""When one process dies the others stop, and the run goes on from its checkpoint, with another number of them too."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

from cpc_rl.pretraining import pretrain
from tests.pretraining.mortal import SETTINGS
from tests.pretraining.toy import rolling_data

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(count: int, *arguments: str) -> list[subprocess.Popen]:
    """As torchrun does, but without its agent, which would stop the others for us."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "tests/pretraining/mortal.py", *arguments],
            env={**os.environ, **common, "PYTHONPATH": str(ROOT), "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def test_the_others_stop_and_one_process_goes_on_with_the_run(tmp_path: Path) -> None:
    data = rolling_data(tmp_path, steps=60)
    whole = pretrain(data, "cpc", out=tmp_path / "whole", **SETTINGS)
    survivor, mortal = start(2, str(data), str(tmp_path / "run"), "dies")
    try:
        assert mortal.wait(timeout=100) == 1
        began = time.monotonic()
        assert survivor.wait(timeout=60) not in (0, None)
        assert time.monotonic() - began < 60
    finally:
        survivor.kill()
        mortal.kill()
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 4
    again = pretrain(data, "cpc", out=tmp_path / "run", **SETTINGS)
    states = [torch.load(run.encoder.with_name("checkpoint.pt"), weights_only=True)["learner"] for run in (whole, again)]
    for part in ("encoder", "objectives"):
        one, other = (torch.utils._pytree.tree_leaves(state[part]) for state in states)
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
