"""TACO: contrast a state and the actions that followed with the state they led to (Zheng et al. 2023)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpc_rl.encoder import Encoder
from cpc_rl.losses import masked_mean
from cpc_rl.negatives import Negatives
from cpc_rl.nets import mlp
from cpc_rl.objectives.base import frame
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class TACO(ContrastiveObjective):
    """
    A state ``z_t`` and the embedded actions ``u_t .. u_{t+K-1}`` that followed it are scored against the state that they led
    to, by ``MLP([z_t, u_t .. u_{t+K-1}])^T W z_{t+K}``, the other later states of the batch as negatives. ``z`` is a linear
    layer of the features with layer normalisation and tanh. The keys come from the same encoder, without gradient: there is no
    momentum copy.

    Zheng et al. 2023, "TACO: Temporal Latent Action-Driven Contrastive Loss for Visual Reinforcement Learning", section 3.
    Their objective sums three terms with equal weights: this one, CURL's with the same ``W`` (two views of ``o_t``), and the
    squared error of a predicted return. Ours leaves the last out unless it is asked for, since a squared error in an
    environment's own units has no fixed proportion to losses in nats. ``W`` starts as the identity: after 300 updates on the
    synthetic data of our tests (three seeds) the bound three steps ahead was then 1.2 to 1.5 nats, against -0.1 to 0.15 from
    the authors' draw from [0, 1). Their action embedding is shared with the critic; here it belongs to the head.

    :param horizon: number of actions (``K`` of the paper)
    :param latent_dim: length of ``z``
    :param action_latent_dim: length of ``u``; 1.25 times that of an action plus one, rounded down, if ``None`` (the authors')
    :param hidden_dim: of the predictors
    :param curl: add CURL's term. The metrics ``accuracy`` and ``mi_lower_bound`` are those of TACO's own in any case
    :param reward: add the squared error of the predicted sum of the ``K`` rewards (the authors predict the discounted return
        that their critic uses)
    :param temperature: divides the scores; the authors have none
    :param negatives: see :class:`cpc_rl.Negatives`; no queue with ``curl``, which contrasts a second kind of keys
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if there are no actions, or a setting makes no sense
    """

    can_share = True

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 3,
        latent_dim: int = 50,
        action_latent_dim: int | None = None,
        hidden_dim: int = 1024,
        curl: bool = True,
        reward: bool = False,
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
            queue_dim=None if curl else latent_dim,
            contrasts=2 if curl else 1,
        )
        self.require_actions(action_dim)
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}, but TACO predicts the state at least one action later.")
        self.curl = curl
        sequence_dim = horizon * (action_latent_dim or int(1.25 * action_dim) + 1)
        self.projection = nn.Sequential(nn.Linear(encoder.features_dim, latent_dim), nn.LayerNorm(latent_dim), nn.Tanh())
        self.action_embedding = nn.Sequential(nn.Linear(action_dim, 64), nn.Tanh(), nn.Linear(64, sequence_dim // horizon))
        self.sequence_embedding = nn.Sequential(nn.Linear(sequence_dim, sequence_dim), nn.LayerNorm(sequence_dim), nn.Tanh())
        self.predictor = mlp(latent_dim + sequence_dim, hidden_dim, latent_dim)
        self.reward_predictor = mlp(latent_dim + sequence_dim, hidden_dim, 1) if reward else None
        self.W = nn.Parameter(torch.eye(latent_dim))

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        now, later = frame(windows.observations, 0), frame(windows.observations, self.horizon)
        features = encoder(self.augmented(now)) if shared is None else shared.anchors  # (B, F)
        z = self.projection(features)  # (B, D)
        with torch.no_grad():
            keys = self.projection(encoder(self.augmented(later)))
        u = self.sequence_embedding(self.action_embedding(windows.actions).flatten(1))  # (B, K * U)
        state_and_actions = torch.cat([z, u], dim=1)
        anchors_at, keys_at = self.origin(windows, 0, 1), self.origin(windows, self.horizon, self.horizon + 1)
        targets = torch.arange(len(z), device=z.device)
        part = self.contrast(self.predictor(state_and_actions) @ self.W, keys, anchors_at, keys_at, targets)
        loss, metrics = self.result([part])
        metrics["taco_loss"] = loss.detach()
        if self.curl:
            with torch.no_grad():
                views = self.projection(encoder(self.augmented(now)))
            curl_loss, curl_metrics = self.result([self.contrast(z @ self.W, views, anchors_at, anchors_at, targets, which=1)])
            metrics |= {"curl_loss": curl_loss.detach(), "curl_accuracy": curl_metrics["accuracy"]}
            loss = loss + curl_loss
        if self.reward_predictor is not None:
            rows = windows.mask[:, self.horizon]
            rewards = windows.rewards.sum(dim=1)[self.positives(targets, rows)]
            errors = F.mse_loss(self.reward_predictor(state_and_actions).squeeze(1), rewards, reduction="none")
            reward_loss = masked_mean(errors, rows)
            metrics["reward_loss"] = reward_loss.detach()
            loss = loss + reward_loss
        return loss, metrics | {"loss": loss.detach()}
