"""Frame stacking for vectors of environments, by Stable-Baselines3's own wrappers."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from envs.preprocessing import is_image


class VecImageStack(VecFrameStack):
    """
    Stacks the images of ``Dict`` observations and leaves the other entries alone (``VecFrameStack`` stacks them all).

    :param venv: vector that observes a ``Dict`` with channel-last images.
    :param n_stack: number of frames.
    """

    def __init__(self, venv: VecEnv, n_stack: int):
        space = venv.observation_space
        assert isinstance(space, spaces.Dict)
        images = {key: entry for key, entry in space.spaces.items() if is_image(entry)}
        stack: Any = StackedObservations(venv.num_envs, n_stack, spaces.Dict(images), "last")
        self.stacked_obs = stack
        stacked = stack.stacked_observation_space
        # VecFrameStack's own constructor would stack every entry, and refuses those that are no Box.
        VecEnvWrapper.__init__(self, venv, observation_space=spaces.Dict({**space.spaces, **stacked.spaces}))
        self.keys = list(images)

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """
        :return: observations with the images stacked (those in ``terminal_observation`` too), rewards, dones, infos.
        """
        observations, rewards, dones, infos = self.venv.step_wait()
        assert isinstance(observations, dict)
        stack: Any = self.stacked_obs
        images, infos = stack.update({key: observations[key] for key in self.keys}, dones, infos)
        return {**observations, **images}, rewards, dones, infos

    def reset(self) -> Any:
        """
        :return: first observations, zeros before them in each stack.
        """
        observations = self.venv.reset()
        assert isinstance(observations, dict)
        stack: Any = self.stacked_obs
        return {**observations, **stack.reset({key: observations[key] for key in self.keys})}


def stack_frames(venv: VecEnv, n_stack: int) -> VecEnv:
    """
    Stack frames, oldest to newest along the channels, and put the channels first.

    :param venv: vector that observes channel-last images, or a ``Dict`` with some.
    :param n_stack: number of frames; 1 adds no stack.
    :return: the wrapped vector.
    """
    if n_stack > 1 and isinstance(venv.observation_space, spaces.Dict):
        venv = VecImageStack(venv, n_stack)
    elif n_stack > 1:
        venv = VecFrameStack(venv, n_stack, channels_order="last")
    return VecTransposeImage(venv)
