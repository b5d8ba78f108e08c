"""An encoder whose feature map has several positions on the tiny images of ``tests.synthetic``."""

import torch
from gymnasium import spaces
from torch import Tensor, nn

from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.nets import init_orthogonal
from cpc_rl.sampling import Windows
from tests.synthetic import SPACE, rolling_patterns

CHANNELS = 32


class FieldCNN(nn.Module):
    """One position for each of the 4 x 4 fields, or fewer of them with a larger ``stride``."""

    def __init__(self, features_dim: int = 64, stride: int = 1, channels: int = 1) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(channels, CHANNELS, 9, stride=9), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, stride, 1), nn.ReLU()
        )
        side = 4 // stride
        self.linear = nn.Sequential(nn.Linear(CHANNELS * side * side, features_dim), nn.ReLU())
        self.features_dim = features_dim
        init_orthogonal(self)  # features of the order of one, as policies have them, so that heads start quickly

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.cnn(images).flatten(1))


def make_map_encoder(features_dim: int = 64, seed: int = 0, stride: int = 1) -> Encoder:
    """A map of ``(32, 4, 4)``; of ``(32, 2, 2)`` with a stride of 2."""
    torch.manual_seed(seed)
    return Encoder({IMAGE: FieldCNN(features_dim, stride)}, SPACE)


def make_two_map_encoder(seed: int = 0) -> Encoder:
    """Two image entries with maps of different sizes, and a vector entry that takes no part."""
    torch.manual_seed(seed)
    space = spaces.Dict({"front": SPACE, "rear": SPACE, "speed": spaces.Box(-1, 1, (2,))})
    return Encoder({"front": FieldCNN(32), "rear": FieldCNN(16, stride=2)}, space)


def drifting_patterns(batch_size: int, length: int, seed: int, structure: bool = True) -> Windows:
    """
    A pattern of 4 x 4 grey fields that goes one field to the right at each step, round the edge; the actions mean nothing.

    Without ``structure`` every frame shows another pattern.
    """
    windows = rolling_patterns(batch_size, length, seed, structure=False)
    if structure:
        still = windows.observations[:, :1].expand(-1, length, -1, -1, -1)
        drifted = torch.stack([still[:, i].roll(9 * i, dims=-1) for i in range(length)], dim=1)
        windows = windows._replace(observations=drifted)
    return windows
