"""Encoders of digits: untrained, pre-trained without labels by cpc_rl's own loop, trained with labels."""

import tempfile
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.image_probes.digits import Digits
from cpc_rl.augment import make_augmentation
from cpc_rl.diagnostics.features import as_tensors
from cpc_rl.diagnostics.recorded_episodes import RecordedEpisodes
from cpc_rl.diagnostics.recording import Recording
from cpc_rl.diagnostics.saved_encoder import read_encoder
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.extractors import ImpalaExtractor, ViTExtractor
from cpc_rl.image_extractor import ImageExtractor
from cpc_rl.pretraining import pretrain

ENCODERS: dict[str, type[ImageExtractor]] = {"vit": ViTExtractor, "resnet": ImpalaExtractor}
STEPS, BATCH_SIZE, LEARNING_RATE = 300, 64, 1e-3
# A mirrored digit is another one or none, and there are no colours.
AUGMENT = {"random_resized_crop": {"scale": (0.6, 1.0)}, "rotation": {"degrees": 10.0}}
QUEUE = {"source": "queue", "queue_size": 512}  # 4,096 would hold each image several times, a false negative of itself
OBJECTIVES: dict[str, dict[str, Any]] = {
    "simclr": {},
    "moco": {"norm": "batch", "negatives": QUEUE},
    "vicreg": {},
    "moco-plain": {"negatives": QUEUE},
}
METHODS = ("random", *OBJECTIVES, "shuffled+simclr", "shuffled+moco", "shuffled+vicreg", "supervised")


def make_encoder(kind: str, data: RecordedEpisodes, seed: int) -> Encoder:
    torch.manual_seed(seed)
    space: Any = data.observation_space
    return Encoder({IMAGE: ENCODERS[kind](space)}, space)


def supervised(encoder: Encoder, data: Digits, steps: int, seed: int) -> Encoder:
    """The encoder trained with a linear layer on all labels, the same augmentation and number of updates."""
    head, rng = nn.Linear(encoder.features_dim, 10), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    augmentation, generator = make_augmentation(AUGMENT), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = rng.choice(len(data.train), BATCH_SIZE, replace=False)
        images = augmentation(as_tensors(encoder, data.train[rows]), generator=generator)  # type: ignore[arg-type]
        loss = F.cross_entropy(head(encoder(images)), torch.from_numpy(data.train_labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encoder


def train(kind: str, method: str, data: Digits, steps: int, seed: int) -> Encoder:
    """An encoder of one method."""
    count = len(data.train)
    frames = RecordedEpisodes(Recording(data.train, np.zeros((count, 0), np.float32), np.arange(count), {}))
    fresh = make_encoder(kind, frames, seed)
    if method == "random":
        return fresh
    if method == "supervised":
        return supervised(fresh, data, steps, seed)
    name = method.removeprefix("shuffled+")
    with tempfile.TemporaryDirectory() as folder:
        done = pretrain(
            frames,
            name.removesuffix("-plain"),
            ENCODERS[kind],
            out=folder,
            objective_kwargs={"augment": AUGMENT, "shuffled": name != method, **OBJECTIVES[name]},
            device="cpu",
            verbose=0,
            steps=steps,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            warmup=steps // 10,
            seed=seed,
            workers=0,
            checkpoint_every=10**9,
        )
        return read_encoder(done.encoder)
