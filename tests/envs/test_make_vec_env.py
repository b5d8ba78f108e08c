"""Vectors of environments: stacking, seeds, returns, processes."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import envs
from envs.vector import processes_pay
from tests.envs.toys import Pictures


@pytest.fixture(autouse=True)
def toy_ids():
    extra = {"speed": spaces.Box(-1, 1, (2,), np.float32), "gear": spaces.Discrete(5)}
    gym.register("Toy/Pictures-v0", entry_point=Pictures)
    gym.register("Toy/Mixed-v0", entry_point=Pictures, kwargs={"extra": extra, "length": 6})
    yield
    for env_id in ("Toy/Pictures-v0", "Toy/Mixed-v0"):
        del gym.registry[env_id]


@pytest.mark.parametrize("grayscale", [True, False])
def test_frames_are_stacked_oldest_to_newest(grayscale):
    channels = 1 if grayscale else 3
    venv = envs.make_vec_env("CarRacing-v3", 2, seed=9, frame_stack=3, size=40, grayscale=grayscale, actions="discrete")
    assert venv.observation_space == spaces.Box(0, 255, (3 * channels, 40, 40), np.uint8)
    singles = [envs.make_env("CarRacing-v3", size=40, grayscale=grayscale, actions="discrete") for _ in range(2)]
    frames = [[single.reset(seed=9 + index)[0]] for index, single in enumerate(singles)]
    observations = venv.reset()
    for step in range(6):
        for index, seen in enumerate(frames):
            newest = [np.moveaxis(frame, -1, 0) for frame in seen[-3:]]
            padding = [np.zeros_like(newest[0])] * (3 - len(newest))
            np.testing.assert_array_equal(observations[index], np.concatenate(padding + newest))
        observations, rewards, _, _ = venv.step(np.array([3, step % 5]))
        for single, seen, action, reward in zip(singles, frames, (3, step % 5), rewards, strict=True):
            observation, expected, *_ = single.step(action)
            seen.append(observation)
            assert reward == pytest.approx(expected, abs=1e-5)
    venv.close()


def test_one_frame_needs_no_stack():
    venv = envs.make_vec_env("Toy/Pictures-v0", frame_stack=1, size=12, grayscale=False)
    assert venv.reset().shape == (1, 3, 12, 12)


def test_vectors_in_a_dict_are_not_stacked():
    venv = envs.make_vec_env("Toy/Mixed-v0", 2, seed=0, frame_stack=3, size=12)
    space = venv.observation_space
    assert (space["image"].shape, space["speed"].shape, space["gear"]) == ((3, 12, 12), (2,), spaces.Discrete(5))
    observations = venv.reset()
    for step in range(1, 8):
        before = observations["image"].copy()
        observations, _, dones, infos = venv.step(np.zeros((2, 2), np.float32))
        assert observations["speed"].shape == (2, 2)
        assert dones.all() == (step == 6)
        if step == 6:
            terminal = infos[0]["terminal_observation"]
            assert (terminal["image"].shape, terminal["speed"].shape) == ((3, 12, 12), (2,))
            np.testing.assert_array_equal(terminal["image"][:2], before[0, 1:])
            assert not observations["image"][:, :2].any()
        else:
            np.testing.assert_array_equal(observations["image"][:, :2], before[:, 1:])


def test_the_monitor_records_raw_returns_in_agent_steps(tmp_path: Path):
    venv = envs.make_vec_env("Toy/Pictures-v0", 2, seed=0, frame_skip=4, size=12, monitor_dir=tmp_path)
    venv.reset()
    for _ in range(3):
        _, _, dones, infos = venv.step(np.zeros((2, 2), np.float32))
    assert dones.all()
    assert [(info["episode"]["r"], info["episode"]["l"]) for info in infos] == [(55, 3)] * 2
    venv.close()
    rows = [file.read_text().splitlines()[2].split(",") for file in sorted(tmp_path.glob("*.monitor.csv"))]
    assert [(float(reward), int(length)) for reward, length, _ in rows] == [(55, 3)] * 2


def test_processes_see_what_one_process_sees():
    runs = {}
    for vec, kind in (("dummy", DummyVecEnv), ("subproc", SubprocVecEnv)):
        venv = envs.make_vec_env("CarRacing-v2", 2, seed=4, vec=vec, actions="drive5", size=32)
        assert isinstance(venv.unwrapped, kind)
        seen = [venv.reset()]
        for step in range(4):
            observations, rewards, _, _ = venv.step(np.array([step, 3]))
            seen += [observations, rewards.astype(np.float32)]  # as DummyVecEnv keeps them
        runs[vec] = [array.copy() for array in seen]
        venv.close()
    for one, other in zip(runs["dummy"], runs["subproc"], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "cores", "processes"),
    [
        (("CarRacing-v2", 2), 2, False),
        (("CarRacingFast-v3", 2), 2, False),
        (("CarRacing-v2", 1, "stock"), 2, False),
        (("CarRacing-v2", 2, "stock"), 1, False),
        (("CarRacing-v2", 2, "stock"), 2, True),
        (("CarRacingFast-v3", 2, "stock"), 2, True),
        (("Toy/Pictures-v0", 2), 2, True),
    ],
)
def test_processes_where_steps_are_slow(arguments, cores, processes, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert processes_pay(*arguments) is processes


def test_auto_takes_that_advice(monkeypatch):
    for n_envs, kind in ((1, DummyVecEnv), (2, SubprocVecEnv)):
        monkeypatch.setattr("os.cpu_count", lambda: 2)
        venv = envs.make_vec_env("Toy/Pictures-v0", n_envs, size=12)
        assert isinstance(venv.unwrapped, kind)
        assert venv.reset().shape == (n_envs, 4, 12, 12)  # in the processes too, which do not know this id
        venv.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_id": "CarRacing-v9"}, "There is no environment 'CarRacing-v9'"),
        ({"env_id": "CarRacing-v2", "n_envs": 0}, "n_envs and frame_stack must be 1 or more, not 0 and 4"),
        ({"env_id": "CarRacing-v2", "vec": "threads"}, "vec must be 'auto', 'dummy', 'subproc' or 'envpool', not 'threads'"),
        ({"env_id": "CartPole-v1", "n_envs": 2, "vec": "subproc"}, "holds no image"),
    ],
)
def test_what_cannot_be_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        envs.make_vec_env(**arguments)
