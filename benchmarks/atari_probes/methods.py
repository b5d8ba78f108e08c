"""The encoders that are compared: each trained by one method for the same number of updates, or not trained."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from benchmarks.atari_probes.environment import HEIGHT, WIDTH
from benchmarks.atari_probes.extractor import AtariExtractor
from benchmarks.atari_probes.frames import Frames
from benchmarks.atari_probes.supervised import supervised
from cpc_rl.diagnostics.recorded_episodes import RecordedEpisodes
from cpc_rl.diagnostics.recording import Recording
from cpc_rl.diagnostics.saved_encoder import read_encoder
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.pretraining import pretrain

AS_IN_THE_PAPER = {"feature_length": None}  # no agent whose features a head could make longer: they are read as they are
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "stdim": ("stdim", {"augment": None, **AS_IN_THE_PAPER}),
    "cpc": ("cpc", {"augment": None, **AS_IN_THE_PAPER}),
    "atc": ("atc", {"horizon": 3, **AS_IN_THE_PAPER}),
    "simclr": ("simclr", {}),
}
METHODS = ("random", *OBJECTIVES, "supervised")


@dataclass(frozen=True)
class Budget:
    """
    What every method gets.

    :param steps: updates of the encoder
    :param learning_rate: the highest; it falls to zero as half a cosine
    :param batch_size: windows, or for ``supervised`` frames, in an update
    :param precision: of the extractor while it is trained
    :param seed: of weights and batches
    """

    steps: int
    learning_rate: float
    batch_size: int
    precision: str
    seed: int


def trained(method: str, frames: Frames, budget: Budget, device: str) -> Encoder:
    """
    An encoder of one method.

    :param method: one of :data:`METHODS`. ``supervised`` trains on the labelled frames of the probes' training episodes, the
        others on the frames without labels
    """
    if method in OBJECTIVES:
        return _pretrained(method, frames.training, budget, device)
    space = spaces.Box(0, 255, (1, HEIGHT, WIDTH), np.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(budget.seed)
        fresh = Encoder({IMAGE: AtariExtractor(space)}, space).to(device)
    return fresh if method == "random" else supervised(fresh, frames.probes, **asdict(budget))


def _pretrained(method: str, recording: Recording, budget: Budget, device: str) -> Encoder:
    data = RecordedEpisodes(recording, None)
    objective, keywords = OBJECTIVES[method]
    with tempfile.TemporaryDirectory() as folder:
        done = pretrain(
            data,
            objective,
            AtariExtractor,
            out=Path(folder),
            objective_kwargs=keywords,
            device=device,
            verbose=0,
            warmup=0,
            workers=0,
            log_every=10**9,
            checkpoint_every=10**9,
            **asdict(budget),
        )
        return read_encoder(done.encoder).to(device)
