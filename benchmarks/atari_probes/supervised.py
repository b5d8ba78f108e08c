"""The ceiling: an encoder that is trained by the labels."""

from typing import Any

import numpy as np
import torch

from cpc_rl.diagnostics.features import as_tensors
from cpc_rl.diagnostics.probe_bank import ProbeBank, cross_entropies
from cpc_rl.diagnostics.recording import Recording
from cpc_rl.diagnostics.splits import label_entropy, split_episodes
from cpc_rl.encoder import Encoder
from cpc_rl.pretraining.optimizers import cosine_with_warmup, make_optimizer


def supervised(
    encoder: Encoder,
    recording: Recording,
    *,
    steps: int,
    learning_rate: float,
    batch_size: int = 64,
    precision: str = "float32",
    min_episode_length: int = 64,
    seed: int = 0,
) -> Encoder:
    """
    Train the encoder together with linear probes on it, by the labels of the training episodes alone, as many updates and by
    the same optimiser as the methods without labels. What is reported are new probes on the features that it ends with.

    :param encoder: trained in place
    :param recording: with the labels; the split is that of :func:`cpc_rl.diagnostics.probe.probe` with the same arguments
    :param steps: updates
    :param learning_rate: the highest; it falls to zero as half a cosine
    :param precision: ``"float32"``, or ``"bf16"`` for the extractor
    :return: the encoder
    """
    split = split_episodes(recording.episodes, min_length=min_episode_length, seed=seed)
    used = split.train | split.validation | split.test
    names = [name for name, values in recording.labels.items() if label_entropy(values[used]) >= 0.6]
    device = next(encoder.parameters()).device
    labels = torch.from_numpy(np.stack([recording.labels[name] for name in names], axis=1)).to(device)
    bank = ProbeBank(encoder.features_dim, [256] * len(names)).to(device)
    optimizer = make_optimizer("adamw", [*encoder.parameters(), *bank.parameters()], learning_rate, 1e-4)
    rng, rows = np.random.default_rng(seed), np.flatnonzero(split.train)
    frames: Any = recording.observations
    for step in range(steps):
        chosen = np.sort(rng.choice(rows, batch_size, replace=False))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * cosine_with_warmup(step, steps, 0)
        images = as_tensors(encoder, frames[chosen])
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            features = encoder(images)
        loss = cross_entropies(bank(features.float()), labels[chosen]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder
