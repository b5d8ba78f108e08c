"""
Procgen's games against a stand-in for EnvPool, whose Procgen needs Qt 5: what is asked of it, and what is made of its answers.

The real one: ``pytest tests/system/check_procgen.py``.
"""

import sys
from collections import namedtuple
from types import ModuleType, SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

import envs
from envs.procgen import GAMES
from envs.vector import processes_pay

LENGTH = 5  # steps of an episode whose actions are all below 14
Config = namedtuple("Config", "env_seed max_episode_steps num_levels start_level use_backgrounds")


class FakePool:
    """Levels drawn from its seeds; an action of 14 finds the coin; a picture holds the level's number and the step's."""

    def __init__(self, num_envs: int, env_seed: list[int], num_levels: int, start_level: int, **options: object):
        assert len(env_seed) == num_envs and options.pop("num_threads", 1) == 1
        self.options = options
        self.generators = [np.random.default_rng(seed) for seed in env_seed]
        self.levels, self.steps = np.zeros((2, num_envs), int)
        self.first, self.count = start_level, num_levels or 2**31

    def _answer(self, ids: np.ndarray):
        pictures = np.zeros((len(ids), 3, 64, 64), np.uint8)
        pictures[:, 0] = (self.levels[ids] % 256)[:, None, None]
        pictures[:, 1, 0, :] = self.steps[ids, None]
        return pictures, {"level_seed": self.levels[ids].astype(np.int32)}

    def reset(self, ids: np.ndarray):
        for index in ids:
            self.levels[index] = self.first + self.generators[index].integers(self.count)
            self.steps[index] = 0
        return self._answer(ids)

    def step(self, actions: np.ndarray, ids: np.ndarray):
        assert len(actions) == len(ids) and max(self.steps[ids]) < LENGTH, "EnvPool was not reset after an end"
        self.steps[ids] += 1
        found = actions == 14
        pictures, info = self._answer(ids)
        return pictures, 10.0 * found.astype(np.float32), found, (self.steps[ids] == LENGTH) & ~found, info


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[FakePool]:
    """All pools that are made, oldest first."""
    made: list[FakePool] = []
    fake = ModuleType("envpool")

    def make_spec(name: str, **options: object):
        assert name in fake.list_all_envs()
        return SimpleNamespace(
            config=Config([], LENGTH, 0, 0, True)._replace(**options),
            gymnasium_observation_space=spaces.Box(0, 255, (3, 64, 64), np.uint8),
            gymnasium_action_space=spaces.Discrete(15),
        )

    def make_gymnasium(name: str, **options) -> FakePool:
        make_spec(name)
        made.append(FakePool(**{"num_levels": 0, "start_level": 0, **options}))
        return made[-1]

    fake.list_all_envs = lambda: ["CoinrunEasy-v0", "CoinrunHard-v0"]  # type: ignore[attr-defined]
    fake.make_spec, fake.make_gymnasium = make_spec, make_gymnasium  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "envpool", fake)
    return made


def levels(env: gym.Env, count: int, seed: int | None = None) -> list[int]:
    return [env.reset(seed=seed if number == 0 else None)[1]["level_seed"] for number in range(count)]


def test_an_episode(pools):
    env = envs.make_env("procgen/coinrun-v0", grayscale=False, render_mode="rgb_array", env_kwargs={"num_levels": 1})
    assert env.observation_space == spaces.Box(0, 255, (64, 64, 3), np.uint8) and env.action_space == spaces.Discrete(15)
    seen, info = env.reset(seed=0)
    assert seen in env.observation_space and info == {"level_seed": 0}
    for step in range(1, LENGTH + 1):
        seen, reward, terminated, truncated, _ = env.step(step)
        assert (seen[0, :, 1] == step).all() and (seen[1:, :, 1] == 0).all()  # rows stay rows
        assert (reward, terminated, truncated) == (0.0, False, step == LENGTH)
        np.testing.assert_array_equal(env.render(), seen)
    env.reset()
    assert env.step(14)[1:4] == (10.0, True, False)


def test_a_seed_decides_this_level_and_the_next(pools):
    env = envs.make_env("procgen/coinrun-v0")
    first = levels(env, 4, seed=7)
    env.step(3)
    assert levels(env, 4, seed=7) == first and len(set(first)) == 4
    assert levels(env, 4, seed=8) != first
    assert len(pools) == 3  # one for each seed that was given


def test_levels_to_train_on_and_to_test_on(pools):
    few = envs.make_env("procgen/coinrun-v0", env_kwargs={"num_levels": 20, "start_level": 30})
    assert set(levels(few, 200, seed=0)) == set(range(30, 50))
    assert np.median(levels(envs.make_env("procgen/coinrun-v0"), 50, seed=0)) > 1e8


@pytest.mark.parametrize("vec", ["dummy", "envpool"])
def test_a_vector(vec: str, pools):
    keywords = {"frame_stack": 1, "grayscale": False, "env_kwargs": {"num_levels": 200, "distribution": "hard"}}
    venv = envs.make_vec_env("procgen/coinrun-v0", 3, 0, vec=vec, **keywords)
    assert venv.observation_space == spaces.Box(0, 255, (3, 64, 64), np.uint8) and venv.action_space == spaces.Discrete(15)
    first = venv.reset()[:, 0, 0, 0]
    assert len(pools) == (3 if vec == "dummy" else 1) and first.max() < 200
    for step in range(1, LENGTH + 1):
        found = step == 3
        seen, rewards, dones, infos = venv.step(np.array([14 if found else 0, 0, 0]))
        assert rewards.tolist() == [10.0 * found, 0, 0] and dones.tolist() == [found, step == LENGTH, step == LENGTH]
        for index in np.flatnonzero(dones):
            assert infos[index]["TimeLimit.truncated"] is not found
            assert infos[index]["terminal_observation"][1, 0, 0] == step and seen[index, 1, 0, 0] == 0
            assert (infos[index]["episode"]["r"], infos[index]["episode"]["l"]) == (10.0 * found, step)


def test_every_game_has_an_id_and_stays_in_this_process():
    envs.register_envs()
    assert len(GAMES) == 16
    for game in GAMES:
        assert gym.spec(f"procgen/{game}-v0").kwargs == {"game": game}
    assert not processes_pay("procgen/coinrun-v0", 64)


@pytest.mark.parametrize(
    ("vec", "keywords", "message"),
    [
        ("dummy", {"distribution": "odd"}, "no game 'coinrun' with the distribution 'odd'"),
        ("dummy", {"levels": 3}, "Procgen has no option 'levels'; it has num_levels, start_level, use_seq"),
        ("dummy", {"num_envs": 3}, "Procgen has no option 'num_envs'"),
        ("envpool", {"distribution": "odd"}, "no environment 'procgen/coinrun-v0'; it has Coinrun"),
        ("envpool", {"levels": 3}, "takes no option 'levels'"),
    ],
)
def test_what_it_does_not_offer(vec: str, keywords: dict, message: str, pools):
    with pytest.raises(ValueError, match=message):
        envs.make_vec_env("procgen/coinrun-v0", 1, 0, vec=vec, env_kwargs=keywords)


def test_without_envpool_or_qt(monkeypatch, pools):
    def no_qt(name: str, **options: object) -> None:
        raise ImportError("EnvPool Procgen requires Qt 5.")

    monkeypatch.setattr(sys.modules["envpool"], "make_spec", no_qt)
    with pytest.raises(ValueError, match=r"'procgen/coinrun-v0' could not be made: EnvPool Procgen requires Qt 5\.$"):
        envs.make_env("procgen/coinrun-v0")
    with pytest.raises(ValueError, match=r"CoinrunEasy-v0 cannot be used here: EnvPool Procgen requires Qt 5\.$"):
        envs.make_vec_env("procgen/coinrun-v0", vec="envpool")
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ValueError, match=r"could not be made: it needs the package envpool, which pip .* brings\.$"):
        envs.make_env("procgen/coinrun-v0")


def test_the_vector_is_the_plain_one(pools):
    assert isinstance(envs.make_vec_env("procgen/coinrun-v0", 2, 0).unwrapped, DummyVecEnv)
