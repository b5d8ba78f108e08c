"""Augmentations of brightness and colour: brightness, contrast, colour jitter, grayscale, intensity."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cpc_rl.augment.base import Augmentation, check_range, draw_uniform, from_unit, to_unit
from cpc_rl.augment.color_space import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    luma,
    per_sample,
    split_frames,
)


def _check_channels_per_frame(channels_per_frame: int | None) -> None:
    if channels_per_frame not in (None, 1, 3):
        raise ValueError(f"channels_per_frame must be 1 (grey), 3 (RGB) or None, but it is {channels_per_frame}.")


def _draw_factor(images: Tensor, strength: float, generator: torch.Generator | None) -> Tensor:
    return draw_uniform(images, max(0.0, 1 - strength), 1 + strength, generator)


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """
    Brightness, contrast, saturation and hue, in this order (RAD: Laskin et al., 2020, https://arxiv.org/abs/2004.14990;
    SimCLR: Chen et al., 2020, https://arxiv.org/abs/2002.05709). The factors of the first three are uniform in
    [1 - s, 1 + s], cut at 0. Saturation and hue leave grey frames as they are, since those have none.

    :param brightness: strength s; 0 leaves it as it is
    :param contrast: strength s, around the mean grey of each frame
    :param saturation: strength s
    :param hue: the greatest turn each way, 0.5 being half the colour circle
    :param probability: of each sample being changed at all
    :param channels_per_frame: 1 or 3; None means 3 where the number of channels is a multiple of 3, else 1
    """

    needs_unit: ClassVar[bool] = True

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    probability: float = 1.0
    channels_per_frame: int | None = None

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check_range(name, getattr(self, name))
        check_range("hue", self.hue, high=0.5)
        check_range("probability", self.probability, high=1.0)
        _check_channels_per_frame(self.channels_per_frame)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        frames = to_unit(split_frames(images, self.channels_per_frame))
        if self.brightness:
            frames = adjust_brightness(frames, _draw_factor(images, self.brightness, generator))
        if self.contrast:
            frames = adjust_contrast(frames, _draw_factor(images, self.contrast, generator))
        if self.saturation and frames.shape[2] == 3:
            frames = adjust_saturation(frames, _draw_factor(images, self.saturation, generator))
        if self.hue and frames.shape[2] == 3:
            frames = adjust_hue(frames, draw_uniform(images, -self.hue, self.hue, generator))
        changed = from_unit(frames.flatten(1, 2), images.dtype)
        if self.probability == 1:
            return changed
        chosen = draw_uniform(images, 0, 1, generator) < self.probability
        return torch.where(chosen.view(-1, 1, 1, 1), changed, images)


@dataclass(frozen=True)
class Brightness(Augmentation):
    """
    Scales the brightness by a factor uniform in [1 - strength, 1 + strength], cut at 0.

    :param strength: 0 leaves it as it is
    """

    needs_unit: ClassVar[bool] = True

    strength: float = 0.4

    def __post_init__(self) -> None:
        check_range("strength", self.strength)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        factor = _draw_factor(images, self.strength, generator)
        return from_unit(adjust_brightness(to_unit(images), factor), images.dtype)


@dataclass(frozen=True)
class Contrast(Augmentation):
    """
    Scales the contrast around the mean grey of each frame by a factor uniform in [1 - strength, 1 + strength], cut at 0.

    :param strength: 0 leaves it as it is
    :param channels_per_frame: 1 or 3; None means 3 where the number of channels is a multiple of 3, else 1
    """

    needs_unit: ClassVar[bool] = True

    strength: float = 0.4
    channels_per_frame: int | None = None

    def __post_init__(self) -> None:
        check_range("strength", self.strength)
        _check_channels_per_frame(self.channels_per_frame)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        frames = to_unit(split_frames(images, self.channels_per_frame))
        factor = _draw_factor(images, self.strength, generator)
        return from_unit(adjust_contrast(frames, factor).flatten(1, 2), images.dtype)


@dataclass(frozen=True)
class Grayscale(Augmentation):
    """
    Turns a sample's RGB frames grey, all three channels alike, with some probability (RAD: Laskin et al., 2020,
    https://arxiv.org/abs/2004.14990).

    :param probability: of each sample being turned grey
    :param channels_per_frame: 3 or None, which means the same here; frames of one channel are refused
    """

    probability: float = 0.3
    channels_per_frame: int | None = None

    def __post_init__(self) -> None:
        check_range("probability", self.probability, high=1.0)
        _check_channels_per_frame(self.channels_per_frame)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        frames = split_frames(images, self.channels_per_frame)
        if frames.shape[2] != 3:
            raise ValueError(
                "Grayscale needs stacks of RGB frames, so a multiple of 3 channels, but these images have "
                f"{images.shape[1]} channels of single-channel frames."
            )
        grey = from_unit(luma(to_unit(frames)), images.dtype).expand_as(frames).flatten(1, 2)
        chosen = draw_uniform(images, 0, 1, generator) < self.probability
        return torch.where(chosen.view(-1, 1, 1, 1), grey, images)


@dataclass(frozen=True)
class Intensity(Augmentation):
    """
    Scales each sample by 1 + scale * clip(x, -2, 2), x drawn from a standard normal (DrQ: Kostrikov et al., 2020,
    https://arxiv.org/abs/2004.13649; SPR: Schwarzer et al., 2021, https://arxiv.org/abs/2007.05929). As there, floating-point
    images may leave 0..1; uint8 is clamped to 0..255.

    :param scale: 0.05 in SPR, 0.1 in DrQ
    """

    scale: float = 0.05

    def __post_init__(self) -> None:
        check_range("scale", self.scale)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(len(images), generator=generator, device=images.device).clamp_(-2, 2)
        unit = to_unit(images)
        factor = per_sample(1 + self.scale * noise, unit)
        return from_unit(unit * factor if unit is images else unit.mul_(factor), images.dtype)
