"""Run by several processes: the gradient of one batch, and training steps, of which each has its share."""

import sys
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, distributed, nn

from cpc_rl.extractors import NatureExtractor
from cpc_rl.pretraining.distributed import gather_rows, processes, rank, share, world_size
from cpc_rl.pretraining.sharded_encoder import ShardedEncoder
from cpc_rl.pretraining.training import Learner, Training
from cpc_rl.sampling import Windows
from cpc_rl.settings import HeadSettings

SPACE = spaces.Box(0, 255, (1, 36, 36), "uint8")
BATCH = 10
# Small heads; every way in which rows of different processes meet: negatives, a queue with chosen ones, batch statistics,
# trajectories, maps, exchanged positives, masked frames, and rewards.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {},
    "moco": {"negatives": {"source": "queue", "queue_size": 32}},
    "byol": {},
    "vicreg": {"latent_dim": 16},
    "cpc": {"horizon": 2},
    "spr": {"horizon": 2},
    "stdim": {},
    "driml": {},
    "masked": {"horizon": 3},
    "taco": {"horizon": 2},
    "inverse": {},
    "curl": {"negatives": {"mining": "hard", "mask_duplicates": True}},
    "atc": {"shuffled": True},
}


class Normalised(NatureExtractor):
    """With batch normalisations between its layers, whose statistics have to be those of all processes."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 16) -> None:
        super().__init__(observation_space, features_dim)
        assert isinstance(self.cnn, nn.Sequential)
        self.cnn.insert(1, nn.BatchNorm2d(32))
        self.linear.append(nn.BatchNorm1d(features_dim))


def windows(length: int) -> Windows:
    """A batch with episodes that end early."""
    draw = torch.Generator().manual_seed(3)
    mask = torch.arange(length) < torch.randint(2 if length > 1 else 1, length + 1, (BATCH, 1), generator=draw)
    return Windows(
        torch.randint(0, 256, (BATCH, length, 1, 36, 36), generator=draw, dtype=torch.uint8),
        torch.randn(BATCH, length - 1, 3, generator=draw),
        torch.randn(BATCH, length - 1, generator=draw),
        mask,
        torch.arange(BATCH) // 2,
        torch.arange(BATCH) % 2 * 20,
    )


def learner(name: str, extractor: type[NatureExtractor], pieces: int = 1) -> Learner:
    """An encoder and one objective, the same in every process."""
    torch.manual_seed(0)
    encoder = ShardedEncoder({"image": extractor(SPACE, 16)}, SPACE, pieces=pieces)
    choice = HeadSettings(objective=name, objective_kwargs=OBJECTIVES[name])
    return Learner(encoder, choice, spaces.Box(-1, 1, (3,)), Training(batch_size=BATCH, steps=10, warmup=0))


def outcome(name: str, extractor: type[NatureExtractor], pieces: int = 1) -> dict[str, Tensor]:
    """Loss and gradients of a second update: by then queues are filled, and momentum copies have moved."""
    made = learner(name, extractor, pieces)
    whole = windows(made.horizon + 1)
    mine = share(BATCH, rank(), world_size())
    assert isinstance(whole.observations, Tensor)
    gathered = Windows(*(gather_rows(column[mine], BATCH) for column in whole))  # type: ignore[index]
    made.gradient(gathered, 0)
    with torch.no_grad():  # not by Adam, which would make steps of full size out of gradients that are rounding alone
        for p in [*made.encoder.parameters(), *made.head]:
            p -= 0.001 * p.grad if p.grad is not None else 0
    for objective in made.objectives.values():
        objective.after_step(made.encoder)
    loss, _ = made.gradient(gathered, 1)
    found = {"loss": loss}
    for prefix, module in {"encoder": made.encoder, **made.objectives}.items():
        found |= {f"gradient {prefix}.{key}": p.grad.clone() for key, p in module.named_parameters() if p.grad is not None}
        found |= {f"{prefix}.{key}": value.clone() for key, value in module.named_buffers()}
    return found


def all_outcomes() -> dict[str, dict[str, Tensor]]:
    """Of every objective, and of one with batch normalisations in the encoder."""
    return {name: outcome(name, NatureExtractor) for name in OBJECTIVES} | {"normalised": outcome("simclr", Normalised)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with processes(torch.device("cpu")):
        outcomes = all_outcomes()
        torch.save(outcomes, Path(sys.argv[1]) / f"{rank()}-of-{world_size()}.pt")
        distributed.barrier()
