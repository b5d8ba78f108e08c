"""Algorithms by their names, and models that cannot be read."""

import pytest
from sb3_contrib import TQC
from stable_baselines3 import A2C, PPO

from cpc_rl.diagnostics import saved_run
from cpc_rl.pretraining import policies
from cpc_rl.saved_model import algorithm_class, load_algorithm


def test_algorithms_are_found_in_any_case():
    assert algorithm_class("ppo") is algorithm_class("PPO") is PPO and algorithm_class("tqc") is TQC
    with pytest.raises(ValueError, match=r"no algorithm 'pop'; there are A2C, .*, TRPO\."):
        algorithm_class("pop")


def test_what_is_no_model_of_the_class_is_said(tmp_path):
    A2C("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "model.zip")
    assert isinstance(load_algorithm(A2C, tmp_path / "model.zip", "cpu"), A2C)
    (tmp_path / "text.zip").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.zip cannot be read as a model of PPO .*name that one \(--algo\)"):
        load_algorithm(PPO, tmp_path / "text.zip")


def test_a_file_that_cannot_be_opened_is_said(tmp_path, monkeypatch):
    """Of pre-training and of the diagnostics alike."""

    def closed(*args, **keywords):
        raise PermissionError(13, "Permission denied", "model.zip")

    monkeypatch.setattr(PPO, "load", closed)
    file = tmp_path / "model.zip"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.zip cannot be read: .*Permission denied"):
        saved_run.load_model(file, "ppo")
    with pytest.raises(ValueError, match=r"model\.zip cannot be read: .*Permission denied"):
        policies.make_policy(str(file), "ppo", None)  # type: ignore[arg-type]
