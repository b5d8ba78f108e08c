"""Many small classifiers or regressors on the same features, each for one variable, trained side by side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 4096  # rows of an evaluation at a time


class ProbeBank(nn.Module):
    """
    ``V`` independent probes. Every parameter's first axis is the variable, so that no probe's training touches another's.

    Output layers start at zero, and hidden layers alike in all of them: a probe does not depend on what stands beside it.

    :param features_dim: length ``F`` of the features
    :param sizes: outputs of each probe: its number of classes; 1 for regression
    :param hidden_dim: of one hidden layer with rectifiers; a linear probe if ``None``
    :param generator: draws the hidden layer's first weights, as ``nn.Linear`` does
    """

    def __init__(
        self, features_dim: int, sizes: Sequence[int], hidden_dim: int | None = None, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        variables, width = len(sizes), max(sizes)
        self.hidden: nn.ParameterList | None = None
        if hidden_dim is not None:
            bound = features_dim**-0.5
            drawn = [
                torch.empty(1, hidden_dim, n).uniform_(-bound, bound, generator=generator) for n in (features_dim, 1)
            ]  # weight, bias
            self.hidden = nn.ParameterList([nn.Parameter(value.repeat(variables, 1, 1)) for value in drawn])
        self.weight = nn.Parameter(torch.zeros(variables, width, hidden_dim or features_dim))
        self.bias = nn.Parameter(torch.zeros(variables, width))
        absent = torch.arange(width) >= torch.tensor(sizes)[:, None]  # (V, width)
        self.register_buffer("absent", absent, persistent=False)

    absent: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """
        :param features: ``(N, F)``
        :return: ``(N, V, max(sizes))``; minus infinity where a variable has no such class
        """
        variables, width = self.bias.shape
        if self.hidden is None:
            outputs = F.linear(features, self.weight.flatten(0, 1), self.bias.flatten()).unflatten(1, (variables, width))
        else:
            weight, bias = self.hidden
            hidden = F.linear(features, weight.flatten(0, 1), bias.flatten()).relu().unflatten(1, (variables, -1))  # (N, V, H)
            outputs = torch.einsum("nvh,vch->nvc", hidden, self.weight) + self.bias
        return outputs.masked_fill(self.absent, -torch.inf)


def cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """``(N, V, C)`` and classes ``(N, V)`` to the mean of each variable, ``(V,)``, nats."""
    return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=0)


def squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """``(N, V, 1)`` and numbers ``(N, V)`` to the mean of each variable, ``(V,)``."""
    return (outputs[:, :, 0] - targets).square().mean(dim=0)


@torch.no_grad()
def predict(bank: ProbeBank, features: Tensor, classes: bool) -> Tensor:
    """
    :param features: ``(N, F)``
    :param classes: the most likely ones; otherwise the outputs as they are
    :return: ``(N, V)``, int64 or float
    """
    outputs = (bank(part) for part in features.split(CHUNK))
    return torch.cat([output.argmax(dim=2) if classes else output[:, :, 0] for output in outputs])


def fit(
    bank: ProbeBank,
    losses: Callable[[Tensor, Tensor], Tensor],
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    *,
    epochs: int = 100,
    patience: int = 15,
    learning_rate: float = 5e-4,
    batch_size: int = 64,
    generator: torch.Generator | None = None,
) -> Tensor:
    """
    Adam (its ``eps`` 1e-5, as in the code of Anand et al. 2019) with early stopping: each probe ends as it was at its best
    epoch on the validation data, by accuracy or by squared error, and is not trained on once ``patience`` epochs brought it
    nothing better.

    :param losses: :func:`cross_entropies` or :func:`squared_errors`
    :param train: features ``(N, F)`` and targets ``(N, V)``
    :param validation: the same; a class that training does not have is -1
    :param generator: draws the order of the training data, on the CPU
    :return: each probe's best epoch, counted from 1, shape ``(V,)``, int64
    """
    classes = losses is cross_entropies
    optimizer = torch.optim.Adam(bank.parameters(), lr=learning_rate, eps=1e-5)
    features, targets = train
    kept = [p.detach().clone() for p in bank.parameters()]
    best = features.new_full((targets.shape[1],), -torch.inf)
    best_epoch = torch.zeros(targets.shape[1], dtype=torch.long, device=features.device)
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(features), generator=generator).to(features.device).split(batch_size):
            optimizer.zero_grad()
            losses(bank(features[rows]), targets[rows]).sum().backward()
            optimizer.step()
        guess = predict(bank, validation[0], classes)
        score = (guess == validation[1]).float().mean(0) if classes else -(guess - validation[1]).square().mean(0)
        better = (score > best) & (epoch - best_epoch <= patience)
        best, best_epoch = torch.where(better, score, best), torch.where(better, epoch, best_epoch)
        for old, new in zip(kept, bank.parameters(), strict=True):
            old.copy_(torch.where(better.view(-1, *[1] * (new.ndim - 1)), new.detach(), old))
        if bool((epoch - best_epoch >= patience).all()):
            break
    with torch.no_grad():
        for old, new in zip(kept, bank.parameters(), strict=True):
            new.copy_(old)
    return best_epoch
