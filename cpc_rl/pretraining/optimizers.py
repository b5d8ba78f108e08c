"""AdamW and LARS for pre-training, and the learning rate over its steps."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

OPTIMIZERS = {"adamw": 1e-3, "lars": 1.0}
"""The learning rate of each where none is given. SimCLR and BYOL have LARS at .3 and .2 for each 256 images of a batch."""


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """
    The share of the learning rate at a step: it rises in a line over the warm-up, and then falls as half a cosine to zero.

    Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5, without restarts.

    :param step: 0 for the first
    :param steps: of the whole training
    :param warmup: steps until all of the learning rate is reached
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


class LARS(Optimizer):
    """
    Stochastic gradient descent with momentum whose step in each layer is scaled by the ratio of the norms of weights and
    gradient, so that large batches can take large steps.

    You, Gitman and Ginsburg 2017, "Large Batch Training of Convolutional Networks", algorithm 1. As SimCLR and BYOL use it,
    the ratio's denominator is the norm of the gradient with the weight decay in it, where the paper adds the norms of the
    two, and biases and the parameters of normalisations (one dimension or none) take plain steps.

    :param params: parameters, or groups of them
    :param lr: global learning rate; above 1 is usual with large batches
    :param weight_decay: added to the gradient, ``weight_decay * w``
    :param momentum: of the steps
    :param trust: coefficient of the ratio
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = p.grad + group["weight_decay"] * p
                if p.ndim > 1:
                    weight, gradient = torch.linalg.vector_norm(p), torch.linalg.vector_norm(update)
                    ratio = group["trust"] * weight / gradient.clamp(min=torch.finfo(gradient.dtype).tiny)
                    update = update * torch.where((weight > 0) & (gradient > 0), ratio, torch.ones_like(ratio))
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(update, alpha=group["lr"])
                p.sub_(state["momentum"])


def make_optimizer(name: str, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> Optimizer:
    """
    :param name: ``"adamw"`` or ``"lars"``
    :param weight_decay: of weights; biases and the parameters of normalisations are left alone
    """
    trained = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "lars":
        return LARS(groups, lr=learning_rate)
    return AdamW(groups, lr=learning_rate)
