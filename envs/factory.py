"""Makes one environment ready for an agent that sees images."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
from gymnasium import spaces
from gymnasium.wrappers import AddRenderObservation

from envs.actions import ACTION_FACTORS, DiscreteActions, FactoredActions, action_table
from envs.atari import start_and_skip, take_options
from envs.preprocessing import FrameSkip, ImageObservation, has_image
from envs.registration import DM_CONTROL, MINIGRID_FULL, PIXEL_IDS, find_spec, is_minigrid

FAST_IDS = {"CarRacing-v2": "CarRacingFast-v2", "CarRacing-v3": "CarRacingFast-v3"}
STOCK_IDS = {fast: stock for stock, fast in FAST_IDS.items()}


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

    MiniGrid's ids, such as ``MiniGrid-DoorKey-5x5-v0``, give the picture of what the agent sees; ``MiniGridFull-`` in place of
    ``MiniGrid-``: that of the whole grid. The mission, a text, is left out (:class:`envs.minigrid_views.MiniGridPicture`).

    The control suite's ids, such as ``dm_control/cartpole-swingup-v0``, give their picture, drawn once after a frame skip
    (:class:`envs.dmc.ControlTask`).

    :param env_id: a registered id, those of this project included; ``module:id`` imports ``module`` first.
    :param render: ``"fast"`` draws CarRacing by OpenCV and the control suite with coarser shadows, ``"stock"`` as their own
        code does; other environments have one picture only.
    :param pixels: observe the rendered picture of an environment that observes none.
    :param size: height and width in pixels.
    :param grayscale: turn three channels into one.
    :param frame_skip: how often each action is repeated; None: 4 in CarRacing and 1 elsewhere.
    :param actions: ``"continuous"``, ``"discrete"`` (the environment's own discrete mode), a name in ``ACTION_TABLES``, or a
        list of rows of a continuous environment; None: the environment as it is.
    :param render_mode: for ``.render()``, such as ``"rgb_array"`` for videos, which show the stock picture at full size.
    :param env_kwargs: further keywords of the environment itself; of an Atari game also those of
        :func:`envs.atari.start_and_skip`.
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
        if "max_episode_steps" in kwargs:  # gym.make would count it in agent steps, around the frame skip
            limit = kwargs.pop("max_episode_steps")
            spec = dataclasses.replace(spec, kwargs={**spec.kwargs, "max_episode_steps": None if limit == -1 else limit})
        kwargs.update(frame_skip=skip, size=size, grayscale=grayscale)
    if spec.id.startswith(DM_CONTROL):
        kwargs.update(size=size, render=render)
        pixels = True
    if spec.id in PIXEL_IDS:  # drawn at the size that is wanted
        kwargs.update(size=size, grayscale=grayscale)
    atari = take_options(spec, kwargs)
    if pixels and not car_racing:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"pixels=True renders to 'rgb_array', so that render_mode cannot be {render_mode!r}.")
        render_mode = "rgb_array"
    if render_mode != "human" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        env = gym.make(spec, render_mode=render_mode, disable_env_checker=True, **kwargs)
    except (gym.error.Error, TypeError, ImportError) as error:
        raise ValueError(f"The environment {env_id!r} could not be made: {error}") from error
    modes = env.metadata.get("render_modes") or []
    if render_mode is not None and render_mode not in modes:
        env.close()
        raise ValueError(f"{env_id} cannot be rendered as {render_mode!r}; its render modes are {modes}.")
    env = with_actions(env, actions)
    if fast:
        return env
    if any(atari.values()):
        env = start_and_skip(env, skip, **atari)
    elif skip != 1:
        env = FrameSkip(env, skip)
    if is_minigrid(spec.id):
        from envs.minigrid_views import MiniGridPicture  # needs the package, which few have

        env = MiniGridPicture(env, "full" if spec.id.startswith(MINIGRID_FULL) else "partial", size)
    if not has_image(env.observation_space):
        if not pixels:
            space = env.observation_space
            env.close()
            remedy = "pixels=True (--pixels) trains on its rendered picture"
            raise ValueError(f"{env_id} observes {' '.join(str(space).split())}, which holds no image; {remedy}.")
        env = AddRenderObservation(env, render_only=True)
    return ImageObservation(env, size, grayscale)


def with_actions(env: gym.Env, actions: str | Sequence[Sequence[float]] | None) -> gym.Env:
    """
    Give an environment the wanted kind of actions.

    :param env: environment.
    :param actions: as in :func:`make_env`.
    :return: the environment, wrapped where its actions change.
    :raises ValueError: if it cannot have them.
    """
    if actions is None:
        return env
    wanted = {"continuous": spaces.Box, "discrete": spaces.Discrete}.get(actions) if isinstance(actions, str) else None
    if isinstance(actions, str) and actions in ACTION_FACTORS:
        return FactoredActions(env, ACTION_FACTORS[actions])
    if wanted is None:
        return DiscreteActions(env, action_table(actions))
    if not isinstance(env.action_space, wanted):
        raise ValueError(f"actions={actions!r} does not fit the environment's action space, {env.action_space}.")
    return env
