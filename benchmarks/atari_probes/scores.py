"""One game and one method: train, probe, and keep what was found in a file."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.atari_probes.frames import Frames
from benchmarks.atari_probes.methods import Budget, trained
from cpc_rl.diagnostics.atari_ram import ram_categories
from cpc_rl.diagnostics.features import encode_all
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.probe_report import ProbeReport
from cpc_rl.whole_file import whole_file

SCALES = ("raw", "standardised")
"""The features as they are, which is the protocol of Anand et al. 2019, or each of mean 0 and standard deviation 1."""


@dataclass(frozen=True)
class Probing:
    """
    How the features are probed; the rest is as :func:`cpc_rl.diagnostics.probe.probe` does it.

    :param epochs: of a probe, at most
    :param patience: epochs without a better validation accuracy after which a probe stops
    """

    epochs: int
    patience: int


def result_file(game: str, method: str, budget: Budget, out: Path) -> Path:
    """Where :func:`scored` keeps a result."""
    return out / f"{game}-{method}-{_own(method, budget).steps}-seed{budget.seed}.json"


def _own(method: str, budget: Budget) -> Budget:
    """A random encoder is the same whatever the budget."""
    return Budget(0, 0.0, 0, "float32", budget.seed) if method == "random" else budget


def scored(frames: Frames, method: str, budget: Budget, probing: Probing, out: Path, device: str) -> dict[str, Any]:
    """
    What the probes read off one method's features of one game. It is computed once: if the file of the same settings is in
    ``out``, it is read.

    :param out: folder of the results
    :return: ``settings``, ``seconds`` (of the CPU) and ``reports`` by scale, see :meth:`ProbeReport.as_dict`
    :raises ValueError: if the file is there with other settings
    """
    own = _own(method, budget)
    file = result_file(frames.game, method, budget, out)
    settings = {
        "game": frames.game,
        "method": method,
        "frames": frames.counts,
        "budget": asdict(own),
        "probing": asdict(probing),
    }
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["settings"] != settings:
            raise ValueError(
                f"{file} was computed with {found['settings']}, not with {settings}: give the same settings, or another --out."
            )
        return found
    loaded = frames.probes, frames.fingerprints, None if method in ("random", "supervised") else frames.training
    began = time.process_time()
    encoder = trained(method, frames, own, device)
    middle = time.process_time()
    features = encode_all(encoder, loaded[0].observations)
    reports = {scale: _probed(features, scale, frames, probing, own.seed) for scale in SCALES}
    seconds = {"training": round(middle - began, 1), "probes": round(time.process_time() - middle, 1)}
    told = {scale: report.as_dict() for scale, report in reports.items()}
    text = json.dumps({"settings": settings, "seconds": seconds, "reports": told})
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    means = {scale: round(report.mean() or 0.0, 3) for scale, report in reports.items()}
    print(f"{frames.game}, {method}: F1 {means}, CPU seconds {seconds}", file=sys.stderr, flush=True)
    return json.loads(text)


def _probed(features: torch.Tensor, scale: str, frames: Frames, probing: Probing, seed: int) -> ProbeReport:
    labels = frames.probes.labels
    return probe(
        features,
        labels,
        frames.probes.episodes,
        categories={name: ram_categories(name) for name in labels},
        standardise=scale == "standardised",
        min_episode_length=64,
        fingerprints=frames.fingerprints,
        epochs=probing.epochs,
        patience=probing.patience,
        seed=seed,
    )
