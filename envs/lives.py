"""Lives as episodes, for what learns; the game goes on."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class LifeLoss(VecEnvWrapper):
    """
    A lost life ends an episode of the learner's (Mnih et al., 2015, https://doi.org/10.1038/nature14236), and the next one
    begins with what is seen then. A ``Monitor`` inside still records whole games. Frames have to be stacked outside of it, so
    that no stack reaches over an end.

    :param venv: environments whose infos tell the ``lives`` that are left, as those of Atari games do.
    """

    def __init__(self, venv: VecEnv):
        super().__init__(venv)
        self.lives = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> VecEnvObs:
        """
        :return: the observations of new games.
        """
        self.lives[:] = 0
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """
        :return: as the environments', ``dones`` true where a life was lost too, with the observation as that episode's last.
        :raises ValueError: if an environment does not tell its lives.
        """
        observations, rewards, dones, infos = self.venv.step_wait()
        if not all("lives" in info for info in infos):
            raise ValueError("A lost life can end an episode only where info['lives'] tells them, as in Atari games.")
        left = np.array([info["lives"] for info in infos])
        # As in Stable-Baselines3's EpisodicLifeEnv: some games show 0 lives for a while before they end.
        lost = (left < self.lives) & (left > 0) & ~dones
        for index in np.flatnonzero(lost):
            assert isinstance(observations, np.ndarray)
            infos[index]["terminal_observation"] = observations[index].copy()
            infos[index]["TimeLimit.truncated"] = False
        self.lives = np.where(dones, 0, left)
        return observations, rewards, dones | lost, infos
