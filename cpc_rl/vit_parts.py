"""What a vision transformer is made of."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchProjection(nn.Module):
    """
    A linear map of each patch, as a convolution. Frozen, it stops the gradient; ``requires_grad=False`` would stop
    TRPO.

    :param channels: of the images
    :param width: of the tokens
    :param patch_size: side of a patch, pixels
    :param frozen: whether it stays as it is
    """

    def __init__(self, channels: int, width: int, patch_size: int, frozen: bool) -> None:
        super().__init__()
        self.patch_size, self.frozen = patch_size, frozen
        bound = math.sqrt(6 / (channels * patch_size**2 + width))
        self.weight = nn.Parameter(torch.empty(width, channels, patch_size, patch_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % self.patch_size, 0, -height % self.patch_size))
        weight, bias = (self.weight.detach(), self.bias.detach()) if self.frozen else (self.weight, self.bias)
        return F.conv2d(padded, weight, bias, stride=self.patch_size)


class Block(nn.Module):
    """Self-attention and an MLP, each after a layer normalisation and added to its input: tokens (N, T, width) to such."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = glorot_linear(width, width, 3), glorot_linear(width, width)
        self.mlp = nn.Sequential(glorot_linear(width, hidden), nn.GELU(), glorot_linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        queries, keys, values = self.qkv(self.attention_norm(tokens)).chunk(3, dim=2)
        tokens = tokens + self.projection(attention(queries, keys, values, self.heads))
        return tokens + self.mlp(self.mlp_norm(tokens))


class ClassAttention(nn.Module):
    """A learnt token reads itself and the finished tokens of a map (N, width, h, w), and is normalised: (N, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.token_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.projection = (glorot_linear(width, width, n) for n in (1, 2, 1))

    def forward(self, feature_map: Tensor) -> Tensor:
        token = self.token.expand(len(feature_map), -1, -1)  # (N, 1, D)
        reading = self.token_norm(token)
        read = torch.cat([reading, feature_map.flatten(2).transpose(1, 2)], dim=1)  # (N, 1 + T, D)
        keys, values = self.key_value(read).chunk(2, dim=2)
        return self.norm(token + self.projection(attention(self.query(reading), keys, values, self.heads)))[:, 0]


class MeanOfTokens(nn.Module):
    """The mean over the grid: (N, width, h, w) to (N, width)."""

    def forward(self, feature_map: Tensor) -> Tensor:
        return feature_map.mean(dim=(2, 3))


def attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """
    Scaled dot-product attention by several heads. Written out, since PyTorch's fused kernels have no second derivative, and
    TRPO takes one.

    :param queries: shape ``(N, Q, D)``
    :param keys: shape ``(N, T, D)``
    :param values: shape ``(N, T, D)``
    :param heads: that share ``D`` out
    :return: shape ``(N, Q, D)``
    """
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))  # (N, heads, ., D / heads)
    weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(dim=3)
    return (weights @ v).transpose(1, 2).flatten(2)


def sincos_positions(height: int, width: int, dim: int) -> Tensor:
    """
    Fixed two-dimensional positions: a quarter each for the sine and cosine of the column and of the row, at frequencies from 1
    to 1 / 10,000 (Vaswani et al. 2017, section 3.5; in two dimensions as MoCo v3 has them).

    :return: shape ``(1, height * width, dim)``, row by row
    """
    frequencies = 10_000.0 ** -(torch.arange(dim // 4) / (dim // 4))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (columns, rows)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)[None]


def glorot_linear(inputs: int, outputs: int, parts: int = 1) -> nn.Linear:
    """
    A linear layer with uniform weights by fan-in and fan-out (Glorot and Bengio 2010) and zero biases.

    :param inputs: fan-in
    :param outputs: fan-out of each part
    :param parts: layers that are computed as one, such as queries, keys and values
    """
    layer = nn.Linear(inputs, parts * outputs)
    bound = math.sqrt(6 / (inputs + outputs))
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer
