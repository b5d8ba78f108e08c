"""Inverse dynamics: predict the actions from the frames before and after them (Pathak, Agrawal, Efros and Darrell 2017)."""

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from cpc_rl.encoder import Encoder
from cpc_rl.losses import masked_mean
from cpc_rl.nets import mlp
from cpc_rl.objectives.base import Objective, frame
from cpc_rl.sampling import ActionLayout, Windows, action_layout
from cpc_rl.shared import Shared


class Inverse(Objective):
    """
    A network reads the features of ``o_t`` and ``o_{t+K}``, both with gradient, and predicts ``a_t .. a_{t+K-1}``: each by a
    likelihood of its own, averaged over steps. What the agent cannot influence is of no use for this, and so need not be kept.

    Pathak et al. 2017, "Curiosity-driven Exploration by Self-supervised Prediction", section 2.2, for ``K = 1``. With more
    steps all actions between are predicted, as in the experiments of Stooke et al. 2021; Lamb et al. 2022, "Guaranteed
    Discovery of Control-Endogenous Latent States with Multi-Step Inverse Models", predict ``a_t`` alone and show why one step
    does not suffice: two states that differ only in what happens several actions later may look the same to it.

    - Discrete: cross-entropy in nats. MultiDiscrete: the sum over its components; MultiBinary: over its bits.
    - Box: the mean squared error over the entries, which lie in [-1, 1] where the space is bounded. As a likelihood this is a
      Gaussian of fixed width.

    ``H(a) - cross-entropy`` is a lower bound on ``I(a_t .. a_{t+K-1}; o_t, o_{t+K})`` (Barber and Agakov 2003), but the
    entropy of the agent's own policy is not known here, so that no bound is among the metrics: they are ``accuracy``, the
    share of actions that are right in all components, or for Box ``r2``, the share of the variance that is explained.

    The frames are not augmented unless asked for: each would be shifted by itself, and that hides small movements. On the
    synthetic data of our tests, with moves of 3 pixels in place of 9, accuracy after 300 updates was 1.0 without and .42 and
    .45 (two seeds) with random shifts of up to 4 pixels. Windows that end within the horizon do not count.

    :param horizon: number of actions between the two frames (``K``)
    :param hidden_dim: of the predictor
    :param layout: what the entries of an action mean; one categorical choice if ``None``. :meth:`build` takes it from
        the space
    :raises ValueError: if there are no actions, or a setting makes no sense
    """

    can_share = True

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 1,
        hidden_dim: int = 512,
        layout: ActionLayout | None = None,
        augment: Any = None,
        shuffled: bool = False,
    ) -> None:
        super().__init__(encoder, action_dim, horizon=horizon, augment=augment, shuffled=shuffled)
        self.require_actions(action_dim)
        if horizon < 1:
            raise ValueError(
                f"horizon is {horizon}, but there is no action between a frame and itself: it must be at least 1."
            )
        self.layout = layout or ActionLayout("categorical", (action_dim,))
        if sum(self.layout.sizes) != action_dim:
            raise ValueError(
                f"The layout's sizes {self.layout.sizes} must sum to the number of an action's entries, {action_dim}."
            )
        self.predictor = mlp(2 * encoder.features_dim, hidden_dim, horizon * action_dim)

    @classmethod
    def build(cls, encoder: Encoder, action_space: spaces.Space | None, **keywords: Any) -> "Objective":
        if action_space is not None:
            keywords = {"layout": action_layout(action_space), **keywords}
        return super().build(encoder, action_space, **keywords)

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        first = encoder(self.augmented(frame(windows.observations, 0))) if shared is None else shared.anchors  # (B, F)
        last = encoder(self.augmented(frame(windows.observations, self.horizon)))  # (B, F)
        outputs = self.predictor(torch.cat([first, last], dim=1)).unflatten(1, (self.horizon, -1))  # (B, K, A)
        reached = windows.mask[:, self.horizon]  # (B,)
        actions = windows.actions[self.positives(torch.arange(len(reached), device=reached.device), reached)]
        rows = reached[:, None].expand(-1, self.horizon)  # (B, K)
        if self.layout.kind == "continuous":
            loss = masked_mean((outputs - actions).square().mean(dim=2), rows)
            return loss, {"loss": loss.detach(), "r2": explained(outputs.detach(), actions, reached)}
        if self.layout.kind == "binary":
            losses = F.binary_cross_entropy_with_logits(outputs, actions, reduction="none").sum(dim=2)
            right = ((outputs > 0) == (actions > 0.5)).all(dim=2)
        else:
            groups = list(zip(outputs.split(self.layout.sizes, dim=2), actions.split(self.layout.sizes, dim=2), strict=True))
            losses = torch.stack([-(one_hot * logits.log_softmax(dim=2)).sum(dim=2) for logits, one_hot in groups]).sum(dim=0)
            right = torch.stack([logits.argmax(dim=2) == one_hot.argmax(dim=2) for logits, one_hot in groups]).all(dim=0)
        loss = masked_mean(losses, rows)
        return loss, {"loss": loss.detach(), "accuracy": masked_mean(right.to(loss.dtype), rows)}


def explained(outputs: Tensor, actions: Tensor, rows: Tensor) -> Tensor:
    """
    Share of the actions' variance that the outputs explain, over all steps and entries; 0 if the actions do not vary.

    :param outputs: shape ``(B, K, A)``
    :param actions: shape ``(B, K, A)``
    :param rows: which windows count, shape ``(B,)``, bool
    """
    counts = rows[:, None, None]
    mean = torch.where(counts, actions, 0.0).sum(dim=0) / rows.sum().clamp(min=1)  # (K, A)
    error = torch.where(counts, outputs - actions, 0.0).square().sum()
    spread = torch.where(counts, actions - mean, 0.0).square().sum()
    return torch.where(spread > 0, 1 - error / spread.clamp(min=torch.finfo(spread.dtype).tiny), 0.0)
