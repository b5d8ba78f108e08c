"""Augmentations by name, one after another, and from a short specification."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor

from cpc_rl.augment.base import Augmentation
from cpc_rl.augment.color import Brightness, ColorJitter, Contrast, Grayscale, Intensity
from cpc_rl.augment.masks import Cutout, PatchMask
from cpc_rl.augment.resized_crop import RandomResizedCrop
from cpc_rl.augment.rotation import Rotation
from cpc_rl.augment.windows import RandomCrop, RandomShift, Translate


class AugmentationFn(Protocol):
    """Anything that is called as an :class:`Augmentation` is."""

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor: ...


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "brightness": Brightness,
    "color_jitter": ColorJitter,
    "contrast": Contrast,
    "cutout": Cutout,
    "grayscale": Grayscale,
    "intensity": Intensity,
    "patch_mask": PatchMask,
    "random_crop": RandomCrop,
    "random_resized_crop": RandomResizedCrop,
    "random_shift": RandomShift,
    "rotation": Rotation,
    "translate": Translate,
}


class Compose(Augmentation):
    """
    One augmentation after another.

    :param augmentations: in the order in which they are applied; none at all leaves the images as they are
    """

    def __init__(self, augmentations: Iterable[AugmentationFn] = ()) -> None:
        self.augmentations = tuple(augmentations)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        for augmentation in self.augmentations:
            images = augmentation(images, generator)
        return images

    @property
    def needs_unit(self) -> bool:  # type: ignore[override]
        """Whether one of them does."""
        return any(getattr(augmentation, "needs_unit", False) for augmentation in self.augmentations)

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.augmentations))}])"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compose) and self.augmentations == other.augmentations

    def __hash__(self) -> int:
        return hash(self.augmentations)


def make_augmentation(spec: str | Mapping[str, Any] | Iterable[Any] | AugmentationFn | None) -> AugmentationFn:
    """
    :param spec: a name of ``AUGMENTATIONS``, several joined by ``+`` (``"random_shift+intensity"``), names with their keywords
        (``{"random_shift": {"pad": 2}, "intensity": None}``), a list of any of these, a callable, which is returned as it
        is, or None, which changes nothing
    :return: the augmentation
    :raises ValueError: for an unknown name or keyword, or a specification of another kind
    """
    if spec is None:
        return Compose()
    if isinstance(spec, str):
        parts = [_make_one(name.strip(), None) for name in spec.split("+")]
    elif isinstance(spec, Mapping):
        parts = [_make_one(name, keywords) for name, keywords in spec.items()]
    elif callable(spec):
        return spec
    elif isinstance(spec, Iterable):
        parts = [make_augmentation(part) for part in spec]
    else:
        raise ValueError(f"An augmentation is given as a name, a dictionary, a list or a callable, not as {spec!r}.")
    return parts[0] if len(parts) == 1 else Compose(parts)


def _make_one(name: str, keywords: Mapping[str, Any] | None) -> AugmentationFn:
    if name not in AUGMENTATIONS:
        raise ValueError(f"There is no augmentation {name!r}; the known ones are {', '.join(sorted(AUGMENTATIONS))}.")
    augmentation_class = AUGMENTATIONS[name]
    if keywords is not None and not isinstance(keywords, Mapping):
        raise ValueError(f"The keywords of {name} must be a dictionary, such as {{'pad': 2}}, but they are {keywords!r}.")
    known = [field.name for field in fields(augmentation_class)]  # type: ignore[arg-type]  # each of them is a dataclass
    unknown = sorted(set(keywords or {}) - set(known))
    if unknown:
        raise ValueError(f"The augmentation {name} has no keyword {', '.join(unknown)}; it takes {', '.join(known)}.")
    return augmentation_class(**(keywords or {}))
