"""Frames and numbers as pictures: arrays ``(H, W, 3)``, uint8."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

# Six points of the colour map "viridis", from dark blue to yellow: of even lightness, and told apart by the colour-blind.
COLOURS = np.array([[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]], np.float32)


def newest(images: Tensor) -> NDArray[np.uint8]:
    """
    The newest frame of each stack, in colour where it has three channels.

    :param images: ``(N, C, H, W)``, uint8, or float in [0, 1]
    :return: ``(N, H, W, 3)``
    """
    frames = images[:, -3:] if images.shape[1] % 3 == 0 else images[:, -1:].expand(-1, 3, -1, -1)
    frames = frames if frames.dtype == torch.uint8 else (frames.detach().clamp(0, 1) * 255).to(torch.uint8)
    return frames.permute(0, 2, 3, 1).cpu().numpy()


def colours(values: NDArray) -> NDArray[np.uint8]:
    """
    :param values: ``(...)`` in [0, 1]; what is not a number is shown as 0
    :return: ``(..., 3)``: 0 is dark blue, 1 yellow
    """
    place = np.clip(np.nan_to_num(values), 0, 1) * (len(COLOURS) - 1)
    low = np.minimum(place.astype(int), len(COLOURS) - 2)
    share = (place - low)[..., None]
    return (COLOURS[low] * (1 - share) + COLOURS[low + 1] * share).round().astype(np.uint8)


def grid(rows: Sequence[NDArray[np.uint8]], gap: int = 2, height: int | None = None) -> NDArray[np.uint8]:
    """
    Pictures in rows, white between them.

    :param rows: ``(n, H, W, 3)`` each, of the same sizes
    :param gap: pixels between two pictures
    :param height: enlarges pictures that are lower than this by a whole factor, so that pixels stay sharp
    """
    scale = max(1, (height or 0) // rows[0].shape[1])
    lines = []
    for row in rows:
        large = row.repeat(scale, axis=1).repeat(scale, axis=2)
        padded = np.pad(large, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(lines, axis=0)[:-gap, :-gap] if gap else np.concatenate(lines, axis=0)


def nearest(features: Tensor, queries: Sequence[int], count: int, episodes: NDArray | None = None) -> NDArray[np.int64]:
    """
    The frames whose features have the largest cosine with a frame's own.

    :param features: ``(N, F)``
    :param queries: of which frames
    :param count: neighbours of each
    :param episodes: which episode each frame is of, ``(N,)``: neighbours then come from other episodes, for the frames just
        before and after are near by nature
    :return: ``(len(queries), count)``, nearest first
    :raises ValueError: if there are not as many other frames
    """
    unit = F.normalize(features.float(), dim=1)
    similarity = unit[list(queries)] @ unit.T
    own = np.arange(len(features)) if episodes is None else episodes
    excluded = own[list(queries)][:, None] == own[None]
    if (~excluded).sum(axis=1).min() < count:
        raise ValueError(f"Some frame has fewer than {count} others to be its neighbours: record more episodes.")
    similarity = similarity.masked_fill(torch.from_numpy(excluded).to(similarity.device), -torch.inf)
    return similarity.topk(count, dim=1).indices.cpu().numpy()


def overlay(frames: NDArray[np.uint8], maps: NDArray) -> NDArray[np.uint8]:
    """
    Where a map is high the frame is coloured, elsewhere it is grey and dimmed.

    :param frames: ``(N, H, W, 3)``
    :param maps: ``(N, H, W)``, not negative; each is scaled by its own 99th percentile
    """
    grey = frames.mean(axis=3, keepdims=True).repeat(3, axis=3) * 0.5
    top = np.percentile(maps, 99, axis=(1, 2), keepdims=True)
    share = np.clip(maps / np.maximum(top, 1e-12), 0, 1)
    share = np.stack([cv2.GaussianBlur(one.astype(np.float32), (0, 0), max(frames.shape[1] / 84, 0.5)) for one in share])
    weight = share[..., None]
    return (grey * (1 - weight) + colours(share) * weight).round().astype(np.uint8)
