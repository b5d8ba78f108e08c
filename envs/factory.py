"""The two functions that make environments ready for an agent that sees images."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
from gymnasium import spaces
from gymnasium.wrappers import AddRenderObservation

from envs.actions import DiscreteActions, action_table
from envs.preprocessing import FrameSkip, ImageObservation, is_image
from envs.registration import find_spec

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

FAST_IDS = {"CarRacing-v2": "CarRacingFast-v2", "CarRacing-v3": "CarRacingFast-v3"}
STOCK_IDS = {fast: stock for stock, fast in FAST_IDS.items()}


def _has_image(space: spaces.Space) -> bool:
    return any(map(is_image, space.spaces.values())) if isinstance(space, spaces.Dict) else is_image(space)


def make_env(
    env_id: str,
    *,
    render: Literal["fast", "stock"] = "fast",
    pixels: bool = False,
    size: int = 64,
    grayscale: bool = True,
    frame_skip: int | None = None,
    actions: str | Sequence[Sequence[float]] | None = None,
    render_mode: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> gym.Env:
    """
    Make an environment that observes (size, size, channels) uint8 images, all preprocessing done but the frame stack.

    :param env_id: a registered id, those of this project included; ``module:id`` imports ``module`` first.
    :param render: ``"fast"`` draws CarRacing by OpenCV, ``"stock"`` by its own code; other environments have their own picture only.
    :param pixels: observe the rendered picture of an environment that observes none.
    :param size: height and width in pixels.
    :param grayscale: one channel and not three.
    :param frame_skip: how often each action is repeated; None: 4 in CarRacing and 1 elsewhere.
    :param actions: ``"continuous"``, ``"discrete"`` (the environment's own discrete mode), a name in ``ACTION_TABLES``, or a list of rows
        of a continuous environment; None: the environment as it is.
    :param render_mode: for ``.render()``, such as ``"rgb_array"`` for videos, which show the stock picture at full size.
    :param env_kwargs: further keywords of the environment itself.
    :return: the environment, without a ``Monitor``.
    :raises UnknownEnvironment: if nothing has that id.
    :raises ValueError: if there is no image without ``pixels``, or an argument does not fit.
    """
    if render not in ("fast", "stock"):
        raise ValueError(f"render must be 'fast' or 'stock', not {render!r}.")
    spec = find_spec(env_id)
    kwargs = dict(env_kwargs or {})
    car_racing = spec.id in FAST_IDS or spec.id in STOCK_IDS
    skip = frame_skip if frame_skip is not None else 4 if car_racing else 1
    if car_racing:
        spec = find_spec((FAST_IDS if render == "fast" else STOCK_IDS).get(spec.id, spec.id))
        if actions == "discrete":
            kwargs["continuous"] = False
    fast = spec.id in STOCK_IDS
    if fast:
        kwargs.update(frame_skip=skip, size=size, grayscale=grayscale)
    if pixels and not car_racing:
        render_mode = render_mode or "rgb_array"
    if render_mode != "human" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        env = gym.make(spec, render_mode=render_mode, disable_env_checker=True, **kwargs)
    except (gym.error.Error, TypeError) as error:
        raise ValueError(f"The environment {env_id!r} could not be made: {error}") from error
    env = _with_actions(env, actions)
    if fast:
        return env
    if skip != 1:
        env = FrameSkip(env, skip)
    if not _has_image(env.observation_space):
        if not pixels:
            space = env.observation_space
            env.close()
            raise ValueError(f"{env_id} observes {space}, which holds no image; pixels=True (--pixels) trains on its rendered picture.")
        env = AddRenderObservation(env, render_only=True)
    return ImageObservation(env, size, grayscale)


def _with_actions(env: gym.Env, actions: str | Sequence[Sequence[float]] | None) -> gym.Env:
    """The environment with the wanted kind of actions; a sentence where it cannot have them."""
    if actions is None:
        return env
    wanted = {"continuous": spaces.Box, "discrete": spaces.Discrete}.get(actions) if isinstance(actions, str) else None
    if wanted is None:
        return DiscreteActions(env, action_table(actions))
    if not isinstance(env.action_space, wanted):
        raise ValueError(f"actions={actions!r} does not fit the environment's action space, {env.action_space}.")
    return env


def _make_monitored(env_id: str, index: int, seed: int | None, monitor_dir: str | None, kwargs: dict[str, Any]) -> gym.Env:
    """One environment of a vector, in whatever process it will live in."""
    from stable_baselines3.common.monitor import Monitor

    env = make_env(env_id, **kwargs)
    if seed is not None:
        env.action_space.seed(seed + index)
    return Monitor(env, None if monitor_dir is None else str(Path(monitor_dir) / str(index)))


def make_vec_env(
    env_id: str,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    vec: Literal["auto", "dummy", "subproc"] = "auto",
    frame_stack: int = 4,
    monitor_dir: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> "VecEnv":
    """
    Make a vector of environments with stacked frames, for Stable-Baselines3.

    :param env_id: as in :func:`make_env`.
    :param n_envs: number of environments.
    :param seed: environment i is seeded with ``seed + i`` at its first reset; None: from entropy.
    :param vec: ``"dummy"`` steps them in this process, ``"subproc"`` each in its own; ``"auto"``: processes where a step is slow (a stock
        picture, unknown environments), there are several environments, and there is more than one core.
    :param frame_stack: number of frames in an observation, oldest to newest along the channels, zeros before an episode's first.
    :param monitor_dir: folder for the ``Monitor`` files, which hold raw returns and lengths in agent steps; None: no files.
    :param kwargs: of :func:`make_env`.
    :return: the vector; images are (channels, size, size) uint8.
    :raises UnknownEnvironment: if nothing has that id.
    :raises ValueError: if an argument does not fit.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecTransposeImage

    if n_envs < 1 or frame_stack < 1:
        raise ValueError(f"n_envs and frame_stack must be 1 or more, not {n_envs} and {frame_stack}.")
    if vec not in ("auto", "dummy", "subproc"):
        raise ValueError(f"vec must be 'auto', 'dummy' or 'subproc', not {vec!r}.")
    spec = find_spec(env_id)
    fast = spec.id in STOCK_IDS or (spec.id in FAST_IDS and kwargs.get("render", "fast") == "fast")
    if vec == "auto":
        vec = "dummy" if fast or n_envs == 1 or (os.cpu_count() or 1) == 1 else "subproc"
    folder = None if monitor_dir is None else os.fspath(monitor_dir)
    thunks = [partial(_make_monitored, env_id, index, seed, folder, kwargs) for index in range(n_envs)]
    venv: VecEnv = DummyVecEnv(thunks) if vec == "dummy" else SubprocVecEnv(thunks)
    venv.seed(seed)
    if frame_stack > 1:
        venv = VecFrameStack(venv, frame_stack, channels_order="last")
    return VecTransposeImage(venv)
