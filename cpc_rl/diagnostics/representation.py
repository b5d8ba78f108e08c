"""Figures that tell whether a representation is rich or has collapsed."""

import torch
from torch import Tensor
from torch.nn import functional as F


def effective_rank(features: Tensor) -> Tensor:
    """
    Exponential of the entropy of the normalised singular values: how many directions the features really use.

    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".

    :param features: shape ``(N, F)``, float
    :return: scalar between 1 and ``min(N, F)``; 0 if all features are zero, not a number if one of them is not finite
    """
    if not torch.isfinite(features).all():  # the decomposition would raise, in the middle of a training
        return torch.full((), torch.nan, device=features.device)
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


def dormant_units(activations: Tensor, threshold: float = 0.025) -> Tensor:
    """
    Share of units whose mean absolute activation is at most ``threshold`` times the average one's of their layer.

    Sokar et al. 2023, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", section 3, definitions 3.1 and 3.2
    (their thresholds: 0, 0.025, 0.1).

    :param activations: shape ``(N, F)``, of one layer, after its activation function; or feature maps ``(N, C, h, w)``,
        whose units are the ``C`` channels
    :param threshold: tau of the paper
    :return: scalar in [0, 1]; 1 if all activations are zero
    """
    size = activations.float().abs().transpose(0, 1).flatten(1).mean(dim=1)  # (F,)
    return (size <= threshold * size.mean()).float().mean()


def feature_norm(features: Tensor) -> Tensor:
    """
    Mean Euclidean norm.

    :param features: shape ``(N, F)``
    """
    return features.float().norm(dim=1).mean()


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """
    Linear centred kernel alignment of two representations of the same inputs: 1 where one is a rotation and scaling of the
    other, about 0 where they have nothing in common.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", section 3, equation 4 with the linear
    kernel.

    :param x: shape ``(N, F)``
    :param y: shape ``(N, G)``
    :return: scalar in [0, 1], a little above 0 for unrelated ones, the more so the smaller ``N``; 0 if either is constant
    """
    x, y = (features.double() - features.double().mean(dim=0) for features in (x, y))
    if len(x) < x.shape[1] + y.shape[1]:  # the same figure from the (N, N) Gram matrices, which are smaller
        gram_x, gram_y = x @ x.T, y @ y.T
        together, apart = (gram_x * gram_y).sum(), gram_x.norm() * gram_y.norm()
    else:
        together, apart = (y.T @ x).square().sum(), (x.T @ x).norm() * (y.T @ y).norm()
    return torch.where(apart > 0, together / apart.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
