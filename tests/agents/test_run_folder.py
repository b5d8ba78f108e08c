"""What may and what may not happen to a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.algorithms import ALGORITHMS
from agents.build import build_model
from agents.configuration import RunConfiguration
from agents.errors import Busy, UserError
from agents.folder_checks import check_folders
from agents.jobs import Job
from agents.run_folder import RunFolder
from tests.agents.test_checkpoints import ROOT, check_whole
from tests.agents.tiny import tiny_configuration, tiny_run


def snapshot(path: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the lock."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != ".lock"
    }


def test_configuration_file_says_it_all(tmp_path: Path) -> None:
    configuration = tiny_configuration("ppo", "compute")
    folder = tiny_run(tmp_path, configuration)
    assert folder.path == tmp_path / "tests.agents.tiny-TinyImages-v0" / "ppo-compute" / "seed-0"
    assert folder.read_configuration() == configuration
    content = yaml.safe_load(folder.config.read_text())
    assert content["command"] == "python -m tests.agents.tiny"
    assert {"python", "torch", "stable-baselines3", "gymnasium"} <= set(content["versions"])
    assert content["compute"]["ratio"] >= 1
    assert content["compute"]["n_epochs"] >= 2 * content["compute"]["ratio"]


def test_slash_in_an_id_becomes_a_dash() -> None:
    folder = RunFolder.of(Path("runs"), tiny_configuration("ppo", "aug+cpc", env="ALE/Pong-v5", seed=3))
    assert folder.path == Path("runs/ALE-Pong-v5/ppo-aug+cpc/seed-3")


def test_another_configuration_is_refused_unless_overwritten(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    before = snapshot(tmp_path)
    other = tiny_configuration("ppo", "none", eval_episodes=2)
    with pytest.raises(UserError, match="another configuration: eval_episodes is 2 and was 1"):
        tiny_run(tmp_path, other)
    assert snapshot(tmp_path) == before
    # What cannot start replaces nothing.
    with pytest.raises(UserError, match="not a readable safetensors"):
        tiny_run(tmp_path, tiny_configuration("ppo", "none", encoder=str(folder.model)), overwrite=True)
    assert snapshot(tmp_path) == before
    tiny_run(tmp_path, other, overwrite=True)
    assert folder.read_configuration() == other
    assert [item.name for item in folder.path.parent.iterdir()] == ["seed-0"]
    check_whole(folder)


def test_a_damaged_run_or_another_version_s_is_replaced(tmp_path: Path) -> None:
    configuration = tiny_configuration("ppo", "none")
    folder = tiny_run(tmp_path, configuration)
    other_version = folder.config.read_text().replace("recipe:\n", "recipe:\n    colour: red\n")
    unreadable = tiny_configuration("ppo", "none", encoder=str(folder.model))  # fails after the folder was looked at
    jobs = [Job(configuration, folder)]
    for config in (b"\xff\xfe{: [", b"", b"optimizer: adam", other_version.encode()):
        folder.config.write_bytes(config)
        (folder.path / ".writing-results.json").write_text("{")
        before = snapshot(tmp_path)
        with pytest.raises(UserError, match=r"cannot be read|does not describe a run|unknown key 'colour'"):
            tiny_run(tmp_path, configuration)
        with pytest.raises(UserError, match="not a readable safetensors"):
            tiny_run(tmp_path, unreadable, overwrite=True)
        (folder.path / "notes.txt").write_text("mine")
        with pytest.raises(UserError, match=r"notes\.txt is no file of a run's"):
            tiny_run(tmp_path, configuration, overwrite=True)
        with pytest.raises(UserError, match=r"notes\.txt is no file of a run's"):
            check_folders(jobs, overwrite=True)
        (folder.path / "notes.txt").unlink()
        check_folders(jobs, overwrite=True)
        assert snapshot(tmp_path) == before
    tiny_run(tmp_path, configuration, overwrite=True)
    assert folder.read_configuration() == configuration
    assert [item.name for item in folder.path.parent.iterdir()] == ["seed-0"]
    check_whole(folder)


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    configuration = tiny_configuration("ppo", "none")
    folder = RunFolder.of(tmp_path, configuration)
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="not a run folder"):
            tiny_run(tmp_path, configuration, overwrite=overwrite)
    assert snapshot(tmp_path).popitem()[1] == b"years of work"
    (folder.path / "config.yaml").write_text("run: {env: 1}")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="does not describe a run"):
            tiny_run(tmp_path, configuration, overwrite=overwrite)
    assert set(snapshot(folder.path)) == {"thesis.tex", "config.yaml"}


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path, tiny_configuration("ppo", "none"))
    folder.path.parent.mkdir(parents=True)
    folder.path.write_text("not a folder")
    with pytest.raises(UserError, match="not a run folder"):
        tiny_run(tmp_path, tiny_configuration("ppo", "none"))


def test_two_processes_in_one_folder(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    before = snapshot(tmp_path)
    script = (
        "import sys; from tests.agents.tiny import *; folder = RunFolder(Path(sys.argv[1])); folder.lock(); "
        "print('here', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder.path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    try:
        for overwrite in (False, True):
            with pytest.raises(UserError, match="Another process is training"):
                tiny_run(tmp_path, tiny_configuration("ppo", "none"), overwrite=overwrite)
    finally:
        process.kill()
        process.wait()
    assert snapshot(tmp_path) == before
    tiny_run(tmp_path, tiny_configuration("ppo", "none"))  # the lock ended with the process


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_process_that_came_and_went_while_a_model_was_made(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder was empty when this process looked. What the user did not see is not replaced, asked or not."""
    configuration, whole = tiny_configuration("ppo", "none"), {}

    def slowly(*arguments: Any, **keywords: Any) -> Any:
        if not whole:
            whole["made"] = {}
            whole["made"] = snapshot(tiny_run(tmp_path, configuration).path)
        return build_model(*arguments, **keywords)

    monkeypatch.setattr("agents.beginning.build_model", slowly)
    with pytest.raises(Busy, match=r"has meanwhile trained in .*; the same command goes on with that, --overwrite anew"):
        tiny_run(tmp_path, configuration, overwrite=overwrite)
    folder = RunFolder.of(tmp_path, configuration)
    assert snapshot(folder.path) == whole["made"]
    folder.check_free()


def test_log_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    folder.results.unlink()
    whole = folder.evaluations.read_bytes()
    folder.evaluations.write_bytes(whole[:-5])
    with pytest.raises(UserError, match="shorter than at the newest checkpoint"):
        tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    folder.evaluations.write_bytes(whole + b"96,1")  # half a row that was being written
    tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    assert folder.evaluations.read_bytes() == whole


@pytest.mark.parametrize("arm", ["aug", "shuffled+cpc", "aug+cpc"])
def test_every_kind_of_arm_trains(arm: str, tmp_path: Path) -> None:
    check_whole(tiny_run(tmp_path, tiny_configuration("ppo", arm)))


def test_an_encoder_from_another_run(tmp_path: Path) -> None:
    first = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    configuration: RunConfiguration = tiny_configuration("dqn", "cpc", encoder=str(first.encoder))
    check_whole(tiny_run(tmp_path, configuration))


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"ppo", "dqn", "sac"}))  # those are trained in test_checkpoints
def test_every_algorithm_makes_a_whole_run(algorithm: str, tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration(algorithm))
    check_whole(folder)
    model = ALGORITHMS[algorithm].load(folder.model)
    assert model.num_timesteps == 96
    assert json.loads(model.environment_settings)["size"] == 36
    if algorithm == "maskableppo":
        assert model.ent_coef == 0.0  # the end of its schedule
