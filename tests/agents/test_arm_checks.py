"""What is said of a grid's arms before the first run begins."""

import os
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.arm_checks import check_arms, remarks
from agents.errors import UserError
from agents.machine import Machine
from tests.agents.tiny import tiny_configuration, tiny_run


def seed_all() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def draws() -> list[float]:
    return [random.random(), *np.random.random(2), *torch.rand(2).tolist()]


def grid(algorithm: str, *arms: str, **changes: object) -> list:
    return [tiny_configuration(algorithm, arm, seed=seed, **changes) for seed in (0, 1) for arm in arms]


def test_a_grid_that_can_begin_draws_nothing_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seed_all()
    arms = ("none", "aug", "compute", "aug+compute", "curl", "aug+shuffled+curl")
    assert check_arms(grid("ppo", *arms), Machine("cpu")) == []
    assert os.listdir(tmp_path) == []
    for algorithm in ("dqn", "sac", "crossq"):
        assert check_arms(grid(algorithm, "none", "compute", "curl"), Machine("cpu")) == []
    drawn = draws()
    seed_all()
    assert drawn == draws()


@pytest.mark.parametrize(
    ("algorithm", "arm", "said"),
    [
        ("a2c", "compute", "needs epochs or gradient steps"),
        ("trpo", "aug", "PPO, A2C and MaskablePPO only"),
        ("ppo", "multiview", "image entries"),
        ("ppo", "compute+multiview", "image entries"),
    ],
)
def test_the_arm_that_cannot_be_trained_is_named(algorithm: str, arm: str, said: str) -> None:
    with pytest.raises(UserError, match=f"The arm '{re.escape(arm)}' cannot be trained here: .*{said}"):
        check_arms(grid(algorithm, "none", arm), Machine("cpu"))


def test_an_encoder_that_does_not_fit_is_told_before_any_run(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path, tiny_configuration("ppo", "none"))
    fits = grid("ppo", "none@tiny", encoder=str(folder.encoder))
    assert check_arms(fits, Machine("cpu")) == []
    recipe = replace(fits[0].recipe, extractor={"name": "nature_cnn", "features_dim": 8})
    with pytest.raises(UserError, match="'none@tiny' cannot be trained here"):
        check_arms([replace(each, recipe=recipe) for each in fits], Machine("cpu"))


def test_what_runs_would_not_show_is_said() -> None:
    (late,) = remarks(grid("dqn", "none", "curl", timesteps=8))
    assert late == "Nothing will be learnt in 8 steps: dqn's recipe begins after 8."
    assert remarks(grid("dqn", "none", "curl", timesteps=9)) == []
    (other,) = remarks(grid("ppo", "none", "compute", "curl", "spr", "aug+spr", "taco"))  # the recipe's is curl
    assert other.startswith("No arm of these makes up for the time that spr and taco would take: compute+spr and compute+taco")
    assert remarks(grid("ppo", "compute", "compute+spr", "curl", "spr", "aug+spr", "curl=2", "spr=0.5")) == []
    (without,) = remarks(grid("ppo", "aug+compute", "curl", "aug+curl"))
    assert "compute+curl would" in without
    assert remarks(grid("ppo", "none", "compute", "aug+curl", "shuffled+curl")) == []
