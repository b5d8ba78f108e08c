"""The command line as a user meets it."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import train_agent
from agents.command_line import first_sentence
from agents.recipe import Recipe
from agents.run_folder import RunFolder
from agents.summary import summarize
from envs.registration import find_spec
from tests.agents.test_checkpoints import check_whole, scalars
from tests.agents.test_run_folder import snapshot
from tests.agents.tiny import IMAGES, IMAGES_BOX, tiny_configuration, tiny_recipe, tiny_run

ROOT = Path(__file__).parents[1]

BAD = [
    ("", "--env is missing"),
    ("--env NoSuchGame-v0", "There is no environment 'NoSuchGame-v0'"),
    ("--env CarRacing-v7", "did you mean"),
    ("--env CartPole-v1", "--pixels"),
    (f"--env {IMAGES} --algo zpo", "There is no algorithm 'zpo'; known are"),
    (f"--env {IMAGES} --algo ars", "without gradients"),
    (f"--env {IMAGES} --algo sac", "SAC needs Box actions"),
    (f"--env {IMAGES_BOX} --algo dqn", "DQN needs Discrete actions"),
    (f"--env {IMAGES} --objective cpd", "unknown objective 'cpd'; known are"),
    (f"--env {IMAGES} --objective none cpd", "unknown objective 'cpd'"),
    (f"--env {IMAGES} --objective cpc=1,curl=0", "weight above zero"),
    (f"--env {IMAGES} --objective multiview", "image entries"),
    (f"--env {IMAGES} --objective none none", "several different values"),
    (f"--env {IMAGES} --objective cpc CPC cpc=1", "--objective has 'cpc' and 'CPC', which are the same arm"),
    (
        f"--env {IMAGES} --objective aug none aug+shuffled shuffled+aug",
        "'aug+shuffled' and 'shuffled+aug', which are the same arm",
    ),
    (f"--env {IMAGES} --objective aug --algo trpo", "TRPO"),
    (f"--env {IMAGES} --objective compute --algo a2c", "needs epochs or gradient steps"),
    (f"--env {IMAGES} --objective none compute --algo a2c", "The arm 'compute' cannot be trained here: "),
    (f"--env {IMAGES} --objective none aug --algo recurrentppo", "The arm 'aug' cannot be trained here: "),
    (f"--env {IMAGES} --env {IMAGES}", "--env is given twice"),
    (f"--env {IMAGES} --n-envs 2 --n_envs=3", "--n-envs is given twice"),
    (f"--env {IMAGES} --render stock", "has one: leave it out"),
    (f"--env {IMAGES} --timesteps 0", "--timesteps must be 1 or more, and is 0"),
    (f"--env {IMAGES} --timesteps -5", "--timesteps must be 1 or more, and is -5"),
    (f"--env {IMAGES} --timesteps many", "invalid"),
    (f"--env {IMAGES} --n-envs 0", "--n-envs must be 1 or more"),
    (f"--env {IMAGES} --eval-freq 0", "--eval-freq must be 1 or more"),
    (f"--env {IMAGES} --eval-episodes -1", "--eval-episodes must be 1 or more"),
    (f"--env {IMAGES} --jobs 0", "--jobs must be 1 or more, and is 0"),
    (f"--env {IMAGES} --cpus 2", "give --ray as well"),
    (f"--env {IMAGES} --ray --cpus 0", "--cpus must be 1 or more, and is 0"),
    (f"--env {IMAGES} --seeds 1 1", "several different values"),
    (f"--env {IMAGES} --seeds -1", "between 0 and"),
    (f"--env {IMAGES} --device tpu9", "no device"),
    (f"--env {IMAGES} --vec envpool", "envpool"),
    (f"--env {IMAGES} --render ascii", "ascii"),
    (f"--env {IMAGES} --encoder nowhere.safetensors", "is no file"),
    (f"--env {IMAGES} --colour red", "--colour"),
    ("--resume nowhere", "not a run folder"),
    (f"--resume nowhere --env {IMAGES}", "leave --env out"),
    ("--resume nowhere --ray", "leave --ray out"),
    ("--resume nowhere --jobs 2", "leave --jobs out"),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line or "nothing" for line, _ in BAD])
def test_bad_input(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr that says what was wrong, status 2, and nothing written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    assert train_agent.main(line.split()) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert output.err.count("\n") == 1 and output.err.startswith("train_agent.py: ")
    assert output.out == ""
    assert snapshot(tmp_path) == {}


def test_run_folders_that_are_none_or_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("optimizer: adam")
    (tmp_path / "garbled").mkdir()
    (tmp_path / "garbled" / "config.yaml").write_bytes(b"\xff\xfe{: [")
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    folder.results.unlink()
    model = max(folder.checkpoints.iterdir()) / "model.zip"
    os.truncate(model, model.stat().st_size // 2)
    before = snapshot(tmp_path)
    capsys.readouterr()
    for name in ("empty", "file", "other", "garbled", folder.path):
        assert train_agent.main(["--resume", str(tmp_path / name)]) == 2
        output = capsys.readouterr()
        assert output.err.count("\n") == 1 and output.out == ""
    assert "is damaged: model.zip is" in output.err
    assert snapshot(tmp_path) == before


def test_resumed_from_within_the_log_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tiny_configuration("ppo", "none")
    folder = tiny_run(tmp_path, configuration)
    for place, typed in (("..", "seed-0"), (".", "."), ("checkpoints", ".."), (".", "../seed-0")):
        results = folder.read_results()
        assert results is not None
        folder.results.unlink()
        capsys.readouterr()
        monkeypatch.chdir(folder.path / place)
        assert train_agent.main(["--resume", typed]) == 0
        output = capsys.readouterr().out
        assert f"In {folder.path}:\n" in output and f"tensorboard --logdir {tmp_path}\n" in output
        check_whole(folder)
        assert folder.read_results() == results
    assert summarize(configuration, RunFolder(Path("/seed-0")), results).endswith("tensorboard --logdir /")


@pytest.mark.parametrize("more", ["", " --seeds 0 1 --jobs 2"])
def test_a_log_directory_that_is_a_file(
    more: str, tiny_recipes: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").write_text("x")
    line = f"--env {IMAGES} --objective none --device cpu --vec dummy --log-dir {tmp_path / 'runs'}{more}"
    assert train_agent.main(line.split()) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"train_agent.py: {tmp_path / 'runs'}") and output.err.count("\n") == 1
    assert "cannot be read or written (Not a directory): choose another place" in output.err
    assert snapshot(tmp_path) == {"runs": b"x"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "/a cannot be read or written (Permission denied): choose"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/b"),
            "/a/b cannot be written (No space left on device): make room",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full (No space left on device): make room, and give"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full (Disk quota exceeded): make room, and give the same"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
        (FileNotFoundError("a fault of the program"), None),
        (OSError(errno.EMFILE, "Too many open files", "/a/place"), None),
    ],
)
def test_which_file_errors_are_the_users(
    error: OSError, said: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_all(*arguments: object) -> int:
        raise error

    monkeypatch.setattr("agents.grid.run_all", run_all)
    if said is None:
        with pytest.raises(OSError) as kept:
            train_agent.main(["--env", IMAGES])
        assert kept.value is error
    else:
        assert train_agent.main(["--env", IMAGES]) == 2
        assert said in capsys.readouterr().err


def test_status_of_the_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train_agent.py"), "--env", "NoSuchGame-v0"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"train_agent\.py: There is no environment 'NoSuchGame-v0'.*\n", done.stderr)


def test_help_lists_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train_agent.main(["--help"])
    assert end.value.code in (0, None)
    text = capsys.readouterr().out
    for flag in (
        "env",
        "algo",
        "objective",
        "seeds",
        "timesteps",
        "n-envs",
        "device",
        "log-dir",
        "eval-freq",
        "eval-episodes",
    ):
        assert f"--{flag}" in text
    for flag in ("vec", "render", "encoder", "resume", "overwrite", "pixels", "jobs", "ray", "cpus"):
        assert f"--{flag}" in text


def test_make_help_names_environments_that_there_are() -> None:
    text = (ROOT / "Makefile").read_text()
    named = re.findall(r'--env ([^\s"$]+)|^ENV \?= (\S+)', text, re.MULTILINE)
    assert [find_spec(one or other).id for one, other in named] == ["ALE/Pong-v5", "CarRacing-v2", "PixelAcrobot-v0"]


def test_first_sentence_of_a_box() -> None:
    box = "╭─ Parsing error ─────╮\n│ Unrecognized: --x \x1b[1mred\x1b[0m │\n│ ─────────── │\n│ For help, ... │\n╰──────╯\n"
    assert first_sentence(box) == "Unrecognized: --x red"
    assert first_sentence("") == "The arguments cannot be read"


@pytest.fixture
def tiny_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, with recipes that take seconds."""

    def load(env_id: str, algorithm: str) -> Recipe:
        return tiny_recipe(algorithm.lower())

    monkeypatch.setattr("agents.grid.load_recipe", load)


def test_grid_ends_with_the_report(tiny_recipes: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    common = f"--env {IMAGES} --eval-episodes 1 --device cpu --vec dummy --log-dir {tmp_path}"
    line = f"--objective none curl --seeds 4 --jobs 2 {common}"
    assert train_agent.main(line.split()) == 0
    output = capfd.readouterr().out
    place = tmp_path / "tests.agents.tiny-TinyImages-v0"
    none, curl = (RunFolder(place / arm / "seed-4") for arm in ("ppo-none", "ppo-curl"))
    for folder in (none, curl):
        check_whole(folder)
        assert yaml.safe_load(folder.config.read_text())["command"].endswith(line)
    first, second = ({tag for tag in scalars(folder) if tag.startswith("contrastive/")} for folder in (none, curl))
    assert not first and "contrastive/curl/loss" in second
    results = json.loads(none.results.read_text())
    assert results["timesteps"] == 96 and len(results["final"]["returns"]) == 1
    assert "[2/2 finished] ppo-curl seed 4: finished, 96 steps" in output or "[2/2 finished] ppo-none seed 4" in output
    assert "`curl` over `none`" in output and "one seed, so nothing can be said" in output
    assert f"Report: {place / 'report' / 'report.md'}" in output and f"tensorboard --logdir {tmp_path}" in output
    before = {name: data for name, data in snapshot(tmp_path).items() if "/report/" not in name}
    assert train_agent.main(line.split()) == 0  # the same command again
    assert train_agent.main(f"--objective none --seeds 4 {common}".split()) == 0  # one run of them
    assert capfd.readouterr().out.count("is finished") == 1
    assert {name: data for name, data in snapshot(tmp_path).items() if "/report/" not in name} == before
    # A run that cannot go on is reported, and the rest with it.
    curl.results.unlink()
    model = max(curl.checkpoints.iterdir()) / "model.zip"
    os.truncate(model, model.stat().st_size // 2)
    assert train_agent.main(line.split()) == 1
    errors = capfd.readouterr().err
    assert errors.startswith("ppo-curl seed 4 failed with exit status 2: The checkpoint ") and "is damaged" in errors
    assert f"(log: {curl.path}.log)" in errors and errors.count("\n") == 1
    assert "**failed, in no figure**: `ppo-curl` seed 4" in (place / "report" / "report.md").read_text()


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_resume(tmp_path: Path) -> None:
    configuration = tiny_configuration("ppo", "cpc", timesteps=1_000_000, eval_freq=500_000)
    folder = RunFolder.of(tmp_path, configuration)
    script = (
        "import sys; from tests.agents.tiny import *; "
        "tiny_run(Path(sys.argv[1]), tiny_configuration('ppo', 'cpc', timesteps=1_000_000, eval_freq=500_000))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "step/s, return" not in process.stderr.readline(1000):  # the bar moves: the training is under way
        assert process.poll() is None
    while not (folder.checkpoints / "step-000000000000").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0  # tiny_run has no exit status of its own
    assert "Traceback" not in errors
    newest = max(folder.checkpoints.iterdir())
    steps = int(newest.name.removeprefix("step-"))
    assert steps % 16 == 0
    assert (
        output
        == f"Stopped; the checkpoint at {steps:,} agent steps goes on by: python train_agent.py --resume {folder.path}\n"
    )
    assert folder.evaluations.read_text().count("\n") == 2  # the head and the evaluation before the training
