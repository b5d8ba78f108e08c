"""An encoder of one linear layer, windows of noise, and what a comparison looks at."""

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows

SHAPE = (1, 5, 5)
FEATURES = 12
ACTIONS = 3


def linear() -> nn.Module:
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), FEATURES))
    extractor.features_dim = FEATURES
    return extractor


def make_encoder(keys: tuple[str, ...] = (), seed: int = 0) -> Encoder:
    """:param keys: entries of a Dict observation; a plain image if there are none"""
    torch.manual_seed(seed)
    image = spaces.Box(0, 255, SHAPE, np.uint8)
    if keys:
        return Encoder({key: linear() for key in keys}, spaces.Dict(dict.fromkeys(keys, image)))
    return Encoder({IMAGE: linear()}, image)


def noise(batch_size: int, length: int, keys: tuple[str, ...] = (), seed: int = 0) -> Windows:
    """Every frame shows other noise: what is compared must not come out right because views happen to be equal."""
    rng = np.random.default_rng(seed)

    def images() -> Tensor:
        return torch.from_numpy(rng.integers(0, 256, (batch_size, length, *SHAPE), dtype=np.uint8))

    return Windows(
        observations={key: images() for key in keys} if keys else images(),
        actions=torch.from_numpy(np.eye(ACTIONS, dtype=np.float32)[rng.integers(0, ACTIONS, (batch_size, length - 1))]),
        rewards=torch.zeros(batch_size, length - 1),
        mask=torch.ones(batch_size, length, dtype=torch.bool),
        episode=torch.arange(batch_size),
        step=torch.zeros(batch_size, dtype=torch.long),
    )


@torch.no_grad()
def differ(objective: Objective) -> None:
    """Move every parameter of a head: a mix-up of a network with its momentum copy, or of W with its transpose, then shows."""
    generator = torch.Generator().manual_seed(3)
    for p in objective.parameters():
        p += (0.3 * p.std() + 0.02) * torch.randn(p.shape, generator=generator)


def assert_same(objective: Objective, encoder: Encoder, ours: Tensor, theirs: Tensor) -> None:
    """The same loss, and the same gradient at every parameter of encoder and head."""
    parameters = [p for p in [*encoder.parameters(), *objective.parameters()] if p.requires_grad]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (ours, theirs)]
    assert any(g.abs().max() > 1e-3 for g in gradients[0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
