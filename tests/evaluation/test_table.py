"""The tidy table: nothing is lost on the way, least of all a run that went wrong."""

import csv
import json
from pathlib import Path

import pytest

from cpc_rl.evaluation.arms import choose_threshold, group_arms
from cpc_rl.evaluation.table import different_settings, read_runs
from cpc_rl.evaluation.tidy_table import write_table
from tests.evaluation.folders import ENV, HEADER, make_arm, make_run


def rows(tmp_path: Path) -> list[dict[str, str]]:
    write_table(tmp_path / "runs.csv", read_runs(tmp_path / ENV))
    with open(tmp_path / "runs.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_run_and_evaluation(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 3, [0.5, 2.25], final=4.0)
    make_run(tmp_path, "aug+curl", 0, [1.0])
    table = rows(tmp_path)
    assert [list(row.values()) for row in table] == [
        [ENV, "ppo", "none", "3", "finished", "periodic", "0", "0.5", "1.5", "5", "0"],
        [ENV, "ppo", "none", "3", "finished", "periodic", "100", "2.25", "1.5", "5", "10"],
        [ENV, "ppo", "none", "3", "finished", "final", "100", "4", "2", "20", "10"],
        [ENV, "ppo", "aug+curl", "0", "unfinished", "periodic", "0", "1", "1.5", "5", "0"],
    ]


def test_failed_runs_are_marked(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0, [0.0, 1.0], final=1.0)
    cut = make_run(tmp_path, "curl", 0, [0.0])
    said = {"env": ENV, "algorithm": "ppo", "arm": "curl", "seed": 0, "problem": "out of memory"}
    cut.with_name("seed-0.failed").write_text(json.dumps(said))
    never = cut.with_name("seed-1.failed")  # failed before it had a folder
    never.write_text(json.dumps({**said, "seed": 1}))
    runs = {(run.arm, run.seed): run for run in read_runs(tmp_path / ENV)}
    assert {key: run.status for key, run in runs.items()} == {
        ("none", 0): "finished",
        ("curl", 0): "failed",
        ("curl", 1): "failed",
    }
    assert runs["curl", 0].problem == "out of memory" and len(runs["curl", 0].rows) == 1
    assert [row["evaluation"] for row in rows(tmp_path) if row["seed"] == "1"] == ["none"]


def test_half_written_row_of_a_run_under_way(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "none", 0, [0.0, 1.0])
    with open(folder / "evaluations.csv", "a") as file:
        file.write("200,3.")
    assert [row["timesteps"] for row in read_runs(tmp_path / ENV)[0].rows] == [0, 100]
    (folder / "evaluations.csv").write_text(HEADER + "0,zero,1,5,0\n100,1,1,5,1\n")
    with pytest.raises(ValueError, match=r"Line 2 of .* all numbers"):
        read_runs(tmp_path / ENV)


def test_order_of_arms(tmp_path: Path) -> None:
    for arm in ("shuffled+curl", "curl", "compute", "aug+curl", "none", "aug+compute", "compute+spr", "aug"):
        make_run(tmp_path, arm, 0, [0.0], final=0.0)
    names = [run.arm for run in read_runs(tmp_path / ENV)]
    assert names == ["none", "aug", "compute", "aug+compute", "compute+spr", "aug+curl", "curl", "shuffled+curl"]


def test_runs_with_other_settings_are_found(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0, [0.0], n_envs=2)
    make_run(tmp_path, "curl", 0, [0.0], n_envs=8)
    assert different_settings(read_runs(tmp_path / ENV)) == {"n_envs": ["2", "8"]}


def test_a_setting_that_is_off_is_no_other_than_one_of_before_there_was_it(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0, [0.0])
    config = make_run(tmp_path, "curl", 0, [0.0]) / "config.yaml"
    config.write_text(config.read_text().replace("run:\n", "run:\n  envpool: false\n"))
    assert different_settings(read_runs(tmp_path / ENV)) == {}
    config.write_text(config.read_text().replace("envpool: false", "envpool: true"))
    assert different_settings(read_runs(tmp_path / ENV)) == {"envpool": ["not written down", "True"]}


def test_encoders_may_differ_between_arms_that_name_them_and_not_within_one(tmp_path: Path) -> None:
    for arm, seed, file in (("none", 0, None), ("none@atc", 0, "a"), ("none@atc", 1, "a"), ("none@curl", 0, "b")):
        config = make_run(tmp_path, arm, seed, [0.0], final=0.0) / "config.yaml"
        config.write_text(config.read_text().replace("run:\n", f"run:\n  encoder: {file or 'null'}\n"))
    assert different_settings(read_runs(tmp_path / ENV)) == {}
    config = make_run(tmp_path, "none@atc", 2, [0.0], final=0.0) / "config.yaml"
    config.write_text(config.read_text().replace("run:\n", "run:\n  encoder: c\n"))
    assert different_settings(read_runs(tmp_path / ENV)) == {"encoder": ["a", "c"]}


def test_folders_that_hold_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no runs"):
        read_runs(tmp_path)
    folder = make_run(tmp_path, "none", 0, [0.0])
    with pytest.raises(ValueError, match="No run is finished"):
        group_arms(read_runs(tmp_path / ENV))
    (folder / "config.yaml").write_text("optimizer: adam")
    with pytest.raises(ValueError, match=r"should say env, arm, seed"):
        read_runs(tmp_path / ENV)


def test_common_axes(tmp_path: Path) -> None:
    """Steps end where the shortest run does; other evaluation points are met on straight lines; time is each arm's own."""
    make_run(tmp_path, "none", 0, [0.0, 10.0, 20.0], final=0.0)
    make_run(tmp_path, "none", 1, [0.0, 8.0], final=0.0, every=150, speed=15.0)
    make_run(tmp_path, "curl", 0, [2.0, 4.0, 6.0, 8.0], final=0.0, speed=5.0)
    none, curl = group_arms(read_runs(tmp_path / ENV))
    assert none.steps.tolist() == curl.steps.tolist() == [0, 100, 150]
    assert none.returns[:, 0].tolist() == [[0, 10, 15], [0, pytest.approx(16 / 3), 8]]
    assert none.seconds[[0, -1]].tolist() == [0, 10] and curl.seconds[[0, -1]].tolist() == [0, 60]
    assert none.returns_at[:, 0, -1].tolist() == [10, 8]
    assert none.steps_to(8.0)[:, 0].tolist() == [100, 150]
    assert curl.steps_to(5.0)[:, 0].tolist() == [150] and curl.steps_to(7.0)[:, 0].tolist() == [float("inf")]
    assert curl.seconds_to(5.0)[0, 0] == pytest.approx(30)
    assert curl.area()[0, 0] == pytest.approx((100 * 3 + 50 * 4.5) / 150)


def test_threshold_is_nine_tenths_of_plain_trainings_way(tmp_path: Path) -> None:
    make_arm(tmp_path, "none", [10.0, 20.0, 30.0])
    make_arm(tmp_path, "aug", [80.0])
    assert choose_threshold(group_arms(read_runs(tmp_path / ENV))) == pytest.approx(18)
    make_run(tmp_path / "falling", "none", 0, [5.0, 1.0], final=1.0)
    assert choose_threshold(group_arms(read_runs(tmp_path / "falling" / ENV))) is None
