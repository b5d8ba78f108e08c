"""Which of EnvPool's environments an id means, and how it becomes the one that Gymnasium has under that id."""

import difflib
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from envs.envpool_atari import NO_LIMIT, AtariGame, atari_game
from envs.envpool_vec import PoolTask
from envs.factory import with_actions
from envs.preprocessing import ImageObservation, has_image
from envs.procgen import pool_name
from envs.registration import PROCGEN, UnknownEnvironment, find_spec

# EnvPool's options that are decided here, so that nobody else may.
OWN_OPTIONS = {
    *("num_envs", "batch_size", "max_num_players", "base_path", "seed", "env_seed", "gym_reset_return_info"),
    *("task", "frame_skip", "stack_num", "noop_max", "use_fire_reset", "episodic_life", "zero_discount_on_life_loss"),
    *("img_height", "img_width", "gray_scale", "use_inter_area_resize"),
}
OTHERS = "vec='dummy' and vec='subproc'"


class _Spaces(gym.Env):
    """Stands where wrappers ask an environment for its spaces."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space):
        self.observation_space = observation_space
        self.action_space = action_space


def find_task(
    env_id: str,
    n_envs: int,
    *,
    render: str = "fast",
    pixels: bool = False,
    size: int = 64,
    grayscale: bool = True,
    frame_skip: int | None = None,
    actions: str | Sequence[Sequence[float]] | None = None,
    render_mode: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> PoolTask:
    """
    EnvPool's environment for an id, seen and acted in as :func:`envs.make_env` has it.

    Atari (:mod:`envs.envpool_atari`): any id of ``ale_py``'s, or EnvPool's own: ``Pong-v5`` for ``ALE/Pong-v5``.

    CarRacing: task and physics are the stock ones, tracks come from the same distribution by other random numbers, and the
    picture is EnvPool's: jagged edges, skid marks that the stock observation leaves out, the reward as dots (figures in
    ``benchmarks/env_speed.md``). EnvPool terminates a finished lap under both ids; here that truncates ``CarRacing-v2``.

    Procgen (``procgen/coinrun-v0``): the same game as :class:`envs.procgen.ProcgenGame`, many in one pool.

    :param env_id: an id of Gymnasium's that EnvPool has as well, or one that EnvPool alone has.
    :param n_envs: number of environments.
    :param render: ``"stock"`` is refused for CarRacing.
    :param pixels: refused where there is no image, since nothing is rendered.
    :param size: as the following, of :func:`envs.make_env`.
    :param render_mode: refused.
    :param env_kwargs: EnvPool's options of the environment, such as ``num_threads``; for Atari ``ale_py``'s keywords and
        those of :func:`envs.atari.start_and_skip` too.
    :return: the task.
    :raises UnknownEnvironment: if EnvPool has no such environment.
    :raises ValueError: if EnvPool is not installed, or does not offer what is asked for.
    """
    envpool = _import_envpool()
    if render_mode is not None:
        raise ValueError(f"vec='envpool' renders nothing, so render_mode={render_mode!r} cannot be had; {OTHERS} have it.")
    env_kwargs = dict(env_kwargs or {})
    name, spec = _find_name(env_id, envpool.list_all_envs(), env_kwargs)
    car_racing = name.startswith("CarRacing-")
    if car_racing and render == "stock":
        raise ValueError(f"vec='envpool' draws CarRacing its own way, so render='stock' cannot be had; {OTHERS} have it.")
    skip = frame_skip if frame_skip is not None else 4 if car_racing else 1
    if skip < 1:
        raise ValueError(f"frame_skip must be 1 or more, not {skip}.")
    pool_spec, options, game = _find_options(envpool, name, env_id, spec, grayscale, env_kwargs)
    limit = pool_spec.config.max_episode_steps
    if spec is not None and spec.id.startswith(PROCGEN):  # its games end at the limit themselves, which EnvPool alone can tell
        limit = None
    else:
        options["max_episode_steps"] = min(limit + 1, NO_LIMIT)  # EnvPoolVec counts
    stub = _Spaces(pool_spec.gymnasium_observation_space, pool_spec.gymnasium_action_space)
    if isinstance(stub.observation_space, spaces.Dict):
        raise ValueError(f"EnvPool's {name} observes a Dict, which vec='envpool' does not offer; {OTHERS} do.")
    if not has_image(stub.observation_space):
        remedy = f"{OTHERS} can train on its rendered picture, with pixels=True (--pixels)"
        raise ValueError(f"EnvPool's {name} observes no image, and vec='envpool' renders none; {remedy}.")
    picture = ImageObservation(stub, size, grayscale)
    if car_racing and actions == "discrete":
        actions = "drive5"  # Gymnasium's own five
    acting = with_actions(stub, actions)

    def make(seeds: list[int]) -> Any:
        return envpool.make_gymnasium(name, num_envs=n_envs, env_seed=seeds, **options)

    assert isinstance(picture.observation_space, spaces.Box)
    return PoolTask(
        env_id=env_id,
        make=make,
        observation_space=picture.observation_space,
        action_space=acting.action_space,
        see=picture.observation,
        act=getattr(acting, "action", None),
        frame_skip=skip * (game.frames if game else 1),
        max_of_two=game is not None and game.max_of_two,
        limit=limit,
        truncates=_laps if name == "CarRacing-v2" else None,
    )


def _import_envpool() -> Any:
    try:
        import envpool
    except ImportError as error:
        remedy = "pip install -e '.[envpool]' brings it"
        raise ValueError(f"vec='envpool' needs the package envpool; {remedy}, and {OTHERS} do without.") from error
    return envpool


def _find_name(env_id: str, pool_ids: list[str], keywords: dict[str, Any]) -> tuple[str, EnvSpec | None]:
    """EnvPool's id, and Gymnasium's specification where it has the environment too; takes out what the id says already."""
    try:
        spec: EnvSpec | None = find_spec(env_id)
    except UnknownEnvironment:
        spec = None
    wanted = env_id.removeprefix("ALE/") if spec is None else spec.id
    if spec is not None and str(spec.entry_point).startswith("ale_py"):
        wanted = f"{spec.kwargs['game'].replace('_', '')}-v5"
    if spec is not None and spec.id.startswith(PROCGEN):
        wanted = pool_name(spec.kwargs["game"], keywords.pop("distribution", "easy"))
    known = {pool_id.lower(): pool_id for pool_id in pool_ids}
    if wanted in pool_ids or (wanted != env_id and wanted.lower() in known):
        return known[wanted.lower()], spec
    close = [known[match] for match in difflib.get_close_matches(wanted.lower(), known, n=3, cutoff=0.7)]
    advice = f"it has {' and '.join(close)}, and " if close else ""
    raise UnknownEnvironment(f"vec='envpool' has no environment {env_id!r}; {advice}{OTHERS} take any that Gymnasium has.")


def _find_options(
    envpool: Any, name: str, env_id: str, spec: EnvSpec | None, grayscale: bool, options: dict[str, Any]
) -> tuple[Any, dict[str, Any], AtariGame | None]:
    """EnvPool's specification of an environment, the options that it is made with, and which Atari game it is if it is one."""
    try:
        known = set(envpool.make_spec(name).config._fields)
    except ImportError as error:
        raise ValueError(f"EnvPool's {name} cannot be used here: {' '.join(str(error).split())}") from error
    game = None
    if "noop_max" in known:
        game = atari_game(env_id, {**(spec.kwargs if spec else {}), **options}, grayscale)
        options = dict(game.options)
    elif spec is not None and spec.max_episode_steps is not None:
        options.setdefault("max_episode_steps", spec.max_episode_steps)
    wrong = [option for option in options if option not in known or option in OWN_OPTIONS]
    if wrong:
        raise ValueError(f"EnvPool's {name} takes no option {wrong[0]!r}; it takes {', '.join(sorted(known - OWN_OPTIONS))}.")
    if game is not None:
        options |= game.own
    if "stack_num" in known:
        options["stack_num"] = 1
    try:
        return envpool.make_spec(name, **options), options, game
    except TypeError as error:
        raise ValueError(f"EnvPool's {name} cannot be made with the options {options}.") from error


def _laps(rewards: np.ndarray) -> np.ndarray:
    """Which ends of CarRacing are finished laps: -100 is the reward for leaving the playfield, and for nothing else."""
    return rewards > -100
