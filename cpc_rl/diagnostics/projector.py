"""Features for TensorBoard's projector, each point a frame."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

SPRITE = 8192  # TensorBoard takes sprites of at most so many pixels a side


def write_projector(
    folder: str | os.PathLike,
    features: Tensor,
    frames: NDArray,
    labels: Mapping[str, Sequence | NDArray] | None = None,
    *,
    step: int = 0,
    side: int = 48,
) -> Path:
    """
    Write the features with their frames as sprites; ``tensorboard --logdir FOLDER`` shows them under "Projector".

    :param folder: an event folder of its own
    :param features: ``(N, F)``
    :param frames: ``(N, H, W, 3)``, uint8
    :param labels: by name, ``(N,)`` each: what points can be coloured by
    :param step: environment steps of the model
    :param side: the longer side of a sprite, pixels; made smaller where so many would not fit
    :return: the folder
    """
    across = int(len(features) ** 0.5 + 0.9999)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    height, width = images.shape[2:]
    scale = min(side, SPRITE // across) / max(height, width)
    if scale < 1:
        images = F.interpolate(images, size=(max(1, int(height * scale)), max(1, int(width * scale))), mode="area")
    if images.shape[2] != images.shape[3]:  # the projector cuts the sprite into squares
        longest = max(images.shape[2:])
        images = F.pad(images, (0, longest - images.shape[3], 0, longest - images.shape[2]))
    columns: dict[str, Sequence | NDArray] = {"frame": range(len(features)), **(labels or {})}
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    single = len(columns) == 1  # TensorBoard wants no header then
    metadata: list = [row[0] for row in rows] if single else rows
    header = None if single else list(columns)
    with SummaryWriter(os.fspath(folder)) as writer:
        writer.add_embedding(
            features.cpu(), metadata, label_img=images, global_step=step, tag="features", metadata_header=header
        )
    return Path(folder)
