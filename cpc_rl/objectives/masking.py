"""What is hidden of the frames of a window, in the manner of BERT (Devlin et al. 2019)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cpc_rl.encoder import Observations


class Masking(NamedTuple):
    """
    How much is hidden.

    :param share: of the frames that is chosen, to be rebuilt
    :param zeroed: share of the chosen frames that turn black
    :param exchanged: share of the chosen frames in whose place another frame of the batch is shown; the rest stays
    :param patch_share: share of the patches of every frame, chosen or not, that turn black
    :param patch_size: side of a patch in pixels
    """

    share: float
    zeroed: float
    exchanged: float
    patch_share: float
    patch_size: int

    def check(self) -> None:
        """:raises ValueError: if a share makes no sense"""
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, but a share of frames above 0 and at most 1 can be chosen.")
        if min(self.zeroed, self.exchanged) < 0 or self.zeroed + self.exchanged > 1:
            raise ValueError(
                f"zeroed is {self.zeroed} and exchanged is {self.exchanged}, but they are shares of the chosen frames: at "
                "least 0 each, and together at most 1."
            )
        if not 0 <= self.patch_share < 1 or self.patch_size < 1:
            raise ValueError(
                f"patch_share is {self.patch_share} and patch_size is {self.patch_size}, but the share lies between 0 and 1 "
                "(some patches must be left) and a patch has at least 1 pixel a side."
            )

    def hide(self, observations: Observations, mask: Tensor, generator: torch.Generator | None) -> tuple[Observations, Tensor]:
        """
        Hide frames and patches. All entries of a Dict observation lose the same frames.

        :param observations: windows ``(B, L, C, H, W)``, or a dict of such
        :param mask: which frames there are, shape ``(B, L)``, bool, a prefix of each row
        :param generator: of the draws, on the device of ``mask``
        :return: the windows, changed, and which frames were chosen, shape ``(B, L)``, bool
        """
        rows, length = mask.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=mask.device)

        chosen = (uniform(rows, length) < self.share) & mask
        fate = uniform(rows, length)
        # Windows alike, then one of the frames that the window has.
        windows = (uniform(rows, length) * rows).long().clamp(max=rows - 1)
        frames = (uniform(rows, length) * mask.sum(dim=1)[windows]).long().clamp(max=length - 1)

        def hidden(images: Tensor) -> Tensor:
            changed = (chosen & (fate < self.zeroed + self.exchanged))[:, :, None, None, None]
            images = torch.where(changed, images[windows, frames], images)  # and black over most of them
            images = images.masked_fill((chosen & (fate < self.zeroed))[:, :, None, None, None], 0)
            if self.patch_share > 0:
                height, width = images.shape[-2:]
                size = self.patch_size
                patches = uniform(rows, length, math.ceil(height / size), math.ceil(width / size)) < self.patch_share
                pixels = patches.repeat_interleave(size, dim=2).repeat_interleave(size, dim=3)[:, :, :height, :width]
                images = images.masked_fill(pixels[:, :, None], 0)  # the same patches in all channels of a frame stack
            return images

        if isinstance(observations, Mapping):
            return {key: hidden(images) for key, images in observations.items()}, chosen
        return hidden(observations), chosen
