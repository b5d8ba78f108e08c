"""The base of the drop-in features extractors: a convolutional part, a linear part, and an augmentation of the RL batch."""

import warnings
from typing import Any, Literal, get_args

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from cpc_rl.augment import AugmentationFn, make_augmentation

AUGMENT_MODES = ("off", "train", "always")
Precision = Literal["float32", "bf16"]


class ImageExtractor(BaseFeaturesExtractor):
    """
    Features of channel-first images. A subclass sets ``self.cnn`` (images to a feature map) and then calls
    :meth:`add_linear`.

    The augmentation acts only in the passes that update the agent. Those cannot be told apart from within (target networks
    update in evaluation mode, the rollout is collected without gradients), so that a callback has to set :attr:`augment_mode`.

    :param observation_space: of one image, (C, H, W)
    :param features_dim: number of features
    :param normalized_image: the images are floating point and already scaled; dtype and bounds are then not checked. Goes with
        the policy's ``normalize_images=False``
    :param augment: what :func:`cpc_rl.augment.make_augmentation` takes, such as ``"random_shift"``; None for none
    :param precision: ``"bf16"`` computes the extractor in bfloat16 where that is safe (autocast); weights and their gradients,
        what is given out and all that follows stay in float32. Worth it where the processor has instructions for it
        (benchmarks/precision.md)
    :raises ValueError: for a space that holds no images, an unknown augmentation or precision, or an augmentation that changes
        the images' size
    """

    cnn: nn.Module
    linear: nn.Module
    augmentation: AugmentationFn | None

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int,
        normalized_image: bool = False,
        augment: Any = None,
        precision: Precision = "float32",
    ) -> None:
        if not is_image_space(observation_space, normalized_image=normalized_image):
            raise ValueError(
                f"{type(self).__name__} needs image observations, a Box of shape (C, H, W) with uint8 values in 0..255, but "
                f"the space is {observation_space}. For floating-point images that are already scaled, pass "
                "features_extractor_kwargs=dict(normalized_image=True) and normalize_images=False."
            )
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, but it is {precision!r}.")
        super().__init__(observation_space, features_dim)
        self.precision = precision
        self._augment_mode = "off"
        self._augment_driven = False
        self._augment_seed = 0
        self._augment_generator: torch.Generator | None = None
        self._augment_state: tuple[str, Tensor] | None = None  # device type and generator state, of a copy
        augmentation = None if augment is None else make_augmentation(augment)
        # Past nn.Module: an augmentation that is a module must not add to the parameters or to the state dict.
        object.__setattr__(self, "augmentation", augmentation)
        if augmentation is not None:
            one = torch.zeros(1, *observation_space.shape, device="cpu")
            size = tuple(augmentation(one, generator=torch.Generator().manual_seed(0)).shape[1:])
            if size != observation_space.shape:
                raise ValueError(
                    f"The augmentation {augment!r} turns images of shape {observation_space.shape} into {size}, but inside a "
                    "features extractor it must keep the shape; random_shift does."
                )

    def add_linear(self, *after: nn.Module) -> None:
        """Adds the linear layer from the flattened feature map to the features, and the modules ``after`` it."""
        shape = self._observation_space.shape
        assert shape is not None  # it is a Box
        try:
            with torch.no_grad():
                size = self.cnn(torch.zeros(1, *shape)).numel()
        except RuntimeError as error:
            raise ValueError(f"Images of shape {shape} are too small for {type(self).__name__}: {error}") from error
        self.linear = nn.Sequential(nn.Linear(size, self.features_dim), *after)

    def feature_map(self, observations: Tensor) -> Tensor:
        """
        The output of the last convolution, with the activation that follows it: what the linear layer reads. Never augmented.

        :param observations: (N, C, H, W), preprocessed as for :meth:`forward`
        :return: (N, channels, h, w)
        """
        return self.cnn(observations)

    def pooled(self, feature_map: Tensor) -> Tensor:
        """What the linear layer reads of a feature map: all of it."""
        return feature_map.flatten(1)

    def forward(self, observations: Tensor) -> Tensor:
        """
        :param observations: (N, C, H, W), floating point, scaled as the policy does it (uint8 divided by 255)
        :return: (N, features_dim)
        """
        observations = self.augmented(observations)
        if self.precision == "float32":  # an autocast of the caller's keeps its say
            return self.linear(self.pooled(self.feature_map(observations)))
        with torch.autocast(observations.device.type, torch.bfloat16):
            return self.linear(self.pooled(self.feature_map(observations))).to(observations.dtype)

    def augmented(self, observations: Tensor) -> Tensor:
        """What the convolutions get to see of the observations in the present :attr:`augment_mode`."""
        if self.augmentation is None:
            return observations
        if self._augment_mode == "always" or (self._augment_mode == "train" and self.training):
            return self.augmentation(observations, generator=self.augment_generator)
        if self.training and not self._augment_driven and torch.is_grad_enabled():
            self._augment_driven = True  # say it once
            warnings.warn(
                f"{type(self).__name__} was given an augmentation, but nothing switches it on, so that the agent trains "
                "without it. A callback must drive it: pass ContrastiveCallback or AugmentationCallback to learn()."
            )
        return observations

    @property
    def augment_mode(self) -> str:
        """
        ``"off"`` (at first), ``"train"`` (augment while in training mode: for online networks) or ``"always"`` (for target
        networks, during updates).
        """
        return self._augment_mode

    @augment_mode.setter
    def augment_mode(self, mode: str) -> None:
        if mode not in AUGMENT_MODES:
            raise ValueError(f"augment_mode must be one of {', '.join(AUGMENT_MODES)}, but it is {mode!r}.")
        self._augment_mode = mode
        self._augment_driven |= mode != "off"

    @property
    def augment_seed(self) -> int:
        """The seed of the augmentation's own generator. Setting it starts the draws anew."""
        return self._augment_seed

    @augment_seed.setter
    def augment_seed(self, seed: int) -> None:
        self._augment_seed = seed
        self._augment_generator = self._augment_state = None

    @property
    def augment_generator(self) -> torch.Generator:
        """The augmentation's own generator, on the parameters' device, made when it is first used."""
        device = next(self.parameters()).device
        if self._augment_generator is None or self._augment_generator.device != device:
            generator = torch.Generator(device)
            if self._augment_state is not None and self._augment_state[0] == device.type:
                generator.set_state(self._augment_state[1])
            else:
                # A target network's draws must not repeat the online network's: both would shift o_t and o_{t+1} alike.
                generator.manual_seed(2 * self._augment_seed + (self._augment_mode == "always"))
            self._augment_generator, self._augment_state = generator, None
        return self._augment_generator

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()  # without what compile() made, which would go on with this module's own weights
        generator = state["_augment_generator"]
        if generator is not None:  # generators can be neither copied nor pickled in every version of PyTorch, their states can
            state["_augment_generator"] = None
            state["_augment_state"] = (generator.device.type, generator.get_state())
        return state
