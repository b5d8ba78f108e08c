"""CURL: contrast two augmented views of one frame stack (Laskin, Srinivas and Abbeel 2020)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.momentum import check_tau, momentum_copy, momentum_update
from cpc_rl.negatives import Negatives
from cpc_rl.nets import FEATURE_LENGTH
from cpc_rl.objectives.base import frame
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class CURL(ContrastiveObjective):
    """
    Bilinear InfoNCE ``z_anchor^T W z_key`` between two views of the same observation, the other keys of the
    batch as negatives. The key comes from a momentum copy of the encoder, without gradient.

    Laskin, Srinivas and Abbeel 2020, "CURL: Contrastive Unsupervised Representations for Reinforcement
    Learning", section 4. The paper does not say how ``W`` starts. Ours is the identity, so that the first scores are
    inner products; the authors' code draws from [0, 1), which after 80 updates on the synthetic data of our tests
    had found .2 of the pairs over features of one length, the identity .8 (two seeds; .02 and .5 to .8 over features as they
    are).

    :param tau: step of the momentum encoder towards the online one, after every update
    :param horizon: steps from the anchor to its key; 0 as in the paper
    :param latent_dim: length of the vectors that are contrasted, by a linear layer; the features themselves if ``None``
    :param feature_length: the head reads features without their mean and of this length, so that it cannot gain by making
        the agent's longer (:func:`cpc_rl.nets.at_length`); features as they are if ``None``. The paper's encoder ends in a
        layer normalisation and tanh of its own
    :param temperature: divides the scores; the paper has none
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    """

    can_share = True

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        tau: float = 0.05,
        horizon: int = 0,
        latent_dim: int | None = None,
        feature_length: float | None = FEATURE_LENGTH,
        temperature: float = 1.0,
        negatives: str | Mapping[str, Any] | Negatives = "batch",
        estimator: str = "infonce",
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        dim = latent_dim or encoder.features_dim
        super().__init__(
            encoder,
            action_dim,
            horizon=horizon,
            temperature=temperature,
            negatives=negatives,
            estimator=estimator,
            augment=augment,
            shuffled=shuffled,
            queue_dim=dim,
            feature_length=feature_length,
        )
        check_tau(tau)
        self.tau = tau
        self.projection = nn.Identity() if latent_dim is None else nn.Linear(encoder.features_dim, latent_dim)
        self.key_encoder = momentum_copy(encoder)
        self.key_projection = momentum_copy(self.projection)
        self.W = nn.Parameter(torch.eye(dim))

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        features = encoder(self.augmented(frame(windows.observations, 0))) if shared is None else shared.anchors  # (B, F)
        anchors = self.projection(self.read(features))  # (B, D)
        with torch.no_grad():
            later = self.key_encoder(self.augmented(frame(windows.observations, self.horizon)))
            keys = self.key_projection(self.read(later))
        anchors_at = self.origin(windows, 0, 1)
        keys_at = self.origin(windows, self.horizon, self.horizon + 1)
        targets = torch.arange(len(anchors), device=anchors.device)
        # Subtracting the row's maximum, as the paper's pseudocode does, is what cross_entropy does inside.
        return self.result([self.contrast(anchors @ self.W, keys, anchors_at, keys_at, targets)])

    def after_step(self, encoder: Encoder) -> None:
        momentum_update(self.key_encoder, encoder, self.tau)
        momentum_update(self.key_projection, self.projection, self.tau)
        super().after_step(encoder)
