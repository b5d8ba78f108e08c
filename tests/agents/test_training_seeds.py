"""The seeds that the training's environments are really reset with."""

import signal
from pathlib import Path
from typing import Any

import pytest

from agents.checkpoints import list_checkpoints, read_progress
from agents.randomness import training_seed
from agents.run_folder import RunFolder
from agents.training import RunCallback
from tests.agents.test_checkpoints import start
from tests.agents.tiny import TinyImages, tiny_configuration, tiny_run


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every seed that an environment of this process is reset with from now on."""
    seen: list[int] = []
    reset = TinyImages.reset

    def watched(self: TinyImages, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if seed is not None:
            seen.append(seed)
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(TinyImages, "reset", watched)
    return seen


@pytest.mark.parametrize(("algorithm", "arm"), [("ppo", "none"), ("dqn", "curl"), ("ppo", "compute")])
def test_each_environment_has_a_seed_of_its_own_run(algorithm: str, arm: str, tmp_path: Path, seeds: list[int]) -> None:
    tiny_run(tmp_path, tiny_configuration(algorithm, arm, seed=3))
    first = training_seed(3)
    trained = [seed for seed in seeds if seed >= 10_000_000]
    assert trained == [first, first + 1]
    if arm != "compute":  # which measures in the environments first
        assert not {3, 4} & set(seeds)  # Stable-Baselines3's own, which the run with the next seed would share


def test_a_resumed_run_does_not_begin_with_its_first_episodes(tmp_path: Path, seeds: list[int]) -> None:
    assert start(tmp_path, "ppo", "cpc", 6) == -signal.SIGKILL
    configuration = tiny_configuration("ppo", "cpc")
    timesteps = read_progress(list_checkpoints(RunFolder.of(tmp_path, configuration).checkpoints)[-1]).timesteps
    assert timesteps > 0
    tiny_run(tmp_path, configuration)
    first = training_seed(0, timesteps)
    assert [seed for seed in seeds if seed >= 10_000_000] == [first, first + 1]


def test_nor_with_its_first_random_actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of epsilon-greedy algorithms, and of all off-policy ones before they learn."""
    assert start(tmp_path, "dqn", "cpc", 7) == -signal.SIGKILL
    states: list[Any] = []
    begin = RunCallback._on_training_start

    def watched(self: RunCallback) -> None:
        states.append(self.model.action_space.np_random.bit_generator.state["state"])
        begin(self)

    monkeypatch.setattr(RunCallback, "_on_training_start", watched)
    tiny_run(tmp_path, tiny_configuration("dqn", "cpc"))
    tiny_run(tmp_path / "fresh", tiny_configuration("dqn", "cpc"))
    resumed, fresh = states
    assert resumed != fresh
