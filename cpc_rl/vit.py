"""A vision transformer as a features extractor (Dosovitskiy et al. 2021)."""

import math
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn

from cpc_rl.image_extractor import ImageExtractor, Precision
from cpc_rl.vit_parts import Block, ClassAttention, MeanOfTokens, PatchProjection, glorot_linear, sincos_positions


class ViTExtractor(ImageExtractor):
    """
    A small vision transformer (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929) that takes the place of a
    convolutional extractor: pre-norm blocks over square patches, then a pool and a linear layer with a ReLU. Positions,
    initialisation and ``freeze_patches`` follow MoCo v3 (Chen et al., 2021, https://arxiv.org/abs/2104.02057, and the authors'
    code).

    The feature map is the grid of tokens after the last normalisation, ``(N, width, h, w)``, and the features are computed
    from it alone. So the class token does not go along with the patches, but reads the finished tokens in one layer of class
    attention (Touvron et al., 2021, "Going deeper with Image Transformers", https://arxiv.org/abs/2103.17239, section 3): an
    objective over feature maps could else not be weighed against the agent's gradient, which would pass the map by.

    Images whose sides are no multiples of the patch size are padded with black on the right and at the bottom, so that the
    patches begin at the corner, as those that ``masked`` hides do. With ``dict(patch_size=8, patch_share=0.5, zeroed=0,
    exchanged=0, augment=None)`` that objective hides whole patches and nothing else: its ``patch_size`` must be the one from
    here, and a random shift would move the black squares off the patches.

    The policies of PPO and its like initialise anew, orthogonally with gain sqrt(2), every ``nn.Linear``: attention, MLPs and
    the last layer. Patch projection, normalisations, positions and class token keep the values from here. To keep all of them
    pass ``policy_kwargs=dict(ortho_init=False)``.

    :param observation_space: of one image, (C, H, W)
    :param features_dim: number of features
    :param normalized_image: see :class:`ImageExtractor`
    :param augment: see :class:`ImageExtractor`
    :param patch_size: side of a patch, pixels
    :param width: length of a token
    :param depth: number of blocks
    :param heads: of the attention
    :param mlp_ratio: width of the hidden layers over that of the tokens
    :param pool: ``"mean"`` of the tokens or ``"class"`` token
    :param positions: ``"sincos"`` (fixed, two-dimensional), ``"learnt"`` or ``"none"``, as which ``None`` counts
    :param freeze_patches: leave the random patch projection as it is (MoCo v3, section 4.2: it makes training more stable).
        Its parameters never have a gradient
    :param precision: see :class:`ImageExtractor`
    :raises ValueError: if a setting makes no sense
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 256,
        normalized_image: bool = False,
        augment: Any = None,
        patch_size: int = 8,
        width: int = 96,
        depth: int = 3,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        pool: Literal["mean", "class"] = "mean",
        positions: Literal["sincos", "learnt", "none"] | None = "sincos",
        freeze_patches: bool = False,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(observation_space, features_dim, normalized_image, augment, precision)
        positions = "none" if positions is None else positions
        if pool not in ("mean", "class") or positions not in ("sincos", "learnt", "none"):
            raise ValueError(
                f"pool is {pool!r} and positions is {positions!r}, but they take 'mean' or 'class', and 'sincos', 'learnt' or "
                "'none'."
            )
        if min(patch_size, width, depth, heads) < 1 or round(mlp_ratio * width) < 1:
            raise ValueError("patch_size, width, depth and heads must each be at least 1, and mlp_ratio leave a hidden unit.")
        if width % heads or (positions == "sincos" and width % 4):
            raise ValueError(
                f"width is {width} and heads is {heads}, but the heads must share the width out evenly, and sine-cosine "
                "positions need a multiple of 4."
            )
        # The base class's name for what makes the feature map.
        self.cnn = VisionTransformer(
            observation_space.shape, patch_size, width, depth, heads, mlp_ratio, positions, freeze_patches
        )
        self.pool = ClassAttention(width, heads) if pool == "class" else MeanOfTokens()
        self.linear = nn.Sequential(glorot_linear(width, features_dim), nn.ReLU())

    def pooled(self, feature_map: Tensor) -> Tensor:
        """One token of the grid's: their mean, or what class attention makes of them."""
        return self.pool(feature_map)


class VisionTransformer(nn.Module):
    """Images (N, C, H, W) to a grid of tokens (N, width, h, w); the parameters are :class:`ViTExtractor`'s."""

    positions: Tensor | None

    def __init__(
        self,
        shape: tuple[int, ...],
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        positions: str,
        freeze_patches: bool,
    ) -> None:
        super().__init__()
        grid = math.ceil(shape[1] / patch_size), math.ceil(shape[2] / patch_size)
        # Blocks before patches: the first parameter is where a head looks whether a gradient has come.
        self.blocks = nn.Sequential(*(Block(width, heads, round(mlp_ratio * width)) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.patches = PatchProjection(shape[0], width, patch_size, freeze_patches)
        if positions == "learnt":
            self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, math.prod(grid), width), std=0.02))
        else:
            sincos = sincos_positions(*grid, width) if positions == "sincos" else None
            self.register_buffer("positions", sincos, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        grid = self.patches(images)  # (N, D, h, w)
        tokens = grid.flatten(2).transpose(1, 2)  # (N, T, D)
        if self.positions is not None:
            tokens = tokens + self.positions
        tokens = self.norm(self.blocks(tokens))
        return tokens.transpose(1, 2).unflatten(2, grid.shape[2:])
