"""What the report claims, what it does not, and what TensorBoard gets to read."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from cpc_rl.evaluation.arms import group_arms
from cpc_rl.evaluation.cli_report import ReportArguments, run
from cpc_rl.evaluation.comparison import Comparison, compare
from cpc_rl.evaluation.report import write_report
from cpc_rl.evaluation.table import read_runs
from cpc_rl.evaluation.words import in_words
from tests.evaluation.folders import ENV, make_arm, make_run

SPREAD = (-2.0, -1.0, 0.0, 1.0, 2.0)


def make_grid(log_dir: Path, ends: dict[str, float], seeds: int = 5) -> Path:
    for arm, end in ends.items():
        make_arm(log_dir, arm, [end + offset for offset in SPREAD[:seeds]])
    return log_dir / ENV


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def compared(folder: Path) -> Comparison:
    return compare(group_arms(read_runs(folder)), repetitions=500)


def test_own_gain_in_words(tmp_path: Path) -> None:
    """aug+curl beats aug; curl does no better than more compute; and each says so."""
    ends = {"none": 40, "aug": 60, "compute": 50, "curl": 50.5, "aug+curl": 90, "shuffled+curl": 40, "aug+shuffled+curl": 60}
    comparison = compared(make_grid(tmp_path, ends))
    verdicts = {
        (pair.arm.arm, pair.over.arm): pair.verdict for pair in comparison.pairs if pair.own_gain and pair.measure == "area"
    }
    assert verdicts == {
        ("curl", "compute"): "no evidence",
        ("curl", "shuffled+curl"): "better",
        ("aug+curl", "aug"): "better",
        ("aug+curl", "compute"): "better",
        ("aug+curl", "aug+shuffled+curl"): "better",
    }
    words = in_words(comparison)
    chosen = [sentence for sentence in words if sentence.startswith("`curl` over `compute`, mean return")]
    assert len(chosen) == 1 and "(5 and 5 seeds): no evidence of a difference; difference +0.25 [" in chosen[0]
    assert any(sentence.startswith("`aug+curl` over `aug`") and "**better**" in sentence for sentence in words)
    assert {(pair.arm.arm, pair.over.arm) for pair in comparison.pairs if pair.arm.arm in ("none", "aug", "compute")} == {
        ("aug", "none"),
        ("compute", "none"),
        ("compute", "aug"),
    }


def test_the_closest_of_the_arms_that_trained_longer_says_what_a_head_brings(tmp_path: Path) -> None:
    ends = {"none": 40, "aug": 45, "compute": 50, "compute+spr": 60, "aug+compute": 70, "spr": 80, "curl": 80, "aug+spr": 90}
    folder = make_grid(tmp_path, ends)
    comparison = write_report(folder, repetitions=100)
    held: dict[str, dict[str, bool]] = {}
    for pair in comparison.pairs:
        held.setdefault(pair.arm.arm, {})[pair.over.arm] = pair.own_gain
    assert held == {
        "aug": {"none": False},
        "compute": {"none": False, "aug": False},
        "compute+spr": {"none": False, "aug": False},
        "aug+compute": {"none": False, "aug": False, "compute": False},
        "spr": {"none": False, "aug": False, "compute": False, "compute+spr": True},
        "curl": {"none": False, "aug": False, "compute": True},
        "aug+spr": {"none": False, "aug": True, "compute": False, "compute+spr": False, "aug+compute": True},
    }
    text = (folder / "report" / "report.md").read_text()
    assert "an update with `spr` was measured at 1.52, 1.52, 1.52, 1.52, 1.52 times that of one without" in text
    assert "an update with `curl` was measured at 1.31, " in text  # the recipe's, where the run does not say whose


def test_worse_is_said_too(tmp_path: Path) -> None:
    comparison = compared(make_grid(tmp_path, {"compute": 50, "curl": 20}))
    assert {pair.verdict for pair in comparison.pairs} == {"worse"}
    assert all("**worse**" in sentence for sentence in in_words(comparison))


def test_three_seeds_are_a_hint_at_most(tmp_path: Path) -> None:
    comparison = compared(make_grid(tmp_path, {"none": 10, "curl": 90}, seeds=3))
    assert {pair.verdict for pair in comparison.pairs} == {"hint of better"}
    assert {pair.p_value for pair in comparison.pairs} == {0.1}
    assert all("no evidence of a difference (too few seeds" in sentence for sentence in in_words(comparison))


def test_one_seed_claims_no_interval(tmp_path: Path) -> None:
    folder = make_grid(tmp_path, {"none": 10, "curl": 90}, seeds=1)
    comparison = write_report(folder, repetitions=100)
    assert {pair.verdict for pair in comparison.pairs} == {"one seed"}
    text = (folder / "report" / "report.md").read_text()
    assert "one seed, so nothing can be said about a difference" in text and "[" not in text.split("## How to read")[
        0
    ].replace("![", "")
    content = json.loads((folder / "report" / "report.json").read_text())
    assert content["arms"]["curl"]["final"]["iqm"] == {"estimate": 88.0, "lower": None, "upper": None}


def test_algorithms_are_compared_within_themselves(tmp_path: Path) -> None:
    make_arm(tmp_path, "none", [10.0, 12.0])
    make_arm(tmp_path, "curl", [10.0, 12.0], algorithm="dqn")
    make_arm(tmp_path, "none", [10.0, 12.0], algorithm="dqn")
    comparison = compared(tmp_path / ENV)
    assert [arm.runs.label for arm in comparison.arms] == ["dqn-none", "dqn-curl", "ppo-none"]
    assert {(pair.arm.label, pair.over.label) for pair in comparison.pairs} == {("dqn-curl", "dqn-none")}


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    folder = make_grid(tmp_path, {"none": 20, "curl": 20})
    make_arm(tmp_path, "aug", [1.0] * 3)
    make_run(tmp_path, "spr", 0, [0.0, 1.0])
    make_run(tmp_path, "curl", 7, [0.0, 1.0], n_envs=16)
    make_run(tmp_path, "curl", 8, [])
    said = {"env": ENV, "algorithm": "ppo", "arm": "curl", "seed": 8, "problem": "exit status 1: out of memory"}
    (folder / "ppo-curl" / "seed-8.failed").write_text(json.dumps(said))
    write_report(folder, repetitions=100)
    text = (folder / "report" / "report.md").read_text()
    assert "- `spr`: no finished run\n" in text
    assert "**unfinished, in no figure**: `ppo-curl` seed 7, 100 steps\n" in text
    assert "**failed, in no figure**: `ppo-curl` seed 8, no evaluation: exit status 1: out of memory\n" in text
    assert "**Runs differ in n_envs**: 2, 16" in text
    assert "- `curl`: 5 finished, seeds 0, 1, 2, 3, 4\n" in text
    assert "| `aug` | 3 |" in text and "| 0 of 3 | not reached [not reached, not reached] |" in text
    arm = json.loads((folder / "report" / "report.json").read_text())["arms"]["aug"]
    assert arm["reached"] == 0 and arm["steps_to_threshold"] == {"estimate": None, "lower": None, "upper": None}


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    return events


def test_files_and_margin_charts(tmp_path: Path) -> None:
    folder = make_grid(tmp_path, {"none": 40, "curl": 60})
    out = folder / "report"
    write_report(folder, threshold=30.0, repetitions=200)
    first = (out / "curves_steps.svg").read_bytes()
    write_report(folder, threshold=30.0, repetitions=200)  # takes the first one's place
    names = {"report.md", "report.json", "runs.csv", "tensorboard"}
    figures = {f"curves_{axis}.{suffix}" for axis in ("steps", "seconds") for suffix in ("png", "svg")}
    assert {item.name for item in out.iterdir()} == names | figures
    svg = (out / "curves_steps.svg").read_bytes()
    assert b">curl (5 seeds)<" in svg and b">threshold 30<" in svg and svg == first
    events = read(out / "tensorboard")
    layout = layout_pb2.Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title: chart.margin.series[0] for chart in layout.category[0].chart}
    assert set(charts) == {"over agent steps", "over seconds of training"}
    assert set(events.Tags()["images"]) == {"report/curves_steps", "report/curves_seconds"}
    arm = read(out / "tensorboard" / "curl")
    curve = json.loads((out / "report.json").read_text())["arms"]["curl"]["curve"]
    series = charts["over agent steps"]
    for tag, name in ((series.value, "iqm"), (series.lower, "lower"), (series.upper, "upper")):
        points = arm.Scalars(tag)
        assert [point.step for point in points] == curve["steps"] == list(range(0, 1001, 100))
        assert [point.value for point in points] == pytest.approx(curve[name])
    series = charts["over seconds of training"]
    assert [point.step for point in arm.Scalars(series.value)] == list(range(0, 101, 10))
    assert len(arm.Scalars(series.lower)) == len(arm.Scalars(series.upper)) == 11


def test_hparams_page(tmp_path: Path) -> None:
    folder = make_grid(tmp_path, {"none": 40, "aug+curl": 60})
    write_report(folder, threshold=50.0, repetitions=100)
    sessions = folder / "report" / "tensorboard" / "hparams"
    assert len(list(sessions.iterdir())) == 10
    events = read(sessions / "aug+curl-seed-2")
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    chosen = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert chosen["arm"].string_value == "aug+curl" and chosen["objective"].string_value == "curl"
    assert chosen["augmented"].string_value == "yes" and chosen["seed"].number_value == 2
    assert events.Scalars("report/final_return")[0].value == 60
    assert events.Scalars("report/mean_return_over_training")[0].value == pytest.approx(30)
    assert events.Scalars("report/steps_to_threshold")[0].value == 900
    assert "report/steps_to_threshold" not in read(sessions / "none-seed-0").Tags()["scalars"]  # which never reached it


def test_some_arms_alone(tmp_path: Path) -> None:
    folder = make_grid(tmp_path, {"none": 40, "aug": 60, "curl": 60})
    comparison = write_report(folder, arms=["none", "curl"], repetitions=100, compact=True)
    assert [arm.runs.arm for arm in comparison.arms] == ["none", "curl"]
    names = {"report.md", "report.json", "runs.csv", "curves_steps.png", "curves_seconds.png"}
    assert {item.name for item in (folder / "report").iterdir()} == names
    before = files_of(folder)
    for asked in (["cpc"], ["none", "cpc"]):
        with pytest.raises(ValueError, match="There are no runs of the arms cpc to report; there are none, aug, curl"):
            write_report(folder, arms=asked, repetitions=100)
    assert files_of(folder) == before


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), float("-inf")])
def test_a_threshold_that_is_no_number_is_refused_before_anything_is_written(threshold: float, tmp_path: Path) -> None:
    folder = make_grid(tmp_path / "one", {"none": 40, "curl": 60})
    run(ReportArguments((folder,), threshold=30.0, repetitions=50, compact=True))
    for env in ("ALE/Pong-v5", "ALE/Boxing-v5"):
        make_run(tmp_path / "two", "none", 0, [0.0, 0.5], final=0.5, env=env)
    before = files_of(tmp_path)
    for sources in (folder, tmp_path / "two"):
        with pytest.raises(ValueError, match=f"threshold is {threshold}, but it must be a finite number"):
            run(ReportArguments((sources,), threshold=threshold, repetitions=50))
    assert files_of(tmp_path) == before


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_grid(tmp_path, {"compute": 50, "curl": 90})
    for given in (folder, tmp_path):  # a log directory with one environment means that one
        run(ReportArguments((given,), out=tmp_path / "here", repetitions=100))
        output = capsys.readouterr().out
        assert "`curl` over `compute`" in output and ": better;" in output and str(tmp_path / "here" / "report.md") in output
    assert not (folder / "report").exists() and (tmp_path / "here" / "report.md").is_file()
    with pytest.raises(ValueError, match="holds no runs"):
        run(ReportArguments((tmp_path / "nowhere",)))
    with pytest.raises(ValueError, match="--repetitions must be 1 or more"):
        run(ReportArguments((folder,), repetitions=0))
    with pytest.raises(ValueError, match="--normalise is for several environments"):
        run(ReportArguments((folder,), normalise="atari"))
    with pytest.raises(ValueError, match="Which runs"):
        run(ReportArguments(()))


def test_each_algorithm_has_its_own_axis_and_threshold(tmp_path: Path) -> None:
    """A short run of DQN neither cuts PPO's curves nor gives them its threshold."""
    folder = make_grid(tmp_path, {"none": 40, "curl": 60})
    alone = compared(folder)
    make_run(tmp_path, "none", 0, [0.0, 1.0], final=1.0, algorithm="dqn", every=10)
    make_run(tmp_path, "none", 0, [5.0, 1.0], final=1.0, algorithm="sac")
    both = write_report(folder, repetitions=500)
    assert both.thresholds == {"dqn": 0.9, "ppo": alone.thresholds["ppo"], "sac": None} and both.threshold is None
    ours = [arm for arm in both.arms if arm.runs.algorithm == "ppo"]
    for mine, before in zip(ours, alone.arms, strict=True):
        assert mine.figures == before.figures and mine.reached == before.reached
        assert mine.runs.steps.tolist() == list(range(0, 1001, 100))
    text = (folder / "report" / "report.md").read_text()
    assert "- Curves of `ppo` are compared from 0 to 1,000 agent steps" in text
    assert "- Curves of `dqn` are compared from 0 to 10 agent steps" in text
    assert "- Threshold of `dqn`: 0.9, nine tenths" in text and "- No threshold of `sac`: plain training does not rise" in text
    assert "| `sac-none` | 1 |" in text and "| no threshold |" in text
    content = json.loads((folder / "report" / "report.json").read_text())
    assert content["threshold"] == both.thresholds


def test_runs_evaluated_at_different_steps_are_said_to_be(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0, [0.0, 90.0, 100.0], final=100.0)
    write_report(tmp_path / ENV, repetitions=100)
    report = tmp_path / ENV / "report" / "report.md"
    assert "evaluated at different steps" not in report.read_text()
    make_run(tmp_path, "curl", 0, [0.0, 50.0, 100.0], final=100.0, every=90)
    write_report(tmp_path / ENV, repetitions=100)
    assert "- Runs were evaluated at different steps: each stands at all of these steps" in report.read_text()


def test_arms_from_an_encoder_are_held_against_their_own_and_the_others_controls(tmp_path: Path) -> None:
    ends = {"none": 20, "compute": 30, "curl": 40, "none@atc": 50, "compute@atc": 55, "aug+none@atc": 10, "curl@atc": 90}
    comparison = compared(make_grid(tmp_path, ends))
    held = {(pair.arm.arm, pair.over.arm): pair.own_gain for pair in comparison.pairs}
    assert held["curl@atc", "none@atc"] is False and held["curl@atc", "compute@atc"] is True
    assert held["curl@atc", "none"] is False and held["curl@atc", "compute"] is False
    assert held["none@atc", "none"] is False and held["none@atc", "compute"] is False
    assert ("none@atc", "compute@atc") not in held and ("curl", "none@atc") not in held
    words = [sentence.split(",")[0] for sentence in in_words(comparison)]
    assert "`curl@atc` over `none@atc`" in words and "`none@atc` over `none`" in words
    only = compared(make_grid(tmp_path / "only", {"none@atc": 50, "curl@atc": 90}))
    assert any(sentence.startswith("`curl@atc` over `none@atc`") for sentence in in_words(only))
    assert {arm.runs.head for arm in only.arms} == {"", "curl"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_return_that_is_no_number_makes_a_failed_run(bad: float, tmp_path: Path) -> None:
    folder = make_grid(tmp_path, {"none": 20, "curl": 40})
    make_run(tmp_path, "curl", 7, [0.0, bad], final=1.0)
    comparison = write_report(folder, repetitions=100)
    assert [len(arm.runs.runs) for arm in comparison.arms] == [5, 5]
    text = (folder / "report" / "report.md").read_text()
    assert "**failed, in no figure**: `ppo-curl` seed 7, 100 steps: a return is not a finite number\n" in text


@pytest.mark.parametrize(
    "said", ["", ', "final": null', ', "final": [1]', ', "final": {"mean_return": 1, "std_return": null}']
)
def test_results_without_a_final_return_are_named(said: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path, "none", 0, [0.0, 1.0], final=1.0)
    (folder / "results.json").write_text(f'{{"timesteps": 100{said}}}')
    with pytest.raises(ValueError, match=r"results\.json should say final\.mean_return, a number"):
        write_report(tmp_path / ENV, repetitions=100)
