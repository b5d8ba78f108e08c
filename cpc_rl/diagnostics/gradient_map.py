"""Where in an image the features look: how much they change with each pixel."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cpc_rl.encoder import Encoder, Observations, probing


def gradient_map(
    encoder: Encoder, observations: Observations, projections: int | None = 32, seed: int = 0
) -> dict[str, Tensor]:
    """
    For each pixel the norm of the features' derivative by it: the root of the squares, summed over features and channels.

    With one output this is the saliency of Simonyan, Vedaldi and Zisserman 2014, "Deep Inside Convolutional Networks",
    section 3 (with the sum of squares over channels instead of their maximum). Of many features only random signed sums are
    differentiated, each one's expected square being the sum of the features' squares.

    :param encoder: in evaluation mode while this runs; no gradient of it is kept
    :param observations: raw frames ``(N, C, H, W)``, or a dict of such
    :param projections: number of signed sums; ``None`` for each feature by itself, which is exact
    :param seed: of their signs
    :return: for each image entry ``(N, H, W)``, change of the features by a change of the pixel from 0 to its maximum
    """
    images = {key: image.float().requires_grad_() for key, image in encoder.images(observations).items()}
    with probing(encoder), torch.enable_grad():
        features = encoder(images if isinstance(observations, Mapping) else next(iter(images.values())))  # (N, F)
        size = features.shape[1]
        if projections is None:
            signs, scale = torch.eye(size), 1.0
        else:
            drawn = torch.randint(0, 2, (projections, size), generator=torch.Generator().manual_seed(seed))
            signs, scale = drawn * 2.0 - 1.0, 1.0 / projections
        squares = {key: torch.zeros_like(image) for key, image in images.items()}
        for sign in signs.to(features.device):
            gradients = torch.autograd.grad((features @ sign).sum(), list(images.values()), retain_graph=True)
            for key, gradient in zip(images, gradients, strict=True):
                squares[key] += gradient.square()
    range_ = {key: 255.0 if image.dtype == torch.uint8 else 1.0 for key, image in encoder.images(observations).items()}
    return {key: (value * scale).sum(dim=1).sqrt() * range_[key] for key, value in squares.items()}
