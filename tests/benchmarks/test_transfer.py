"""The transfer benchmark's own figures, and its tables from folders of runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.transfer import ARMS
from benchmarks.transfer_encoders import SOURCES, feature_figures, read_by_a_head
from benchmarks.transfer_report import PAIRS, report
from tests.evaluation.folders import ENV, make_run


def test_a_head_reads_at_once_what_is_large_and_not_what_is_small() -> None:
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(2_000, 2, generator=generator)
    features = torch.cat(
        [3.0 * signals[:, :1], 0.03 * signals[:, 1:], 0.1 * torch.randn(2_000, 6, generator=generator)], dim=1
    )
    labels = {"large": signals[:, 0].double().numpy(), "small": signals[:, 1].double().numpy()}
    scores = read_by_a_head(features, labels, np.arange(2_000) // 20, steps=1_000, learning_rate=1e-3)
    assert scores["large"] > 0.99 and scores["small"] < 0.1
    larger = torch.cat([features[:, :1], 100 * features[:, 1:2], features[:, 2:]], dim=1)
    assert read_by_a_head(larger, labels, np.arange(2_000) // 20, steps=1_000, learning_rate=1e-3)["small"] > 0.99


def test_figures_of_features() -> None:
    features = torch.tensor([[3.0, 4.0, 0.0], [3.0, -4.0, 0.0]])
    figures = feature_figures(features)
    assert figures["norm"] == pytest.approx(5) and figures["norm_of_mean"] == pytest.approx(3)
    assert figures["spread"] == pytest.approx(4) and figures["dormant"] == pytest.approx(1 / 3)


def test_arms_and_pairs_name_what_there_is() -> None:
    assert {arm.source for arm in ARMS.values() if arm is not None} <= set(SOURCES)
    assert {name for pair in PAIRS for name in pair} <= set(ARMS)


def test_tables_of_finished_runs(tmp_path: Path) -> None:
    runs = tmp_path / "work" / "runs"
    for seed in (0, 1):
        make_run(runs, "none", seed, [0, 0, 5, 10], final=10)
        make_run(runs, "none@atc", seed, [0, 9, 10, 10], final=10)
    make_run(runs, "none@shuffled", 0, [0, 0])  # not finished: in no figure
    figures = json.loads(report(tmp_path / "work", tmp_path / "out", 200).splitlines()[-1])
    (found,) = figures["environments"]
    assert found["threshold"] == 9.0
    assert {name: row["steps_to_threshold"] for name, row in found["arms"].items()} == {
        "none": [300, 300],
        "none@atc": [100, 100],
    }
    (pair,) = found["pairs"]
    assert (pair["arm"], pair["over"], pair["difference"]) == ("none@atc", "none", pytest.approx(4.6667, abs=1e-4))
    assert {file.name for file in (tmp_path / "out" / ENV).iterdir()} == {"runs.csv", "report.md", "curves_steps.png"}
