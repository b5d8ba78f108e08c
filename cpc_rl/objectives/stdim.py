"""ST-DIM: contrast features and feature maps of neighbouring frames (Anand et al. 2019)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.negatives import Negatives
from cpc_rl.nets import FEATURE_LENGTH
from cpc_rl.objectives.base import frame
from cpc_rl.objectives.contrastive import Part
from cpc_rl.objectives.local import LocalObjective
from cpc_rl.sampling import Windows


class STDIM(LocalObjective):
    """
    Two contrasts over the batch, at each position of the feature map by itself. Global-local: the features of ``o_t`` against
    the map of ``o_{t+1}`` at the position, ``features^T W_g map``. Local-local: the map of ``o_t`` against the map of
    ``o_{t+1}`` at the same position, ``map^T W_l map``. Gradients flow to both frames.

    Anand et al. 2019, "Unsupervised State Representation Learning in Atari", section 3.1 and equations 1 to 3. Scorers are
    linear with a bias, as in the authors' code. They average each contrast over positions and **add** the two; here the loss
    is the mean of the two, so that it stays comparable with ``log K``: half of theirs, which an automatic coefficient evens
    out. Of a Dict observation each image entry has its own map and scorers, the features are those of all entries together.

    No augmentation by default, as in the paper: a shift also moves what a position sees. On the synthetic data of our tests
    accuracy on held-out frames after 120 updates was .20 without and .12 with it (chance: .016).

    :param horizon: steps from the anchor to its key; 1 as in the paper
    :param latent_dim: length of the vectors that are contrasted, by a linear layer over the map's channels; the channels
        themselves if ``None``, as in the paper
    :param grid: longest side of a map whose positions are contrasted as they are, see :class:`LocalObjective`; the paper's
        map has 11 x 8
    :param feature_length: the head reads features without their mean and of this length, and maps as a whole so
        (:meth:`LocalObjective.read_map`), so that it cannot gain by making the agent's longer; as they are if ``None``, as in
        the paper
    :param temperature: divides the scores; the paper has none
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if a setting makes no sense, or an extractor has no convolution
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 1,
        latent_dim: int | None = None,
        grid: int = 12,
        feature_length: float | None = FEATURE_LENGTH,
        temperature: float = 1.0,
        negatives: str | Mapping[str, Any] | Negatives = "batch",
        estimator: str = "infonce",
        augment: Any = None,
        shuffled: bool = False,
    ) -> None:
        super().__init__(
            encoder,
            action_dim,
            horizon=horizon,
            grid=grid,
            feature_length=feature_length,
            temperature=temperature,
            negatives=negatives,
            estimator=estimator,
            augment=augment,
            shuffled=shuffled,
            contrasts=2 * len(encoder.extractors),
        )
        self.global_scorers, self.local_scorers, self.projections = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for key, (channels, _, _) in encoder.map_shapes().items():
            dim = latent_dim or channels
            self.global_scorers[key] = nn.Linear(encoder.features_dim, dim)
            self.local_scorers[key] = nn.Linear(channels, dim)
            # A bias would add the same to all scores of a row.
            self.projections[key] = nn.Identity() if latent_dim is None else nn.Linear(channels, dim, bias=False)

    def forward(self, encoder: Encoder, windows: Windows, shared: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        features, maps = encoder.with_maps(self.augmented(frame(windows.observations, 0)))  # (B, F), (B, C, h, w)
        _, next_maps = encoder.with_maps(self.augmented(frame(windows.observations, self.horizon)))
        anchors_at = self.origin(windows, 0, 1)
        keys_at = self.origin(windows, self.horizon, self.horizon + 1)
        parts: list[Part] = []
        for key, projection in self.projections.items():
            keys = projection(self.read_map(next_maps[key]))  # (P, B, D)
            for anchors in (
                self.global_scorers[key](self.read(features))[None],  # (1, B, D)
                self.local_scorers[key](self.read_map(maps[key])),  # (P, B, D)
            ):
                parts.append(self.contrast_positions(anchors, keys, anchors_at, keys_at, len(parts)))
        return self.result(parts)
