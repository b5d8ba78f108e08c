"""
The DeepMind Control Suite as Gymnasium environments (Tassa et al., 2018, https://arxiv.org/abs/1801.00690).

Observations are states; :func:`envs.make_env` turns them into pictures, drawn once per agent step. Ids are Shimmy's,
``dm_control/cartpole-swingup-v0``; the wrapper is this project's own, since pictures of 84 pixels need none of Shimmy's
machinery and profit from drawing less (see ``render``).
"""

import importlib
import os
import sys
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces

FAST_SHADOWS = 512  # height and width in texels of the shadows' map; dm_control's own is 2048
QUADRUPED_CAMERA = 2  # the first ones do not follow it
HELP = (
    "without a screen it draws by MUJOCO_GL=egl (Debian: apt install libegl1 libgl1) "
    "or MUJOCO_GL=osmesa (apt install libosmesa6)"
)


def import_suite() -> Any:
    """
    :return: ``dm_control.suite``; without a screen it draws by EGL, unless ``MUJOCO_GL`` says otherwise.
    :raises ImportError: if it is not installed, or cannot draw as it is told to.
    """
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        return importlib.import_module("dm_control.suite")
    except ModuleNotFoundError as error:
        raise ImportError("it needs the package dm_control; pip install -e '.[dmc]' brings it.") from error
    except Exception as error:  # PyOpenGL without its library raises almost anything
        raise ImportError(f"dm_control cannot draw here ({' '.join(str(error).split())}); {HELP}.") from error


def find_tasks() -> dict[str, tuple[str, str]]:
    """
    :return: domain and task of every id, such as ``dm_control/ball_in_cup-catch-v0``.
    :raises ImportError: as :func:`import_suite`.
    """
    return {f"dm_control/{domain}-{task}-v0": (domain, task) for domain, task in import_suite().ALL_TASKS}


class ControlTask(gym.Env):
    """
    One task. An episode has 1000 of its steps (others where a task says so), and its end truncates: no state is terminal.

    :param domain: such as ``cartpole``.
    :param task: such as ``swingup``.
    :param render_mode: ``"rgb_array"`` or None.
    :param size: height and width of the picture in pixels.
    :param render: ``"fast"`` draws shadows from a smaller map; ``"stock"`` as the suite does. Everything else is the same.
    :raises ValueError: if there is no such task, or pictures are wanted and cannot be drawn.
    :raises ImportError: as :func:`import_suite`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        domain: str,
        task: str,
        render_mode: str | None = None,
        size: int = 84,
        render: Literal["fast", "stock"] = "fast",
    ):
        suite = import_suite()
        if (domain, task) not in suite.ALL_TASKS:
            raise ValueError(f"dm_control's suite has no task {task!r} of {domain!r}.")
        self.render_mode, self.size, self._seeded = render_mode, size, False
        self.camera = QUADRUPED_CAMERA if domain == "quadruped" else 0
        self.suite_env = suite.load(domain, task, task_kwargs={"random": 0})
        self.metadata = {**self.metadata, "render_fps": round(1 / self.suite_env.control_timestep())}
        quality = self.suite_env.physics.model.vis
        quality.global_.offwidth = quality.global_.offheight = size  # the picture is the same, and drawn no larger than needed
        if render == "fast":
            quality.quality.shadowsize = FAST_SHADOWS
        acts = self.suite_env.action_spec()
        self.action_space = spaces.Box(acts.minimum.astype(np.float32), acts.maximum.astype(np.float32), dtype=np.float32)
        width = sum(int(np.prod(entry.shape)) for entry in self.suite_env.observation_spec().values())
        self.observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        if render_mode is not None:
            self._try_to_draw()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """
        :param seed: decides the first state and those of all later episodes.
        :return: the state, its parts one after the other, (n,) float32, and an empty dictionary.
        """
        super().reset(seed=seed)
        if seed is not None or not self._seeded:  # else all that nobody seeds would play the same episodes
            self.suite_env.task.random.seed(int(self.np_random.integers(2**32)))
            self._seeded = True
        return self._state(self.suite_env.reset()), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        :param action: (n,), within the bounds of the action space.
        :return: state, reward between 0 and 1, terminated (where the suite's discount is 0), truncated, an empty dictionary.
        """
        step = self.suite_env.step(np.asarray(action, np.float64))
        over, terminal = bool(step.last()), step.discount == 0
        return self._state(step), float(step.reward), over and terminal, over and not terminal, {}

    def render(self) -> np.ndarray | None:
        """
        :return: (size, size, 3) uint8 from the task's first camera, if that was asked for.
        """
        if self.render_mode is None:
            return None
        return self.suite_env.physics.render(self.size, self.size, camera_id=self.camera)

    def close(self) -> None:
        """Free the memory of the simulation and of the pictures."""
        self.suite_env.physics.free()

    def _state(self, step: Any) -> np.ndarray:
        return np.concatenate([np.ravel(entry) for entry in step.observation.values()]).astype(np.float32)

    def _try_to_draw(self) -> None:
        try:
            self.render()
        except Exception as error:  # of PyOpenGL's, GLFW's, or an attribute of a context that was not made
            raise ValueError(f"dm_control cannot draw here ({' '.join(str(error).split())}); {HELP}.") from error
