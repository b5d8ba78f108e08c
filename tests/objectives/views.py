"""Checks that every objective on two views of a window must pass, and the literal layers of their references."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from cpc_rl.encoder import Encoder
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows
from tests.synthetic import make_encoder, rolling_patterns, train


def ragged(batch_size: int, horizon: int, seed: int) -> Windows:
    """Windows of which those with an odd number end before the last frame, where there is more than one frame."""
    windows = rolling_patterns(batch_size, horizon + 1, seed)
    windows.mask[1::2, 1:] = False
    return windows


def literal_mlp(layers: nn.Sequential, x: np.ndarray) -> np.ndarray:
    """Linear layers, batch normalisations by the batch's own mean and variance, and ReLUs, in double precision."""
    for layer in layers:
        if isinstance(layer, nn.Linear):
            x = x @ layer.weight.detach().double().numpy().T
            x = x if layer.bias is None else x + layer.bias.detach().double().numpy()
        elif isinstance(layer, nn.BatchNorm1d):
            x = (x - x.mean(axis=0)) / np.sqrt(((x - x.mean(axis=0)) ** 2).mean(axis=0) + layer.eps)
            x = x * layer.weight.detach().double().numpy() + layer.bias.detach().double().numpy()
        else:
            assert isinstance(layer, nn.ReLU)
            x = np.maximum(x, 0)
    return x


def check_gradients(objective: Objective, encoder: Encoder, frozen: Sequence[nn.Module] = ()) -> None:
    """Every parameter of head and encoder learns, the momentum copies do not, and none belongs to both."""
    copies = {id(p) for module in frozen for p in module.parameters()}
    assert not {id(p) for p in encoder.parameters()} & {id(p) for p in objective.parameters()}
    for _ in range(2):  # a queue is empty at first
        encoder.zero_grad()
        objective.zero_grad()
        objective(encoder, rolling_patterns(16, objective.horizon + 1, 0))[0].backward()
        objective.after_step(encoder)
    learning = [(name, p) for name, p in objective.named_parameters() if id(p) not in copies]
    assert len(learning) + len(copies) == len(list(objective.parameters()))
    for name, p in [*learning, *encoder.named_parameters()]:
        assert p.grad is not None and p.grad.abs().sum() > 1e-6, name
    assert all(p.grad is None and not p.requires_grad for module in frozen for p in module.parameters())


def check_momentum(objective: Objective, encoder: Encoder, pairs: Sequence[tuple[nn.Module, nn.Module]], tau: float) -> None:
    """The copies start equal to what they follow, and move by ``tau`` of the distance."""
    old = []
    for target, source in pairs:
        torch.testing.assert_close(list(target.parameters()), list(source.parameters()), rtol=0, atol=0)
        old.append([p.clone() for p in target.parameters()])
        for p in source.parameters():
            p.data += torch.linspace(0, 1, p.numel()).view_as(p)
    objective.after_step(encoder)
    for (target, source), before in zip(pairs, old, strict=True):
        expected = [(1 - tau) * b + tau * p.detach() for b, p in zip(before, source.parameters(), strict=True)]
        torch.testing.assert_close([p.detach() for p in target.parameters()], expected)


def check_goes_on_after_loading(make: Callable[[Encoder], Objective]) -> None:
    """A second objective with the first one's state gives the same losses from there on."""
    encoder = make_encoder(16)
    first, second = make(encoder), make(make_encoder(16, seed=1))
    train(first, encoder, 4, batch_size=8)
    second.load_state_dict(first.state_dict())
    assert first.generator is not None
    second.generator = torch.Generator()
    second.generator.set_state(first.generator.get_state())
    for seed in range(2):
        windows = rolling_patterns(8, first.horizon + 1, seed)
        losses = [float(objective(encoder, windows)[0].detach()) for objective in (first, second)]
        assert losses[0] == losses[1] != 0.0
        for objective in (first, second):
            objective.after_step(encoder)


def check_nothing_comes_from_beyond_the_end(objective: Objective, encoder: Encoder) -> None:
    """Not the loss, not its gradient, not a metric: whatever the frames beyond an episode's end show."""
    assert objective.horizon > 0
    results = []
    for noise in (False, True):
        windows = ragged(8, objective.horizon, 3)
        if noise:
            windows.observations[~windows.mask] = torch.randint(0, 256, (1, 36, 36), dtype=torch.uint8)
        encoder.zero_grad()
        objective.generator = torch.Generator().manual_seed(0)
        loss, metrics = objective(encoder, windows)
        loss.backward()
        results.append((metrics, [p.grad.clone() for p in encoder.parameters()]))
    torch.testing.assert_close(results[0], results[1])
    assert any(g.abs().sum() > 0 for g in results[0][1])
