"""Evaluation on a fixed set of episodes, in as many processes as there are cores, without a trace in the training."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from agents.errors import UserError
from agents.randomness import undisturbed
from cpc_rl.interrupts import interrupts_ignored
from envs import make_env
from envs.stacking import stack_frames

# Seeds of the episodes, out of each other's way and of training_seed's.
PERIODIC_SEEDS = 1_000_000
FINAL_SEEDS = 2_000_000
SIDE_BY_SIDE = 10  # environments of one process: ten episodes of pixel CartPole then take a sixth of the time
VIDEO_SEED = 3_000_000


class Evaluation(NamedTuple):
    """Undiscounted returns and lengths in agent steps, one per episode, in the order of the seeds."""

    returns: np.ndarray  # (N,) float64
    lengths: np.ndarray  # (N,) int64


class EpisodeSeeds(gym.Wrapper):
    """
    Plays the episodes of given seeds, one after the other, sums their rewards, and stands still after the last.

    :param env: any environment
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.seeds: list[int] = []
        self.total = 0.0
        self.length = 0
        self.idle = False

    def set_seeds(self, seeds: list[int]) -> None:
        """The episodes to play from the next reset on."""
        self.seeds = list(seeds)
        self.idle = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; the seed given here is not used."""
        self.idle = not self.seeds
        if self.idle:
            return self.env.observation_space.sample(), {}
        self.total, self.length = 0.0, 0
        self.playing = self.seeds.pop(0)
        return self.env.reset(seed=self.playing, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One agent step; at an episode's end ``info["result"]`` is its seed, return and length."""
        if self.idle:
            return self.env.observation_space.sample(), 0.0, False, False, {}
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        self.length += 1
        if terminated or truncated:
            info = {**info, "result": (self.playing, self.total, self.length)}
        return observation, float(reward), terminated, truncated, info


class Evaluator:
    """
    Environments that are kept open between evaluations.

    :param env_id: a Gymnasium id
    :param keywords: of :func:`envs.make_vec_env`: preprocessing, and the picture to see
    :param processes: that play, an environment in each; a single one plays up to ten environments side by side, whose
        observations the policy gets as a batch
    :param deterministic: take the policy's most likely or mean actions; otherwise actions drawn from it, which a model of
        values, such as DQN, has none of: it takes the best ones
    :param epsilon: share of discrete actions that are drawn uniformly instead
    """

    def __init__(
        self,
        env_id: str,
        keywords: dict[str, Any],
        processes: int | None = None,
        *,
        deterministic: bool = True,
        epsilon: float = 0.0,
    ):
        self.env_id = env_id
        self.deterministic = deterministic
        self.epsilon = epsilon
        self.keywords = dict(keywords)
        self.frame_stack = self.keywords.pop("frame_stack")
        self.processes = processes or os.cpu_count() or 1
        self.vec_env: VecEnv | None = None

    def evaluate(self, model: BaseAlgorithm, seeds: Sequence[int]) -> Evaluation:
        """
        Play one episode for each seed.

        The process's random generators, the policy's mode and the training's environments are as before afterwards.

        :param model: any model whose spaces fit
        :param seeds: of the episodes; together with the policy they decide everything, but that which actions are drawn where
            they are drawn depends on the number of processes too
        """
        training = model.policy.training
        with undisturbed():
            if not self.deterministic:
                set_random_seed(seeds[0])
            try:
                return self._play(model, list(seeds))
            finally:
                model.policy.set_training_mode(training)

    def close(self) -> None:
        """End the processes."""
        if self.vec_env is not None:
            self.vec_env.close()
            self.vec_env = None

    def _play(self, model: BaseAlgorithm, seeds: list[int]) -> Evaluation:
        n_envs = min(self.processes if self.processes > 1 else SIDE_BY_SIDE, len(seeds))
        if self.vec_env is None or self.vec_env.num_envs < n_envs:
            self.close()
            self.vec_env = self._make(n_envs)
        vec_env = self.vec_env
        for index in range(vec_env.num_envs):
            vec_env.env_method("set_seeds", seeds[index :: vec_env.num_envs], indices=[index])
        # Where Stable-Baselines3's DQN is not deterministic it acts as in training: as much at random as it explores just now.
        deterministic = self.deterministic or hasattr(model, "exploration_rate")
        observations = vec_env.reset()
        state: Any = None
        starts = np.ones(vec_env.num_envs, dtype=bool)
        generator = np.random.default_rng(seeds[0])
        results: dict[int, tuple[float, int]] = {}
        while len(results) < len(seeds):
            actions, state = choose_actions(model, vec_env, observations, state, starts, deterministic=deterministic)
            actions = mostly(actions, vec_env.action_space, self.epsilon, generator)
            observations, _, starts, infos = vec_env.step(actions)
            for info in infos:
                if "result" in info:
                    seed, total, length = info["result"]
                    results[seed] = (total, length)
        returns, lengths = zip(*(results[seed] for seed in seeds), strict=True)
        return Evaluation(np.array(returns), np.array(lengths))

    def _make(self, n_envs: int) -> VecEnv:
        makers: list[Callable[[], gym.Env]] = [partial(_make_one, self.env_id, self.keywords)] * n_envs
        with interrupts_ignored():
            vec_env: VecEnv = SubprocVecEnv(makers) if self.processes > 1 and n_envs > 1 else DummyVecEnv(makers)
        return stack_frames(vec_env, self.frame_stack)


def choose_actions(
    model: BaseAlgorithm, vec_env: VecEnv, observations: Any, state: Any, starts: np.ndarray, *, deterministic: bool = True
) -> tuple[np.ndarray, Any]:
    """
    The policy's actions.

    :param state: of a recurrent policy, as the last call gave it; ``None`` at first
    :param starts: (n_envs,) bool, where an episode begins
    :param deterministic: the most likely or mean ones; otherwise they are drawn
    :return: actions and the new state
    """
    masked = type(model).__name__ == "MaskablePPO" and is_masking_supported(vec_env)
    more = {"action_masks": get_action_masks(vec_env)} if masked else {}
    return model.predict(observations, state=state, episode_start=starts, deterministic=deterministic, **more)


def mostly(actions: np.ndarray, space: spaces.Space, epsilon: float, generator: np.random.Generator) -> np.ndarray:
    """
    The actions, but for some that are drawn uniformly.

    :param actions: (n_envs,) int
    :param space: that they are from
    :param epsilon: how likely each of them is drawn; at 0 nothing is drawn and any space will do
    :raises UserError: other than discrete actions
    """
    if not epsilon:
        return actions
    if not isinstance(space, spaces.Discrete):
        raise UserError(f"The recipe's evaluation.epsilon draws discrete actions, and the environment's are {space}.")
    drawn = generator.random(len(actions)) < epsilon
    return np.where(drawn, generator.integers(space.n, size=len(actions)) + space.start, actions)


def _make_one(env_id: str, keywords: dict[str, Any]) -> gym.Env:
    return EpisodeSeeds(make_env(env_id, **keywords))
