"""CURL: contrast two augmented views of one frame stack (Laskin, Srinivas and Abbeel 2020)."""

from typing import Any

import torch
from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.losses import contrast_metrics, info_nce
from cpc_rl.momentum import momentum_copy, momentum_update
from cpc_rl.objectives.base import Objective, frame
from cpc_rl.sampling import Windows


class CURL(Objective):
    """
    Bilinear InfoNCE ``z_anchor^T W z_key`` between two views of the same observation, the other keys of the
    batch as negatives. The key comes from a momentum copy of the encoder, without gradient.

    Laskin, Srinivas and Abbeel 2020, "CURL: Contrastive Unsupervised Representations for Reinforcement
    Learning", section 4. The paper does not say how ``W`` starts. Ours is the identity, so that the first scores are
    inner products; the authors' code draws from [0, 1), which after 80 updates on the synthetic data of our tests
    had learnt nothing over rectified features (accuracy .02 against .84) and less over their own kind (.34).

    :param tau: step of the momentum encoder towards the online one, after every update
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        tau: float = 0.05,
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        super().__init__(encoder, action_dim, augment=augment, shuffled=shuffled)
        if not 0.0 < tau <= 1.0:
            raise ValueError(f"tau is {tau}, but the momentum encoder needs a step above 0 and at most 1.")
        self.tau = tau
        self.key_encoder = momentum_copy(encoder)
        self.W = nn.Parameter(torch.eye(encoder.features_dim))

    def forward(self, encoder: Encoder, windows: Windows, shared: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        observations = frame(windows.observations, 0)
        anchors = encoder(self.augmented(observations))  # (B, F)
        with torch.no_grad():
            keys = self.key_encoder(self.augmented(observations))  # (B, F)
        scores = anchors @ self.W @ keys.T  # (B, B)
        targets = self.positives(torch.arange(len(anchors), device=anchors.device))
        # Subtracting the row's maximum, as the paper's pseudocode does, is what cross_entropy does inside.
        contrast = info_nce(scores, targets)
        return contrast.loss.mean(), contrast_metrics(contrast)

    def after_step(self, encoder: Encoder) -> None:
        momentum_update(self.key_encoder, encoder, self.tau)
