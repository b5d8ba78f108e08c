"""Several tasks together; the literals of aggregates were computed with rliable 1.2.0 (10,000 repetitions)."""

from pathlib import Path

import numpy as np
import pytest

from cpc_rl.evaluation.references import load_references
from cpc_rl.evaluation.sources import find_sources, read_sources
from cpc_rl.evaluation.suite import make_suites
from cpc_rl.evaluation.suite_comparison import SuiteComparison, compare_suite
from cpc_rl.evaluation.suite_tables import final_table, steps_table
from cpc_rl.evaluation.suite_words import suite_in_words
from cpc_rl.evaluation.tasks import make_tasks
from tests.evaluation.folders import make_run

LOWS, HIGHS = (0.0, -10.0, -500.0, 2.0), (1.0, 10.0, 500.0, 4.0)
PLAIN = np.array(
    [[0.3, 0.1, 0.55, 0.2], [0.25, 0.2, 0.6, 0.1], [0.35, 0.05, 0.5, 0.15], [0.2, 0.15, 0.65, 0.25], [0.28, 0.12, 0.58, 0.22]]
)
CURL = PLAIN + np.array([0.2, 0.0, 0.3, -0.05])
HARM = np.array([0.3, 0.3, -0.3, -0.03])
RLIABLE = {  # IQM, median, mean, optimality gap with their intervals
    "none": [(0.24, 0.209, 0.265), (0.23, 0.198, 0.26), (0.29, 0.2675, 0.312), (0.71, 0.688, 0.7325)],
    "curl": [(0.325, 0.295, 0.349), (0.305, 0.281, 0.338), (0.4025, 0.3805, 0.4245), (0.5975, 0.5755, 0.6195)],
}


def name_of(task: int) -> str:
    return f"Toy{task}-v0"


def make_scores(log_dir: Path, arm: str, scores: np.ndarray, tasks: tuple[int, ...] = (0, 1, 2, 3), every: int = 100) -> None:
    """A finished run for each score; its curve rises in a straight line from 0 to the score in ten evaluations."""
    for seed, row in enumerate(scores):
        for task in tasks:
            scale = HIGHS[task] - LOWS[task]
            returns = [LOWS[task] + scale * row[task] * point / 10 for point in range(11)]
            make_run(log_dir, arm, seed, returns, final=returns[-1], env=name_of(task), every=every)


def compared(log_dir: Path, threshold: float | None = None) -> SuiteComparison:
    table = log_dir.parent / "references.csv"
    rows = [f"{name_of(task)},{low},{high}\n" for task, (low, high) in enumerate(zip(LOWS, HIGHS, strict=True))]
    table.write_text("task,low,high\n" + "".join(rows))
    tasks = make_tasks(read_sources(find_sources(log_dir)), load_references(str(table)), threshold)
    (suite,) = make_suites(tasks)
    return compare_suite(suite, repetitions=2_000)


def test_aggregates_are_rliables(tmp_path: Path) -> None:
    make_scores(tmp_path / "runs", "none", PLAIN)
    make_scores(tmp_path / "runs", "curl", CURL)
    comparison = compared(tmp_path / "runs")
    assert [arm.arm.arm for arm in comparison.arms] == ["none", "curl"]
    for arm in comparison.arms:
        np.testing.assert_allclose(arm.arm.final(), PLAIN if arm.arm.arm == "none" else CURL, atol=1e-9)
        np.testing.assert_allclose(arm.arm.area(), arm.arm.final() / 2, atol=1e-9)
        for found, expected in zip(arm.figures["final"].values(), RLIABLE[arm.arm.arm], strict=True):
            assert found.estimate == pytest.approx(expected[0])
            assert found[1:] == pytest.approx(expected[1:], abs=0.008)
        assert comparison.in_steps and arm.band[0] == pytest.approx(arm.figures["final"]["iqm"].estimate * arm.arm.axis / 1000)
        assert arm.profiles["final"][0, 0] == 1.0 and arm.profiles["final"][0, -1] == 0.0
    pairs = {pair.measure: pair for pair in comparison.pairs}
    assert pairs["final"].improvement.estimate == pytest.approx(0.69)
    assert pairs["final"].improvement[1:] == pytest.approx((0.57, 0.815), abs=0.02)
    assert {pair.verdict for pair in comparison.pairs} == {"better"}


def test_steps_to_each_tasks_own_threshold(tmp_path: Path) -> None:
    """Plain training gets to nine tenths of its way at step 900; of 20% more way that is at 750, seen at 800."""
    make_scores(tmp_path / "runs", "none", np.tile(PLAIN[:1], (3, 1)))
    make_scores(tmp_path / "runs", "curl", np.tile(PLAIN[:1] * [[1.2, 2.4, 0.5, 1.2]], (3, 1)))
    comparison = compared(tmp_path / "runs")
    (speedup,) = comparison.speedups
    assert speedup.arm.steps.tolist() == [[800, 400, np.inf, 800]] * 3
    assert tuple(speedup.median) == (900 / 800,) * 3  # of 2.25, 1.125, 1.125 and 0
    assert "| 900, 3 of 3 | 400, 3 of 3 (2.2x) |" in steps_table(comparison)
    assert "| not reached, 0 of 3 (only plain) |" in steps_table(comparison)
    assert "`curl`: 1.12 [1.12, 1.12] times fewer steps" in suite_in_words(comparison)[1]
    make_scores(tmp_path / "never", "none", np.tile(PLAIN[:1], (3, 1)))
    make_scores(tmp_path / "never", "curl", np.tile(PLAIN[:1] * 0.5, (3, 1)))
    said = "`curl` does not get to the threshold on the median of 4 tasks, where plain training does."
    assert said in suite_in_words(compared(tmp_path / "never"))
    given = compared(tmp_path / "runs", threshold=0.15)
    assert [task.threshold for task in given.suite.tasks] == pytest.approx([0.15, -7, -350, 2.3])
    assert given.speedups[0].arm.steps[0].tolist() == [500, 700, 600, 700]  # plain training: 500, never, 300, 800


def test_a_threshold_that_nobody_gets_to_has_no_ratio(tmp_path: Path) -> None:
    make_scores(tmp_path / "runs", "none", np.tile(PLAIN[:1], (3, 1)))
    make_scores(tmp_path / "runs", "curl", np.tile(PLAIN[:1], (3, 1)))
    said = (
        "`curl`: neither its runs nor plain training's get to the threshold on any of 4 tasks, so there is no ratio of steps; "
        "a threshold of several tasks is a normalised score, not a return."
    )
    nobody = suite_in_words(compared(tmp_path / "runs", threshold=90))
    assert said in nobody and not any("times fewer steps" in sentence for sentence in nobody)
    one = suite_in_words(compared(tmp_path / "runs", threshold=0.55))  # on the third task alone, both at its last evaluation
    assert "`curl`: 1 [1, 1] times fewer steps to the threshold than plain training, on the median of 4 tasks." in one


def test_no_threshold_where_plain_training_does_not_learn(tmp_path: Path) -> None:
    make_scores(tmp_path / "runs", "none", np.array([[0.04, 0.06, 0.0, 0.5]] * 2))
    make_scores(tmp_path / "runs", "curl", np.array([[0.9, 0.9, 0.9, 0.9]] * 2))
    comparison = compared(tmp_path / "runs")
    assert comparison.suite.without_threshold() == ["Toy0-v0", "Toy2-v0"]
    assert comparison.speedups[0].arm.steps.shape == (2, 2)


def test_where_an_arm_is_worse(tmp_path: Path) -> None:
    make_scores(tmp_path / "runs", "none", PLAIN)
    make_scores(tmp_path / "runs", "curl", PLAIN + HARM)
    comparison = compared(tmp_path / "runs")
    worse = [(task.env, pair.measure) for task, pair in comparison.verdicts("worse")]
    assert worse == [("Toy2-v0", "area"), ("Toy2-v0", "final")]
    words = suite_in_words(comparison)
    assert words[-3] == (
        "On one task, **significantly worse** than plain training: `curl` on Toy2-v0 (mean return over the training), "
        "`curl` on Toy2-v0 (final return on unseen episodes)."
    )
    assert words[-1].startswith("Of these 8 comparisons with plain training on one task, 8 have enough seeds for a claim")
    assert "| Toy0-v0 | 0 to 1 | 0.277 | 0.577 ↑ |" in final_table(comparison)
    assert "| 76.7 | -223 ↓ |" in final_table(comparison)
    make_scores(tmp_path / "few", "none", PLAIN[:3])
    make_scores(tmp_path / "few", "curl", PLAIN[:3] + HARM)
    few = compared(tmp_path / "few")
    assert not list(few.verdicts("worse")) and len(list(few.verdicts("hint of worse"))) == 2
    assert "0 have enough seeds for a claim" in suite_in_words(few)[-1]


def test_arms_without_runs_on_some_tasks(tmp_path: Path) -> None:
    """They are compared where both have runs, and are in no figure over all tasks."""
    make_scores(tmp_path / "runs", "none", PLAIN, tasks=(0, 1, 2))
    make_scores(tmp_path / "runs", "aug", PLAIN)
    make_scores(tmp_path / "runs", "curl", CURL, tasks=(0, 2))
    comparison = compared(tmp_path / "runs")
    suite = comparison.suite
    assert [task.env for task in suite.tasks] == ["Toy0-v0", "Toy1-v0", "Toy2-v0"] and suite.not_counted == ("Toy3-v0",)
    assert [arm.arm.arm for arm in comparison.arms] == ["none", "aug"] and suite.lacks("curl") == ["Toy1-v0"]
    seen = {(pair.arm.arm, pair.over.arm): pair.seeds for pair in comparison.pairs}
    assert seen == {
        ("aug", "none"): "5 and 5 seeds of 3 tasks",
        ("curl", "none"): "5 and 5 seeds of 2 tasks",
        ("curl", "aug"): "5 and 5 seeds of 2 tasks",
    }


def test_every_task_counts_as_much(tmp_path: Path) -> None:
    make_scores(tmp_path / "runs", "none", PLAIN[:2])
    make_scores(tmp_path / "runs", "curl", CURL, tasks=(0, 1, 2))
    make_scores(tmp_path / "runs", "curl", CURL[:3], tasks=(3,))
    arm = compared(tmp_path / "runs").arms[1].arm
    assert arm.left_out == 6
    np.testing.assert_allclose(arm.final(), CURL[:3])
    assert [run.seed for run in arm.runs[2]] == [2] * 4


def test_tasks_of_different_lengths(tmp_path: Path) -> None:
    make_scores(tmp_path / "runs", "none", PLAIN, tasks=(0, 1))
    make_scores(tmp_path / "runs", "none", PLAIN, tasks=(2, 3), every=30)
    comparison = compared(tmp_path / "runs")
    assert not comparison.in_steps
    (arm,) = comparison.arms
    np.testing.assert_allclose(arm.arm.axis, np.linspace(0, 1, 11))
    np.testing.assert_allclose(arm.arm.area(), PLAIN / 2, atol=1e-9)


def test_folders(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "none", 0, [0.0], final=0.0)
    make_run(tmp_path / "b", "none", 0, [0.0], final=0.0)
    assert find_sources(tmp_path / "a") == find_sources(tmp_path / "a" / "Toy-v0") == [tmp_path / "a" / "Toy-v0"]
    with pytest.raises(ValueError, match=r"Both .*seed-0 hold ppo-none with seed 0 on Toy-v0"):
        read_sources([tmp_path / "a" / "Toy-v0", tmp_path / "b" / "Toy-v0"])
    with pytest.raises(ValueError, match="holds no runs"):
        find_sources(tmp_path / "c")


def test_areas_are_those_of_each_tasks_own_evaluations(tmp_path: Path) -> None:
    """Tasks that were evaluated at other shares of their training: the curves meet on a common axis, the areas are exact."""
    curves = {0: [0.0, 0.0, 1.0, 0.0], 1: [0.0, 10.0, 0.0, 0.0, 10.0]}
    for task, returns in curves.items():
        make_run(tmp_path / "runs", "none", 0, returns, final=returns[-1], env=name_of(task))
    comparison = compared(tmp_path / "runs")
    assert not comparison.in_steps
    assert comparison.arms[0].arm.area().tolist() == [[pytest.approx(1 / 3), pytest.approx((15 / 4 + 10) / 20)]]


def test_no_ratio_of_steps_where_an_arm_is_there_before_any_training(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "none", 0, [0.0, 0.5, 1.0], final=1.0, env=name_of(0))
    make_run(tmp_path / "runs", "curl", 0, [0.95, 1.0, 1.0], final=1.0, env=name_of(0))
    table = steps_table(compared(tmp_path / "runs"))
    assert "| 200, 1 of 1 | 0, 1 of 1 |" in table


def test_a_control_on_fewer_tasks_does_not_take_the_place_of_one_on_all(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for arm, tasks in (("none", (0, 1)), ("compute", (0, 1)), ("compute+spr", (0,)), ("spr", (0, 1))):
        make_scores(runs, arm, PLAIN, tasks=tasks)
    own = {(pair.arm.arm, pair.over.arm) for pair in compared(runs).pairs if pair.own_gain}
    assert own == {("spr", "compute")}
    make_scores(runs, "compute+spr", PLAIN, tasks=(1,))
    assert {(pair.arm.arm, pair.over.arm) for pair in compared(runs).pairs if pair.own_gain} == {("spr", "compute+spr")}
