"""
EnvPool's own Procgen, which needs Qt 5's libraries (Debian: libqt5gui5): ``pytest tests/system/check_procgen.py``.

Not collected by itself, since a machine without Qt cannot run it.
"""

import numpy as np
import pytest

import envs
from envs.procgen import GAMES


@pytest.mark.parametrize("game", GAMES)
def test_a_seed_is_a_game(game: str):
    """The same seed and actions give the same pictures, rewards and ends; another seed gives others."""
    runs = []
    for seed in (3, 3, 4):
        env = envs.make_env(f"procgen/{game}-v0", grayscale=False, env_kwargs={"num_levels": 200})
        seen, info = env.reset(seed=seed)
        assert seen in env.observation_space and 0 <= info["level_seed"] < 200
        pictures, others = [seen], []
        for step in range(60):
            seen, *rest, info = env.step(step // 4 * 7 % 15)
            pictures.append(seen)
            others.append((*rest, info["level_seed"]))
            if rest[1] or rest[2]:
                pictures.append(env.reset()[0])
        runs.append((np.array(pictures), others))
    assert runs[0][1] == runs[1][1] and np.array_equal(runs[0][0], runs[1][0])
    assert len(runs[0][0]) != len(runs[2][0]) or not np.array_equal(runs[0][0], runs[2][0])


def test_standing_still_ends_by_the_time_limit():
    for vec in ("dummy", "envpool"):
        venv = envs.make_vec_env("procgen/maze-v0", 2, 0, vec=vec, frame_stack=1, env_kwargs={"num_levels": 200})
        venv.reset()
        for step in range(1, 501):
            _, _, dones, infos = venv.step(np.full(2, 4))
            assert dones.tolist() == [step == 500] * 2
        assert all(info["TimeLimit.truncated"] and info["episode"]["l"] == 500 for info in infos)


def test_all_levels_are_others_than_the_training_s():
    env = envs.make_env("procgen/coinrun-v0")
    assert all(env.reset(seed=seed)[1]["level_seed"] >= 200 for seed in range(1_000_000, 1_000_200))
