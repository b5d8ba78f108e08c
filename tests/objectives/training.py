"""Short trainings on other data than ``tests.synthetic``'s, and what every objective is asked."""

from collections.abc import Callable

import torch
from torch import Tensor

from cpc_rl.encoder import Encoder
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows

Data = Callable[[int, int, int, bool], Windows]  # batch size, length of a window, seed, structure


def train_on(data: Data, objective: Objective, encoder: Encoder, updates: int, batch_size: int = 64) -> None:
    """Fresh data at every update, so that nothing can be learnt by heart."""
    objective.generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)], lr=1e-3)
    for update in range(updates):
        loss, _ = objective(encoder, data(batch_size, objective.horizon + 1, 1000 + update, True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(encoder)


@torch.no_grad()
def held_out_on(
    data: Data, objective: Objective, encoder: Encoder, structure: bool = True, batch_size: int = 64
) -> dict[str, float]:
    """The objective's metrics on data that training never saw; without ``structure`` positives are independent of anchors."""
    windows = data(batch_size, objective.horizon + 1, 7, structure)
    return {name: float(value) for name, value in objective(encoder, windows)[1].items()}


def assert_gradients(objective: Objective, encoder: Encoder, windows: Windows, without: tuple[str, ...] = ()) -> None:
    """Every parameter of head and encoder gets a gradient, but for momentum copies, whose names begin with ``without``."""
    objective(encoder, windows)[0].backward()
    for name, p in [*objective.named_parameters(), *encoder.named_parameters()]:
        if name.startswith(without) and without:
            assert p.grad is None, name
        else:
            assert p.grad is not None and p.grad.abs().max() > 1e-7, name
    assert not {id(p) for p in encoder.parameters()} & {id(p) for p in objective.parameters()}


def loss_from(objective: Objective, encoder: Encoder, windows: Windows, seed: int = 3) -> Tensor:
    """The loss with draws that depend on the seed alone."""
    objective.generator = torch.Generator().manual_seed(seed)
    return objective(encoder, windows)[0].detach()


def scrambled_beyond_the_end(windows: Windows) -> Windows:
    """The same windows with other images and actions where the mask says that there are none."""
    assert isinstance(windows.observations, Tensor)
    images, actions = windows.observations.clone(), windows.actions.clone()
    images[~windows.mask] = 255 - images[~windows.mask]
    actions[~windows.mask[:, 1:]] += 1
    return windows._replace(observations=images, actions=actions)
