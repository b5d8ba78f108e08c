"""Features of many frames by a frozen encoder, and how an environment's frames are brought to the shape that it reads."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from cpc_rl.attachment import choose_sites, find_sites
from cpc_rl.encoder import IMAGE, Encoder, Observations, probing
from cpc_rl.frame_stacking import frames_in
from cpc_rl.negatives import joint_fingerprints

CHUNK = 512  # frames of a pass


def encoder_of(model: BaseAlgorithm) -> Encoder:
    """The encoder that a head trains, the critic's where there are two."""
    return choose_sites(find_sites(model), "critic")[0].encoder


@torch.no_grad()
def features_of(encoder: Encoder, observations: Observations, chunk: int = CHUNK) -> Tensor:
    """
    :param encoder: evaluated as when it acts (batch normalisation, dropout)
    :param observations: tensors as the encoder reads them, channel first
    :return: ``(N, features_dim)``
    """
    with probing(encoder):
        return torch.cat([encoder(rows_of(observations, rows)) for rows in chunks(observations, chunk)])


def encode_all(encoder: Encoder, observations: Any, chunk: int = CHUNK) -> Tensor:
    """
    Features of any number of frames as the environment gives them, a chunk at a time on the encoder's device.

    :param observations: ``(N, *obs)``, or a dict of such
    :return: ``(N, features_dim)``
    """
    parts = (as_tensors(encoder, rows_of(observations, rows)) for rows in chunks(observations, chunk))
    return torch.cat([features_of(encoder, part) for part in parts])


def as_tensors(encoder: Encoder, observations: Any) -> Observations:
    """
    Frames as an environment gives them, as the tensors that the encoder reads: channel first, and of a Dict the images only.

    :param observations: ``(N, *obs)``, or a dict of such
    :raises ValueError: if their shape is not the one that the encoder reads
    """
    space = encoder.observation_space
    if isinstance(observations, Mapping) != encoder.is_dict:
        raise ValueError(f"The encoder reads {space}, but the frames are {'no' if encoder.is_dict else 'a'} Dict.")
    given = observations if isinstance(observations, Mapping) else {IMAGE: observations}
    device = next(encoder.parameters()).device
    tensors = {}
    for key in encoder.extractors:
        wanted = (space[key] if isinstance(space, spaces.Dict) else space).shape
        frames = _laid_out(given[key], wanted)
        if frames.shape[1:] != wanted:
            raise ValueError(f"The encoder reads images of the shape {wanted}, but a frame has {np.shape(given[key])[1:]}.")
        tensors[key] = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return tensors if encoder.is_dict else tensors[IMAGE]


def as_normalised(model: BaseAlgorithm, observations: Any) -> Any:
    """
    Frames as an environment gives them, as the model gets them: normalised, where its environments have a ``VecNormalize``,
    by the statistics of this moment.

    :param observations: ``(N, *obs)``, or a dict of such
    :raises ValueError: if the statistics are of frames of another shape
    """
    normalizer = model.get_vec_normalize_env()
    if normalizer is None or not normalizer.norm_obs:
        return observations
    space = normalizer.observation_space
    parts = space.spaces if isinstance(space, spaces.Dict) else {IMAGE: space}
    given = observations if isinstance(space, spaces.Dict) else {IMAGE: observations}
    frames = {key: _laid_out(given[key], part.shape) for key, part in parts.items()}
    for key, part in parts.items():
        if frames[key].shape[1:] != part.shape:
            raise ValueError(
                f"VecNormalize has statistics of frames {part.shape}, but the frames to look at are {frames[key].shape[1:]}: "
                "put it around the other wrappers (VecFrameStack), not inside them."
            )
    return normalizer.normalize_obs(frames if isinstance(space, spaces.Dict) else frames[IMAGE])


def _laid_out(frames: Any, shape: tuple[int, ...] | None) -> NDArray:
    """Channels first, if that is not the shape already."""
    array = np.asarray(frames)
    return array if array.shape[1:] == shape or array.ndim < 2 else np.moveaxis(array, -1, 1)


def frame_fingerprints(encoder: Encoder, observations: Any) -> NDArray[np.int64]:
    """
    Equal where all images of two frames are, ``(N,)``.

    :param observations: as for :func:`encode_all`
    """
    found = []
    for rows in chunks(observations, CHUNK):
        images = encoder.images(as_tensors(encoder, rows_of(observations, rows))).values()
        found.append(joint_fingerprints(images).cpu())
    return torch.cat(found).numpy()


def frame_stack(space: spaces.Space, env: gym.Env) -> int:
    """
    How many frames of the environment an observation is a stack of: 1 for Dict spaces.

    :param space: that the encoder reads, channel first
    :raises ValueError: if the environment's images do not fit
    """
    given = env.observation_space
    if isinstance(space, spaces.Dict) or isinstance(given, spaces.Dict):
        if not (isinstance(space, spaces.Dict) and isinstance(given, spaces.Dict) and space.keys() == given.keys()):
            raise ValueError(f"The encoder reads {space}, but the environment gives {given}: use the one of its training.")
        return 1
    frames = 1 if space.shape == given.shape else frames_in(space, given)
    if frames is None:
        raise ValueError(
            f"The encoder reads images {space.shape}, and no stack of the environment's {given.shape} makes one: use the "
            "environment, the size and the colours that it was trained with."
        )
    return frames


def chunks(observations: Any, size: int) -> list[slice]:
    """Slices that cover all frames."""
    some = next(iter(observations.values())) if isinstance(observations, Mapping) else observations
    return [slice(first, first + size) for first in range(0, len(some), size)]


def rows_of(observations: Any, rows: slice | NDArray | Tensor) -> Any:
    """Some of the frames, of arrays or tensors, or of each of a dict of such."""
    return {k: v[rows] for k, v in observations.items()} if isinstance(observations, Mapping) else observations[rows]
