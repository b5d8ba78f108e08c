"""
An encoder whose work is divided, among processes and into pieces that fit into memory, while the objective sees all of it.

Objectives reach the images through calls of the encoder alone. So each process computes the features of its share of the rows,
gathers those of the others, and every process goes on with the whole batch: scores, negatives, batch normalisations of heads,
queues and draws are then those of one process, whatever the objective is.
"""

from contextlib import nullcontext
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cpc_rl.encoder import Encoder, Observations, augmentation_off
from cpc_rl.feature_map import map_module
from cpc_rl.pretraining.distributed import GatherWithGradient, gather_rows, rank, share, world_size
from cpc_rl.pretraining.synchronized_batch_norm import synchronized


class ShardedEncoder(Encoder):
    """
    :param extractors: as of :class:`cpc_rl.encoder.Encoder`; batch normalisations in them are synchronised, in place
    :param observation_space: of the data
    :param normalize_images: whether uint8 images are divided by 255
    :param pieces: each pass computes the rows in so many pieces, keeps their features alone, and computes them a second time
        for the gradient: memory for one piece, and the exact gradient of the whole batch (Gao et al. 2021, "Scaling Deep
        Contrastive Learning Batch Size under Memory Limited Setup", section 3.2)
    :param bf16: compute the extractors in bfloat16 where that is safe (autocast); features, heads and losses stay in float32
    :raises ValueError: if there are pieces and a batch normalisation, whose statistics would be those of a piece
    """

    def __init__(
        self,
        extractors: dict[str, nn.Module],
        observation_space: spaces.Space,
        normalize_images: bool = True,
        *,
        pieces: int = 1,
        bf16: bool = False,
    ) -> None:
        normalised = any(isinstance(part, _BatchNorm) for module in extractors.values() for part in module.modules())
        if pieces > 1 and normalised:
            raise ValueError(
                f"accumulate is {pieces}, but the extractor has a batch normalisation, whose statistics would be those of a "
                "piece of the batch instead of the whole: leave accumulate at 1, or normalise by layer or group."
            )
        self.pieces, self.bf16 = pieces, bf16
        super().__init__({k: synchronized(module) for k, module in extractors.items()}, observation_space, normalize_images)

    def _outputs(self, observations: Observations) -> dict[str, Tensor]:
        return {key: found[0] for key, found in self._divided(observations, with_maps=False).items()}

    def with_maps(self, observations: Observations) -> tuple[Tensor, dict[str, Tensor]]:
        found = self._divided(observations, with_maps=True)
        features = self._joined({key: parts[0] for key, parts in found.items()})
        return self._record(features), {key: parts[1] for key, parts in found.items()}

    def _divided(self, observations: Observations, with_maps: bool) -> dict[str, list[Tensor]]:
        """For each image entry the features of all rows and, where they are asked for, the maps."""
        images = self.images(observations)
        count = len(next(iter(images.values())))
        mine = share(count, rank(), world_size())
        parts = self.pieces if torch.is_grad_enabled() else 1
        found = {}
        for key, image in images.items():
            own = image[mine]
            pieces = [own[share(len(own), number, parts)] for number in range(parts)]
            outputs = [self._piece(key, piece, with_maps) for piece in pieces]
            found[key] = [self._whole(torch.cat(column), count) for column in zip(*outputs, strict=True)]
        return found

    def _piece(self, key: str, image: Tensor, with_maps: bool) -> tuple[Tensor, ...]:
        if self.pieces > 1 and torch.is_grad_enabled():
            return checkpoint(self._computed, key, image, with_maps, use_reentrant=False)
        return self._computed(key, image, with_maps)

    def _computed(self, key: str, image: Tensor, with_maps: bool) -> tuple[Tensor, ...]:
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen.append(output)

        hook = map_module(self.extractors[key]).register_forward_hook(keep) if with_maps else None
        try:
            with torch.autocast(image.device.type, torch.bfloat16) if self.bf16 else nullcontext():
                observations = preprocess_obs(image, self._space(key), normalize_images=self.normalize_images)
                with augmentation_off(self.extractors[key]):
                    features = self.extractors[key](observations).flatten(1)
        finally:
            if hook is not None:
                hook.remove()
        return tuple(value.float() for value in (features, *seen))

    def _whole(self, part: Tensor, count: int) -> Tensor:
        if world_size() == 1:
            return part
        return GatherWithGradient.apply(part, count) if part.requires_grad else gather_rows(part, count)
