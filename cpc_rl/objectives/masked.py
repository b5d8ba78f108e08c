"""M-CURL: rebuild masked frames of a window in latent space, and contrast them with the true ones (Zhu et al. 2020)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpc_rl.encoder import Encoder, Observations
from cpc_rl.momentum import check_tau, momentum_copy, momentum_update
from cpc_rl.negatives import Negatives
from cpc_rl.objectives.base import flatten_time, frame
from cpc_rl.objectives.contrastive import ContrastiveObjective
from cpc_rl.objectives.masking import Masking
from cpc_rl.sampling import Windows


class Masked(ContrastiveObjective):
    """
    Of every window a share of the frames is chosen; of these most turn black, some show another frame, some stay. All are
    encoded, a transformer over the window rebuilds the latents, and those at the chosen places are contrasted with
    what a momentum copy of the encoder says of the whole frames: of all windows of the batch, the other frames
    of the same window included.

    Zhu et al. 2020, "Masked Contrastive Representation Learning for Reinforcement Learning" (M-CURL), section 3, and the
    authors' code. Frames beyond an episode's end are neither read by the transformer nor keys. What is black and what is
    shown instead is drawn before the augmentation, which each view of each frame has of its own.

    Defaults that differ, beside a projection that makes the vectors short for any extractor: cosines over a temperature, where
    the authors take inner products (``cosine=False, temperature=1``). Their features are layer-normalised, ours may have any
    scale: on the synthetic data of our tests cosines reached an accuracy of .32 after 200 updates, inner products .16
    (two seeds each, chance: .003). Windows of 8 frames where theirs have 20, since the cost is in encoding them. Positions are
    learnt, as BERT's, where theirs are sinusoids. One layer and head, 64 sequences and a share of 25% are the defaults of
    their code.

    :param horizon: frames after the first of a window
    :param share: of the frames that is chosen
    :param zeroed: share of the chosen frames that turn black
    :param exchanged: share of the chosen frames that show another frame of the batch; what is left stays as it is
    :param patch_share: share of the patches of every frame that turn black besides; with ``zeroed=0, exchanged=0`` only
        patches are hidden
    :param patch_size: side of a patch, pixels
    :param sequences: windows of the batch that take part, since each has ``horizon + 1`` frames to encode, twice
    :param layers: of the transformer
    :param heads: of its attention
    :param latent_dim: length of the vectors that are rebuilt
    :param hidden_dim: width of the transformer's feed-forward layers
    :param tau: step of the momentum encoder towards the online one, after every update
    :param cosine: contrast by cosines instead of inner products
    :param temperature: divides them
    :param negatives: see :class:`cpc_rl.Negatives`
    :param estimator: see :mod:`cpc_rl.estimators`
    :raises ValueError: if a setting makes no sense
    """

    def __init__(
        self,
        encoder: Encoder,
        action_dim: int = 0,
        *,
        horizon: int = 7,
        share: float = 0.25,
        zeroed: float = 0.8,
        exchanged: float = 0.1,
        patch_share: float = 0.0,
        patch_size: int = 12,
        sequences: int = 64,
        layers: int = 1,
        heads: int = 1,
        latent_dim: int = 128,
        hidden_dim: int = 256,
        tau: float = 0.05,
        cosine: bool = True,
        temperature: float = 0.1,
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
            queue_dim=latent_dim,
        )
        if horizon < 1 or sequences < 1 or layers < 1:
            raise ValueError(
                f"horizon is {horizon}, sequences is {sequences} and layers is {layers}, but a masked frame is rebuilt from "
                "others of its window: each must be at least 1."
            )
        if heads < 1 or latent_dim % heads != 0:
            raise ValueError(f"latent_dim is {latent_dim} and heads is {heads}, but the heads must share it out evenly.")
        check_tau(tau)
        self.masking = Masking(share, zeroed, exchanged, patch_share, patch_size)
        self.masking.check()
        self.sequences, self.tau, self.cosine = sequences, tau, cosine
        self.projection = nn.Linear(encoder.features_dim, latent_dim)
        self.positions = nn.Parameter(torch.randn(horizon + 1, latent_dim))
        layer = nn.TransformerEncoderLayer(latent_dim, heads, hidden_dim, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.key_encoder = momentum_copy(encoder)
        self.key_projection = momentum_copy(self.projection)

    def forward(self, encoder: Encoder, windows: Windows, shared: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        windows = first(windows, self.sequences)
        hidden, chosen = self.masking.hide(windows.observations, windows.mask, self.generator)
        latents = self.projection(encoder(self.augmented(flatten_time(hidden))))  # (B * L, D)
        with torch.no_grad():
            keys = self.key_projection(self.key_encoder(self.augmented(flatten_time(windows.observations))))
        tokens = latents.unflatten(0, chosen.shape) + self.positions  # (B, L, D)
        rebuilt = self.transformer(tokens, src_key_padding_mask=~windows.mask).flatten(0, 1)  # (B * L, D)
        if self.cosine:
            rebuilt, keys = F.normalize(rebuilt, dim=1), F.normalize(keys, dim=1)
        keys_at = self.origin(windows)
        anchors_at = keys_at._replace(valid=chosen.flatten())
        targets = torch.arange(len(keys), device=keys.device)
        return self.result([self.contrast(rebuilt, keys, anchors_at, keys_at, targets)])

    def after_step(self, encoder: Encoder) -> None:
        momentum_update(self.key_encoder, encoder, self.tau)
        momentum_update(self.key_projection, self.projection, self.tau)
        super().after_step(encoder)

    def pairs(self, windows: Windows) -> tuple[Observations, Observations]:
        """Two whole views of the same frames: what is rebuilt is no image."""
        whole = frame(windows.observations, 0)
        shift = int(self.shuffled)
        other = {k: v.roll(shift, 0) for k, v in whole.items()} if isinstance(whole, Mapping) else whole.roll(shift, 0)
        return self.augmented(whole), self.augmented(other)

    def pictures(self, encoder: Encoder, windows: Windows) -> tuple[Tensor, Tensor]:
        """The frames as the encoder gets them, window after window, above the whole ones: the first image entry."""
        hidden, _ = self.masking.hide(windows.observations, windows.mask, self.generator)
        views = (self.augmented(flatten_time(view)) for view in (hidden, windows.observations))
        anchors, positives = (next(iter(encoder.images(view).values())) for view in views)
        return anchors, positives


def first(windows: Windows, count: int) -> Windows:
    """The first ``count`` windows of a batch, or all if there are fewer."""
    observations = windows.observations
    if isinstance(observations, Mapping):
        kept: Any = {key: images[:count] for key, images in observations.items()}
    else:
        kept = observations[:count]
    return Windows(kept, *(column[:count] for column in windows[1:]))
