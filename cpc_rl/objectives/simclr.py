"""SimCLR: contrast two augmented views of each image, all views of the batch with all others (Chen et al. 2020)."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cpc_rl.encoder import Encoder
from cpc_rl.negatives import Negatives, Origin
from cpc_rl.nets import mlp
from cpc_rl.objectives.base import frame_or_first
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class SimCLR(ContrastiveObjective):
    """
    NT-Xent, the cross-entropy of cosine similarities over a temperature, between two views of each observation. All
    ``2B`` views are anchors in turn; the candidates of each are the other ``2B - 1``. Both views carry gradient.

    Chen, Kornblith, Norouzi and Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
    section 2.1 and equation 1. The projection is the paper's, one hidden layer with a ReLU.

    With ``horizon > 0`` the second view shows ``o_{t+horizon}``. Windows whose episode ends before are no anchors; their
    first view stays a negative of the others.

    :param horizon: steps from the first view to the second; 0 as in the paper
    :param latent_dim: length of the vectors that are contrasted
    :param hidden_dim: of the projection. The paper keeps the width of its features, 2048; 512 is the usual one of agents
    :param norm: ``"batch"`` or ``"layer"``: normalise before the projection's ReLU. The authors' code has batch normalisation
        there and on the output. It takes off what all features have in common, see :class:`MoCo`
    :param temperature: divides the cosines
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    :param augment: the paper crops, resizes and distorts colours; agents learn better from shifts (Laskin et al. 2020)
    :raises ValueError: if a setting makes no sense
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 0,
        latent_dim: int = 128,
        hidden_dim: int = 512,
        norm: Literal["batch", "layer"] | None = None,
        temperature: float = 0.1,
        negatives: str | Mapping[str, Any] | Negatives = "batch",
        estimator: str = "infonce",
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        super().__init__(
            encoder,
            action_dim,
            horizon=horizon,
            temperature=temperature,
            negatives=negatives,
            estimator=estimator,
            augment=augment,
            shuffled=shuffled,
            queue_dim=latent_dim,
        )
        self.projection = mlp(encoder.features_dim, hidden_dim, latent_dim, norm=norm)

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        frames = (0, self.horizon)
        features = [encoder(self.augmented(frame_or_first(windows, i))) for i in frames]
        views = F.normalize(self.projection(torch.cat(features)), dim=1)  # (2B, D)
        origins = [self.origin(windows, i, i + 1) for i in frames]
        origin = Origin(*(torch.cat(pair) for pair in zip(*origins, strict=True)))
        place = torch.arange(len(views), device=views.device)
        itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
        return self.result([self.contrast(views, views, origin, origin, place.roll(len(views) // 2), itself)])
