"""Linear regression with a penalty, in closed form."""

from collections.abc import Sequence

import torch
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-4, 5))


def ridge(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], penalties: Sequence[float] = PENALTIES
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Minimise ``mean squared error + penalty * |w|^2`` for each variable by itself, with the penalty that does best on the
    validation data.

    :param train: features ``(N, F)`` and targets ``(N, V)``
    :param validation: the same
    :param penalties: to choose from
    :return: weights ``(F, V)`` and intercepts ``(V,)``, float64, and the chosen penalties ``(V,)``
    """
    x, y = (side.double() for side in train)
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))  # of the covariance: one decomposition for all penalties
    projected = vectors.T @ (x.T @ y / len(x))  # (F, V)
    levels = torch.tensor(penalties, dtype=torch.float64, device=x.device)
    shrunk = projected / (values.clamp(min=0)[:, None] + levels[:, None, None])  # (P, F, V)
    weights = vectors @ shrunk
    held_out, wanted = validation[0].double() - x_mean, validation[1].double() - y_mean
    errors = torch.stack([(held_out @ w - wanted).square().mean(dim=0) for w in weights])  # (P, V)
    choice = errors.argmin(dim=0)  # (V,)
    chosen = weights[choice, :, torch.arange(y.shape[1], device=x.device)].T  # (F, V)
    return chosen, y_mean - x_mean @ chosen, levels[choice]
