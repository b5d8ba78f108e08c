"""Figures that tell whether a representation is rich or has collapsed."""

import torch
from torch import Tensor
from torch.nn import functional as F


def effective_rank(features: Tensor) -> Tensor:
    """
    Exponential of the entropy of the normalised singular values: how many directions the features really use.

    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".

    :param features: shape ``(N, F)``, float
    :return: scalar between 1 and ``min(N, F)``; 0 if all features are zero
    """
    singular = torch.linalg.svdvals(features.float())
    total = singular.sum()
    shares = singular / total.clamp(min=torch.finfo(torch.float32).tiny)
    return torch.special.entr(shares).sum().exp() * (total > 0)


def alignment(anchors: Tensor, positives: Tensor) -> Tensor:
    """
    Mean squared distance of positive pairs on the unit sphere: 0 where pairs coincide.

    Wang and Isola 2020, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere", section 4.

    :param anchors: shape ``(N, F)``
    :param positives: the same shape
    """
    return (F.normalize(anchors, dim=1) - F.normalize(positives, dim=1)).square().sum(dim=1).mean()


def uniformity(features: Tensor, t: float = 2.0) -> Tensor:
    """
    Logarithm of the mean Gaussian potential of all pairs on the unit sphere: the lower, the more evenly they spread.

    Wang and Isola 2020, section 4.

    :param features: shape ``(N, F)`` with ``N >= 2``
    :param t: sharpness of the potential
    """
    return torch.pdist(F.normalize(features.float(), dim=1)).square().mul(-t).exp().mean().log()
