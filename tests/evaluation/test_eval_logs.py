"""Reports of runs that nothing but Stable-Baselines3's EvalCallback wrote down: one's own scripts, RL Zoo."""

import json
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import VecMonitor

from cpc_rl import ContrastiveCallback
from cpc_rl.cli import main
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.sources import find_sources, read_source
from cpc_rl.evaluation.suite_report import write_suite_report
from tests.algorithms import make_model
from tests.evaluation.folders import ENV, make_arm

STEPS = np.arange(1, 6) * 100


def log_run(folder: Path, end: float, episodes: int = 4) -> None:
    """As EvalCallback writes it: five evaluations, whose mean rises in a straight line to ``end``."""
    folder.mkdir(parents=True)
    means = end * STEPS / STEPS[-1]
    results = means[:, None] + np.linspace(-1, 1, episodes)
    np.savez(folder / "evaluations.npz", timesteps=STEPS, results=results, ep_lengths=np.ones_like(results, dtype=int))


def log_arms(folder: Path, template: str, **ends: tuple[float, ...]) -> None:
    for arm, values in ends.items():
        for number, end in enumerate(values):
            log_run(folder / template.format(arm=arm, number=number), end)


@pytest.mark.parametrize(
    ("template", "algorithm"),
    [
        ("{arm}/seed-{number}", "agent"),
        ("dqn-{arm}/{number}/logs", "dqn"),
        ("{arm}/ppo/Toy-v0_{number}", "ppo"),  # of RL Zoo
    ],
)
def test_arms_and_algorithms_are_those_of_the_folders(tmp_path: Path, template: str, algorithm: str) -> None:
    log_arms(tmp_path / ENV, template, none=(1.0, 2.0), cpc=(3.0, 5.0))
    runs = read_source(tmp_path / ENV)
    assert [(run.env, run.algorithm, run.arm, run.seed, run.status) for run in runs] == [
        (ENV, algorithm, arm, seed, "finished") for arm in ("none", "cpc") for seed in (0, 1)
    ]
    assert runs[3].column("mean_return").tolist() == [1, 2, 3, 4, 5] and runs[3].final["mean_return"] == 5
    assert runs[0].rows[0]["episodes"] == 4 and runs[0].rows[0]["std_return"] == pytest.approx(np.linspace(-1, 1, 4).std())


def test_the_report_equals_that_of_the_same_curves_from_train_agent(tmp_path: Path) -> None:
    ends = {"none": (10.0, 12.0, 9.0, 11.0), "cpc": (20.0, 21.0, 26.0, 19.0)}
    log_arms(tmp_path / ENV, "{arm}/seed-{number}", **ends)
    for arm, values in ends.items():
        make_arm(tmp_path / "own", arm, values)
    logged = write_report(tmp_path / ENV, repetitions=500)
    own = write_report(tmp_path / "own" / ENV, repetitions=500)
    for mine, theirs in zip(logged.arms, own.arms, strict=True):
        assert mine.figures["final"] == theirs.figures["final"] and mine.reached == theirs.reached > 0
        assert mine.seconds_to_threshold is None and theirs.seconds_to_threshold is not None
    assert {pair.verdict for pair in logged.pairs} == {"better"}
    out = tmp_path / ENV / "report"
    text = (out / "report.md").read_text()
    assert "All runs are known by `EvalCallback`'s `evaluations.npz` alone" in text and "not measured" in text
    assert (out / "curves_steps.png").is_file() and not (out / "curves_seconds.png").exists()
    assert (out / "tensorboard").is_dir() and "NaN" not in (out / "report.json").read_text()
    table = (out / "runs.csv").read_text().splitlines()
    assert len(table) == 1 + 8 * len(STEPS)
    *first, std, episodes, seconds = table[1].split(",")
    assert first == [ENV, "agent", "none", "0", "finished", "periodic", "100", "2"] and (episodes, seconds) == ("4", "")
    assert float(std) == np.linspace(-1, 1, 4).std()


def test_beside_runs_of_train_agent(tmp_path: Path) -> None:
    make_arm(tmp_path, "none", (10.0, 12.0), algorithm="ppo")
    log_arms(tmp_path / ENV, "ppo-{arm}/logs/{number}", mine=(20.0, 22.0))
    comparison = write_report(tmp_path / ENV, repetitions=100)
    assert [arm.runs.label for arm in comparison.arms] == ["none", "mine"]
    assert "2 of 4 runs are known by" in (tmp_path / ENV / "report" / "report.md").read_text()


def test_several_environments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for env in ("A", "B"):
        log_arms(tmp_path / env, "{arm}/ppo/x_{number}", none=(10.0, 12.0, 11.0), cpc=(20.0, 22.0, 21.0))
    (tmp_path / "other").mkdir()
    assert find_sources(tmp_path) == [tmp_path / "A", tmp_path / "B"]
    scale = tmp_path / "scale.csv"
    scale.write_text("task,low,high\n*,0,20\n")
    (comparison,) = write_suite_report(find_sources(tmp_path), tmp_path / "out", normalise=str(scale), repetitions=100)
    assert [task.env for task in comparison.suite.tasks] == ["A", "B"]
    assert "All runs are known by" in (tmp_path / "out" / "report.md").read_text()
    assert main(["report", str(tmp_path), "--normalise", str(scale), "--out", str(tmp_path / "cli"), "--compact"]) in (None, 0)
    assert "`cpc` over `none`" in capsys.readouterr().out


def test_from_within_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_arms(tmp_path / ENV, "{arm}/seed-{number}", none=(1.0,), cpc=(2.0,))
    monkeypatch.chdir(tmp_path / ENV)
    assert {run.env for run in read_source(Path("."))} == {ENV}


def test_what_a_script_of_ones_own_leaves(tmp_path: Path) -> None:
    for arm in ("none", "cpc"):
        model, folder = make_model("PPO"), tmp_path / ENV / arm / "seed-0"
        test_env = VecMonitor(make_model("PPO").env)  # type: ignore[arg-type]
        evaluation = EvalCallback(test_env, eval_freq=32, n_eval_episodes=2, log_path=str(folder))
        model.learn(96, callback=[evaluation] + [ContrastiveCallback("cpc")] * (arm == "cpc"))
    comparison = write_report(tmp_path / ENV, repetitions=10, compact=True)
    assert comparison.arms[0].runs.steps.tolist() == [32, 64, 96]
    assert json.loads((tmp_path / ENV / "report" / "report.json").read_text())["arms"]["cpc"]["seeds"] == [0]


def test_files_that_are_none_of_its(tmp_path: Path) -> None:
    folder = tmp_path / ENV / "none" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "evaluations.npz").write_bytes(b"half of a")
    with pytest.raises(ValueError, match=r"evaluations.npz is not what EvalCallback writes, or is being written"):
        read_source(tmp_path / ENV)
    np.savez(folder / "evaluations.npz", timesteps=[], results=np.empty((0, 5)))
    with pytest.raises(ValueError, match="holds no evaluation"):
        read_source(tmp_path / ENV)
    np.savez(folder / "evaluations.npz", scores=[1.0])
    with pytest.raises(ValueError, match="is not what EvalCallback writes"):
        read_source(tmp_path / ENV)
    (folder / "evaluations.npz").unlink()
    with pytest.raises(ValueError, match=r"EvalCallback's evaluations\.npz below folders that have their arms' names"):
        find_sources(folder)


def test_what_a_log_does_not_have_is_not_claimed(tmp_path: Path) -> None:
    """No evaluation on unseen episodes; and an arm of another algorithm, which nothing can be held against."""
    log_arms(tmp_path / ENV, "{arm}/seed-{number}", none=(1.0, 2.0), cpc=(3.0, 5.0))
    log_arms(tmp_path / ENV, "ppo-{arm}/seed-{number}", mine=(3.0, 5.0))
    write_report(tmp_path / ENV, repetitions=200)
    text = (tmp_path / ENV / "report" / "report.md").read_text()
    assert "final return (last evaluation)" in text and "on unseen episodes" not in text
    assert "- **Compared with nothing**: `ppo-mine`, for `ppo` has no `none`, `aug` or `compute`" in text
    assert "nine tenths of `ppo-mine`'s way" in text and "nine tenths of plain training's way" in text
    names = {"agent-none": STEPS, "agent-cpc": STEPS + 1000}
    for arm, steps in names.items():
        (tmp_path / "Late" / arm / "0").mkdir(parents=True)
        results = np.ones((5, 2))
        np.savez(tmp_path / "Late" / arm / "0" / "evaluations.npz", timesteps=steps, results=results, ep_lengths=results)
    with pytest.raises(ValueError, match=r"cpc/0 begins at 1100, \S*none/0 ends at 500; leave one's arm out"):
        write_report(tmp_path / "Late", repetitions=200)
