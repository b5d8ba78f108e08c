"""Who acts while episodes are recorded."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.type_aliases import TrainFrequencyUnit
from stable_baselines3.common.vec_env.vec_transpose import VecTransposeImage

from cpc_rl.frame_stacking import frames_in, stacked
from cpc_rl.saved_model import algorithm_class, load_algorithm


class Policy(ABC):
    """
    Observations in, actions out.

    :ivar name: as the dataset's metadata call it
    """

    name: str

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Start its draws anew."""

    def reset(self) -> None:  # noqa: B027, most have nothing to forget
        """Called before each episode."""

    @abstractmethod
    def __call__(self, observation: Any) -> Any:
        """:return: an action of the environment's space"""


class RandomPolicy(Policy):
    """
    Uniform actions.

    :param action_space: of the environment
    """

    name = "random"

    def __init__(self, action_space: spaces.Space) -> None:
        self.action_space = action_space

    def seed(self, seed: int) -> None:
        self.action_space.seed(seed)

    def __call__(self, observation: Any) -> Any:
        return self.action_space.sample()


class TrainedPolicy(Policy):
    """
    A model's own actions, drawn as in training (not the most likely ones, which would repeat themselves): with the noise that
    it was made with, with gSDE's drawn anew as often, and where it takes masks of the actions that are possible, by these.

    :param model: of SB3 or sb3-contrib, recurrent ones too
    :param observation_space: of the environment; where the model was trained on stacks of its images, they are stacked here
    :param masks: what gives the masks of the moment, for MaskablePPO: the environment's ``action_masks``
    :raises ValueError: if the model was trained on other observations
    """

    def __init__(self, model: BaseAlgorithm, observation_space: spaces.Space, masks: Callable[[], Any] | None = None) -> None:
        wanted = model.observation_space
        self.frames = frames_in(wanted, observation_space) or 1
        given = _stacks(observation_space, self.frames)
        if wanted not in (given, _turned(given)):
            raise ValueError(
                f"The model takes observations of {wanted}, but the environment gives {observation_space}: make it as it "
                "was for training, by an environment factory."
            )
        self.model, self.name = model, type(model).__name__
        takes = "action_masks" in inspect.signature(model.predict).parameters
        self.masks = masks if takes else None
        noise = getattr(model, "action_noise", None)
        self.noise: ActionNoise | None = getattr(noise, "base_noise", noise)  # of several environments one's
        self.rollout = _rollout(model)
        self.steps = 0  # of the present rollout
        self.state: Any = None
        self.stack: Any = None
        self.start = np.ones(1, dtype=bool)

    def seed(self, seed: int) -> None:
        self.model.set_random_seed(seed)
        self.steps = 0

    def reset(self) -> None:
        self.state, self.stack, self.start = None, None, np.ones(1, dtype=bool)
        self.steps = 0 if self.rollout is None else self.steps
        if self.noise is not None:
            self.noise.reset()

    def __call__(self, observation: Any) -> Any:
        self._draw_gsde()
        self.stack = stacked(self.stack, observation, self.frames)
        given: dict[str, Any] = {} if self.masks is None else {"action_masks": self.masks()}
        action, self.state = self.model.predict(self.stack, state=self.state, episode_start=self.start, **given)
        self.start = np.zeros(1, dtype=bool)
        self.steps = self.steps + 1 if self.rollout is None else (self.steps + 1) % self.rollout
        action = action if self.noise is None else self._with_noise(action, self.noise)
        return action if action.ndim else action.item()

    def _draw_gsde(self) -> None:
        """With each rollout, and within it every ``sde_sample_freq`` steps if that is above 0, as in training."""
        every = self.model.sde_sample_freq
        if self.model.use_sde and (self.steps == 0 or (every > 0 and self.steps % every == 0)):
            self.model.policy.reset_noise(1)  # type: ignore[operator]  # of every policy that has gSDE

    def _with_noise(self, action: Any, noise: ActionNoise) -> Any:
        """Stable-Baselines3 adds it to actions that are scaled to [-1, 1]."""
        policy = self.model.policy
        return policy.unscale_action(np.clip(policy.scale_action(action) + noise(), -1, 1).astype(np.float32))


def _rollout(model: BaseAlgorithm) -> int | None:
    """Steps between two updates while it trained; ``None`` where these came with the ends of episodes."""
    if isinstance(model, OffPolicyAlgorithm):
        train_freq: Any = model.train_freq  # of a loaded model, or one that has an environment, a TrainFreq
        return train_freq.frequency if train_freq.unit == TrainFrequencyUnit.STEP else None
    return getattr(model, "n_steps", None)


def _stacks(space: spaces.Space, frames: int) -> spaces.Space:
    """The space of stacks of images with the channels last; any other as it is."""
    if frames == 1 or not isinstance(space, spaces.Box):
        return space
    return spaces.Box(np.tile(space.low, (1, 1, frames)), np.tile(space.high, (1, 1, frames)), dtype=space.dtype)


def _turned(space: spaces.Space) -> spaces.Space:
    """The space with the channels of its images first, as models take it."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _turned(entry) for key, entry in space.items()})
    if is_image_space(space) and not is_image_space_channels_first(space):  # type: ignore[arg-type]
        return VecTransposeImage.transpose_space(space)  # type: ignore[arg-type]
    return space


def make_policy(policy: str, algorithm: str | None, env: gymnasium.Env) -> Policy:
    """
    :param policy: ``"random"``, or the zip of a model of SB3 or sb3-contrib. A zip is a pickle in part: load none that you do
        not trust
    :param algorithm: the class's name in any case, such as ``ppo``; a zip does not tell
    :param env: that it will act in
    :raises ValueError: if it cannot be loaded, or does not fit the environment
    """
    if policy == "random":
        return RandomPolicy(env.action_space)
    if not Path(policy).is_file():
        raise ValueError(f"policy is {policy!r}, but it is 'random' or the zip of a trained model, and there is no such file.")
    if algorithm is None:
        raise ValueError("A model's zip does not say its algorithm: name it, as in --algo ppo.")
    model = load_algorithm(algorithm_class(algorithm), policy, "cpu")

    def masks() -> Any:  # looked for when it acts: before its first reset an environment may not know
        return env.get_wrapper_attr("action_masks")() if env.has_wrapper_attr("action_masks") else None

    return TrainedPolicy(model, env.observation_space, masks)
