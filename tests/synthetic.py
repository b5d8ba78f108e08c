"""Windows with a known structure, and an encoder for them."""

from functools import partial

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN

from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows

SPACE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
ACTIONS = 4


def make_encoder(features_dim: int = 64, seed: int = 0) -> Encoder:
    """Initialised as the policies of PPO and A2C do it: features of the order of one, so that heads start quickly."""
    torch.manual_seed(seed)
    extractor = NatureCNN(SPACE, features_dim).apply(partial(ActorCriticPolicy.init_weights, gain=2**0.5))
    return Encoder({IMAGE: extractor}, SPACE)


def rolling_patterns(batch_size: int, length: int, seed: int, structure: bool = True) -> Windows:
    """
    A pattern of 4 x 4 grey fields, another in each window, that the action rolls by one field up, down, left or right. Windows
    of another seed are of other trajectories.

    Without ``structure`` every frame shows another pattern, so that the past says nothing about the future.
    """
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, ACTIONS, (batch_size, length - 1))
    grids = rng.integers(0, 256, (batch_size, length, 4, 4), dtype=np.uint8)
    moves = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    if structure:
        for b, i in np.ndindex(batch_size, length - 1):
            grids[b, i + 1] = np.roll(grids[b, i], moves[actions[b, i]], axis=(0, 1))
    images = grids.repeat(9, axis=2).repeat(9, axis=3)[:, :, None]
    one_hot = np.eye(ACTIONS, dtype=np.float32)[actions]
    return Windows(
        observations=torch.from_numpy(images),
        actions=torch.from_numpy(one_hot),
        rewards=torch.zeros(batch_size, length - 1),
        mask=torch.ones(batch_size, length, dtype=torch.bool),
        episode=100_000 * seed + torch.arange(batch_size),
        step=torch.zeros(batch_size, dtype=torch.long),
    )


def train(objective: Objective, encoder: Encoder, updates: int, structure: bool = True, batch_size: int = 64) -> None:
    """Fresh data at every update, so that nothing can be learnt by heart."""
    objective.generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)], lr=1e-3)
    for update in range(updates):
        loss, _ = objective(encoder, rolling_patterns(batch_size, objective.horizon + 1, 1000 + update, structure))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(encoder)


@torch.no_grad()
def held_out(objective: Objective, encoder: Encoder, structure: bool = True, batch_size: int = 64) -> dict[str, float]:
    """The objective's metrics on data that training never saw."""
    windows = rolling_patterns(batch_size, objective.horizon + 1, 7, structure)
    return {name: float(value) for name, value in objective(encoder, windows)[1].items()}
