"""Makes a vector of environments for Stable-Baselines3."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from envs.factory import FAST_IDS, STOCK_IDS, make_env
from envs.registration import PIXEL_IDS, PROCGEN, find_spec, is_minigrid

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


def _make_monitored(
    spec: EnvSpec, env_id: str, index: int, seed: int | None, monitor_dir: str | None, kwargs: dict[str, Any]
) -> gym.Env:
    """One environment of a vector, in whatever process it will live in."""
    from stable_baselines3.common.monitor import Monitor

    gym.registry.setdefault(spec.id, spec)  # an id that was registered by hand is unknown to a new process
    env = make_env(env_id, **kwargs)
    if seed is not None:
        env.action_space.seed(seed + index)
    return Monitor(env, None if monitor_dir is None else str(Path(monitor_dir) / str(index)))


def processes_pay(env_id: str, n_envs: int, render: str = "fast") -> bool:
    """
    Whether ``vec="auto"`` gives each environment its own process.

    :param env_id: as in :func:`envs.make_env`.
    :param n_envs: number of environments.
    :param render: which picture of CarRacing.
    :return: True where a step may be slow (all but the fast CarRacing, the pixel control set, MiniGrid and Procgen), there
        are several environments and several cores.
    """
    spec_id = find_spec(env_id).id
    fast = spec_id in PIXEL_IDS or is_minigrid(spec_id) or spec_id.startswith(PROCGEN)
    fast = fast or (render == "fast" and (spec_id in FAST_IDS or spec_id in STOCK_IDS))
    return not fast and n_envs > 1 and (os.cpu_count() or 1) > 1


def make_vec_env(
    env_id: str,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    vec: Literal["auto", "dummy", "subproc", "envpool"] = "auto",
    frame_stack: int = 4,
    lives_as_episodes: bool = False,
    monitor_dir: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> "VecEnv":
    """
    Make a vector of environments with stacked frames, for Stable-Baselines3.

    :param env_id: as in :func:`make_env`.
    :param n_envs: number of environments.
    :param seed: environment i is seeded with ``seed + i`` at its first reset; None: from entropy.
    :param vec: ``"dummy"`` steps them in this process, ``"subproc"`` each in its own, ``"envpool"`` in the C++ threads of the
        package EnvPool, whose environments these then are (:func:`envs.envpool_tasks.find_task`). ``"auto"``: processes where
        they pay (:func:`processes_pay`), and never EnvPool: a seed means other episodes there and CarRacing looks different,
        so that a run would depend on what is installed, for a gain that ``benchmarks/env_speed.md`` shows to be small or none.
    :param frame_stack: number of frames in an observation, oldest to newest along the channels, zeros before the first.
    :param lives_as_episodes: a lost life is the end of an episode to the learner (:class:`envs.lives.LifeLoss`), in the
        environments of ``ale_py`` and whatever else tells its lives.
    :param monitor_dir: folder for the ``Monitor`` files, which hold raw returns and lengths in agent steps; None: no files.
    :param kwargs: of :func:`make_env`.
    :return: the vector; images are (channels, size, size) uint8.
    :raises UnknownEnvironment: if nothing has that id.
    :raises ValueError: if an argument does not fit.
    """
    # Imported here since they import torch, which a process that only steps an environment can do without.
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    from envs.lives import LifeLoss
    from envs.stacking import stack_frames

    if n_envs < 1 or frame_stack < 1:
        raise ValueError(f"n_envs and frame_stack must be 1 or more, not {n_envs} and {frame_stack}.")
    if vec not in ("auto", "dummy", "subproc", "envpool"):
        raise ValueError(f"vec must be 'auto', 'dummy', 'subproc' or 'envpool', not {vec!r}.")
    if vec == "envpool":
        from envs.envpool_tasks import find_task
        from envs.envpool_vec import EnvPoolVec

        venv: VecEnv = EnvPoolVec(find_task(env_id, n_envs, **kwargs), n_envs, monitor_dir)
        venv.action_space.seed(seed)
        venv.seed(seed)
        return stack_frames(LifeLoss(venv) if lives_as_episodes else venv, frame_stack)
    spec = find_spec(env_id)
    if vec == "auto":
        vec = "subproc" if processes_pay(env_id, n_envs, kwargs.get("render", "fast")) else "dummy"
    if vec == "subproc":
        make_env(env_id, **kwargs).close()  # so that what is wrong is said here, and not by a broken pipe
    folder = None if monitor_dir is None else os.fspath(monitor_dir)
    thunks: list[Callable[[], gym.Env]] = [
        partial(_make_monitored, spec, env_id, index, seed, folder, kwargs) for index in range(n_envs)
    ]
    venv = DummyVecEnv(thunks) if vec == "dummy" else SubprocVecEnv(thunks)
    venv.seed(seed)
    return stack_frames(LifeLoss(venv) if lives_as_episodes else venv, frame_stack)
