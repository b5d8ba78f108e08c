"""SPR: predict one's own future latents, step by step, from the actions taken (Schwarzer et al. 2021)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpc_rl.encoder import Encoder, Observations
from cpc_rl.losses import masked_mean
from cpc_rl.momentum import check_tau, momentum_copy, momentum_update
from cpc_rl.objectives.base import Objective, flatten_time, frame
from cpc_rl.objectives.transition import MapTransition, VectorTransition, renormalized
from cpc_rl.sampling import Windows
from cpc_rl.shared import Shared


class SPR(Objective):
    """
    The latents of ``o_t`` are rolled forward over the actions ``a_t .. a_{t+K-1}`` by a transition model; after each step they
    are projected, passed through a linear predictor, and compared with the projected latents of the real frame, from a target
    encoder without gradient. The loss is the squared distance of the two as unit vectors, ``2 - 2 cos``, averaged over all
    steps that lie within the episode. There are no negatives, and no bound on a mutual information.

    Schwarzer et al. 2021, "Data-Efficient Reinforcement Learning with Self-Predictive Representations", section 2. As theirs,
    latents are scaled to [0, 1] sample by sample, and the transition model has two convolutions with the action as planes.
    What differs:

    - They project by the first layer of their Q network. Ours is a layer of the head's own, which fits any algorithm; with
      ``space="map"`` what the extractor has after its last convolution is then not trained by this loss.
    - Their transition model normalises over the batch, which would let frames beyond an episode's end count; ours normalises
      each sample, and the projections are standardised over the frames of the batch that count. On the synthetic data of our
      tests, one step ahead, 200 to 300 updates at one learning rate for encoder and head, the predictions then found their
      own targets in all of 64 cases with an effective rank of 13 of 21 left, against .27 and 7 with their normalisation and
      .02 (chance) and 4 with neither.
    - They sum the K steps in the paper and average them in the code, where steps beyond the end count as zeros.

    :param horizon: number of steps (``K`` of the paper)
    :param latent_dim: length of a projection; twice 256 in the authors' Q network
    :param hidden_dim: of the transition model; as wide as the latents if ``None``
    :param space: ``"map"``: the latents are the feature map of each image entry, each with a convolutional transition model of
        its own. ``"features"``: they are the feature vector, with linear layers, which is cheaper and trains the whole
        extractor
    :param standardize: each entry of the projections with mean 0 and variance 1 over the batch
    :param tau: step of the target encoder towards the online one, after every update; at 1 the target is the online encoder
        itself. 1 with augmentation and 0.01 without if ``None``, as the authors have it (their tau, in the paper, is 1 - ours)
    :param augment: the authors take a random shift of 4 pixels and an intensity of 0.05
    :raises ValueError: if there are no actions, or a setting makes no sense
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 5,
        latent_dim: int = 512,
        hidden_dim: int | None = None,
        space: Literal["map", "features"] = "map",
        standardize: bool = True,
        tau: float | None = None,
        augment: Any = "random_shift+intensity",
        shuffled: bool = False,
    ) -> None:
        super().__init__(encoder, action_dim, horizon=horizon, augment=augment, shuffled=shuffled)
        self.require_actions(action_dim)
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}, but SPR predicts at least one step.")
        if space not in ("map", "features"):
            raise ValueError(f"space is {space!r}, but SPR's latents are the encoder's 'map' or its 'features'.")
        self.tau = (0.01 if augment is None else 1.0) if tau is None else tau
        check_tau(self.tau, "target encoder")
        self.standardize = standardize
        self.local = space == "map"
        self.can_share = not self.local
        sizes = [torch.Size(shape) for shape in encoder.map_shapes().values()] if self.local else []
        self.transitions = nn.ModuleList(
            [MapTransition(size[0], action_dim, hidden_dim) for size in sizes]
            or [VectorTransition(encoder.features_dim, action_dim, hidden_dim)]
        )
        self.projection = nn.Linear(sum(size.numel() for size in sizes) or encoder.features_dim, latent_dim)
        self.predictor = nn.Linear(latent_dim, latent_dim)
        follows = self.tau < 1.0  # else the target is the online encoder itself
        self.target_encoder = momentum_copy(encoder) if follows else None
        self.target_projection = momentum_copy(self.projection) if follows else None

    def forward(self, encoder: Encoder, windows: Windows, shared: Shared | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        mask = windows.mask[:, 1:]  # (B, K)
        targets = self.targets(encoder, windows)  # (B, K, D)
        predictions = self.predictor(self.scaled(self.projection(self.rolled(encoder, windows, shared)), mask))
        predictions = F.normalize(predictions, dim=-1, eps=1e-3)  # (B, K, D)
        columns = torch.arange(len(mask), device=mask.device)
        columns = torch.stack([self.positives(columns, rows) for rows in mask.T], dim=1)  # (B, K)
        positives = targets.gather(0, columns[:, :, None].expand_as(targets))
        loss = masked_mean((predictions - positives).square().sum(dim=-1), mask)
        with torch.no_grad():
            cosines = torch.einsum("ikd,jkd->kij", predictions, targets).masked_fill(~mask.T[:, None], -torch.inf)
            correct = cosines.argmax(dim=2).T == columns  # (B, K)
        return loss, {"loss": loss.detach(), "accuracy": masked_mean(correct.to(loss.dtype), mask)}

    def rolled(self, encoder: Encoder, windows: Windows, shared: Shared | None) -> Tensor:
        """The latents after ``1 .. K`` actions, each as one vector, ``(B, K, sum of sizes)``."""
        if shared is not None:
            latents = [renormalized(shared.anchors)]
        else:
            latents = self.latents(encoder, self.augmented(frame(windows.observations, 0)))
        steps = []
        for action in windows.actions.unbind(1):
            latents = [transition(z, action) for transition, z in zip(self.transitions, latents, strict=True)]
            steps.append(torch.cat([z.flatten(1) for z in latents], dim=1))
        return torch.stack(steps, dim=1)

    @torch.no_grad()
    def targets(self, encoder: Encoder, windows: Windows) -> Tensor:
        """The projections of the frames ``1 .. K``, of length one, ``(B, K, latent_dim)``."""
        observations = windows.observations
        later = {key: v[:, 1:] for key, v in observations.items()} if isinstance(observations, dict) else observations[:, 1:]
        latents = self.latents(
            encoder if self.target_encoder is None else self.target_encoder, self.augmented(flatten_time(later))
        )
        projection = self.projection if self.target_projection is None else self.target_projection
        projections = projection(torch.cat([z.flatten(1) for z in latents], dim=1)).unflatten(0, (-1, self.horizon))
        return F.normalize(self.scaled(projections, windows.mask[:, 1:]), dim=-1, eps=1e-3)

    def scaled(self, projections: Tensor, mask: Tensor) -> Tensor:
        """Each entry with mean 0 and variance 1 over the frames that count, if so asked; ``(B, K, D)`` and ``(B, K)``."""
        if not self.standardize:
            return projections
        counts = mask[:, :, None]
        number = counts.sum().clamp(min=1)
        centered = projections - torch.where(counts, projections, 0.0).sum(dim=(0, 1)) / number
        variance = torch.where(counts, centered, 0.0).square().sum(dim=(0, 1)) / number
        return centered * (variance + 1e-5).rsqrt()

    def latents(self, encoder: Encoder, observations: Observations) -> list[Tensor]:
        """The feature map of each image entry, or all features as one vector, each sample's scaled to [0, 1]."""
        if self.local:
            return [renormalized(z) for z in encoder.with_maps(observations)[1].values()]
        return [renormalized(encoder(observations))]

    def after_step(self, encoder: Encoder) -> None:
        if self.target_encoder is not None and self.target_projection is not None:
            momentum_update(self.target_encoder, encoder, self.tau)
            momentum_update(self.target_projection, self.projection, self.tau)
