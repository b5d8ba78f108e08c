"""ATC: contrast a frame with one a few steps later (Stooke, Lee, Abbeel and Laskin 2021)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.momentum import check_tau, momentum_copy, momentum_update
from cpc_rl.negatives import Negatives
from cpc_rl.nets import FEATURE_LENGTH, mlp
from cpc_rl.objectives.base import frame
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class ATC(ContrastiveObjective):
    """
    A frame's features are compressed to ``c`` by a linear layer; the anchor adds a prediction, ``c + MLP(c)``, and is scored
    against the later frame's code by the bilinear product ``(c_t + MLP(c_t))^T W c_{t+k}``, the other later frames of the
    batch as negatives. The key's code comes from momentum copies of the encoder and the compressor, without gradient.

    Stooke, Lee, Abbeel and Laskin 2021, "Decoupling Representation Learning from Reinforcement Learning", section 3. As in the
    authors' code, codes are not normalised, there is no temperature, and ``W`` starts as a linear layer does: after 800
    updates on the synthetic data of our tests (three seeds) the bound was then 1.4 to 1.7 nats three steps ahead, against
    0.9 to 1.0 from an identity (over features of one length 1.7 to 1.8, against 1.2). Pairs across the end of an episode do
    not count, and the later frame is then no negative of the others either (theirs keep it). Theirs trains the encoder by this
    loss alone; here it is added to the agent's.

    :param horizon: steps from the anchor to its key. The authors take 3 on Atari and DMLab and 1 on DMControl; 0 contrasts two
        views of one frame
    :param latent_dim: length of a code. The authors take 128 on DMControl and 256 elsewhere
    :param hidden_dim: of the anchor's predictor
    :param tau: step of the momentum copies towards the online modules, after every update
    :param feature_length: the head reads features without their mean and of this length, so that it cannot gain by making
        the agent's longer (:func:`cpc_rl.nets.at_length`); features as they are if ``None``, as in the authors' code
    :param temperature: divides the scores
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if a setting makes no sense
    """

    can_share = True

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 3,
        latent_dim: int = 128,
        hidden_dim: int = 512,
        tau: float = 0.01,
        feature_length: float | None = FEATURE_LENGTH,
        temperature: float = 1.0,
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
            feature_length=feature_length,
        )
        check_tau(tau)
        self.tau = tau
        self.takes_next_keys = horizon == 1
        self.compressor = nn.Linear(encoder.features_dim, latent_dim)
        self.predictor = mlp(latent_dim, hidden_dim, latent_dim)
        self.key_encoder = momentum_copy(encoder)
        self.key_compressor = momentum_copy(self.compressor)
        self.W = nn.Linear(latent_dim, latent_dim, bias=False)

    def frames_needed(self, shared: Shared) -> Sequence[int] | None:
        if self.negatives.mask_duplicates:
            return None
        return () if self.horizon == 1 and shared.next_keys is not None else (self.horizon,)

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        features = encoder(self.augmented(frame(windows.observations, 0))) if shared is None else shared.anchors  # (B, F)
        c = self.compressor(self.read(features))  # (B, D)
        with torch.no_grad():
            if shared is not None and shared.next_keys is not None and self.horizon == 1:
                later = shared.next_keys  # a target network is a momentum encoder too
            else:
                later = self.key_encoder(self.augmented(frame(windows.observations, self.horizon)))
            keys = self.key_compressor(self.read(later))  # (B, D)
        anchors_at = self.origin(windows, 0, 1)
        keys_at = self.origin(windows, self.horizon, self.horizon + 1)
        targets = torch.arange(len(c), device=c.device)
        return self.result([self.contrast(self.W(c + self.predictor(c)), keys, anchors_at, keys_at, targets)])

    def after_step(self, encoder: Encoder) -> None:
        momentum_update(self.key_encoder, encoder, self.tau)
        momentum_update(self.key_compressor, self.compressor, self.tau)
        super().after_step(encoder)
