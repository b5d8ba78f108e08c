"""
The control suite's wrapper against a stand-in for dm_control, which draws by OpenGL: what it asks for and what it makes of it.

The real one: ``pytest tests/system/check_dmc.py``.
"""

import os
import sys
from types import ModuleType, SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import envs
from agents.build import environment_keywords
from agents.recipe import RECIPES, load_recipe
from envs.vector import processes_pay

LENGTH = 10  # steps of an episode
TASKS = (("cartpole", "swingup"), ("ball_in_cup", "catch"), ("quadruped", "run"))


class FakePhysics:
    def __init__(self) -> None:
        self.model = SimpleNamespace(
            vis=SimpleNamespace(global_=SimpleNamespace(offwidth=640, offheight=480), quality=SimpleNamespace(shadowsize=2048))
        )
        self.steps, self.drawn, self.freed = 0, [], False

    def render(self, height: int, width: int, camera_id: int) -> np.ndarray:
        self.drawn.append(self.steps)
        picture = np.full((height, width, 3), self.steps, np.uint8)
        picture[0, :, 0], picture[0, :, 1] = 100 + camera_id, 250
        return picture

    def free(self) -> None:
        self.freed = True


class FakeEnvironment:
    """A state of five numbers, the first drawn from the task's generator; a reward of a tenth of the action."""

    def __init__(self, seed: int, terminal: bool):
        self.physics, self.terminal = FakePhysics(), terminal
        self.task = SimpleNamespace(random=np.random.RandomState(seed))

    def control_timestep(self) -> float:
        return 0.02

    def action_spec(self) -> SimpleNamespace:
        return SimpleNamespace(shape=(2,), minimum=np.full(2, -1.0), maximum=np.array([1.0, 2.0]))

    def observation_spec(self) -> dict[str, SimpleNamespace]:
        return {"position": SimpleNamespace(shape=(2, 2)), "speed": SimpleNamespace(shape=())}

    def _step(self, reward: float | None, last: bool, discount: float | None) -> SimpleNamespace:
        position = np.array([[self.first, self.physics.steps], [2.0, 3.0]])
        observation = {"position": position, "speed": 4.0}
        return SimpleNamespace(observation=observation, reward=reward, discount=discount, last=lambda: last)

    def reset(self) -> SimpleNamespace:
        self.physics.steps = 0
        self.first = self.task.random.rand()
        return self._step(None, False, None)

    def step(self, action: np.ndarray) -> SimpleNamespace:
        assert action.dtype == np.float64 and self.physics.steps < LENGTH, "dm_control would begin a new episode by itself"
        self.physics.steps += 1
        over = self.physics.steps == LENGTH
        return self._step(float(action[0]) / 10, over, 0.0 if over and self.terminal else 1.0)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeEnvironment]:
    """All of dm_control's environments, oldest first."""
    environments: list[FakeEnvironment] = []
    package, suite = ModuleType("dm_control"), ModuleType("dm_control.suite")

    def load(domain: str, task: str, task_kwargs: dict[str, int]) -> FakeEnvironment:
        assert (domain, task) in TASKS
        environments.append(FakeEnvironment(task_kwargs["random"], terminal=domain == "quadruped"))
        return environments[-1]

    suite.ALL_TASKS, suite.load, package.suite = TASKS, load, suite  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dm_control", package)
    monkeypatch.setitem(sys.modules, "dm_control.suite", suite)
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)
    return environments


def test_states(made):
    env = gym.make(envs.registration.find_spec("dm_control/cartpole-swingup-v0"))
    assert env.action_space == spaces.Box(np.float32([-1, -1]), np.float32([1, 2]), dtype=np.float32)
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (5,), np.float32)
    state, info = env.reset(seed=3)
    assert state in env.observation_space and state[1:].tolist() == [0, 2, 3, 4] and info == {}
    for step in range(1, LENGTH + 1):
        state, reward, terminated, truncated, _ = env.step(np.float32([0.5, 0]))
        assert (state[1], reward, terminated, truncated) == (step, 0.05, False, step == LENGTH)
    assert env.render() is None and made[-1].physics.drawn == []
    env.close()
    assert made[-1].physics.freed


def test_seeds(made):
    env = gym.make(envs.registration.find_spec("dm_control/cartpole-swingup-v0"))

    def firsts(seed: int) -> list[float]:
        return [float(env.reset(seed=seed)[0][0]), *(float(env.reset()[0][0]) for _ in range(3))]

    assert firsts(3) == firsts(3) != firsts(4)
    assert len(set(firsts(3))) == 4


def test_what_nobody_seeds_plays_other_episodes(made):
    firsts = [float(gym.make(envs.registration.find_spec("dm_control/cartpole-swingup-v0")).reset()[0][0]) for _ in range(3)]
    assert len(set(firsts)) == 3


def test_a_discount_of_zero_terminates(made):
    env = gym.make(envs.registration.find_spec("dm_control/quadruped-run-v0"))
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(LENGTH)]
    assert ends == [(False, False)] * (LENGTH - 1) + [(True, False)]


@pytest.mark.parametrize(("render", "shadows"), [("fast", 512), ("stock", 2048)])
def test_pictures(render: str, shadows: int, made):
    """Drawn once for each of the agent's steps, at the size that is wanted, from the task's camera."""
    env = envs.make_env("dm_control/ball_in_cup-catch-v0", render=render, size=84, grayscale=False, frame_skip=4)
    physics = made[-1].physics
    assert physics.model.vis.quality.shadowsize == shadows
    assert physics.model.vis.global_ == SimpleNamespace(offwidth=84, offheight=84)
    physics.drawn.clear()
    seen, _ = env.reset(seed=0)
    assert env.observation_space == spaces.Box(0, 255, (84, 84, 3), np.uint8) and seen in env.observation_space
    rewards, ends = [], []
    for _ in range(3):
        seen, reward, *end, _ = env.step(np.float32([1, 0]))
        rewards.append(reward)
        ends.append(tuple(end))
    assert physics.drawn == [0, 4, 8, 10] and (seen[1:] == 10).all() and (seen[0, :, 0] == 100).all()
    assert rewards == pytest.approx([0.4, 0.4, 0.2]) and ends == [(False, False), (False, False), (False, True)]


def test_the_quadruped_is_followed(made):
    env = envs.make_env("dm_control/quadruped-run-v0", size=20, grayscale=False)
    assert env.reset()[0][0, 0, 0] == 102


def test_ids(made):
    assert envs.registration.find_spec("dm_control/ball_in_cup-catch-v0").kwargs == {"domain": "ball_in_cup", "task": "catch"}
    with pytest.raises(envs.UnknownEnvironment, match=r"did you mean dm_control/cartpole-swingup-v0"):
        envs.make_env("dm_control/cartpole-swing-v0")
    # Shimmy registers the same ids; this project's environment is taken all the same.
    gym.registry["dm_control/cartpole-swingup-v0"].entry_point = "shimmy:Other"
    assert isinstance(envs.make_env("dm_control/cartpole-swingup-v0").unwrapped, envs.dmc.ControlTask)
    assert processes_pay("dm_control/cartpole-swingup-v0", 2) is ((os.cpu_count() or 1) > 1)


def test_without_the_package_or_opengl(monkeypatch, made):
    def no_context(*arguments: object, **keywords: object) -> None:
        raise AttributeError("no attribute '_ptr'")

    monkeypatch.setattr(FakePhysics, "render", no_context)
    with pytest.raises(ValueError, match=r"^dm_control cannot draw here \(no attribute '_ptr'\); without a screen .*libegl1"):
        envs.make_env("dm_control/cartpole-swingup-v0")
    monkeypatch.delitem(sys.modules, "dm_control.suite")
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(envs.UnknownEnvironment, match=r"cannot be had: it needs the package dm_control; pip install .*\.$"):
        envs.make_env("dm_control/cartpole-swingup-v0")


@pytest.mark.parametrize("algorithm", ["sac", "tqc", "ppo"])
def test_recipes_count_the_action_repeat(algorithm: str):
    """100,000 environment steps each, with the action repeats of PlaNet's six tasks."""
    repeats = {
        **{"cartpole-swingup": 8, "reacher-easy": 4, "cheetah-run": 4},
        **{"ball_in_cup-catch": 4, "finger-spin": 2, "walker-walk": 2, "hopper-hop": 2},
    }
    for task, repeat in repeats.items():
        recipe = load_recipe(f"dm_control/{task}-v0", algorithm)
        settings = recipe.environment
        assert (settings.frame_skip, recipe.timesteps * repeat) == (repeat, 100_000)
        assert (settings.size, settings.grayscale, settings.frame_stack) == (84, False, 3)
        assert environment_keywords(recipe, pixels=False)["frame_skip"] == repeat
    texts = [(RECIPES / f"{name}.yaml").read_text() for name in ("dmc", "sac_dmc")]
    assert len({text[text.index("environments:") :] for text in texts}) == 1


def test_the_recipe_is_drq_s():
    recipe = load_recipe("dm_control/cartpole-swingup-v0", "sac")
    assert recipe.extractor == {"name": "drq", "features_dim": 50} and recipe.augmentation == "random_shift"
    assert recipe.callback["encoder"] == "tied" and recipe.hyperparameters["batch_size"] == 128
