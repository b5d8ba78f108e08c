"""EnvPool's environments, stepped together in C++, as a vector that Stable-Baselines3 takes for one of its own."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


@dataclass(frozen=True)
class PoolTask:
    """What an :class:`EnvPoolVec` steps, and what the agent sees of it."""

    env_id: str
    make: Callable[[list[int]], Any]  # one seed of 32 bits for each environment -> EnvPool's own vector, Gymnasium's interface
    observation_space: spaces.Box  # of the agent
    action_space: spaces.Space  # of the agent
    see: Callable[[np.ndarray], np.ndarray]  # one observation of EnvPool's -> one of the agent's
    act: Callable[[Any], Any] | None = None  # one action of the agent's -> one of EnvPool's; None: they are the same
    frame_skip: int = 1  # how often an action is repeated
    max_of_two: bool = False  # show the brighter of the last two frames of a frame skip, pixel by pixel; otherwise the last
    limit: int | None = None  # steps in EnvPool after which an episode is truncated; what is made must not count to it itself
    truncates: Callable[[np.ndarray], np.ndarray] | None = None  # rewards (n,) -> where what EnvPool terminates is truncated


class EnvPoolVec(VecEnv):
    """
    Steps EnvPool's environments with the contract of ``DummyVecEnv`` over ``Monitor``.

    EnvPool begins an episode on the NEXT step: the call after an end ignores its action and returns the first observation
    with reward 0 (``AutoresetMode.NEXT_STEP``). Stable-Baselines3 wants it on the SAME step. So the environments that have
    just ended, and only those, are reset by a second call before :meth:`step_wait` returns: no step is lost, none is
    invented, and ``terminal_observation`` holds what was seen last. A frame skip is made of calls for the environments still
    running, so that one which ends early waits for the others.

    EnvPool fixes its seeds when it is made. So :meth:`seed` has the next :meth:`reset` make it anew: the same seed is the same
    run, whatever the number of threads. Its random numbers are not Gymnasium's: there a seed means other episodes.

    ``infos`` hold what Stable-Baselines3 reads: ``TimeLimit.truncated``, and at an end ``terminal_observation`` and
    ``episode`` (``r`` raw return, ``l`` agent steps, ``t`` seconds); also the ``lives`` that are left, where EnvPool tells
    them. Time limits are counted here, since EnvPool calls an episode that ends in its last possible step truncated, and not
    also terminated.

    :param task: what to step.
    :param num_envs: number of environments.
    :param monitor_dir: folder for files such as ``Monitor`` writes, one for each environment; None: no files.
    """

    def __init__(self, task: PoolTask, num_envs: int, monitor_dir: str | os.PathLike[str] | None = None):
        super().__init__(num_envs, task.observation_space, task.action_space)
        self.task = task
        self.pool: Any = None
        self.ids = np.arange(num_envs, dtype=np.int32)
        self.actions = np.zeros(0)
        self.began = time.time()
        self.returns, self.lengths = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        header: dict[str, float | str] = {"t_start": self.began, "env_id": task.env_id}
        files = [] if monitor_dir is None else [str(Path(monitor_dir) / str(index)) for index in range(num_envs)]
        self.writers = [ResultsWriter(file, header=header) for file in files]

    def reset(self) -> VecEnvObs:
        """
        :return: first observations of new episodes, (n_envs, ...).
        """
        if self.pool is None and self._seeds[0] is None:
            self.seed(None)
        if self._seeds[0] is not None:
            self.pool = self.task.make([seed % 2**31 for seed in self._seeds if seed is not None])
        self._reset_seeds()
        self._reset_options()
        self.returns[:], self.lengths[:] = 0, 0
        observations = self._empty()
        self._see(self.pool.reset(self.ids)[0], self.ids, observations)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """
        :param actions: the agent's, (n_envs, ...).
        """
        act = self.task.act
        self.actions = np.asarray(actions) if act is None else np.stack([act(action) for action in actions])

    def step_wait(self) -> VecEnvStepReturn:
        """
        :return: observations, rewards (n_envs,) float32 summed over the frame skip, dones (n_envs,) bool, infos.
        """
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        observations, running = self._empty(), self.ids
        lives: np.ndarray | None = None
        before: np.ndarray | None = None  # the last frames of those still running
        for repeat in range(self.task.frame_skip):
            seen, reward, ended, cut, info = self.pool.step(self.actions[running], running)
            if "lives" in info:
                lives = np.zeros(self.num_envs, np.int64) if lives is None else lives
                lives[running] = info["lives"]
            if self.task.limit is not None:
                cut = cut | (info["elapsed_step"] >= self.task.limit)
            if self.task.truncates is not None:
                cut, ended = cut | (ended & self.task.truncates(reward)), ended & ~self.task.truncates(reward)
            terminated[running], truncated[running] = ended, cut
            rewards[running] += reward
            shown = terminated[running] | truncated[running] | (repeat + 1 == self.task.frame_skip)
            if shown.any():
                picture = seen if before is None else np.maximum(seen, before)
                self._see(picture if shown.all() else picture[shown], running[shown], observations)
            running = running[~shown]
            before = seen[~shown] if self.task.max_of_two else None
            if not len(running):
                break
        self.returns += rewards
        self.lengths += 1
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(out_of_time)} for out_of_time in truncated & ~terminated]
        if lives is not None:
            for own, left in zip(infos, lives, strict=True):
                own["lives"] = int(left)
        if dones.any():
            over = np.flatnonzero(dones).astype(np.int32)
            for index in over:
                infos[index] |= {"terminal_observation": observations[index].copy(), "episode": self._statistics(int(index))}
            self._see(self.pool.reset(over)[0], over, observations)
            self.returns[over], self.lengths[over] = 0, 0
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """End EnvPool's threads and close the files."""
        self.pool = None
        for writer in self.writers:
            writer.close()
        self.writers = []

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """``render_mode`` is None; there are no Python environments that could have other attributes."""
        if attr_name == "render_mode":
            return [None for _ in self._get_indices(indices)]
        raise AttributeError(f"EnvPool's environments live in C++ and have no attribute {attr_name!r}; those of 'dummy' do.")

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """
        :raises AttributeError: always.
        """
        raise AttributeError(f"EnvPool's environments live in C++ and take no attribute {attr_name!r}; those of 'dummy' do.")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """
        :raises AttributeError: always.
        """
        raise AttributeError(f"EnvPool's environments live in C++ and have no method {method_name!r}; those of 'dummy' do.")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """True for ``Monitor``, whose statistics are kept here; that spares a second one around it."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def _empty(self) -> np.ndarray:
        return np.empty((self.num_envs, *self.task.observation_space.shape), self.task.observation_space.dtype)

    def _see(self, seen: Iterable[np.ndarray], indices: np.ndarray, observations: np.ndarray) -> None:
        """Write what the agent sees of some environments into its observations."""
        for observation, index in zip(seen, indices, strict=True):
            observations[index] = self.task.see(observation)

    def _statistics(self, index: int) -> dict[str, float]:
        """An ended episode as ``Monitor`` has it, written to its file too."""
        seconds = round(time.time() - self.began, 6)
        episode = {"r": round(float(self.returns[index]), 6), "l": int(self.lengths[index]), "t": seconds}
        if self.writers:
            self.writers[index].write_row(episode)
        return episode
