"""VICReg: two views agree while every variable keeps its variance and none repeats another (Bardes et al. 2022)."""

from typing import Any

import torch
from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.losses import masked_mean
from cpc_rl.nets import mlp
from cpc_rl.objectives.joint_embedding import JointEmbedding, retrieval_accuracy
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class VICReg(JointEmbedding):
    """
    Mean squared distance of the two views' embeddings (invariance), a hinge that keeps the standard deviation of every
    variable over the batch at 1 (variance), and the squared covariances of different variables over their number
    (covariance). It has no negatives, no momentum copy and bounds no mutual information.

    Bardes, Ponce and LeCun 2022, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    section 4.1. The weights are the paper's. They belong to the terms as its authors' code computes them, which differ from
    equations 5 and 6 by a factor each: invariance is a mean over the variables too, and variance the mean of both views'.
    Covariance is their sum.

    With ``horizon > 0`` the second view shows ``o_{t+horizon}``. Windows whose episode ends before count in no term; batch
    normalisations then see two views of ``o_t``.

    :param horizon: steps from the first view to the second; 0 as in the paper
    :param latent_dim: number of variables. The paper has 8192 with batches of 2048; 512 keeps their ratio with the callback's
        batches of 128, on which the noise of the covariances depends
    :param hidden_dim: of the expander's two hidden layers, with batch normalisation; 8192 in the paper
    :param invariance_weight: of the invariance
    :param variance_weight: of the variance. Without it the embeddings shrink to a point
    :param covariance_weight: of the covariance. Without it variables repeat each other
    :raises ValueError: if a setting makes no sense, or a batch holds one window alone
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 0,
        latent_dim: int = 512,
        hidden_dim: int = 512,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        augment: Any = "random_shift",
        shuffled: bool = False,
    ) -> None:
        super().__init__(encoder, action_dim, horizon=horizon, augment=augment, shuffled=shuffled)
        weights = (invariance_weight, variance_weight, covariance_weight)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(f"The weights are {weights}, but none may be negative and one must be above 0.")
        self.invariance_weight, self.variance_weight, self.covariance_weight = weights
        self.expander = mlp(encoder.features_dim, hidden_dim, hidden_dim, latent_dim, norm="batch")
        # No term would see its bias: the first takes a difference, the others centre.
        self.expander[-1] = nn.Linear(hidden_dim, latent_dim, bias=False)

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        first, second, rows, partners = self.views(windows)
        z, other = (self.expander(encoder(view)) for view in (first, second))  # (B, D)
        invariance = masked_mean((z - other[partners]).square().mean(dim=1), rows)
        spreads = [spread(view, rows) for view in (z, other)]
        variance, covariance = (torch.stack(terms) for terms in zip(*spreads, strict=True))
        variance, covariance = variance.mean(), covariance.sum()
        loss = self.invariance_weight * invariance + self.variance_weight * variance + self.covariance_weight * covariance
        metrics = {"loss": loss, "invariance": invariance, "variance": variance, "covariance": covariance}
        metrics = {name: value.detach() for name, value in metrics.items()}
        metrics["accuracy"] = retrieval_accuracy(z, other, partners, rows)
        return loss, metrics


def spread(z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """
    The variance and the covariance term of one view, equations 1 to 4 of the paper.

    :param z: embeddings, shape ``(N, D)``
    :param rows: which count, shape ``(N,)``, bool; with fewer than two of them both terms are 0, with a zero gradient
    :return: two scalars
    """
    counted = rows[:, None].to(z.dtype)
    number = counted.sum()
    centred = (z - (z * counted).sum(dim=0) / number.clamp(min=1)) * counted
    covariance = centred.T @ centred / (number - 1).clamp(min=1)  # (D, D)
    deviations = (covariance.diagonal() + 1e-4).sqrt()
    hinge = (1 - deviations).relu().mean() * (number > 1)
    off_diagonal = covariance - covariance.diag().diag()
    return hinge, off_diagonal.square().sum() / z.shape[1]
