"""Rotation, by any angle or by quarter turns."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cpc_rl.augment.base import Augmentation, check_range, computable, draw_integers, draw_uniform, from_unit, to_unit


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """
    Turns each image counter-clockwise about its centre, bilinear, black where nothing comes from inside the image.

    :param images: (N, C, H, W), floating point
    :param degrees: (N,) angles
    :return: (N, C, H, W)
    """
    height, width = images.shape[2:]
    angle = torch.deg2rad(degrees).to(images.dtype)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    # grid_sample's coordinates run over [-1, 1] in both axes, so that turning pixels takes the ratio of the sides.
    theta = torch.stack((cos, -sin * height / width, zero, sin * width / height, cos, zero), dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def quarter_turn(images: Tensor, turns: Tensor) -> Tensor:
    """
    Turns each image counter-clockwise by quarters of a circle, exactly and without a float copy.

    :param images: (N, C, S, S), any dtype
    :param turns: (N,) int64, 0..3
    :return: (N, C, S, S)
    """
    n, channels, side, _ = images.shape
    pixels = torch.arange(side * side, device=images.device).view(side, side)
    tables = torch.stack([torch.rot90(pixels, k) for k in range(4)]).view(4, -1)  # which pixel comes where, for each turn
    index = tables[turns][:, None].expand(n, channels, side * side)
    return images.reshape(n, channels, side * side).gather(2, index).view_as(images)


@dataclass(frozen=True)
class Rotation(Augmentation):
    """
    Turns each sample about its centre: by a small angle (DrQ: Kostrikov et al., 2020, https://arxiv.org/abs/2004.13649) or by
    a multiple of 90 degrees (RAD: Laskin et al., 2020, https://arxiv.org/abs/2004.14990).

    :param degrees: the angle is uniform in [-degrees, degrees]
    :param quarter_turns: turn by 0, 90, 180 or 270 degrees instead, each equally likely; images must be square
    """

    degrees: float = 5.0
    quarter_turns: bool = False

    def __post_init__(self) -> None:
        check_range("degrees", self.degrees, high=180.0)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.quarter_turns:
            if images.shape[2] != images.shape[3]:
                raise ValueError(f"Quarter turns need square images, but these are {images.shape[2]} x {images.shape[3]}.")
            return quarter_turn(images, draw_integers(images, 0, 3, generator))
        if not self.degrees:
            return images
        angles = draw_uniform(images, -self.degrees, self.degrees, generator)
        return from_unit(rotate(computable(to_unit(images)), angles), images.dtype)
