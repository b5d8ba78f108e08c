"""RL Zoo trains with a head, goes on with it, plays what it saved, and ``cpc-rl report`` compares its runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from stable_baselines3 import PPO

from cpc_rl.cli import main
from cpc_rl.persistence import stored_state

ENV = "PixelCatch-v0"
ROOT = Path(__file__).parents[1]
HYPERPARAMETERS = {
    "policy": "CnnPolicy",
    "n_timesteps": 256,
    "n_envs": 2,
    "frame_stack": 2,
    "n_steps": 64,
    "batch_size": 32,
    "n_epochs": 1,
}
HEAD = """callback:[{'cpc_rl.ContrastiveCallback': {'objective': 'cpc', 'batch_size': 16}}]"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "zoo.yml").write_text(yaml.safe_dump({ENV: HYPERPARAMETERS}))
    (folder / "small_pixels.py").write_text("from envs.registration import register_envs\n\nregister_envs()\n")
    zoo(folder, "train", "-f", f"{ENV}/none", "--seed", "0", "--eval-freq", "128")
    zoo(folder, "train", "-f", f"{ENV}/cpc", "--seed", "0", "--eval-freq", "128", "-params", HEAD)
    return folder


def zoo(folder: Path, command: str, *words: str) -> str:
    """What a command of RL Zoo prints; it must succeed."""
    own = ["-conf", "zoo.yml", "--eval-episodes", "2", "--n-eval-envs", "1"] if command == "train" else []
    line = [sys.executable, "-m", f"rl_zoo3.{command}", "--algo", "ppo", "--env", ENV, "--gym-packages", "small_pixels", *own]
    paths = os.pathsep.join((str(ROOT), str(folder)))
    done = subprocess.run([*line, *words], cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def head_steps(file: Path) -> int:
    state = stored_state(PPO.load(file))
    assert state is not None
    (head,) = state["heads"].values()
    return head["state"]["steps"]


def test_a_head_trains_and_goes_on(workplace: Path) -> None:
    first = workplace / ENV / "cpc" / "ppo" / f"{ENV}_1" / f"{ENV}.zip"
    minibatches = 4 * HYPERPARAMETERS["n_timesteps"] // 128  # a rollout of 2 x 64 steps has four
    assert head_steps(first) == minibatches
    printed = zoo(workplace, "train", "-f", "more", "-i", str(first), "--eval-freq", "-1", "-params", HEAD, "-n", "128")
    assert "contrastive/" in printed and head_steps(workplace / "more" / "ppo" / f"{ENV}_1" / f"{ENV}.zip") == minibatches + 4


def test_what_it_saved_plays(workplace: Path) -> None:
    zoo(workplace, "enjoy", "-f", f"{ENV}/cpc", "--no-render", "-n", "20")


def test_its_runs_are_compared(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(workplace / ENV), "--compact"])
    assert "`cpc` over `none`" in capsys.readouterr().out
    table = (workplace / ENV / "report" / "runs.csv").read_text()
    assert f"{ENV},ppo,none,1,finished,periodic,128," in table and f"{ENV},ppo,cpc,1,finished,periodic,256," in table
