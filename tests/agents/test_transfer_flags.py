"""Runs that start from an encoder: what they are called, and what becomes of the encoder, also after a checkpoint."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import train_agent
from agents.configuration import RunConfiguration
from agents.errors import UserError
from agents.grid import configure
from agents.recipe import Recipe
from agents.run_folder import RunFolder
from agents.transfer import transfer_callback
from cpc_rl.evaluation.table import read_runs
from tests.agents.tiny import IMAGES, tiny_configuration, tiny_recipe, tiny_run
from train_agent import Arguments


@pytest.fixture
def tiny_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, with recipes that take seconds."""

    def load(env_id: str, algorithm: str) -> Recipe:
        return tiny_recipe(algorithm.lower())

    monkeypatch.setattr("agents.grid.load_recipe", load)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of a finished run."""
    return tiny_run(tmp_path_factory.mktemp("source"), tiny_configuration("ppo", "none", seed=9)).encoder


LABELS: list[tuple[dict[str, object], str]] = [
    ({}, "none@ppo-none-seed-9"),
    ({"encoder_name": "atc"}, "none@atc"),
    ({"encoder_name": "atc", "encoder_train": "fine-tune", "lr_scale": 1.0}, "none@atc"),
    ({"encoder_name": "atc", "encoder_train": "frozen"}, "none@atc-frozen"),
    ({"encoder_name": "atc", "encoder_train": "frozen", "unfreeze_at": 64}, "none@atc-frozen-64"),
    ({"encoder_name": "atc", "lr_scale": 0.1}, "none@atc-lr0.1"),
]


@pytest.mark.parametrize(("flags", "arm"), LABELS, ids=[arm for _, arm in LABELS])
def test_the_arm_says_what_becomes_of_the_encoder(
    tiny_recipes: None, pretrained: Path, flags: dict[str, object], arm: str
) -> None:
    (run,) = configure(Arguments(env=IMAGES, objective=("none",), encoder=pretrained, **flags))  # type: ignore[arg-type]
    assert (run.arm, run.plain_arm) == (arm, "none")
    assert RunFolder.of(Path("runs"), run).path.parent.name == f"ppo-{arm}"
    callback = transfer_callback(run)
    wanted = {"encoder_train": "frozen" if "frozen" in arm else "fine-tune", "unfreeze_at": None, "lr_scale": 1.0, **flags}
    if callback is None:
        assert arm in ("none@ppo-none-seed-9", "none@atc")
    else:
        found = (callback.train, callback.unfreeze_at, callback.lr_scale)
        assert found == (wanted["encoder_train"], wanted["unfreeze_at"], wanted["lr_scale"])


WRONG = [
    ("--lr-scale 0.1", "--lr-scale says what becomes of a loaded encoder, so it needs --encoder FILE"),
    ("--encoder-train frozen", "needs --encoder FILE"),
    ("--encoder FILE --unfreeze-at 10", "only an encoder with train='frozen' can be unfrozen"),
    ("--encoder FILE --lr-scale 0", "lr_scale is 0, but it must be above 0"),
    ("--encoder FILE --encoder-name a/b", "takes letters, digits"),
    ("--encoder FILE --encoder-train thawed", "thawed"),
    ("--encoder FILE --encoder-train frozen --objective none curl", "a joint head rests while the encoder is frozen"),
    (
        "--encoder FILE --encoder-train frozen --objective curl --timesteps 64 --unfreeze-at 64",
        "Give an --unfreeze-at below 64",
    ),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[line for line, _ in WRONG])
def test_bad_input(
    tiny_recipes: None, pretrained: Path, tmp_path: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--env {IMAGES} --log-dir {tmp_path} {line}".replace("FILE", str(pretrained)).split()
    assert train_agent.main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def _run(pretrained: Path, arm: str, **changes: object) -> RunConfiguration:
    return tiny_configuration("ppo", arm, encoder=str(pretrained), **changes)


def test_runs_side_by_side(pretrained: Path, tmp_path: Path) -> None:
    before = load_file(pretrained)
    plain = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    tuned = tiny_run(tmp_path, _run(pretrained, "none@ppo-none-seed-9"))
    frozen = tiny_run(tmp_path, _run(pretrained, "none@ppo-none-seed-9-frozen", encoder_train="frozen"))
    moved = {
        folder: any(not tensor.equal(before[name]) for name, tensor in load_file(folder.encoder).items())
        for folder in (tuned, frozen)
    }
    assert moved == {tuned: True, frozen: False}
    assert len({folder.path for folder in (plain, tuned, frozen)}) == 3
    runs = read_runs(plain.path.parents[1])
    assert [run.arm for run in runs] == ["none", "none@ppo-none-seed-9", "none@ppo-none-seed-9-frozen"]
    assert frozen.read_configuration() == _run(pretrained, "none@ppo-none-seed-9-frozen", encoder_train="frozen")


def test_a_cut_run_goes_on_frozen_and_thaws_when_it_should(pretrained: Path, tmp_path: Path) -> None:
    settings: dict[str, object] = {"encoder_train": "frozen", "unfreeze_at": 64}
    whole = tiny_run(tmp_path / "whole", _run(pretrained, "none@ppo-none-seed-9-frozen-64", **settings))
    cut = tiny_run(tmp_path / "cut", _run(pretrained, "none@ppo-none-seed-9-frozen-64", timesteps=64, **settings))
    assert all(tensor.equal(load_file(pretrained)[name]) for name, tensor in load_file(cut.encoder).items())
    # As the run would lie there had it been stopped at 64: the same folder, not finished, of the longer run.
    text = cut.config.read_text()
    cut.config.write_text(text.replace("timesteps: 64", "timesteps: 96", 1))
    cut.results.unlink()
    cut = tiny_run(tmp_path / "cut", _run(pretrained, "none@ppo-none-seed-9-frozen-64", **settings))
    ends = [load_file(folder.encoder) for folder in (whole, cut)]
    assert all(any(not end[name].equal(tensor) for name, tensor in load_file(pretrained).items()) for end in ends)


def test_a_folder_of_before_these_settings_is_read(tmp_path: Path) -> None:
    values = tiny_configuration("ppo", "none").as_dict()
    for name in ("encoder_train", "unfreeze_at", "lr_scale", "envpool", "encoder_sha256"):
        del values[name]
    assert RunConfiguration.from_dict(values, "config.yaml") == tiny_configuration("ppo", "none")


def test_a_file_with_other_contents_is_another_configuration(
    tiny_recipes: None, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "atc.safetensors"
    shutil.copy(pretrained, file)
    words = f"--env {IMAGES} --objective none --device cpu --vec dummy --timesteps 16 --eval-freq 16 --eval-episodes 1".split()
    words += ["--encoder", str(file), "--log-dir", str(tmp_path / "runs")]
    assert train_agent.main(words) == train_agent.main(words) == 0
    assert "is finished; --overwrite trains it anew" in capsys.readouterr().out
    (run,) = configure(Arguments(env=IMAGES, objective=("none",), encoder=file))
    save_file({name: 2 * tensor for name, tensor in load_file(file).items()}, file)
    assert train_agent.main(words) == 2
    assert "holds a run with another configuration: encoder_sha256 is" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds another encoder than when this run was configured"):
        tiny_run(tmp_path / "later", run)
    assert not (tmp_path / "later").exists()


def test_an_earlier_run_that_does_not_know_the_contents_is_the_same_run() -> None:
    earlier = tiny_configuration("ppo", "none@atc", encoder="atc.safetensors")
    now = replace(earlier, encoder_sha256="abc")
    assert now.differences(earlier) == []
    assert len(now.differences(replace(earlier, encoder_sha256="def"))) == 1
    assert len(now.differences(replace(earlier, encoder="other.safetensors"))) == 1
    assert len(now.differences(tiny_configuration("ppo", "none@atc"))) == 2
