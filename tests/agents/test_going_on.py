"""What a run that is resumed finds, and leaves behind."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.logger import Logger

from agents.arms import parse_arm
from agents.build import build_model
from agents.checkpoints import list_checkpoints, load_model
from agents.errors import UserError
from agents.logs import make_logger, pending_scalars
from agents.machine import Machine, make_training_environments
from agents.recipe import Recipe
from cpc_rl.n_step import n_step_targets
from tests.agents.tiny import tiny_configuration, tiny_recipe, tiny_run
from train_agent import main


def test_returns_of_several_steps_end_where_a_run_was_cut(tmp_path: Path) -> None:
    """After a checkpoint episodes begin anew: what follows the newest transition is another one's."""
    folder = tiny_run(tmp_path, tiny_configuration("dqn", "none"))
    vec_env = make_training_environments(tiny_configuration("dqn", "none"), Machine("cpu", "dummy"), 7)
    model = load_model(list_checkpoints(folder.checkpoints)[-1], "dqn", vec_env, "cpu")
    buffer = model.replay_buffer  # type: ignore[attr-defined]
    newest = (buffer.pos - 1) % buffer.buffer_size
    assert (buffer.dones[newest] == 0).any()
    model.learn(8, reset_num_timesteps=False)
    assert (buffer.pos - 1) % buffer.buffer_size != newest
    envs = np.arange(buffer.n_envs)
    targets = n_step_targets(buffer, np.full(len(envs), newest), envs, 3, 0.9)
    assert (targets.last_slots == newest).all() and np.allclose(targets.discounts, 0.9)
    assert (targets.dones[:, 0] == buffer.dones[newest] * (1 - buffer.timeouts[newest])).all()


@pytest.mark.parametrize("ahead", [1, 3600])
def test_a_clock_that_is_behind_is_not_waited_for(ahead: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = f"events.out.tfevents.{int(time.time()) + ahead}.other.1.0"
    (tmp_path / file).touch()
    began = time.monotonic()
    make_logger(tmp_path, 5).close()
    assert time.monotonic() - began < 30
    said = capsys.readouterr().err
    if ahead == 1:
        assert said == "" and max(path.name for path in tmp_path.iterdir()) != file
    else:
        assert "3,60" in said and "seconds behind the one by which" in said


def test_what_is_kept_from_tensorboard_stays_so() -> None:
    logger = Logger(None, [])
    logger.record("train/loss", 1.5)
    logger.record("train/n_updates", 3, exclude="tensorboard")
    logger.record("pairs", "no number", exclude=("stdout", "tensorboard"))
    assert pending_scalars(logger) == {"train/loss": 1.5}


def test_a_mark_of_a_failure_goes_with_the_next_attempt(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    (folder.path / "results.json").unlink()
    mark = folder.path.with_name(f"{folder.path.name}.failed")
    mark.write_text(json.dumps({"problem": "out of memory"}))
    assert main(["--resume", str(folder.path), "--vec", "dummy", "--device", "cpu"]) == 0
    assert not mark.exists() and folder.results.is_file()


def test_a_mark_stays_where_nothing_was_tried(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    folder.results.unlink()
    mark = folder.path.with_name(f"{folder.path.name}.failed")
    mark.write_text(json.dumps({"problem": "out of memory"}))
    (list_checkpoints(folder.checkpoints)[-1] / "model.zip").write_bytes(b"x")
    assert main(["--resume", str(folder.path), "--vec", "dummy", "--device", "cpu"]) == 2
    assert mark.exists()


def test_an_entropy_schedule_that_would_be_no_schedule() -> None:
    settings = {**tiny_recipe("sac").hyperparameters, "ent_coef": {"schedule": "linear", "start": 0.5, "end": 0.0}}
    recipe = Recipe(**{**vars(tiny_recipe("sac")), "hyperparameters": settings})
    configuration = tiny_configuration("sac", "none")
    vec_env = make_training_environments(configuration, Machine("cpu", "dummy"), 0)
    with pytest.raises(UserError, match=r"SAC's ent_coef cannot be a schedule: it takes a number, 'auto', or 'auto_0.1'"):
        build_model(recipe, vec_env, parse_arm("none", "curl"), 0, "cpu")
