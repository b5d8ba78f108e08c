"""The part of a features extractor that a head trains: raw image observations in, features out."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from torch import Tensor, nn

from cpc_rl.feature_map import map_module

IMAGE = "image"  # the key under which the only entry of a plain (not Dict) observation space goes
Observations = Tensor | Mapping[str, Tensor]


@dataclass
class Recording:
    """
    What the passes of one loss gave out, so that its gradient can be split there.

    :ivar outputs: what the objective got: features and feature maps
    :ivar features: of every pass, where the gradient's norm is taken
    :ivar maps: the maps that the features were computed from, where the norm is taken for an objective that reads maps
    :ivar frozen: a pass could have built a graph and did not: the extractor's features are detached
    """

    outputs: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    frozen: bool = False


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
        self._recording: Recording | None = None
        self._scratch: dict[str, Tensor] = {}
        self._running = IMAGE  # the entry whose extractor makes a pass
        self.view_dims = {key: self._output_size(key) for key in self.extractors}
        self.features_dim = sum(self.view_dims.values())

    @property
    def keys(self) -> tuple[str, ...] | None:
        """Entries of a Dict observation that this encoder reads, or ``None`` if the space is no Dict."""
        return tuple(self.extractors) if self.is_dict else None

    def _space(self, key: str) -> spaces.Box:
        space = self.observation_space[key] if isinstance(self.observation_space, spaces.Dict) else self.observation_space
        if not isinstance(space, spaces.Box):
            raise ValueError(f"An encoder reads images of a Box, of uint8 or of floating point, but the space is {space}.")
        return space

    def check_images(self) -> None:
        """
        See that a head can read and augment what this encoder does.

        :raises ValueError: its images are of other numbers than uint8 and floats
        """
        for space in self.spaces:
            if space.dtype != np.uint8 and not np.issubdtype(space.dtype, np.floating):
                raise ValueError(
                    f"A head reads images of a Box, of uint8 or of floating point, but the space is {space}: "
                    "let a wrapper convert them."
                )

    @property
    def spaces(self) -> tuple[spaces.Box, ...]:
        """Of the images that it reads."""
        return tuple(map(self._space, self.extractors))

    @torch.no_grad()
    def _output_size(self, key: str) -> int:
        size = getattr(self.extractors[key], "features_dim", None)
        if isinstance(size, int):
            return size
        module = self.extractors[key]
        device = next(module.parameters()).device
        with probing(module):
            features = module(torch.zeros(1, *self._space(key).shape, device=device))
        return features.flatten(1).shape[1]

    def images(self, observations: Observations) -> dict[str, Tensor]:
        """The image entries that this encoder reads, as a dict also where the space is no Dict."""
        if isinstance(observations, Mapping):
            return {key: observations[key] for key in self.extractors}
        return {IMAGE: observations}

    def forward(self, observations: Observations) -> Tensor:
        """
        :param observations: raw observations as the buffers hold them, shape ``(N, *obs)``, or a dict of such
        :return: features, shape ``(N, features_dim)``, float; those of several image entries one after the other
        """
        return self._record(self._joined(self._outputs(observations)))

    def views(self, observations: Observations) -> dict[str, Tensor]:
        """
        The features of each image entry by itself.

        :param observations: as for :meth:`forward`
        :return: for each key shape ``(N, its features_dim)``
        """
        return {key: self._record(features) for key, features in self._outputs(observations).items()}

    def with_maps(self, observations: Observations) -> tuple[Tensor, dict[str, Tensor]]:
        """
        Features and feature maps in one pass.

        :param observations: as for :meth:`forward`
        :return: features ``(N, features_dim)``, and for each image entry the output of the last convolution and its
            activation, ``(N, channels, h, w)``
        :raises ValueError: if an extractor has no convolution
        """
        seen: dict[str, Tensor] = {}

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen[self._running] = output

        with ExitStack() as hooks:
            for module in dict.fromkeys(map(map_module, self.extractors.values())):  # entries may have one extractor in common
                hooks.callback(module.register_forward_hook(keep).remove)
            if any(getattr(module, "_compiled_call_impl", None) is not None for module in self.modules()):
                # A graph that was compiled before knows no hook, and would not be made anew for one.
                hooks.enter_context(torch.compiler.set_stance("force_eager"))
            features = self._joined(self._outputs(observations))
        if seen.keys() != self.extractors.keys():
            raise ValueError(
                "No pass through the last convolution was seen, so there is no feature map: where the extractor's forward was "
                "assigned (extractor.forward = torch.compile(...)), call extractor.compile() instead."
            )
        odd = next((key for key, value in seen.items() if len(value) != len(features)), None)
        if odd is not None:
            raise ValueError(
                f"The last convolution of {type(self.extractors[odd]).__name__} gives {len(seen[odd])} maps for "
                f"{len(features)} observations, as where it looks at each frame of a stack by itself: an objective that reads "
                "maps wants one for each. Take one that reads features, such as cpc, curl or atc."
            )
        # An alias of its own: the gradient at it is that of the map's direct use, without what comes through the features.
        # In the features' precision: maps under autocast would not go with the head's layers.
        maps = {key: value.view_as(value).to(features.dtype) for key, value in seen.items()}
        if self._recording is not None and features.requires_grad:
            self._recording.maps += (value for value in seen.values() if value.requires_grad)  # not of frozen convolutions
            self._recording.outputs += (value for value in maps.values() if value.requires_grad)
        return self._record(features), maps

    def blank(self, count: int) -> Observations:
        """So many black images of each entry, as the agent's buffers hold them."""
        device = next(self.parameters()).device
        spaces_of = {key: self._space(key) for key in self.extractors}
        dtypes = {key: torch.uint8 if space.dtype == np.uint8 else torch.float32 for key, space in spaces_of.items()}
        images = {key: torch.zeros(count, *space.shape, dtype=dtypes[key], device=device) for key, space in spaces_of.items()}
        return images if self.is_dict else images[IMAGE]

    @torch.no_grad()
    def map_shapes(self) -> dict[str, tuple[int, int, int]]:
        """For each image entry the shape ``(channels, h, w)`` of its feature map."""
        with probing(self):
            maps = self.with_maps(self.blank(1))[1]
        return {key: (value.shape[1], value.shape[2], value.shape[3]) for key, value in maps.items()}

    def _outputs(self, observations: Observations) -> dict[str, Tensor]:
        outputs = {}
        for key, image in self.images(observations).items():
            preprocessed = self._preprocessed(key, image)
            self._running = key
            with augmentation_off(self.extractors[key]):
                output = whole_features(self.extractors[key](preprocessed))
            scratch = self._scratch.get(key)
            alias = scratch is not None and output.untyped_storage().data_ptr() == scratch.untyped_storage().data_ptr()
            outputs[key] = output.clone() if alias else output
        return outputs

    def _preprocessed(self, key: str, image: Tensor) -> Tensor:
        """
        As Stable-Baselines3 does it. Without gradients the floats of uint8 images go into memory that is kept: on a CPU the
        new pages that a batch of them asks for cost as much as the convolutions.
        """
        space = self._space(key)
        # Other strides would lead the convolutions to other kernels, and to results that differ in the last bits.
        plain = torch.is_grad_enabled() or image.dtype != torch.uint8 or not image.is_contiguous()
        if plain or image.device.type != "cpu" or not self.normalize_images or not is_image_space(space):
            observations = preprocess_obs(image, space, normalize_images=self.normalize_images)
            assert isinstance(observations, Tensor)
            return observations
        if key not in self._scratch or self._scratch[key].numel() < image.numel():
            self._scratch[key] = torch.empty(image.numel(), dtype=torch.float32, device="cpu")
        return self._scratch[key][: image.numel()].view(image.shape).copy_(image).div_(255.0)

    def _joined(self, outputs: dict[str, Tensor]) -> Tensor:
        return torch.cat(list(outputs.values()), dim=1) if len(outputs) > 1 else next(iter(outputs.values()))

    def _record(self, features: Tensor) -> Tensor:
        if self._recording is not None and features.requires_grad:
            self._recording.outputs.append(features)
            self._recording.features.append(features)
        elif self._recording is not None and torch.is_grad_enabled():
            self._recording.frozen = True
        return features

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """Collect the outputs of every pass that builds a graph, so that the gradient can be split there."""
        self._recording = Recording()
        try:
            yield self._recording
        finally:
            self._recording = None


def whole_features(output: Tensor) -> Tensor:
    """
    :param output: of an extractor, ``(N, ...)``
    :return: ``(N, F)``, in float32 also where the extractor computed in half precision: heads' layers are not of that
    """
    return widened(output.flatten(1))


def widened(values: Tensor) -> Tensor:
    """In at least single precision: in half precision, which autocast gives maps, squares are soon 0 or too large."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


@contextmanager
def probing(module: nn.Module) -> Iterator[None]:
    """Within this block all is in evaluation mode: a batch normalisation must not learn from a probe."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


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
