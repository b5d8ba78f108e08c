"""CPC: predict the features of future frames from a recurrent context (van den Oord, Li and Vinyals 2018)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.negatives import Negatives
from cpc_rl.nets import FEATURE_LENGTH
from cpc_rl.objectives.base import flatten_time, frame
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class CPC(ContrastiveObjective):
    """
    A GRU summarises ``z_0 .. z_t`` into a context ``c_t``; for each ``k`` in ``1 .. steps`` a linear map of its own
    predicts ``z_{t+k}``, and is scored against all features of the batch of windows by the log-bilinear
    product ``z^T W_k c_t``. Gradients flow to both sides, both are augmented.

    van den Oord, Li and Vinyals 2018, section 2.2. With ``actions=True`` a second GRU rolls the context forward over
    ``a_t .. a_{t+k-1}`` before the prediction, and the first one reads the action that led to each frame: Guo et
    al. 2018, "Neural Predictive Belief Representations" (CPC|A).

    Frames beyond an episode's end are neither positives nor negatives.

    :param horizon: how many steps ahead are predicted (``K`` of the paper)
    :param context: number of frames that are read before the last prediction begins; a window has ``context + horizon``
        frames, and predictions start from each of them. With 1 a context is of one frame alone, as from a stack of frames
    :param context_dim: size of the GRU's state
    :param latent_dim: length of the vectors that are predicted, by a linear layer; the features themselves if ``None``
    :param feature_length: the head reads features without their mean and of this length, so that it cannot gain by making
        the agent's longer (:func:`cpc_rl.nets.at_length`); ``None`` for features as they are, as in the paper
    :param actions: condition the prediction on the actions taken
    :param temperature: divides the scores; the paper has none
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if a setting makes no sense, or actions are asked for where there are none
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 1,
        context: int = 1,
        context_dim: int = 256,
        latent_dim: int | None = None,
        feature_length: float | None = FEATURE_LENGTH,
        actions: bool = False,
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
            horizon=context + horizon - 1,
            temperature=temperature,
            negatives=negatives,
            estimator=estimator,
            augment=augment,
            shuffled=shuffled,
            queue_dim=dim,
            feature_length=feature_length,
            contrasts=max(horizon, 1),
        )
        if horizon < 1 or context < 1:
            raise ValueError(f"horizon is {horizon} and context is {context}, but CPC needs at least one of each.")
        if actions:
            self.require_actions(action_dim)
        self.steps = horizon
        self.actions = actions
        self.single = self.can_share = self.takes_next_keys = context == 1  # an algorithm has the features of one frame
        self.context_gru = nn.GRU(encoder.features_dim + (action_dim if actions else 0), context_dim, batch_first=True)
        if context == 1:  # the recurrent weights only ever multiply the state's zeros
            self.context_gru.weight_hh_l0.requires_grad_(False)
        self.action_gru = nn.GRUCell(action_dim, context_dim) if actions else None
        self.projection = nn.Identity() if latent_dim is None else nn.Linear(encoder.features_dim, latent_dim)
        self.W = nn.ModuleList(nn.Linear(context_dim, dim, bias=False) for _ in range(horizon))

    def frames_needed(self, shared: Shared) -> Sequence[int] | None:
        if self.negatives.mask_duplicates:
            return None
        first = 1 if shared.next_keys is None else 2
        return tuple(range(first, self.horizon + 1))

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        if shared is not None:
            return self._shared_forward(encoder, windows, shared)
        batch_size, length = windows.mask.shape
        features = self.read(encoder(self.augmented(flatten_time(windows.observations))))  # (B * L, F)
        contexts = self.context(features.unflatten(0, (batch_size, length)), windows.actions)  # (B, L, H)
        keys, keys_at = self.projection(features), self.origin(windows)  # (B * L, D)
        columns = torch.arange(batch_size * length, device=features.device).view(batch_size, length)
        parts = []
        for k in range(1, self.steps + 1):
            contexts = self._one_step_on(contexts, windows.actions, k)  # (B, L - k, H)
            predictions = self.W[k - 1](contexts).flatten(0, 1)  # (B * (L - k), D)
            anchors_at = self.origin(windows, 0, length - k)
            parts.append(self.contrast(predictions, keys, anchors_at, keys_at, columns[:, k:].flatten(), which=k - 1))
        return self.result(parts)

    def _shared_forward(self, encoder: Encoder, windows: Windows, shared: Shared) -> tuple[Tensor, dict[str, Tensor]]:
        """Contexts of one frame each, predictions from frame 0 alone, and keys that take no gradient."""
        batch_size, length = windows.mask.shape
        with torch.no_grad():
            later = [
                shared.next_keys
                if k == 1 and shared.next_keys is not None
                else encoder(self.augmented(frame(windows.observations, k)))
                for k in range(1, length)
            ]
        features = self.read(torch.stack([shared.anchors, *later], dim=1))  # (B, L, F)
        contexts = self.context(features[:, :1], windows.actions[:, :0])  # (B, 1, H)
        # The positives take no gradient. If frame 0 took one as a negative, features would only ever be pushed, and run away.
        keys, keys_at = self.projection(features.detach().flatten(0, 1)), self.origin(windows)  # (B * L, D)
        columns = torch.arange(batch_size * length, device=features.device).view(batch_size, length)
        steps_ahead = torch.arange(length, device=features.device).repeat(batch_size)  # of each key
        anchors_at = self.origin(windows, 0, 1)
        parts = []
        for k in range(1, self.steps + 1):
            if self.action_gru is not None:
                contexts = self.action_gru(windows.actions[:, k - 1], contexts[:, 0])[:, None]
            predictions = self.W[k - 1](contexts[:, 0])  # (B, D)
            # Frames 0 differ from later ones (in the encoder's age, for one), and a head that tells the two apart gets log 2
            # nats for nothing. So they are negatives, but no part of accuracy and bound.
            alike = steps_ahead == k
            parts.append(self.contrast(predictions, keys, anchors_at, keys_at, columns[:, k], reported=alike, which=k - 1))
        return self.result(parts)

    def context(self, z: Tensor, actions: Tensor) -> Tensor:
        """Contexts ``c_0 .. c_{L-1}``, ``(B, L, context_dim)``, of features ``(B, L, F)`` and actions ``(B, L-1, A)``."""
        if self.actions:
            nothing = actions.new_zeros(len(actions), 1, actions.shape[2])  # is known of what led to frame 0
            before = torch.cat([nothing, actions], dim=1)
            z = torch.cat([z, before], dim=-1)
        if self.single:
            return self.context_gru(z.flatten(0, 1)[:, None])[0].unflatten(0, z.shape[:2]).squeeze(2)
        return self.context_gru(z)[0]

    def _one_step_on(self, contexts: Tensor, actions: Tensor, k: int) -> Tensor:
        """Contexts that still have a frame ``k`` steps ahead, rolled over the action ``a_{t+k-1}`` where actions count."""
        contexts = contexts[:, :-1]
        if self.action_gru is None:
            return contexts
        action = actions[:, k - 1 :]  # a_{t+k-1} for t = 0 .. L-1-k
        return self.action_gru(action.flatten(0, 1), contexts.flatten(0, 1)).unflatten(0, contexts.shape[:2])
