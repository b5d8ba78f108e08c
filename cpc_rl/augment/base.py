"""What all augmentations share: how they are called, how they draw, and how images become floats and integers again."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor


class Augmentation(ABC):
    """
    A random change of a batch of images. Parameters are drawn per sample, on the images' device, and one draw holds for all
    channels of a sample, so for all frames of a stack.

    Instances hold their settings alone (no generator, no tensor): they can be shared, copied and pickled.

    :cvar needs_unit: floating-point images must lie in 0..1, for what leaves that is cut off
    """

    needs_unit: ClassVar[bool] = False

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """
        :param images: (N, C, H, W), uint8 in 0..255 or floating point in 0..1
        :param generator: where the draws come from, on the images' device; None takes torch's global generator
        :return: the augmented images, in the dtype of ``images`` and, unless the class says otherwise, its shape
        :raises ValueError: if ``images`` is no batch of images
        """
        if images.ndim != 4:
            raise ValueError(f"Images must have the shape (N, C, H, W), but their shape is {tuple(images.shape)}.")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"Images must be uint8 (0..255) or floating point (0..1), but they are {images.dtype}.")
        return self.augment(images, generator)

    @abstractmethod
    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """The change itself; ``images`` and ``generator`` are as in :meth:`__call__` and already checked."""


def draw_uniform(images: Tensor, low: float, high: float, generator: torch.Generator | None) -> Tensor:
    """One float32 in [low, high) per sample, shape (N,)."""
    return torch.rand(len(images), generator=generator, device=images.device) * (high - low) + low


def draw_integers(images: Tensor, low: int, high: int, generator: torch.Generator | None) -> Tensor:
    """One int64 in low..high (both included) per sample, shape (N,)."""
    return torch.randint(low, high + 1, (len(images),), generator=generator, device=images.device)


def to_unit(images: Tensor) -> Tensor:
    """uint8 images as float32 in 0..1, a copy that may be written to; floating-point images as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def computable(images: Tensor) -> Tensor:
    """Floating-point images in a precision in which places within an image can be told: half precision has too few digits."""
    return images if images.dtype in (torch.float32, torch.float64) else images.float()


def from_unit(values: Tensor, dtype: torch.dtype) -> Tensor:
    """
    The inverse of :func:`to_unit`: to uint8 by clamping and rounding to the nearest level, for which ``values`` is used up: a
    further float copy of a batch costs more in fresh pages of memory than the arithmetic does (benchmarks/augment_speed.md).
    """
    return values.mul_(255).round_().clamp_(0, 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


def check_bounds(augmentation: object, space: spaces.Box) -> None:
    """
    See that images are in the bounds that an augmentation needs.

    :param space: of the images
    :raises ValueError: they are floats that may leave 0..1, and it cuts off what does
    """
    floats = np.issubdtype(space.dtype, np.floating)
    if floats and getattr(augmentation, "needs_unit", False) and not ((space.low >= 0).all() and (space.high <= 1).all()):
        raise ValueError(
            f"{augmentation!r} cuts float images off at 0 and 1, but the space is {space}: let a wrapper bring them to 0..1 "
            "and declare these bounds, or choose an augmentation that takes any, such as random_shift or intensity."
        )


def check_positive(name: str, value: float) -> None:
    """:raises ValueError: unless ``value`` is greater than zero"""
    if not value > 0:
        raise ValueError(f"{name} must be greater than zero, but it is {value}.")


def check_range(name: str, value: float, low: float = 0.0, high: float = float("inf")) -> None:
    """:raises ValueError: unless ``value`` lies between ``low`` and ``high``, both included"""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, but it is {value}.")
