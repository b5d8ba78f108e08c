"""What every objective is: a head with a loss, that the encoder is handed to and that never owns it."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from cpc_rl.augment import Augmentation, AugmentationFn, Compose, make_augmentation
from cpc_rl.augment.base import check_bounds
from cpc_rl.checks import check_flag
from cpc_rl.encoder import Encoder, Observations, probing
from cpc_rl.sampling import Windows, action_dim
from cpc_rl.shared import Shared


class Objective(nn.Module):
    """
    Heads, momentum copies and queues of one objective. Never the encoder, a buffer or an optimiser.

    A new objective is one file with a subclass, one entry in ``cpc_rl.objectives.OBJECTIVES`` and one test file.

    :param encoder: the encoder that will be trained; read for its sizes (or copied, for momentum keys), not kept
    :param action_dim: number of entries of an encoded action
    :param horizon: frames after ``t`` that a window must hold; the class's own if ``None``
    :param augment: what :func:`cpc_rl.augment.make_augmentation` takes; ``None`` leaves the images as they are
    :param shuffled: give every anchor another one's positive. Nothing can be learnt then: a control, not a way to train.
    """

    horizon: int = 0  # frames after t that a window must hold
    per_trajectory: int = 1  # windows of one trajectory that a batch holds
    can_share: bool = False  # takes features that the algorithm has computed, where there are any
    takes_next_keys: bool = False  # and of the frame after its anchor, see cpc_rl.shared.Shared
    local: bool = False  # reads feature maps: gradient norms are then taken there
    keeps_length: bool = False  # reads features of one length, and cannot gain by making the agent's longer

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int,
        *,
        horizon: int | None = None,
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        super().__init__()
        if horizon is not None:
            if not isinstance(horizon, int | np.integer):
                raise ValueError(f"horizon is {horizon!r}, but it must be a whole number of frames.")
            if horizon < 0:
                raise ValueError(f"horizon is {horizon}, but a window cannot hold fewer than 0 frames after its first.")
            self.horizon = horizon
        check_flag("shuffled", shuffled)
        self.augmentation = make_augmentation(augment)
        self.shuffled = shuffled
        self.generator: torch.Generator | None = None  # on the images' device; set, saved and restored by the head

    @classmethod
    def build(cls, encoder: Encoder, action_space: spaces.Space | None, **keywords: Any) -> "Objective":
        """
        Make one for an agent, or for data.

        :param action_space: of the agent; ``None`` for data without actions
        :param keywords: of the class
        :raises ValueError: if it needs actions and there are none, or its augmentation makes images of a size that the encoder
            cannot read
        """
        objective = cls(encoder, 0 if action_space is None else action_dim(action_space), **keywords)
        check_augmented(objective.augmentation, encoder)
        return objective

    def require_actions(self, action_dim: int) -> None:
        """:raises ValueError: if there are none"""
        if action_dim < 1:
            raise ValueError(
                f"{type(self).__name__} needs to know the actions that were taken, but the data has none (action_dim is "
                f"{action_dim}): use an objective without actions, such as 'curl' or 'atc'."
            )

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """
        :param encoder: raw observations ``(N, *obs)`` to features ``(N, features_dim)``
        :param windows: ``B`` windows of ``horizon + 1`` frames
        :param shared: features of these windows that the algorithm's own update has computed, for objectives that
            ``can_share``; ``None`` where it has not
        :return: the loss (scalar, nats) and detached metrics by name
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(encoder, windows, shared=None).")

    def frames_needed(self, shared: Shared) -> Sequence[int] | None:
        """
        The frames of ``windows.observations`` that :meth:`forward` reads when it gets these features, in order; ``None`` for
        all. The others hold anything then, and with none at all the observations are a tensor ``(B, L, 0)``.
        """
        return None

    def after_step(self, encoder: Encoder) -> None:
        """Called after the encoder and the head have moved: momentum copies and queues follow here."""

    def augmented(self, observations: Observations) -> Observations:
        """A fresh augmented view of every image, drawn per sample, shape and dtype kept (but for a crop's size)."""
        if isinstance(observations, Mapping):
            return {key: self.augmentation(image, generator=self.generator) for key, image in observations.items()}
        return self.augmentation(observations, generator=self.generator)

    def pairs(self, windows: Windows) -> tuple[Observations, Observations]:
        """Anchors and their positives as images, augmented, for pictures and for figures of the representation."""
        anchors, positives = frame(windows.observations, 0), frame(windows.observations, self.horizon)
        if self.shuffled:
            positives = (
                {k: v.roll(1, 0) for k, v in positives.items()} if isinstance(positives, Mapping) else positives.roll(1, 0)
            )
        return self.augmented(anchors), self.augmented(positives)

    def paired(self, windows: Windows) -> Tensor:
        """``(B,)`` bool: the rows of :meth:`pairs` that have a positive, and not the last frame of a shorter window."""
        if type(self).pairs is not Objective.pairs:  # of other frames
            return windows.mask[:, 0]
        there = windows.mask[:, self.horizon]
        return there.roll(1, 0) if self.shuffled else there

    def pictures(self, encoder: Encoder, windows: Windows) -> tuple[Tensor, Tensor]:
        """Images ``(B, C, H, W)`` of anchors and of their positives, for TensorBoard's picture: the first image entry."""
        anchors, positives = (next(iter(encoder.images(view).values())) for view in self.pairs(windows))
        return anchors, positives

    def positives(
        self,
        targets: Tensor,
        rows: Tensor | None = None,
        within: Tensor | None = None,
        across: Tensor | None = None,
    ) -> Tensor:
        """
        The columns of the positives: the right ones, or those of other anchors where ``shuffled`` asks for it.

        :param targets: the right columns, shape ``(N,)``, int64
        :param rows: which anchors count, shape ``(N,)``, bool; positives are exchanged among these only
        :param within: positives are exchanged only where this is equal, shape ``(N,)``, int64
        :param across: or only where this differs, as far as that can be, shape ``(N,)``, int64
        """
        if not self.shuffled:
            return targets
        counting = torch.arange(len(targets), device=targets.device) if rows is None else rows.nonzero().squeeze(1)
        order = torch.randperm(len(counting), device=targets.device, generator=self.generator)
        if across is not None and len(counting):
            # Group by group, in an order that is drawn, and then each as many places on as the largest group has rows.
            groups, inverse, sizes = across[counting].unique(return_inverse=True, return_counts=True)
            inverse = torch.randperm(len(groups), device=targets.device, generator=self.generator)[inverse]
            if len(groups) == 1:  # there is no other
                return targets.index_copy(0, counting, targets[counting[order]])
            order = order[inverse[order].argsort(stable=True)]
            return targets.index_copy(0, counting[order], targets[counting[order.roll(-int(sizes.max()))]])
        if within is None:
            return targets.index_copy(0, counting, targets[counting[order]])
        groups = within[counting]
        places, order = groups.argsort(stable=True), order[groups[order].argsort(stable=True)]
        return targets.index_copy(0, counting[places], targets[counting[order]])


@torch.no_grad()
def check_augmented(augmentation: AugmentationFn, encoder: Encoder) -> None:
    """
    See that an augmentation can read an encoder's images, and the encoder what it makes of them.

    :raises ValueError: they are of another size, for which it is not made, or floats in other bounds than it takes
    """
    nothing = isinstance(augmentation, Compose) and not augmentation.augmentations
    ours = isinstance(augmentation, Augmentation) and not nothing
    for space in encoder.spaces:
        check_bounds(augmentation, space)
        if ours and 2 * space.shape[2] <= min(space.shape[:2]):
            warnings.warn(
                f"Images of shape {space.shape} seem to have their channels last, and Stable-Baselines3 does not put them "
                f"first. {augmentation!r} takes the last two axes for height and width, and so mixes the colours: let "
                "VecTransposeImage or a wrapper put the channels first, or give the objective augment=None.",
                stacklevel=2,
            )
    blank = encoder.blank(2)
    for key, image in encoder.images(blank).items():
        augmented = augmentation(image, generator=torch.Generator(image.device).manual_seed(0))
        if augmented.shape == image.shape:
            continue
        before, after = (tuple(images.shape[1:]) for images in (image, augmented))
        try:
            with probing(encoder):
                encoder({**blank, key: augmented} if isinstance(blank, Mapping) else augmented)
        except RuntimeError:
            raise ValueError(
                f"The augmentation {augmentation!r} turns images of shape {before} into {after}, which "
                f"{type(encoder.extractors[key]).__name__} cannot read, for it is made for the former; one that keeps the "
                "size is needed, such as random_shift."
            ) from None


def flatten_time(observations: Observations) -> Observations:
    """Windows ``(B, L, *obs)`` as one batch ``(B * L, *obs)``."""
    if isinstance(observations, Mapping):
        return {key: value.flatten(0, 1) for key, value in observations.items()}
    return observations.flatten(0, 1)


def frame(observations: Observations, index: int) -> Observations:
    """One frame of every window: ``(B, L, *obs)`` to ``(B, *obs)``."""
    if isinstance(observations, Mapping):
        return {key: value[:, index] for key, value in observations.items()}
    return observations[:, index]


def frame_or_first(windows: Windows, index: int) -> Observations:
    """
    One frame of every window, or its first where the episode ends before: what lies beyond an episode's end must not reach the
    statistics of a batch normalisation.
    """
    chosen, first = frame(windows.observations, index), frame(windows.observations, 0)
    if index == 0:
        return first
    rows = windows.mask[:, index]
    if isinstance(chosen, Mapping) or isinstance(first, Mapping):
        assert isinstance(chosen, Mapping) and isinstance(first, Mapping)
        return {key: _rows_of(rows, chosen[key], first[key]) for key in chosen}
    return _rows_of(rows, chosen, first)


def _rows_of(rows: Tensor, chosen: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (chosen.dim() - 1)), chosen, otherwise)
