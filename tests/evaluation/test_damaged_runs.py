"""Runs that cannot be compared are named and in no figure, and nothing is counted twice or claimed against its own table."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cpc_rl.evaluation.cells import digits, number
from cpc_rl.evaluation.cli_report import ReportArguments, run
from cpc_rl.evaluation.pairs import hold_against
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.sources import find_sources, read_source, read_sources
from cpc_rl.evaluation.table import read_runs
from cpc_rl.evaluation.tidy_table import read_table
from cpc_rl.evaluation.words import sentence
from tests.evaluation.folders import ENV, HEADER, make_arm, make_run

ENDS = (10.0, 12.0, 9.0, 11.3)


def make_arms(log_dir: Path) -> Path:
    make_arm(log_dir, "none", ENDS)
    make_arm(log_dir, "cpc", [end + 10 for end in ENDS])
    return log_dir / ENV


@pytest.mark.parametrize(("original", "copy"), [("ppo-cpc", "ppo-cpc.old"), ("ppo-none/seed-0", "ppo-none/seed-0-backup")])
def test_a_copy_inside_the_folder_is_no_further_seed(original: str, copy: str, tmp_path: Path) -> None:
    folder = make_arms(tmp_path)
    shutil.copytree(folder / original, folder / copy)
    with pytest.raises(ValueError, match=r"Both .* and .* hold ppo-\w+ with seed 0: move one of them away\."):
        read_runs(folder)


@pytest.mark.parametrize("left", [0, 1])
def test_a_finished_run_without_its_evaluations_is_named_and_shortens_no_other(left: int, tmp_path: Path) -> None:
    folder = make_arms(tmp_path)
    evaluations = folder / "ppo-cpc" / "seed-1" / "evaluations.csv"
    evaluations.write_text("".join(evaluations.read_text().splitlines(keepends=True)[: 1 + left]))
    write_report(folder, repetitions=10)
    text = (folder / "report" / "report.md").read_text()
    said = (
        "no evaluation: it is finished, and the evaluations of its training are not there",
        "0 steps: its evaluations end at 0 of 1,000 steps",
    )
    assert f"- **failed, in no figure**: `ppo-cpc` seed 1, {said[left]}" in text
    assert "- `cpc`: 3 finished, seeds 0, 2, 3" in text and "from 0 to 1,000 agent steps" in text


def test_a_table_that_holds_a_run_twice_says_which(tmp_path: Path) -> None:
    row = f"{ENV},ppo,none,0,finished,periodic,100,1,1,5,1\n"
    table = tmp_path / "runs.csv"
    table.write_text("env,algorithm,arm,seed,status,evaluation," + HEADER + row + row)
    with pytest.raises(ValueError, match=rf"runs.csv holds ppo-none with seed 0 on {ENV} twice: leave one of them out\."):
        read_table(table)


def test_an_attempt_that_failed_elsewhere_is_none_beside_the_run(tmp_path: Path) -> None:
    make_arms(tmp_path / "b")
    marker = tmp_path / "a" / ENV / "ppo-cpc" / "seed-1.failed"
    marker.parent.mkdir(parents=True)
    marker.write_text(json.dumps({"env": ENV, "algorithm": "ppo", "arm": "cpc", "seed": 1, "problem": "no room"}))
    for places in ("ab", "ba"):
        (runs,) = read_sources([tmp_path / name / ENV for name in places]).values()
        assert [each.status for each in runs] == ["finished"] * 8
    make_arm(tmp_path / "d", "cpc", [1.0, float("nan")])  # a training that lost its way did come to its end
    with pytest.raises(ValueError, match=r"Both .* and .* hold ppo-cpc with seed 0"):
        read_sources([tmp_path / name / ENV for name in "bd"])
    shutil.rmtree(tmp_path / "d" / ENV / "ppo-cpc" / "seed-0")
    with pytest.raises(ValueError, match=r"Both .* and .* hold ppo-cpc with seed 1"):
        read_sources([tmp_path / name / ENV for name in "bd"])
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    (runs,) = read_sources([tmp_path / name / ENV for name in "ac"]).values()  # failed on two machines: once
    assert [(each.arm, each.seed, each.status) for each in runs] == [("cpc", 1, "failed")]


def test_a_run_that_failed_since_is_not_replaced_by_an_older_table(tmp_path: Path) -> None:
    folder = make_arms(tmp_path)
    write_report(folder, tmp_path / "older", repetitions=10)
    shutil.rmtree(folder / "ppo-cpc" / "seed-1")
    said = {"env": ENV, "algorithm": "ppo", "arm": "cpc", "seed": 1, "problem": "out of memory"}
    (folder / "ppo-cpc" / "seed-1.failed").write_text(json.dumps(said))
    (runs,) = read_sources([tmp_path / "older" / "runs.csv", folder]).values()
    assert [each.seed for each in runs if each.arm == "cpc" and each.status == "finished"] == [0, 2, 3]
    assert [each.problem for each in runs if each.status == "failed"] == ["out of memory"]


def test_the_log_of_an_eval_callback_is_no_second_run(tmp_path: Path) -> None:
    folder = make_arms(tmp_path)
    logged = {"timesteps": np.array([0, 1000]), "results": np.zeros((2, 5)), "ep_lengths": np.ones((2, 5))}
    (folder / "ppo-cpc" / "seed-0" / "eval").mkdir()
    np.savez(folder / "ppo-cpc" / "seed-0" / "eval" / "evaluations.npz", **logged)
    assert len(read_source(folder)) == 8
    (folder / "ppo-cpc" / "log-0").mkdir()
    np.savez(folder / "ppo-cpc" / "log-0" / "evaluations.npz", **logged)
    with pytest.raises(ValueError, match=r"Both .*seed-0 and .*log-0 hold ppo-cpc with seed 0"):
        read_source(folder)


def test_an_environment_whose_runs_all_failed_is_in_the_report_of_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for env in ("ALE/Pong-v5", "ALE/Boxing-v5"):
        make_run(tmp_path, "none", 0, [0.0, 1.0], final=1.0, env=env)
    marker = tmp_path / "ALE-Assault-v5" / "ppo-none" / "seed-0.failed"
    marker.parent.mkdir(parents=True)
    marker.write_text(
        json.dumps({"env": "ALE/Assault-v5", "algorithm": "ppo", "arm": "none", "seed": 0, "problem": "no room"})
    )
    run(ReportArguments((tmp_path,), normalise="atari", repetitions=10))
    text = (tmp_path / "report" / "report.md").read_text()
    assert "- **failed, in no figure**: ALE/Assault-v5, `ppo-none` seed 0, no evaluation: no room" in text
    assert set(read_sources(find_sources(tmp_path), ("none",))) == {f"ALE/{game}-v5" for game in ("Assault", "Boxing", "Pong")}
    make_run(tmp_path, "cpc", 0, [0.0, 1.0], final=1.0, env="ALE/Pong-v5")
    make_run(tmp_path, "cpc", 0, [0.0, 1.0], final=1.0, env="ALE/Boxing-v5")
    assert set(read_sources(find_sources(tmp_path), ("cpc",))) == {"ALE/Boxing-v5", "ALE/Pong-v5"}
    marker.with_name("seed-1.failed").write_text("")  # left by a full disk
    marker.unlink()
    assert [place.name for place in find_sources(tmp_path)] == ["ALE-Boxing-v5", "ALE-Pong-v5"]
    shutil.rmtree(tmp_path / "ALE-Boxing-v5")
    assert find_sources(tmp_path) == [tmp_path / "ALE-Pong-v5"]  # a report of its own, which needs no reference scores


def test_trainings_of_other_lengths_are_told_of_tables_too(tmp_path: Path) -> None:
    make_arm(tmp_path, "none", ENDS, every=100)
    make_arm(tmp_path, "cpc", ENDS, every=500)
    write_report(tmp_path / ENV, tmp_path / "first", repetitions=10)
    write_report(tmp_path / "first" / "runs.csv", tmp_path / "again", repetitions=10)
    for name in ("first", "again"):
        text = (tmp_path / name / "report.md").read_text()
        assert "- **Runs of `ppo` end at different steps**: `none` at 1,000, `cpc` at 5,000." in text
    make_arms(tmp_path / "alike")
    make_arm(tmp_path / "alike", "curl", ENDS, every=104)  # a last rollout beyond what was asked for
    write_report(tmp_path / "alike" / ENV, repetitions=10)
    assert "end at different steps" not in (tmp_path / "alike" / ENV / "report" / "report.md").read_text()


class Arm:
    """Of several tasks, (num_runs, num_tasks)."""

    algorithm, head = "ppo", ""

    def __init__(self, label: str, scores: np.ndarray) -> None:
        self.label = self.arm = label
        self.scores, self.runs, self.num_tasks = scores, range(len(scores)), scores.shape[1]

    def final(self) -> np.ndarray:
        return self.scores

    area = final


def test_an_arm_that_loses_all_on_one_task_is_not_called_better() -> None:
    """An interquartile mean leaves just that task out; the permutation test is of the means, which speak against the arm."""
    noise = np.random.default_rng(0).normal(0, 0.01, (2, 5, 4))
    plain, head = Arm("none", noise[0] + [0.5, 0.5, 0.5, 1.0]), Arm("cpc", noise[1] + [0.6, 0.6, 0.6, 0.0])
    pair = hold_against(head, plain, "final", own_gain=False, repetitions=500)
    assert pair.difference.lower > 0 and pair.p_value <= 0.05 and pair.mean_difference < -0.1
    assert pair.verdict == "no evidence" and hold_against(plain, head, "final", False, 500).verdict == "no evidence"
    assert "no evidence of a difference; difference +0.0" in sentence(pair)
    assert sentence(pair).endswith(f"(the means differ by {pair.mean_difference:+.4g}, the other way).")


def test_numbers_keep_their_form() -> None:
    assert [number(value) for value in (999.4, 999.7, 1000.0, -999.7, 0.01234)] == [
        "999",
        "1,000",
        "1,000",
        "-1,000",
        "0.0123",
    ]
    assert [digits(value) for value in (9999.4, 9999.6, 21245.0, 0.5)] == ["9999", "10,000", "21,245", "0.5"]
    assert digits(21245.2, sign="+") == "+21,245" and digits(-1.5, sign="+") == "-1.5"


def test_the_report_prints_thousands(tmp_path: Path) -> None:
    make_arm(tmp_path, "none", (21244.0, 21245.0))
    write_report(tmp_path / ENV, threshold=21_245, repetitions=10)
    text = (tmp_path / ENV / "report" / "report.md").read_text()
    assert "reached 21,245" in text and "- Threshold: 21,245, as asked for." in text and "e+" not in text
