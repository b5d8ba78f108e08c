"""Features of many frames by a frozen encoder, and how an environment's frames are brought to the shape that it reads."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from cpc_rl.encoder import Encoder, Observations, probing
from cpc_rl.encoding import encode

CHUNK = 512  # frames of a pass


def encode_all(model: BaseAlgorithm, observations: Any, chunk: int = CHUNK) -> Tensor:
    """
    As :func:`cpc_rl.encode`, of any number of frames.

    :param observations: ``(N, *obs)`` as the environment gives them, or a dict of such
    :return: ``(N, features_dim)``, on the model's device
    """
    return torch.cat([encode(model, _rows(observations, slice(i, i + chunk))) for i in range(0, _count(observations), chunk)])


@torch.no_grad()
def features_of(encoder: Encoder, observations: Observations, chunk: int = CHUNK) -> Tensor:
    """
    :param encoder: evaluated as when it acts (batch normalisation, dropout)
    :param observations: tensors as the encoder reads them, channel first
    :return: ``(N, features_dim)``
    """
    with probing(encoder):
        return torch.cat([encoder(_rows(observations, slice(i, i + chunk))) for i in range(0, _count(observations), chunk)])


def as_tensors(model: BaseAlgorithm, observations: Any) -> Observations:
    """Frames ``(N, *obs)`` as the environment gives them, as the tensors that the model's encoder reads."""
    return model.policy.obs_to_tensor(observations)[0]


def frame_stack(model: BaseAlgorithm, env: gym.Env) -> int:
    """
    How many frames of the environment a model's observation is a stack of: 1 for Dict spaces.

    :raises ValueError: if the environment's images do not fit the model
    """
    wanted, given = model.observation_space, env.observation_space
    if isinstance(wanted, spaces.Dict) or isinstance(given, spaces.Dict):
        if not (isinstance(wanted, spaces.Dict) and isinstance(given, spaces.Dict) and wanted.keys() == given.keys()):
            raise ValueError(f"The model observes {wanted}, but the environment {given}: use the one that it was trained on.")
        return 1
    if wanted.shape == given.shape:
        return 1
    first, last = wanted.shape or (), given.shape or ()
    fits = len(first) == len(last) == 3 and first[1:] == last[:2] and first[0] % last[2] == 0
    if not fits:
        raise ValueError(
            f"The model observes images {first}, and no stack of the environment's {last} makes one: use the environment, the "
            "size and the colours that it was trained with."
        )
    return first[0] // last[2]


def _rows(observations: Any, rows: slice | np.ndarray) -> Any:
    return {k: v[rows] for k, v in observations.items()} if isinstance(observations, Mapping) else observations[rows]


def _count(observations: Any) -> int:
    return len(next(iter(observations.values()))) if isinstance(observations, Mapping) else len(observations)
