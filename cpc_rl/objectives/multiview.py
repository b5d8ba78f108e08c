"""CMC: contrast the entries of a Dict observation as views of one thing (Tian, Krishnan and Isola 2020)."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpc_rl.encoder import Encoder
from cpc_rl.negatives import Negatives
from cpc_rl.nets import mlp
from cpc_rl.objectives.base import frame
from cpc_rl.objectives.contrastive import ContrastiveObjective, Part
from cpc_rl.sampling import Windows


class Multiview(ContrastiveObjective):
    """
    The image entries of a Dict observation (two cameras, RGB and depth, neighbouring slices of one scan) are views of one
    thing. Each has a projection of its own; for every two of them (the full graph) each view's vector is contrasted by its
    cosine with the other's over the batch, in both directions. Gradients flow to both views.

    Tian, Krishnan and Isola 2020, "Contrastive Multiview Coding", section 3 (two views, and the full graph of more). The
    paper adds the contrasts up, here the loss is their mean: an automatic coefficient evens that out. Its negatives come from
    a memory bank of the whole data set, which a growing replay buffer cannot keep up to date; ours are the batch's. The
    authors crop all views alike, here each is augmented by itself.

    :param horizon: steps from the anchor's frame to the other view's; 0, the same moment, as in the paper
    :param latent_dim: length of the vectors that are contrasted; 128 as in the paper
    :param hidden_dim: of a projection with one hidden layer; a linear one, as in the paper, if ``None``
    :param temperature: divides the cosines; 0.07 as in the paper
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if there are fewer than two image entries, or a setting makes no sense
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 0,
        latent_dim: int = 128,
        hidden_dim: int | None = None,
        temperature: float = 0.07,
        negatives: str | Mapping[str, Any] | Negatives = "batch",
        estimator: str = "infonce",
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        if not encoder.is_dict or len(encoder.extractors) < 2:
            what = f"only {list(encoder.extractors)}" if encoder.is_dict else "one image, not a Dict"
            raise ValueError(
                "Multiview contrasts the image entries of a Dict observation with one another and needs at least two of "
                f"them, but the observation has {what}: use an objective of one view, such as 'curl' or 'simclr'."
            )
        super().__init__(
            encoder,
            action_dim,
            horizon=horizon,
            temperature=temperature,
            negatives=negatives,
            estimator=estimator,
            augment=augment,
            shuffled=shuffled,
            contrasts=len(encoder.extractors) * (len(encoder.extractors) - 1),
        )
        hidden = () if hidden_dim is None else (hidden_dim,)
        sizes = encoder.view_dims
        self.projections = nn.ModuleDict({key: mlp(size, *hidden, latent_dim) for key, size in sizes.items()})

    def forward(self, encoder: Encoder, windows: Windows, shared: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        anchors = self._projected(encoder, windows, 0)  # each (B, D)
        keys = anchors if self.horizon == 0 else self._projected(encoder, windows, self.horizon)
        anchors_at = self.origin(windows, 0, 1)
        keys_at = {key: self.origin(windows, self.horizon, self.horizon + 1, key) for key in keys}
        targets = torch.arange(len(windows.mask), device=windows.mask.device)
        parts: list[Part] = []
        for one, other in combinations(self.projections, 2):
            parts.append(self.contrast(anchors[one], keys[other], anchors_at, keys_at[other], targets, which=len(parts)))
            parts.append(self.contrast(anchors[other], keys[one], anchors_at, keys_at[one], targets, which=len(parts)))
        return self.result(parts)

    def pictures(self, encoder: Encoder, windows: Windows) -> tuple[Tensor, Tensor]:
        """Images of the first view above those of the second, which are brought to the first one's size."""
        anchors, positives = (encoder.images(view) for view in self.pairs(windows))
        first, second, *_ = self.projections
        above, below = anchors[first], positives[second]
        if above.shape[2:] != below.shape[2:]:
            below = F.interpolate(below.float(), size=above.shape[2:]).to(below.dtype)
        return above, below

    def _projected(self, encoder: Encoder, windows: Windows, index: int) -> dict[str, Tensor]:
        views = encoder.views(self.augmented(frame(windows.observations, index)))
        return {key: F.normalize(projection(views[key]), dim=1) for key, projection in self.projections.items()}
