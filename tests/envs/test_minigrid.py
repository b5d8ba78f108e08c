"""MiniGrid from pixels: its own wrappers' pictures bit for bit, ids, the mission that is left out, and the recipe."""

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import minigrid  # noqa: F401  (registers its ids)
import numpy as np
import pytest
from gymnasium import spaces
from minigrid.wrappers import RGBImgObsWrapper, RGBImgPartialObsWrapper

import envs
from agents.recipe import load_recipe
from envs.minigrid_views import MiniGridPicture
from envs.registration import UnknownEnvironment, find_spec
from envs.vector import processes_pay

STOCK = {"partial": RGBImgPartialObsWrapper, "full": RGBImgObsWrapper}
# Keys, doors of all states, carried things, balls and boxes, lava, moving things, walls that hide, grids that are not square.
IDS = ("DoorKey-5x5", "DoorKey-8x8", "FourRooms", "ObstructedMaze-1Dlhb", "RedBlueDoors-6x6", "LavaGapS6", "KeyCorridorS3R2")
ACTIONS = [0, 1, 2, 2, 2, 3, 4, 5, 5, 6]  # forwards and at doors more often than chance


@pytest.mark.parametrize("view", STOCK)
@pytest.mark.parametrize("task", [*IDS, "Dynamic-Obstacles-Random-6x6"])
def test_every_pixel_is_minigrids(task: str, view: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some missions change
        ours = MiniGridPicture(gym.make(f"MiniGrid-{task}-v0", disable_env_checker=True), view, size=60)  # type: ignore[arg-type]
    stock = STOCK[view](gym.make(f"MiniGrid-{task}-v0", disable_env_checker=True), tile_size=ours.tile)
    assert ours.observation_space == stock.observation_space["image"]
    rng = np.random.default_rng(7)
    different = set()
    for episode in range(2):
        seed = 3 if episode == 0 else None
        picture, expected = ours.reset(seed=seed)[0], stock.reset(seed=seed)[0]
        over, step = False, 0
        while not over and step < 120:
            assert (picture == expected["image"]).all()
            different.add(picture.tobytes())
            action = int(rng.choice(ACTIONS))
            picture, *got = ours.step(action)
            expected, *wanted = stock.step(action)
            assert got == wanted
            over, step = got[1] or got[2], step + 1
        assert (picture == expected["image"]).all()
    assert len(different) > 8


def test_the_tile_table_cannot_be_spoilt_and_a_picture_can_be_written_to() -> None:
    env = MiniGridPicture(gym.make("MiniGrid-Empty-5x5-v0"))
    first, _ = env.reset(seed=0)
    kept = first.copy()
    first[:] = 7
    again, _ = env.reset(seed=0)
    assert (again == kept).all()


@pytest.mark.parametrize(("prefix", "size", "shape"), [("MiniGrid", 56, (56, 56, 3)), ("MiniGridFull", 60, (60, 60, 3))])
def test_make_env_gives_a_plain_image(prefix: str, size: int, shape: tuple[int, ...]) -> None:
    env = envs.make_env(f"{prefix}-DoorKey-5x5-v0", size=size, grayscale=False)
    stock = STOCK["partial" if prefix == "MiniGrid" else "full"](gym.make("MiniGrid-DoorKey-5x5-v0"), 8 if size == 56 else 12)
    assert env.observation_space == spaces.Box(0, 255, shape, np.uint8)
    assert (env.reset(seed=4)[0] == stock.reset(seed=4)[0]["image"]).all()
    assert (env.step(2)[0] == stock.step(2)[0]["image"]).all()


def test_a_large_grid_is_drawn_larger_and_then_shrunk() -> None:
    env = envs.make_env("MiniGridFull-FourRooms-v0", size=56, grayscale=True)
    picture, _ = env.reset(seed=0)
    assert picture.shape == (56, 56, 1)
    assert env.get_wrapper_attr("tile") == 4  # 76 pixels for 19 cells


def test_a_mission_that_changes_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="mission of MiniGrid-Fetch-5x5-N2-v0 changes"):
        envs.make_env("MiniGrid-Fetch-5x5-N2-v0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs.make_env("MiniGrid-DoorKey-6x6-v0")


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownEnvironment, match="did you mean MiniGrid-DoorKey-5x5-v0"):
        find_spec("MiniGrid-DorKey-5x5-v0")
    with pytest.raises(UnknownEnvironment, match="no environment 'MiniGridFull-Nothing-v0'"):
        find_spec("MiniGridFull-Nothing-v0")
    with pytest.raises(ValueError, match="must be 'partial' or 'full'"):
        MiniGridPicture(gym.make("MiniGrid-Empty-5x5-v0"), "half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs MiniGrid's own observations"):
        MiniGridPicture(gym.make("CartPole-v1"))
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(UnknownEnvironment, match="needs the package minigrid"):
        find_spec("MiniGrid-Empty-5x5-v0")


def test_minigrid_is_imported_for_its_ids_only() -> None:
    code = (
        "import sys, envs\nenvs.register_envs()\nenvs.make_env('PixelCatch-v0')\nassert 'minigrid' not in sys.modules\n"
        "envs.make_vec_env('MiniGrid-Empty-5x5-v0', 2, 0, vec='subproc', size=56, frame_stack=1).close()\n"
        "assert 'minigrid' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_recipes_of_the_family() -> None:
    assert not processes_pay("MiniGrid-FourRooms-v0", 8)
    for name in ("ppo", "dqn", "a2c"):
        for prefix in ("MiniGrid", "MiniGridFull"):
            environment = load_recipe(f"{prefix}-DoorKey-5x5-v0", name).environment
            assert (environment.size, environment.frame_stack, environment.grayscale) == (56, 1, False)
