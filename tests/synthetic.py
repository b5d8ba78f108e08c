"""Windows with a known structure, and an encoder for them."""

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN

from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows

SPACE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
ACTIONS = 4


def make_encoder(features_dim: int = 64, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return Encoder({IMAGE: NatureCNN(SPACE, features_dim)}, SPACE)


def moving_squares(batch_size: int, length: int, seed: int, structure: bool = True) -> Windows:
    """
    A bright square on noise that the action moves by nine pixels up, down, left or right (around the border).

    Without ``structure`` every frame shows another square, so that the past says nothing about the future.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (batch_size, length, 1, 36, 36), dtype=np.uint8)
    actions = rng.integers(0, ACTIONS, (batch_size, length - 1))
    moves = np.array([[-9, 0], [9, 0], [0, -9], [0, 9]])
    for b in range(batch_size):
        place = rng.integers(0, 36, 2)
        for i in range(length):
            rows, columns = (np.arange(6)[:, None] + place[0]) % 36, (np.arange(6)[None] + place[1]) % 36
            images[b, i, 0, rows, columns] = 255
            if i < length - 1:
                place = place + moves[actions[b, i]] if structure else rng.integers(0, 36, 2)
    one_hot = np.eye(ACTIONS, dtype=np.float32)[actions]
    return Windows(
        observations=torch.from_numpy(images),
        actions=torch.from_numpy(one_hot),
        rewards=torch.zeros(batch_size, length - 1),
        mask=torch.ones(batch_size, length, dtype=torch.bool),
        episode=torch.arange(batch_size),
        step=torch.zeros(batch_size, dtype=torch.long),
    )


def train(objective: Objective, encoder: Encoder, updates: int, structure: bool = True, batch_size: int = 64) -> None:
    """Fresh data at every update, so that nothing can be learnt by heart."""
    objective.generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)], lr=1e-3)
    for update in range(updates):
        loss, _ = objective(encoder, moving_squares(batch_size, objective.horizon + 1, 1000 + update, structure))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(encoder)


@torch.no_grad()
def held_out(objective: Objective, encoder: Encoder, structure: bool = True, batch_size: int = 64) -> dict[str, float]:
    """The objective's metrics on data that training never saw."""
    windows = moving_squares(batch_size, objective.horizon + 1, 7, structure)
    return {name: float(value) for name, value in objective(encoder, windows)[1].items()}
