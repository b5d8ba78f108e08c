"""DRIML: deep InfoMax over time, conditioned on the action (Mazoure et al. 2020)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cpc_rl.encoder import Encoder
from cpc_rl.negatives import Negatives
from cpc_rl.nets import FEATURE_LENGTH
from cpc_rl.objectives.base import frame
from cpc_rl.objectives.contrastive import Part
from cpc_rl.objectives.local import LocalObjective
from cpc_rl.sampling import Windows

TERMS = ("local_local", "local_global", "global_local", "global_global")
CLIP = 20.0  # scores stay within +-CLIP: the authors' (and AMDIM's, Bachman et al. 2019) guard against scores that run away


class ResidualMLP(nn.Module):
    """
    ``A relu(B x) + C x``, along the last dimension.

    :param in_dim: length of the input
    :param hidden_dim: length between
    :param out_dim: length of the output
    :param bias: of the output. A key has none: it would add the same to all scores of a row
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, out_dim, bias=bias)
        self.shortcut = nn.Linear(in_dim, out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x).relu()) + self.shortcut(x)


class DRIML(LocalObjective):
    """
    The state with the action that was taken in it against a later state, over the batch, in up to four contrasts: each of the
    two is its features (global) or its feature map at one position (local). Local-local compares the **same** position, not
    all pairs of positions. The score is ``phi(s_t, a_t)^T psi(s_{t+k}) / sqrt(latent_dim)``, softly clipped to
    +-20; ``phi`` and ``psi`` are residual blocks, with weights of their own in each contrast, and the encoded action is
    concatenated to the state (at each position). Gradients flow to both states.

    Mazoure et al. 2020, "Deep Reinforcement and InfoMax Learning", section 3 and the authors' code. As there, for ``k > 1``
    only the first action ``a_t`` is known: the prediction is over what the policy does afterwards.

    Defaults that differ: the authors weight and add the contrasts, ours are averaged; all four of the paper are on, where
    their published command for Procgen takes ``terms=["global_global"]`` alone, which is cheaper. Their heads are 512 wide,
    ours 128: with ``NatureCNN`` at 84 x 84 (49 positions) and a batch of 256, loss and gradients took 2.6 times as long at
    512 on a CPU. No augmentation, as in their code: a shift moves what a position sees. On the synthetic data of our tests
    accuracy on held-out frames after 100 updates was .29 without and .20 with it (chance: .016).

    :param horizon: ``k``, steps from the state to the one that is predicted
    :param terms: which of the four contrasts, ``"local_local"``, ``"local_global"``, ``"global_local"``,
        ``"global_global"``
    :param latent_dim: length of the vectors that are contrasted
    :param hidden_dim: of the residual blocks
    :param action_latent_dim: length of the encoded action
    :param grid: longest side of a map whose positions are contrasted as they are, see :class:`LocalObjective`
    :param feature_length: the head reads features without their mean and of this length, and maps as a whole so
        (:meth:`LocalObjective.read_map`), so that it cannot gain by making the agent's longer; as they are if ``None``, as in
        the paper
    :param temperature: divides the scores; the paper has none
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if a setting makes no sense, there are no actions, or an extractor has no convolution
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 1,
        terms: Sequence[str] = TERMS,
        latent_dim: int = 128,
        hidden_dim: int = 128,
        action_latent_dim: int = 64,
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
            contrasts=sum(len(encoder.extractors) if "local" in str(term) else 1 for term in terms) or 1,
        )
        self.require_actions(action_dim)
        if not terms or not set(terms) <= set(TERMS) or len(set(terms)) < len(terms):
            raise ValueError(f"terms is {terms!r}, but it names one or more of {', '.join(TERMS)}, each once.")
        self.latent_dim = latent_dim
        self.action_encoder = ResidualMLP(action_dim, action_latent_dim, action_latent_dim)
        self.contrasts = []  # (anchor's map or None for its features, key's map or None) of each pair of heads
        self.anchor_heads, self.key_heads = nn.ModuleList(), nn.ModuleList()
        channels = {key: shape[0] for key, shape in encoder.map_shapes().items()}
        for term in terms:
            anchor_is, key_is = term.split("_")
            for key in channels if "local" in str(term) else [None]:
                places = (key if anchor_is == "local" else None, key if key_is == "local" else None)
                sizes = [encoder.features_dim if place is None else channels[place] for place in places]
                self.contrasts.append(places)
                self.anchor_heads.append(ResidualMLP(sizes[0] + action_latent_dim, hidden_dim, latent_dim))
                self.key_heads.append(ResidualMLP(sizes[1], hidden_dim, latent_dim, bias=False))

    def forward(self, encoder: Encoder, windows: Windows, shared: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        now = self._places(encoder, windows, 0)
        later = self._places(encoder, windows, self.horizon)
        action = self.action_encoder(windows.actions[:, 0])  # (B, A)
        anchors_at = self.origin(windows, 0, 1)
        keys_at = self.origin(windows, self.horizon, self.horizon + 1)
        parts: list[Part] = []
        for (at, later_at), anchor_head, key_head in zip(self.contrasts, self.anchor_heads, self.key_heads, strict=True):
            states = now[at]  # (P, B, C), or (1, B, F)
            with_action = torch.cat([states, action.expand(len(states), -1, -1)], dim=-1)
            anchors, keys = anchor_head(with_action), key_head(later[later_at])
            parts.append(self.contrast_positions(anchors, keys, anchors_at, keys_at, len(parts)))
        return self.result(parts)

    def score(self, products: Tensor) -> Tensor:
        return CLIP * torch.tanh(products / (CLIP * self.latent_dim**0.5))

    def _places(self, encoder: Encoder, windows: Windows, index: int) -> dict[str | None, Tensor]:
        """The features of a frame as ``(1, B, F)`` under ``None``, and its maps as ``(P, B, C)`` under their keys."""
        features, maps = encoder.with_maps(self.augmented(frame(windows.observations, index)))
        return {None: self.read(features)[None], **{key: self.read_map(value) for key, value in maps.items()}}
