"""Random crops that are enlarged to the image's own size: the augmentation that SimCLR found to matter most."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cpc_rl.augment.base import Augmentation, computable, draw_uniform, from_unit, to_unit


def resized_crop(images: Tensor, corners: Tensor, sizes: Tensor) -> Tensor:
    """
    Enlarges a rectangle of each image to the whole image, bilinear; beyond the image its border is repeated.

    :param images: (N, C, H, W), floating point
    :param corners: (N, 2) floats, (top, left) of each rectangle, pixels
    :param sizes: (N, 2) floats, (height, width) of each rectangle, pixels
    :return: (N, C, H, W)
    """
    whole = torch.tensor(images.shape[2:], device=images.device)
    shares, middles = sizes / whole, (2 * corners + sizes) / whole - 1  # grid_sample's coordinates run over [-1, 1]
    theta = torch.diag_embed(shares.flip(1))  # it names the columns first
    theta = torch.cat((theta, middles.flip(1)[:, :, None]), dim=2).to(images.dtype)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    """
    A crop of random area and aspect ratio at a random place, enlarged to the image's size (Szegedy et al., 2015,
    https://arxiv.org/abs/1409.4842, section 6; SimCLR: Chen et al., 2020, https://arxiv.org/abs/2002.05709, appendix A). The
    area is uniform, the logarithm of the aspect ratio too. Sides are real numbers of pixels; one that would be longer than the
    image's is cut at it.

    :param scale: least and greatest share of the image's area, in 0..1; (0.08, 1) in SimCLR
    :param ratio: least and greatest ratio of width to height, over the image's own
    :raises ValueError: unless both are ordered pairs of positive numbers, the scales at most 1
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name, most in (("scale", 1.0), ("ratio", math.inf)):
            pair = tuple(getattr(self, name))
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
                raise ValueError(
                    f"{name} must hold two numbers, the smaller one first, above 0{' and up to 1' if most == 1 else ''}, but "
                    f"it is {getattr(self, name)}."
                )

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.scale[0] == 1 and tuple(self.ratio) == (1, 1):
            return images
        area = draw_uniform(images, *self.scale, generator)
        ratio = draw_uniform(images, math.log(self.ratio[0]), math.log(self.ratio[1]), generator).exp()
        shares = torch.stack(((area / ratio).sqrt(), (area * ratio).sqrt()), dim=1).clamp(max=1)  # (N, 2), of the sides
        whole = torch.tensor(images.shape[2:], device=images.device)
        sizes = shares * whole
        places = torch.stack([draw_uniform(images, 0, 1, generator) for _ in range(2)], dim=1)
        return from_unit(resized_crop(computable(to_unit(images)), places * (whole - sizes), sizes), images.dtype)
