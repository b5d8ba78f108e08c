"""What a head adds with and without augmentation together: against deals counted one by one, and on whole folders."""

import json
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from benchmarks import two_by_two as benchmark
from cpc_rl.evaluation.intervals import permutation_p_value
from tests.evaluation.folders import ENV, make_arm

BLOCKS = [(np.array([3.0, 5.0]), np.array([1.0, 4.0, 2.0])), (np.array([9.0]), np.array([7.0, 8.0]))]


def test_every_deal_of_both_blocks_counts_once():
    seen, deals = benchmark.effect(BLOCKS), []
    for orders in product(*(permutations(np.concatenate(block)) for block in BLOCKS)):
        cut = [(order[: len(block[0])], order[len(block[0]) :]) for order, block in zip(orders, BLOCKS, strict=True)]
        deals.append(np.mean([np.mean(mine) - np.mean(theirs) for mine, theirs in cut]))
    estimate = np.mean([4.0 - 7 / 3, 9.0 - 7.5])
    assert seen.estimate == pytest.approx(estimate)
    assert seen.p_value == pytest.approx(np.mean(np.abs(deals) >= estimate - 1e-9))


def test_one_block_is_the_reports_own_test():
    draw = np.random.default_rng(0)
    mine, theirs = draw.normal(1, 1, 4), draw.normal(0, 1, 5)
    expected = permutation_p_value(mine[:, None], theirs[:, None], generator=np.random.default_rng(0))
    assert benchmark.effect([(mine, theirs)]).p_value == pytest.approx(expected)


def test_too_many_deals_are_refused():
    many = np.arange(12.0)
    with pytest.raises(ValueError, match="at most 5,000,000"):
        benchmark.effect([(many, many), (many, many)])


def test_the_table_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arm, ends in {"none": (10, 20, 12), "aug": (11, 18), "curl": (40, 50, 44), "aug+curl": (42, 52)}.items():
        make_arm(tmp_path, arm, ends)
    monkeypatch.setattr(sys, "argv", ["two_by_two", str(tmp_path / ENV), "--head", "curl"])
    benchmark.main()
    *lines, _, figures = capsys.readouterr().out.splitlines()
    assert "| `curl` | final return on unseen episodes | 5 and 5 | +31.58 | 0.017 |" in lines
    assert "| `aug` | final return on unseen episodes | 4 and 6 | +1.417 |" in lines[-1]
    assert json.loads(figures)["effects"]["curl final"]["p"] == pytest.approx(2 / (20 * 6))  # this deal and its mirror
    for arm, ends in {"compute": (30, 41), "aug+compute": (32, 33)}.items():
        make_arm(tmp_path, arm, ends)
    monkeypatch.setattr(sys, "argv", ["two_by_two", str(tmp_path / ENV), "--head", "curl", "--compute"])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| `curl` | final return on unseen episodes | 5 and 4 | +11.83 |") for line in lines)
    monkeypatch.setattr(sys, "argv", ["two_by_two", str(tmp_path / ENV), "--head", "cpc"])
    with pytest.raises(SystemExit, match="no runs of the arms cpc, aug\\+cpc"):
        benchmark.main()
    for arm in ("cpc", "aug+cpc"):
        make_arm(tmp_path, arm, (1.0,), algorithm="dqn")
    with pytest.raises(SystemExit, match="several algorithms"):
        benchmark.main()
