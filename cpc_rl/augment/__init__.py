"""Augmentations of image batches, parameters drawn per sample, for frame stacks in uint8 or floating point."""

from cpc_rl.augment.base import Augmentation
from cpc_rl.augment.color import Brightness, ColorJitter, Contrast, Grayscale, Intensity
from cpc_rl.augment.masks import Cutout, PatchMask
from cpc_rl.augment.registry import AUGMENTATIONS, AugmentationFn, Compose, make_augmentation
from cpc_rl.augment.resized_crop import RandomResizedCrop, resized_crop
from cpc_rl.augment.rotation import Rotation, quarter_turn, rotate
from cpc_rl.augment.windows import RandomCrop, RandomShift, Translate, crop, shift

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "AugmentationFn",
    "Brightness",
    "ColorJitter",
    "Compose",
    "Contrast",
    "Cutout",
    "Grayscale",
    "Intensity",
    "PatchMask",
    "RandomCrop",
    "RandomResizedCrop",
    "RandomShift",
    "Rotation",
    "Translate",
    "crop",
    "make_augmentation",
    "quarter_turn",
    "resized_crop",
    "rotate",
    "shift",
]
