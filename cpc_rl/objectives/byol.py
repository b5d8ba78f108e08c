"""BYOL: predict a momentum network's projection of another view, without negatives (Grill et al. 2020)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpc_rl.encoder import Encoder
from cpc_rl.losses import masked_mean
from cpc_rl.momentum import check_tau, momentum_copy, momentum_update
from cpc_rl.nets import mlp
from cpc_rl.objectives.joint_embedding import JointEmbedding, retrieval_accuracy
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class BYOL(JointEmbedding):
    """
    The squared distance of two unit vectors, ``2 - 2 cos``: the prediction from one view's projection, and the momentum
    network's projection of the other view, without gradient. Both orders of the views are summed, so that the loss lies
    between 0 and 8. It has no negatives and bounds no mutual information.

    Grill et al. 2020, "Bootstrap Your Own Latent", section 3.1 and equation 2. As there, projection and predictor have one
    hidden layer with batch normalisation before its ReLU, and the projection's output is not normalised. Its last layer has
    no bias here: the predictor normalises, so that it would never learn.

    With ``horizon > 0`` the second view shows ``o_{t+horizon}``. Windows whose episode ends before do not count in the loss;
    batch normalisations then see two views of ``o_t``.

    On the synthetic data of our tests predictor and slow target keep the projections from collapsing, and without both they
    collapse (effective rank 38 against 5, of 128, after 100 updates).

    :param horizon: steps from the first view to the second; 0 as in the paper
    :param latent_dim: length of a projection; 256 in the paper, whose features are 2048 wide
    :param hidden_dim: of projection and predictor; 4096 in the paper, for the same reason
    :param tau: step of the momentum copies towards the online ones, after every update. The paper starts at 0.004 and ends at
        0 by a schedule over a training whose length is known; an agent's is not always. On the same data 0.004, 0.01 and 0.05
        do alike (a linear read-out of the image explains 96%, 96% and 98% after 150 updates, 100% after 600)
    :raises ValueError: if a setting makes no sense, or a batch holds one window alone
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 0,
        latent_dim: int = 128,
        hidden_dim: int = 512,
        tau: float = 0.01,
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        super().__init__(encoder, action_dim, horizon=horizon, augment=augment, shuffled=shuffled)
        check_tau(tau, "momentum network")
        self.tau = tau
        self.projection = mlp(encoder.features_dim, hidden_dim, latent_dim, norm="batch")
        # The predictor normalises after its first layer, so that a bias here would never learn.
        self.projection[-1] = nn.Linear(hidden_dim, latent_dim, bias=False)
        self.predictor = mlp(latent_dim, hidden_dim, latent_dim, norm="batch")
        self.target_encoder = momentum_copy(encoder)
        self.target_projection = momentum_copy(self.projection)

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        first, second, rows, partners = self.views(windows)
        # Each view passes by itself, so that batch normalisations take its own statistics, as the paper's do.
        predictions = [self.predictor(self.projection(encoder(view))) for view in (first, second)]
        with torch.no_grad():
            targets = [self.target_projection(self.target_encoder(view)) for view in (second, first)]
        loss = torch.stack([_distance(p, t[partners], rows) for p, t in zip(predictions, targets, strict=True)]).sum()
        found = [retrieval_accuracy(p, t, partners, rows) for p, t in zip(predictions, targets, strict=True)]
        return loss, {"loss": loss.detach(), "accuracy": torch.stack(found).mean()}

    def after_step(self, encoder: Encoder) -> None:
        momentum_update(self.target_encoder, encoder, self.tau)
        momentum_update(self.target_projection, self.projection, self.tau)


def _distance(predictions: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
    """Mean over the rows of the squared distance on the unit sphere, equation 2 of the paper."""
    return masked_mean(2 - 2 * F.cosine_similarity(predictions, targets, dim=1), rows)
