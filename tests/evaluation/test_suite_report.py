"""What a report over several tasks writes."""

import csv
import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from cpc_rl.evaluation.cli_report import ReportArguments, run
from cpc_rl.evaluation.suite_words import command_pattern
from tests.evaluation.folders import make_run

ENDS = {"none": (0.0, -18.0), "curl": (3.0, -3.0)}
PICTURES = {"aggregates", "curves", "profiles", "tasks"}


def make_grid(log_dir: Path, algorithm: str = "ppo") -> Path:
    """Two games, four seeds, two arms; returns rise in a straight line over four evaluations."""
    for env, low, place in (("ALE/Boxing-v5", 0.1, 0), ("ALE/Pong-v5", -20.7, 1)):
        for arm, ends in ENDS.items():
            for seed in range(4):
                end = ends[place] + 0.1 * seed
                returns = [low + (end - low) * point / 4 for point in range(5)]
                make_run(log_dir, arm, seed, returns, final=end, env=env, algorithm=algorithm)
    return log_dir


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_dir = make_grid(tmp_path / "runs")
    make_run(log_dir, "cpc", 0, [0.0, 0.2], env="ALE/Pong-v5")
    run(ReportArguments((log_dir,), normalise="atari", repetitions=200))
    out = log_dir / "report"
    files = {"report.md", "report.json", "scores.csv", "runs", "tensorboard"}
    assert {item.name for item in out.iterdir()} == files | {f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")}
    assert {item.name for item in (out / "runs").iterdir()} == {"ALE-Boxing-v5.csv", "ALE-Pong-v5.csv"}
    with open(out / "scores.csv", newline="") as stream:
        rows = {(row["task"], row["arm"], row["seed"]): row for row in csv.DictReader(stream)}
    assert len(rows) == 16
    pong = rows["ALE/Pong-v5", "curl", "0"]
    assert float(pong["final_return"]) == -3 and float(pong["final_score"]) == pytest.approx(17.7 / 35.3, abs=1e-5)
    assert pong["steps_to_threshold"] == "100.0" and rows["ALE/Boxing-v5", "none", "0"]["threshold"] == ""
    content = json.loads((out / "report.json").read_text())["algorithms"]["ppo"]
    assert content["median_times_fewer_steps"]["curl"] == {"tasks": 1, "estimate": 4.0, "lower": 4.0, "upper": 4.0}
    assert content["tasks"]["ALE/Pong-v5"]["low"] == -20.7 and set(content["arms"]) == {"none", "curl"}
    text = (out / "report.md").read_text()
    assert "**unfinished, in no figure**: ALE/Pong-v5, `ppo-cpc` seed 0, 100 steps" in text
    assert "- Command of 17 runs: `python train_agent.py --env ENV`" in text
    output = capsys.readouterr().out
    assert "ppo: `curl` over `none`, mean score over the training (4 and 4 seeds of 2 tasks): better;" in output
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    layout = layout_pb2.Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    series = [chart.margin.series[0] for chart in layout.category[0].chart]
    assert len(series) == 3 and set(events.Tags()["images"]) == {f"report/{name}" for name in PICTURES}
    arm = EventAccumulator(str(out / "tensorboard" / "curl"))
    arm.Reload()
    assert [point.step for point in arm.Scalars(series[0].value)] == [0, 100, 200, 300, 400]
    curve = content["arms"]["curl"]["curve"]["iqm"]
    assert [point.value for point in arm.Scalars(series[0].value)] == pytest.approx(curve, abs=1e-6)
    assert all({each.value, each.lower, each.upper} <= set(arm.Tags()["scalars"]) for each in series)


def test_compact_and_several_algorithms(tmp_path: Path) -> None:
    make_grid(tmp_path / "runs")
    log_dir = make_grid(tmp_path / "runs", "dqn")
    run(ReportArguments((log_dir,), out=tmp_path / "here", repetitions=50, compact=True, arms=("none", "curl")))
    pictures = {f"{name}-{algorithm}.png" for name in PICTURES for algorithm in ("dqn", "ppo")}
    names = {item.name for item in (tmp_path / "here").iterdir()}
    assert names == {"report.md", "report.json", "scores.csv", "runs"} | pictures and not (log_dir / "report").exists()
    text = (tmp_path / "here" / "report.md").read_text()
    assert "## dqn\n" in text and "`dqn-curl` over `dqn-none`" in text and "`ppo-curl` over `ppo-none`" in text


def test_folders_that_cannot_be_put_together(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "none", 0, [0.0], final=0.0)
    make_run(tmp_path / "b", "none", 0, [0.0], final=0.0, env="ALE/Pong-v5")
    with pytest.raises(ValueError, match="do not lie side by side, so say with --out"):
        run(ReportArguments((tmp_path / "a", tmp_path / "b")))
    make_run(tmp_path / "c", "none", 0, [0.0], final=0.0, env="Other-v0")
    with pytest.raises(ValueError, match="no reference scores for Toy-v0, Other-v0"):
        run(ReportArguments((tmp_path / "a", tmp_path / "c"), out=tmp_path / "here"))


def test_tasks_without_reference_scores_are_left_out_and_named(tmp_path: Path) -> None:
    for env in ("PixelCatch-v0", "Toy-v0"):
        for arm in ("none", "cpc"):
            make_run(tmp_path, arm, 0, [0.0, 0.5], final=0.5, env=env)
    run(ReportArguments((tmp_path,), out=tmp_path / "here"))
    text = (tmp_path / "here" / "report.md").read_text()
    assert "over 1 tasks" in text and "- 1 tasks: PixelCatch-v0" in text
    assert json.loads((tmp_path / "here" / "report.json").read_text())["left_out"] == ["Toy-v0"]
    assert "**Left out**, for there are no reference scores for them: Toy-v0." in text


def test_an_arm_that_is_nowhere_is_refused_and_one_that_lacks_a_task_is_not(tmp_path: Path) -> None:
    log_dir = make_grid(tmp_path / "runs")
    make_run(log_dir, "cpc", 0, [0.0, 0.2], final=0.2, env="ALE/Pong-v5")
    out, settings = tmp_path / "here", {"repetitions": 20, "compact": True}
    with pytest.raises(ValueError, match="There are no runs of the arms cpcc to report; there are none, cpc, curl"):
        run(ReportArguments((log_dir,), out=out, arms=("none", "cpcc"), **settings))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ALE/Boxing-v5 has no runs of the arms cpc; it has none, curl"):
        run(ReportArguments((log_dir,), out=out, arms=("cpc",), **settings))  # type: ignore[arg-type]
    assert not out.exists()
    run(ReportArguments((log_dir,), out=out, arms=("none", "cpc"), **settings))  # type: ignore[arg-type]
    assert "`cpc` is only in pairs with other arms" in (out / "report.md").read_text()


def test_commands_without_what_differs() -> None:
    command = "python train_agent.py --env A --algo ppo --objective none cpc --seeds 0 1 --vec dummy --log-dir x --jobs 2"
    assert command_pattern(command) == "python train_agent.py --env ENV --algo ppo --objective ARM --seeds SEED --vec dummy"
