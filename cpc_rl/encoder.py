"""The part of a features extractor that a head trains: raw image observations in, features out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import Tensor, nn

IMAGE = "image"  # the key under which the only entry of a plain (not Dict) observation space goes
Observations = Tensor | Mapping[str, Tensor]


class Encoder(nn.Module):
    """
    Raw observations to features, through the extractors that the agent itself uses.

    The modules are the agent's own and are shared with it, not copied. Vector entries of a Dict observation
    take no part: a head could tell samples apart by them and learn nothing about the images.

    :param extractors: for each image entry its extractor; under the key ``"image"`` if the space is no Dict
    :param observation_space: the agent's observation space
    :param normalize_images: whether the policy divides uint8 images by 255
    """

    def __init__(
        self, extractors: dict[str, nn.Module], observation_space: spaces.Space, normalize_images: bool = True
    ) -> None:
        super().__init__()
        self.extractors = nn.ModuleDict(extractors)
        self.observation_space = observation_space
        self.normalize_images = normalize_images
        self.is_dict = isinstance(observation_space, spaces.Dict)
        self._recorded: list[Tensor] | None = None
        self.features_dim = sum(self._output_size(key) for key in self.extractors)

    @property
    def keys(self) -> tuple[str, ...] | None:
        """Entries of a Dict observation that this encoder reads, or ``None`` if the space is no Dict."""
        return tuple(self.extractors) if self.is_dict else None

    def _space(self, key: str) -> spaces.Box:
        space = self.observation_space[key] if isinstance(self.observation_space, spaces.Dict) else self.observation_space
        assert isinstance(space, spaces.Box)
        return space

    @torch.no_grad()
    def _output_size(self, key: str) -> int:
        size = getattr(self.extractors[key], "features_dim", None)
        if isinstance(size, int):
            return size
        module = self.extractors[key]
        device = next(module.parameters()).device
        was_training = module.training  # a batch normalisation must not learn from this probe
        module.eval()
        features = module(torch.zeros(1, *self._space(key).shape, device=device))
        module.train(was_training)
        return features.flatten(1).shape[1]

    def images(self, observations: Observations) -> dict[str, Tensor]:
        """The image entries that this encoder reads, as a dict also where the space is no Dict."""
        if isinstance(observations, Mapping):
            return {key: observations[key] for key in self.extractors}
        return {IMAGE: observations}

    def forward(self, observations: Observations) -> Tensor:
        """
        :param observations: raw observations as the buffers hold them, shape ``(N, *obs)``, or a dict of such
        :return: features, shape ``(N, features_dim)``, float
        """
        outputs = []
        for key, image in self.images(observations).items():
            preprocessed = preprocess_obs(image, self._space(key), normalize_images=self.normalize_images)
            with augmentation_off(self.extractors[key]):
                outputs.append(self.extractors[key](preprocessed).flatten(1))
        features = torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]
        if self._recorded is not None and features.requires_grad:
            self._recorded.append(features)
        return features

    @contextmanager
    def recording(self) -> Iterator[list[Tensor]]:
        """Collect the features of every pass that builds a graph, so that the gradient can be split there."""
        self._recorded = []
        try:
            yield self._recorded
        finally:
            self._recorded = None


@contextmanager
def augmentation_off(module: nn.Module) -> Iterator[None]:
    """Within this block the module's own augmentation rests: objectives augment for themselves."""
    mode = getattr(module, "augment_mode", None)
    if mode is None:
        yield
        return
    object.__setattr__(module, "augment_mode", "off")
    try:
        yield
    finally:
        object.__setattr__(module, "augment_mode", mode)
