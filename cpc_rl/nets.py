"""Small networks, and initialisations as their papers have them."""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURE_LENGTH = 7.0  # benchmarks/feature_length.md


def init_orthogonal(network: nn.Module, conv_gain: float = math.sqrt(2), linear_gain: float = math.sqrt(2)) -> None:
    """
    Orthogonal weights and zero biases for every convolution and linear layer (Saxe et al., 2014, https://arxiv.org/abs/1312.6120).

    :param network: changed in place
    :param conv_gain: scale of the convolutions; sqrt(2) keeps the variance through ReLUs
    :param linear_gain: scale of the linear layers
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight, conv_gain if isinstance(module, nn.Conv2d) else linear_gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_fan_in(network: nn.Module) -> None:
    """
    Weights from a normal of standard deviation 1 / sqrt(fan-in), cut at two of them, and zero biases for every convolution and
    linear layer (LeCun et al., 1998, "Efficient BackProp").

    :param network: changed in place
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            std = 1 / math.sqrt(module.weight[0].numel())
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class ResidualBlock(nn.Module):
    """
    ``x + conv(relu(conv(relu(x))))`` with 3 x 3 convolutions that keep the size (He et al., 2016, pre-activation,
    https://arxiv.org/abs/1603.05027).

    :param channels: of the input and of the output
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        return x + self.residual(x)


def mlp(*sizes: int, norm: Literal["batch", "layer"] | None = None, last_norm: bool = False) -> nn.Sequential:
    """
    Linear layers with ReLUs between them, as projections and predictors have them.

    :param sizes: input, hidden layers, output; one pair is a single linear layer
    :param norm: normalisation before every ReLU; the linear layer before it then has no bias of its own
    :param last_norm: normalise the output as well, without learnt scale (BYOL's and SimSiam's projections)
    :raises ValueError: if there are fewer than two sizes, or no such normalisation
    """
    if norm not in (None, "batch", "layer"):
        raise ValueError(f"norm is {norm!r}, but it is 'batch', 'layer' or None.")
    if len(sizes) < 2:
        raise ValueError(f"mlp takes at least an input and an output size, but got {sizes}.")
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes)):
        last = number == len(sizes) - 2
        normalised = norm is not None and (not last or last_norm)
        layers.append(nn.Linear(before, after, bias=not normalised))
        if normalised and norm == "batch":
            layers.append(nn.BatchNorm1d(after, affine=not last))
        if normalised and norm == "layer":
            layers.append(nn.LayerNorm(after, elementwise_affine=not last))
        if not last:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


NARROW = 0.1  # of the rows' usual spread


def tempered(rows: Tensor, spread: Tensor) -> Tensor:
    """
    The rows as they are. One that is to be divided by its spread, and hardly has any, has a gradient as large as that is
    small: a black frame's features are all but zero in a young agent. Where a row's spread is less than a tenth of a usual
    one, its gradient is made smaller by the square of how much less: no row's is more than ten times a usual one's, and one of
    next to no spread has next to none. Usual is what three quarters of the rows do not exceed: neither many black frames nor
    some rows that are far larger than the others move it much.

    :param rows: shape ``(..., D)``
    :param spread: what each will be divided by, shape ``(..., 1)``
    """
    spread = spread.detach()
    usual = spread.flatten().sort().values[(3 * spread.numel() - 1) // 4] if spread.numel() else spread.sum()
    weight = (spread / (NARROW * usual)).nan_to_num(nan=0.0).clamp(max=1).square().to(rows.dtype)
    part = rows * weight
    return torch.where(weight < 1, rows.detach() + (part - part.detach()), rows)


def at_length(features: Tensor, length: float | None) -> Tensor:
    """
    Vectors without their mean, all of one length: a layer normalisation without parameters (Ba, Kiros and Hinton 2016,
    https://arxiv.org/abs/1607.06450), scaled.

    An inner product grows with its factors. A head that scores an agent's features as they are gains most, and first, by
    making them longer: a DQN's thirty times in two hundred updates, its own last layer then overshoots with every step
    (benchmarks/feature_length.md). The gradient through this one is at right angles to the features: their length stays the
    agent's own affair, and what the head learns does not depend on it. Vectors that hardly vary beside the others teach less
    (:func:`tempered`).

    :param features: shape ``(..., D)``
    :param length: Euclidean norm of every vector afterwards; ``None`` leaves the features alone
    :return: the same shape
    """
    if length is None:
        return features
    features = tempered(features, features.detach().float().std(dim=-1, correction=0, keepdim=True))
    # eps far below torch's own 1e-5: features of a young network may be small, and are not to gain by becoming larger.
    return length / math.sqrt(features.shape[-1]) * F.layer_norm(features, features.shape[-1:], eps=1e-10)
