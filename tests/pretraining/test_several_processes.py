"""Two processes with half the batch each make what one makes of all of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cpc_rl.extractors import NatureExtractor, ViTExtractor
from tests.pretraining.ranks import OBJECTIVES, Normalised, all_outcomes, learner, outcome, windows
from tests.pretraining.toy import rolling_data

ROOT = Path(__file__).parents[2]


def torchrun(count: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=120)


def close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    # A bias that a normalisation follows has a gradient of zero by right and of rounding in fact: next to the largest one.
    largest = max(float(value.abs().max()) for key, value in wanted.items() if key.startswith("gradient"))
    for key, value in wanted.items():
        scale = max(float(value.abs().max()), 0.1 * largest) if value.is_floating_point() else 0.0
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5 * scale, msg=lambda text, key=key: f"{key}: {text}")


def test_every_objective_has_the_loss_and_the_gradients_of_one_process(tmp_path: Path) -> None:
    done = torchrun(2, "tests/pretraining/ranks.py", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    wanted = all_outcomes()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}-of-2.pt")
        assert found.keys() == wanted.keys()
        for name in wanted:
            close(found[name], wanted[name])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_pieces_have_the_gradient_of_the_whole_batch(name: str) -> None:
    close(outcome(name, NatureExtractor, pieces=3), outcome(name, NatureExtractor))


def test_pieces_of_a_transformer() -> None:
    close(outcome("stdim", ViTExtractor, pieces=3), outcome("stdim", ViTExtractor))  # type: ignore[arg-type]


def test_pieces_keep_little_for_the_gradient() -> None:
    def kept(pieces: int) -> int:
        sizes: list[int] = []
        made = learner("simclr", NatureExtractor, pieces)
        frames = windows(1).observations[:, 0]  # type: ignore[call-overload]
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            made.encoder(frames)
        return sum(sizes)

    assert kept(2) < kept(1) / 10


def test_pieces_and_batch_statistics_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="accumulate is 2"):
        learner("simclr", Normalised, pieces=2)


def test_one_process_is_the_plain_encoder() -> None:
    """The encoder that divides its work makes, undivided, what the one of training beside RL makes."""
    from cpc_rl.encoder import Encoder

    made = learner("stdim", NatureExtractor)
    plain = Encoder({"image": made.encoder.extractors["image"]}, made.encoder.observation_space)
    frames = windows(2).observations[:, 0]  # type: ignore[call-overload]
    features, maps = made.encoder.with_maps(frames)
    plain_features, plain_maps = plain.with_maps(frames)
    assert torch.equal(features, plain_features) and torch.equal(maps["image"], plain_maps["image"])
    assert torch.equal(made.encoder(frames), plain(frames))


def test_trainings_one_after_the_other_in_the_same_processes(tmp_path: Path) -> None:
    """A second group found the first one's addresses in the launcher's store, and waited for processes that were not there."""
    done = torchrun(2, "tests/pretraining/several_seeds.py", str(rolling_data(tmp_path)), str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert all((tmp_path / "out" / str(seed) / "encoder.safetensors").exists() for seed in range(3))


def test_a_group_of_the_callers_own_makes_the_report_together(tmp_path: Path) -> None:
    data = rolling_data(tmp_path, steps=700, labels=("attr:brightness", "info:steps"))
    out = tmp_path / "out"
    done = torchrun(2, "tests/pretraining/own_group.py", str(data), str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(out / f"{rank}.txt").read_text() for rank in range(2)] == [str(out / "probe.json"), "None"]
    assert json.loads((out / "probe.json").read_text()).keys() == {"trained", "untrained"}
