"""Rewards on the scale that a value function learns best; what is reported stays on the environment's own."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class ScaledReward(VecEnvWrapper):
    """
    Multiplies every reward by a constant. A ``Monitor`` inside still records the raw returns.

    A running normalisation would do as much, but is state that evaluation, resuming and comparison would have to carry.

    :param venv: the environments
    :param scale: the factor, above 0
    :raises ValueError: if it is not
    """

    def __init__(self, venv: VecEnv, scale: float) -> None:
        if not scale > 0:
            raise ValueError(f"reward_scale must be above 0, but it is {scale}.")
        super().__init__(venv)
        self.scale = np.float32(scale)

    def reset(self) -> VecEnvObs:
        """The observations of new episodes."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """As the environments', the rewards ``(n_envs,)`` multiplied."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards * self.scale, dones, infos


class RewardSign(VecEnvWrapper):
    """
    Turns every reward into its sign: -1, 0 or 1, on which games of different scores can be learnt with the same settings (Mnih
    et al., 2015, https://doi.org/10.1038/nature14236). A ``Monitor`` inside still records the raw returns.

    :param venv: the environments
    """

    def reset(self) -> VecEnvObs:
        """The observations of new episodes."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """As the environments', the rewards' signs ``(n_envs,)``."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, np.sign(rewards), dones, infos
