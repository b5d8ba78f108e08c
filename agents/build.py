"""From a recipe to a model: the one place where algorithms, extractors and arms meet."""

import json
import math
from dataclasses import asdict
from inspect import signature
from typing import Any

import numpy as np
from gymnasium import spaces
from sb3_contrib import CrossQ
from sb3_contrib.common.maskable.utils import is_masking_supported
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

import cpc_rl
from agents.algorithms import check_action_space, find_algorithm
from agents.arms import Arm
from agents.errors import UserError
from agents.memory import put_channels_last
from agents.recipe import Recipe
from agents.schedules import EntropySchedule, read_hyperparameters, read_value
from cpc_rl.extractors import pinned_policy_kwargs
from cpc_rl.pretraining.extractor_choice import EXTRACTORS as OWN_EXTRACTORS

STOCK_EXTRACTOR = "nature_cnn"  # Stable-Baselines3's own: a model made of stock classes loads without this project
EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {STOCK_EXTRACTOR: NatureCNN, **OWN_EXTRACTORS}


def environment_keywords(
    recipe: Recipe, *, pixels: bool, render: str | None = None, evaluation: bool = False
) -> dict[str, Any]:
    """
    What :func:`envs.make_vec_env` is told by a recipe.

    :param pixels: observe the rendered picture of an environment that observes none
    :param render: ``fast`` or ``stock``; the recipe's if ``None``
    :param evaluation: the environment that the agent is evaluated in, where that is another than the training's
    """
    settings = asdict(recipe.environment)
    if evaluation:
        settings["env_kwargs"] |= recipe.evaluation.env_kwargs
    actions = settings.pop("actions")
    settings["actions"] = None if actions == "native" else actions
    return {**settings, "pixels": pixels, "render": render or recipe.environment.render}


def build_model(
    recipe: Recipe,
    vec_env: VecEnv,
    arm: Arm,
    seed: int,
    device: str = "auto",
    *,
    timesteps: int | None = None,
    compute_ratio: float = 1.0,
) -> BaseAlgorithm:
    """
    Build the model of a recipe.

    :param recipe: algorithm, hyper-parameters, extractor
    :param vec_env: what it will train in
    :param arm: whether the reinforcement learning's batches are augmented, and whether it trains more (``compute``)
    :param seed: of everything random in the model
    :param device: torch's name of a device, or ``auto``
    :param timesteps: agent steps it will be trained for, if that is not the recipe's number; a replay buffer is never larger
    :param compute_ratio: in the ``compute`` arm, by how much more an update may cost
    :raises UserError: algorithm, environment, extractor and hyper-parameters do not fit each other
    """
    algorithm = find_algorithm(recipe.algorithm)
    check_action_space(recipe.algorithm, vec_env.action_space)
    keywords = read_hyperparameters(recipe.hyperparameters)
    if "buffer_size" in keywords:
        keywords["buffer_size"] = min(keywords["buffer_size"], (timesteps or recipe.timesteps) + vec_env.num_envs)
    if recipe.exploration_noise:
        size = get_action_dim(vec_env.action_space)
        keywords["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, recipe.exploration_noise))
    if isinstance(keywords.get("ent_coef"), LinearSchedule):
        if issubclass(algorithm, OffPolicyAlgorithm):
            raise UserError(
                f"{algorithm.__name__}'s ent_coef cannot be a schedule: it takes a number, 'auto', or 'auto_0.1' with the "
                "number that it begins with."
            )
        keywords["ent_coef"] = keywords["ent_coef"].start  # see training_callbacks
    if arm.compute:
        keywords = more_compute(algorithm, keywords, compute_ratio, vec_env.num_envs)
    policy = recipe.policy
    if isinstance(vec_env.observation_space, spaces.Dict):
        policy = policy.replace("Cnn", "MultiInput")
    policy_kwargs = _policy_keywords(recipe, algorithm, arm, vec_env.observation_space)
    if issubclass(algorithm, OffPolicyAlgorithm):
        keywords = with_replay_buffer(recipe, keywords)
    try:
        model = algorithm(policy, vec_env, seed=seed, device=device, policy_kwargs=policy_kwargs, **keywords)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"The recipe does not fit {algorithm.__name__}: {' '.join(str(error).split())}.") from error
    if recipe.channels_last:
        put_channels_last(model)
    # Travels in the model's zip as text, so that a saved model says what its actions and pictures mean.
    model.environment_settings = json.dumps(asdict(recipe.environment))  # type: ignore[attr-defined]
    return model


def with_replay_buffer(recipe: Recipe, keywords: dict[str, Any]) -> dict[str, Any]:
    """
    The algorithm's keywords with the recipe's replay buffer.

    :raises UserError: if there is no such buffer
    """
    if recipe.replay_buffer not in ("frames", "stock"):
        raise UserError(f"There is no replay_buffer {recipe.replay_buffer!r}; known are frames and stock.")
    stack = recipe.environment.frame_stack
    if recipe.replay_buffer == "stock" or stack < 2:
        return keywords
    keywords = dict(keywords)
    buffer_kwargs: dict[str, Any] = {"n_stack": stack}
    if keywords.get("n_steps", 1) > 1:  # SB3 hands it to its own buffers only
        buffer_kwargs |= {"n_steps": keywords.pop("n_steps"), "gamma": keywords.get("gamma", 0.99)}
    return {**keywords, "replay_buffer_class": cpc_rl.FrameStackReplayBuffer, "replay_buffer_kwargs": buffer_kwargs}


def _policy_keywords(recipe: Recipe, algorithm: type[BaseAlgorithm], arm: Arm, space: spaces.Space) -> dict[str, Any]:
    """The extractor and, where it is not the stock one, a ``net_arch`` that keeps the rest of the policy as it would be."""
    keywords = dict(recipe.extractor)
    name = keywords.pop("name", STOCK_EXTRACTOR)
    if keywords.get("precision") == "float32":  # as every extractor computes, Stable-Baselines3's own too
        del keywords["precision"]
    if name not in EXTRACTORS:
        raise UserError(f"There is no extractor {name!r}; known are {', '.join(EXTRACTORS)}.")
    if isinstance(space, spaces.Dict):
        if name != STOCK_EXTRACTOR or arm.augment_rl or "precision" in keywords:
            raise UserError(
                "A Dict observation takes the stock extractor, so it has no aug arm, no extractor by name and no precision "
                "but float32."
            )
        return dict(recipe.policy_kwargs)
    if arm.augment_rl:
        keywords["augment"] = recipe.augmentation
    if name == STOCK_EXTRACTOR and keywords.keys() & {"augment", "precision"}:
        name = "nature"  # the same layers; only ours can do that
    if name == STOCK_EXTRACTOR and algorithm is not CrossQ:
        policy_kwargs: dict[str, Any] = {"features_extractor_kwargs": keywords} if keywords else {}
    else:
        policy_kwargs = pinned_policy_kwargs(algorithm, EXTRACTORS[name], **keywords)
    return {**policy_kwargs, **recipe.policy_kwargs}


def training_callbacks(recipe: Recipe, head: BaseCallback | None) -> list[BaseCallback]:
    """
    All callbacks that have a part in the training, in their order.

    :param head: what :func:`build_callback` gave
    """
    ent_coef = read_value(recipe.hyperparameters.get("ent_coef"))
    entropy = [EntropySchedule(ent_coef)] if isinstance(ent_coef, LinearSchedule) else []
    return [*entropy, *([head] if head is not None else [])]


def build_callback(recipe: Recipe, arm: Arm, seed: int) -> BaseCallback | None:
    """
    The callback that makes an arm what it is; ``None`` for plain reinforcement learning.

    :raises UserError: the arm asks for what the callback cannot do
    """
    if not arm.objectives:
        tied = recipe.callback.get("encoder") == "tied"  # DrQ; and so that a head's arm differs from this by the head alone
        return cpc_rl.AugmentationCallback(tied=tied) if arm.augment_rl else None
    objective_kwargs = {name: dict(recipe.objective_kwargs.get(name, {})) for name, _ in arm.objectives}
    if arm.shuffled:
        for own in objective_kwargs.values():
            own["shuffled"] = True
    keywords = read_hyperparameters(recipe.callback)
    try:
        return cpc_rl.ContrastiveCallback(dict(arm.objectives), objective_kwargs, seed=seed, **keywords)
    except (TypeError, ValueError) as error:
        raise UserError(f"The recipe's callback cannot be built: {error}") from error


def attach_early(callback: BaseCallback | None, model: BaseAlgorithm) -> None:
    """
    Let a callback say now what ``learn()`` would say later.

    :raises UserError: it does not fit the model
    """
    try:
        if callback is not None:
            callback.init_callback(model)
    except ValueError as error:
        raise UserError(str(error)) from error


def more_compute(algorithm: type[BaseAlgorithm], keywords: dict[str, Any], ratio: float, n_envs: int) -> dict[str, Any]:
    """
    The same keywords with as many more epochs or gradient steps, rounded up, as make an update ``ratio`` times as long.

    :raises UserError: the algorithm has neither
    """
    if issubclass(algorithm, OffPolicyAlgorithm):
        steps = keywords.get("gradient_steps", 1)
        if steps < 0:  # as many as environment steps were made
            frequency = keywords.get("train_freq", signature(algorithm).parameters["train_freq"].default)
            steps = (frequency[0] if isinstance(frequency, tuple) else frequency) * n_envs
        return {**keywords, "gradient_steps": math.ceil(steps * ratio)}
    if "n_epochs" not in keywords:
        raise UserError(
            f"The arm compute needs epochs or gradient steps to add, and {algorithm.__name__} has neither in its recipe."
        )
    return {**keywords, "n_epochs": math.ceil(keywords["n_epochs"] * ratio)}


def learn_keywords(model: BaseAlgorithm, vec_env: VecEnv) -> dict[str, Any]:
    """What ``learn`` must be told besides: MaskablePPO refuses environments without masks unless it is to ignore them."""
    return {"use_masking": is_masking_supported(vec_env)} if type(model).__name__ == "MaskablePPO" else {}
