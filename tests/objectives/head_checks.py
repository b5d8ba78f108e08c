"""What is checked of every head in the same way."""

import copy

import torch

from cpc_rl.encoder import Encoder
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows
from tests.synthetic import rolling_patterns


def ragged(objective: Objective, batch_size: int, seed: int = 3) -> Windows:
    """Rolling patterns with rewards; windows 1 and 3 end before their last frame, as far before as they can."""
    windows = rolling_patterns(batch_size, objective.horizon + 1, seed)
    windows.rewards.normal_(generator=torch.Generator().manual_seed(seed))
    windows.mask[1, 1:] = False
    windows.mask[3, -1] = False
    return windows


def as_read(z: torch.Tensor, length: float | None) -> torch.Tensor:
    """One feature vector as a head reads it: without its mean and of this length; as it is if there is none."""
    if length is None:
        return z
    centred = z - z.mean()
    return length * centred / centred.norm()


def maps_as_read(maps: torch.Tensor, length: float | None) -> torch.Tensor:
    """Feature maps ``(B, C, h, w)`` as a head reads them: each as one long vector, whose length grows with its positions."""
    if length is None:
        return maps
    whole = length * (maps.shape[2] * maps.shape[3]) ** 0.5
    return torch.stack([as_read(m.flatten(), whole).view(m.shape) for m in maps])


def check_gradients(objective: Objective, encoder: Encoder, without: tuple[str, ...] = ("none",)) -> None:
    """
    Every parameter of head and encoder gets a gradient, momentum copies none, and nothing is in both.

    :param without: beginnings of the names of encoder parameters that this objective does not reach
    """
    objective(encoder, ragged(objective, 16))[0].backward()
    for name, p in objective.named_parameters():
        assert (p.grad is not None and p.grad.abs().sum() > 0) == p.requires_grad, name
    for name, p in encoder.named_parameters():
        assert (p.grad is not None and p.grad.abs().sum() > 0) != name.startswith(without), name
    assert not {id(p) for p in encoder.parameters()} & {id(p) for p in objective.parameters()}


def check_round_trip(make, encoder: Encoder) -> None:
    """The state of a head that has moved gives the same loss in a head that started otherwise."""
    objective = make(encoder)
    objective.generator = torch.Generator().manual_seed(1)
    windows = ragged(objective, 8)
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    other_encoder = copy.deepcopy(encoder)
    for p in other_encoder.parameters():
        p.data.mul_(1.1)  # the momentum copies must not be what the encoder is
    objective(other_encoder, windows)[0].backward()
    optimizer.step()
    objective.after_step(other_encoder)
    restored = make(encoder)
    restored.load_state_dict(copy.deepcopy(objective.state_dict()))
    losses = []
    for head in (objective, restored, make(encoder)):
        head.generator = torch.Generator().manual_seed(2)
        losses.append(float(head(encoder, windows)[0].detach()))
    assert losses[0] == losses[1] != losses[2]


def check_beyond_the_end(objective: Objective, encoder: Encoder) -> None:
    """Frames, actions and rewards after a window's end may be anything."""
    windows = ragged(objective, 8)
    losses = []
    for _ in range(2):
        objective.generator = torch.Generator().manual_seed(2)
        losses.append(objective(encoder, windows)[0].detach())
        windows.observations[~windows.mask] = 77
        windows.actions[~windows.mask[:, 1:]] = 5
        windows.rewards[~windows.mask[:, 1:]] = 5
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    windows.observations[windows.mask] = 77
    assert float((objective(encoder, windows)[0].detach() - losses[0]).abs()) > 2e-5  # while the others do count


def check_momentum(pairs, objective: Objective, encoder: Encoder, tau: float) -> None:
    """Each copy moves by ``(1 - tau) * copy + tau * source``."""
    for source, _ in pairs:
        for p in source.parameters():
            p.data += 1
    expected = [
        (1 - tau) * old + tau * new
        for source, copy_ in pairs
        for new, old in zip(source.parameters(), copy_.parameters(), strict=True)
    ]
    objective.after_step(encoder)
    torch.testing.assert_close([p for _, copy_ in pairs for p in copy_.parameters()], [e.detach() for e in expected])
