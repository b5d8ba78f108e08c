"""Augmentations that black out parts of the image: cutout, patch mask."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cpc_rl.augment.base import Augmentation, check_positive, check_range, draw_integers, draw_uniform


def _spans(length: int, sizes: Tensor, images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Runs of ``sizes`` (N,) pixels at random places within ``length``: bool (N, length)."""
    first = (draw_uniform(images, 0, 1, generator) * (length - sizes + 1)).long()[:, None]
    pixels = torch.arange(length, device=images.device)
    return (pixels >= first) & (pixels < first + sizes[:, None])


@dataclass(frozen=True)
class Cutout(Augmentation):
    """
    Blacks out one rectangle that lies within the image (DeVries & Taylor, 2017, https://arxiv.org/abs/1708.04552; sizes as in
    RAD: Laskin et al., 2020, https://arxiv.org/abs/2004.14990). Height and width are drawn apart, each cut at the image's own.

    :param min_size: least side in pixels
    :param max_size: greatest side in pixels, included
    """

    min_size: int = 10
    max_size: int = 30

    def __post_init__(self) -> None:
        check_range("min_size", self.min_size)
        check_range("max_size", self.max_size, low=self.min_size)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        height, width = images.shape[2:]
        heights = draw_integers(images, self.min_size, self.max_size, generator).clamp_(max=height)
        widths = draw_integers(images, self.min_size, self.max_size, generator).clamp_(max=width)
        rows = _spans(height, heights, images, generator)
        columns = _spans(width, widths, images, generator)
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


@dataclass(frozen=True)
class PatchMask(Augmentation):
    """
    Divides the image into square patches and blacks out a share of them, the same ones in all frames, as BERT does with words
    (Devlin et al., 2019, https://arxiv.org/abs/1810.04805; for images, He et al., 2022, https://arxiv.org/abs/2111.06377).

    :param ratio: share of the patches that is blacked out, rounded to a whole number of them, the same for each sample
    :param patch_size: side of a patch in pixels; the last row and column of patches are smaller where it does not divide
    """

    ratio: float = 0.5
    patch_size: int = 12

    def __post_init__(self) -> None:
        check_range("ratio", self.ratio, high=1.0)
        check_positive("patch_size", self.patch_size)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        n, _, height, width = images.shape
        rows, columns = -(-height // self.patch_size), -(-width // self.patch_size)
        # A random order of each sample's patches, whose first ones are blacked out: their number is exact.
        order = torch.rand(n, rows * columns, generator=generator, device=images.device).argsort(1)
        masked = order < round(self.ratio * rows * columns)
        patches = masked.view(n, 1, rows, columns)
        pixels = patches.repeat_interleave(self.patch_size, 2).repeat_interleave(self.patch_size, 3)
        return images.masked_fill(pixels[:, :, :height, :width], 0)
