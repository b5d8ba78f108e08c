"""Drop-in features extractors for ``policy_kwargs``, and the helper that keeps the rest of the policy as SB3 has it."""

import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import nn

from cpc_rl.image_extractor import ImageExtractor, Precision
from cpc_rl.nets import ResidualBlock, init_fan_in, init_orthogonal
from cpc_rl.vit import ViTExtractor as ViTExtractor


class NatureExtractor(ImageExtractor):
    """
    The network of DQN (Mnih et al., 2015, https://doi.org/10.1038/nature14236): SB3's ``NatureCNN`` layer for layer, with the
    same names of parameters, orthogonal weights (gain sqrt(2)) and zero biases, as PPO's policies have them.

    :param observation_space: of one image, (C, H, W), at least 36 x 36
    :param features_dim: number of features
    :param normalized_image: see :class:`ImageExtractor`
    :param augment: see :class:`ImageExtractor`
    :param precision: see :class:`ImageExtractor`
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 512,
        normalized_image: bool = False,
        augment: Any = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(observation_space, features_dim, normalized_image, augment, precision)
        self.cnn = nn.Sequential(
            nn.Conv2d(observation_space.shape[0], 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
        )
        self.add_linear(nn.ReLU())
        init_orthogonal(self)


class DataEfficientExtractor(ImageExtractor):
    """
    The small network of Data-Efficient Rainbow (van Hasselt et al., 2019, https://arxiv.org/abs/1906.05243), which learns
    Atari from 100,000 steps: two 5 x 5 convolutions of stride 5, of 32 and 64 filters, and a hidden layer of 256 units. Theirs
    has such a layer in each stream of a duelling network. PyTorch's own initialisation.

    :param observation_space: of one image, (C, H, W), at least 25 x 25
    :param features_dim: number of features
    :param normalized_image: see :class:`ImageExtractor`
    :param augment: see :class:`ImageExtractor`
    :param precision: see :class:`ImageExtractor`
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 256,
        normalized_image: bool = False,
        augment: Any = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(observation_space, features_dim, normalized_image, augment, precision)
        self.cnn = nn.Sequential(
            nn.Conv2d(observation_space.shape[0], 32, 5, stride=5),
            nn.ReLU(),
            nn.Conv2d(32, 64, 5, stride=5),
            nn.ReLU(),
        )
        self.add_linear(nn.ReLU())


class ImpalaExtractor(ImageExtractor):
    """
    The residual network of IMPALA (Espeholt et al., 2018, https://arxiv.org/abs/1802.01561): three sections of a convolution,
    a max-pooling that halves the size, and two residual blocks. Weights are normal with 1 / sqrt(fan-in), biases zero, as in
    Sonnet, on which it was built; note that the policies of PPO and its like initialise anew, orthogonally, unless they get
    ``ortho_init=False``.

    :param observation_space: of one image, (C, H, W)
    :param features_dim: number of features
    :param normalized_image: see :class:`ImageExtractor`
    :param augment: see :class:`ImageExtractor`
    :param width: multiplies the numbers of channels, (16, 32, 32)
    :param precision: see :class:`ImageExtractor`
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 256,
        normalized_image: bool = False,
        augment: Any = None,
        width: float = 1,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(observation_space, features_dim, normalized_image, augment, precision)
        sections: list[nn.Module] = []
        channels = observation_space.shape[0]
        for depth in (16, 32, 32):
            wide = round(width * depth)
            if wide < 1:
                raise ValueError(f"width must leave at least one channel of {depth}, but it is {width}.")
            sections += [
                nn.Conv2d(channels, wide, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                ResidualBlock(wide),
                ResidualBlock(wide),
            ]
            channels = wide
        self.cnn = nn.Sequential(*sections, nn.ReLU())
        self.add_linear(nn.ReLU())
        init_fan_in(self)


class DrQExtractor(ImageExtractor):
    """
    The encoder of SAC-AE (Yarats et al., 2019, https://arxiv.org/abs/1910.01741), DrQ (Kostrikov et al., 2020,
    https://arxiv.org/abs/2004.13649) and CURL: four 3 x 3 convolutions of 32 filters, the first of stride 2, then a linear
    layer, layer normalisation and tanh. Orthogonal weights, the convolutions' with ReLU's gain, and zero biases, as in DrQ.

    :param observation_space: of one image, (C, H, W)
    :param features_dim: number of features
    :param normalized_image: see :class:`ImageExtractor`
    :param augment: see :class:`ImageExtractor`
    :param precision: see :class:`ImageExtractor`
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 50,
        normalized_image: bool = False,
        augment: Any = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(observation_space, features_dim, normalized_image, augment, precision)
        self.cnn = nn.Sequential(
            nn.Conv2d(observation_space.shape[0], 32, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3),
            nn.ReLU(),
        )
        self.add_linear(nn.LayerNorm(features_dim), nn.Tanh())
        init_orthogonal(self, linear_gain=1.0)


def pinned_policy_kwargs(
    algorithm: type[BaseAlgorithm], features_extractor_class: type[BaseFeaturesExtractor], /, **extractor_kwargs: Any
) -> dict[str, Any]:
    """
    ``policy_kwargs`` that change the features extractor and nothing else. SB3 chooses the default ``net_arch`` by whether the
    extractor is ``NatureCNN`` itself: with any other, PPO's and DQN's heads gain two layers and TD3's change their widths.
    Here ``net_arch`` is the one that the algorithm gives to ``NatureCNN``.

    :param algorithm: the algorithm's class, such as ``stable_baselines3.PPO``
    :param features_extractor_class: such as :class:`ImpalaExtractor`
    :param extractor_kwargs: the extractor's keywords
    :return: a new dictionary (SB3 changes the one that it is given: make one for each model). For ``CnnPolicy``, or
        ``CnnLstmPolicy``, or, as CrossQ knows no other, ``MlpPolicy``
    :raises ValueError: for an algorithm whose policies take no features extractor, as ARS
    """
    aliases = algorithm.policy_aliases
    known = [name for name in ("CnnPolicy", "CnnLstmPolicy", "MlpPolicy") if name in aliases]
    policy_class: Any = aliases[known[0]] if known else None
    # Asking a small policy is surer than a table, which would fall behind SB3. No policy's net_arch depends on the spaces, and
    # with Discrete actions all of them can be built. The weights' draws are undone: the helper must not move a seeded run.
    image = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    try:
        with torch.random.fork_rng(devices=[]):
            policy = policy_class(image, spaces.Discrete(2), lambda _: 0.0, features_extractor_class=NatureCNN)
    except TypeError as error:
        raise ValueError(f"{algorithm.__name__} has no policy that takes a features extractor.") from error
    return {
        "features_extractor_class": features_extractor_class,
        "features_extractor_kwargs": dict(extractor_kwargs),
        "net_arch": copy.deepcopy(policy.net_arch),
    }
