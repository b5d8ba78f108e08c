"""CPC: predict the features of future frames from a recurrent context (van den Oord, Li and Vinyals 2018)."""

from typing import Any

import torch
from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.losses import Contrast, contrast_metrics, info_nce, masked_mean
from cpc_rl.objectives.base import Objective, flatten_time
from cpc_rl.sampling import Windows


class CPC(Objective):
    """
    A GRU summarises ``z_0 .. z_t`` into a context ``c_t``; for each ``k`` in ``1 .. steps`` a linear map of its own
    predicts ``z_{t+k}``, and is scored against all features of the batch of windows by the log-bilinear
    product ``z^T W_k c_t``. Gradients flow to both sides, both are augmented.

    van den Oord, Li and Vinyals 2018, section 2.2. With ``actions=True`` a second GRU rolls the context forward over
    ``a_t .. a_{t+k-1}`` before the prediction, and the first one reads the action that led to each frame: Guo et
    al. 2018, "Neural Predictive Belief Representations" (CPC|A).

    Frames beyond an episode's end are neither positives nor negatives.

    :param steps: how many steps ahead are predicted (``K`` of the paper)
    :param context: number of frames that the longest context may read before the first prediction; a window has
        ``context + steps`` frames
    :param context_dim: size of the GRU's state
    :param actions: condition the prediction on the actions taken
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        steps: int = 1,
        context: int = 1,
        context_dim: int = 256,
        actions: bool = False,
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        super().__init__(encoder, action_dim, augment=augment, shuffled=shuffled)
        if steps < 1 or context < 1:
            raise ValueError(f"steps is {steps} and context is {context}, but CPC needs at least one of each.")
        if actions and action_dim < 1:
            raise ValueError("CPC with actions=True needs an action space whose actions can be encoded, but action_dim is 0.")
        self.steps = steps
        self.horizon = context + steps - 1
        self.actions = actions
        features_dim = encoder.features_dim
        self.context_gru = nn.GRU(features_dim + (action_dim if actions else 0), context_dim, batch_first=True)
        self.action_gru = nn.GRUCell(action_dim, context_dim) if actions else None
        self.W = nn.ModuleList(nn.Linear(context_dim, features_dim, bias=False) for _ in range(steps))

    def forward(self, encoder: Encoder, windows: Windows, shared: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        batch_size, length = windows.mask.shape
        features = encoder(self.augmented(flatten_time(windows.observations)))  # (B * L, F)
        z = features.unflatten(0, (batch_size, length))  # (B, L, F)
        contexts = self.context(z, windows.actions)  # (B, L, H)
        losses, parts, valid_rows = [], [], []
        for k in range(1, self.steps + 1):
            contexts = self._one_step_on(contexts, windows.actions, k)  # (B, L - k, H)
            part, rows = self._contrast(self.W[k - 1](contexts), features, windows.mask, k)
            losses.append(masked_mean(part.loss, rows))
            parts.append(part)
            valid_rows.append(rows)
        metrics = contrast_metrics(
            Contrast(*(torch.cat(column) for column in zip(*parts, strict=True))), torch.cat(valid_rows)
        )
        loss = torch.stack(losses).mean()
        metrics["loss"] = loss.detach()
        return loss, metrics

    def context(self, z: Tensor, actions: Tensor) -> Tensor:
        """Contexts ``c_0 .. c_{L-1}``, ``(B, L, context_dim)``, of features ``(B, L, F)`` and actions ``(B, L-1, A)``."""
        if self.actions:
            before = torch.cat([torch.zeros_like(actions[:, :1]), actions], dim=1)  # nothing is known of what led to frame 0
            z = torch.cat([z, before], dim=-1)
        return self.context_gru(z)[0]

    def _one_step_on(self, contexts: Tensor, actions: Tensor, k: int) -> Tensor:
        """Contexts that still have a frame ``k`` steps ahead, rolled over the action ``a_{t+k-1}`` where actions count."""
        contexts = contexts[:, :-1]
        if self.action_gru is None:
            return contexts
        action = actions[:, k - 1 :]  # a_{t+k-1} for t = 0 .. L-1-k
        return self.action_gru(action.flatten(0, 1), contexts.flatten(0, 1)).unflatten(0, contexts.shape[:2])

    def _contrast(self, predictions: Tensor, keys: Tensor, mask: Tensor, k: int) -> tuple[Contrast, Tensor]:
        """Predictions ``(B, L - k, F)`` against all keys ``(B * L, F)`` of the batch; and which rows have a positive."""
        batch_size, length = mask.shape
        columns = torch.arange(batch_size * length, device=mask.device).view(batch_size, length)
        rows = mask[:, k:].flatten()  # (B * (L - k),)
        scores = predictions.flatten(0, 1) @ keys.T  # (B * (L - k), B * L)
        return info_nce(scores, self.positives(columns[:, k:].flatten(), rows), candidates=mask.flatten()), rows
