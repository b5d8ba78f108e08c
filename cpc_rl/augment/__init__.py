"""Augmentations of image batches, parameters drawn per sample, for frame stacks in uint8 or floating point."""

from cpc_rl.augment.base import Augmentation
from cpc_rl.augment.windows import RandomCrop, RandomShift, Translate, crop, shift

__all__ = ["Augmentation", "RandomCrop", "RandomShift", "Translate", "crop", "shift"]
