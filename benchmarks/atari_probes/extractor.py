"""The encoder of Anand et al. 2019."""

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn


class AtariExtractor(BaseFeaturesExtractor):
    """
    Four convolutions and a linear layer without an activation after it, orthogonal at first as in the authors' code. The
    feature map that local objectives read is, as there, that of the third convolution: 128 channels at 11 x 8 positions of
    images of 210 x 160.

    :param observation_space: of one image, ``(C, H, W)``
    :param features_dim: number of features
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 256) -> None:
        super().__init__(observation_space, features_dim)
        channels = observation_space.shape[0]
        self.cnn = nn.Sequential(
            *(nn.Conv2d(channels, 32, 8, 4), nn.ReLU()),
            *(nn.Conv2d(32, 64, 4, 2), nn.ReLU()),
            *(nn.Conv2d(64, 128, 4, 2), nn.ReLU()),
        )
        self.last = nn.Sequential(nn.Conv2d(128, 64, 3, 1), nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            length = self.last(self.cnn(torch.zeros(1, *observation_space.shape))).numel()
        self.linear = nn.Linear(length, features_dim)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(layer.weight, np.sqrt(2))  # otherwise all frames begin with nearly the same features
                nn.init.zeros_(layer.bias)
        self.to(memory_format=torch.channels_last)  # on a CPU a bf16 pass takes 3/4 of the time then

    def feature_map(self, observations: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1] to the third convolution's output, ``(N, 128, h, w)``."""
        return self.cnn(observations)

    def forward(self, observations: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1] to ``(N, features_dim)``."""
        return self.linear(self.last(self.feature_map(observations)))
