"""MoCo: contrast a view with a momentum encoder's key and a queue of earlier keys (He et al. 2020, Chen et al. 2020)."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cpc_rl.encoder import Encoder
from cpc_rl.momentum import check_tau, momentum_copy, momentum_update
from cpc_rl.negatives import Negatives
from cpc_rl.nets import mlp
from cpc_rl.objectives.base import frame, frame_or_first
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class MoCo(ContrastiveObjective):
    """
    InfoNCE of cosine similarities over a temperature between a query and its key, another view of the same observation.
    Keys come from momentum copies of encoder and projection, without gradient. The negatives are keys of earlier batches, in
    a first-in-first-out queue.

    He, Fan, Wu, Xie and Girshick 2020, "Momentum Contrast for Unsupervised Visual Representation Learning", section 3 and
    equation 1; the projection with one hidden layer is of Chen, Fan, Girshick and He 2020, "Improved Baselines with Momentum
    Contrastive Learning" (v2). It has no batch normalisation, and so has no need of the paper's shuffling; an encoder that has
    some would let queries recognise their own batch.

    The queue holds keys of an encoder that has moved since. The loss falls as well where old keys are told from new ones,
    which says nothing about the images: on independent pairs of the synthetic data of our tests, 200 updates made the bound
    over the queue 1.2 nats with ``tau=0.001``, 3.5 with 0.01 and 3.6 with 0.05. So ``accuracy``, ``mi_lower_bound`` and
    ``mi_ceiling`` are those of the batch's own keys; ``loss`` is the one that is trained, and ``mi_<estimator>``, where
    another bound is trained over the queue, is no bound on the mutual information.

    :param tau: step of the momentum copies towards the online ones, after every update. The papers' 0.001 (m = 0.999) is
        meant for some 10^5 updates and learns more slowly: on the same data, a linear read-out of the image explained 77% of
        its variance before any update, and after 600 of them 93%, against 97% with 0.01. With 0.05 it was 99%, but with
        ``horizon=1`` telling old keys from new ones then took over and the features collapsed (effective rank 2 of 64,
        against 30 with 0.01)
    :param horizon: steps from the query to its key; 0 as in the papers
    :param latent_dim: length of the vectors that are contrasted
    :param hidden_dim: of the projection. The papers keep the width of their features, 2048; 512 is the usual one of agents
    :param norm: ``"batch"`` or ``"layer"``: normalise before the projection's ReLU, which MoCo v3 (Chen, Xie and He 2021) does
        by batches there and on the output. An encoder that gives nearly the same features for all images, as a transformer at
        its beginning, learns faster with ``"batch"`` (benchmarks/results/images)
    :param temperature: divides the cosines. The first paper has 0.07, the second 0.2. On the same data 0.07, 0.1 and 0.2
        explained 98%, 97% and 96%; 0.1 is SimCLR's here
    :param negatives: see :class:`cpc_rl.Negatives`. The queue holds 4096 keys, 32 batches of the callback's 128; the papers'
        65536 would reach back 512 updates, and be larger than many rollouts. Queues of 1024 and
        16384 learnt the same
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if a setting makes no sense
    """

    can_share = True

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        tau: float = 0.01,
        horizon: int = 0,
        latent_dim: int = 128,
        hidden_dim: int = 512,
        norm: Literal["batch", "layer"] | None = None,
        temperature: float = 0.1,
        negatives: str | Mapping[str, Any] | Negatives = "queue",
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
        check_tau(tau)
        self.tau = tau
        self.projection = mlp(encoder.features_dim, hidden_dim, latent_dim, norm=norm)
        self.key_encoder = momentum_copy(encoder)
        self.key_projection = momentum_copy(self.projection)

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        features = encoder(self.augmented(frame(windows.observations, 0))) if shared is None else shared.anchors  # (B, F)
        queries = self.projection(features)  # (B, D)
        with torch.no_grad():
            keys = self.key_projection(self.key_encoder(self.augmented(frame_or_first(windows, self.horizon))))
        queries, keys = F.normalize(queries, dim=1), F.normalize(keys, dim=1)
        queries_at = self.origin(windows, 0, 1)
        keys_at = self.origin(windows, self.horizon, self.horizon + 1)
        targets = torch.arange(len(queries), device=queries.device)
        return self.result([self.contrast(queries, keys, queries_at, keys_at, targets)])

    def after_step(self, encoder: Encoder) -> None:
        momentum_update(self.key_encoder, encoder, self.tau)
        momentum_update(self.key_projection, self.projection, self.tau)
        super().after_step(encoder)
