"""
What encoders pre-trained without labels know of handwritten digits: test accuracy of linear probes, few labels and all.

    OMP_NUM_THREADS=1 python -m benchmarks.image_probes --out benchmarks/results/images > images.md

scikit-learn's 1,797 digits, 8 x 8 in 17 levels of grey, enlarged to 32 x 32. Encoders see the training images alone, without
labels; the probe is a logistic regression on the frozen features. "random" is the same network untrained, "supervised" the
same trained with all training labels and the same augmentation, "shuffled" an objective with wrong positives, "raw" the pixels
that the encoders see, and "moco-plain" MoCo without batch normalisation in its projection. Each result is written to
``runs.csv`` in that folder; what is there is not run again. The last line holds all figures as one JSON object.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.image_probes.digits import Digits, digits, probe
from benchmarks.image_probes.encoders import ENCODERS, METHODS, STEPS, train
from benchmarks.image_probes.report import LABELS, draw, table
from cpc_rl.diagnostics.features import encode_all

FIELDS = ["encoder", "method", "seed", "labels", "accuracy", "seconds"]


def run(kind: str, method: str, seed: int, data: Digits, steps: int) -> list[dict[str, Any]]:
    """Train and probe once."""
    began = time.process_time()
    if method == "raw":
        features = [images.reshape(len(images), -1).astype(float) for images in (data.train, data.test)]
    else:
        encoder = train(kind, method, data, steps, seed)
        features = [encode_all(encoder, images).numpy().astype(float) for images in (data.train, data.test)]
    seconds = round(time.process_time() - began, 1)
    return [
        {
            "encoder": kind,
            "method": method,
            "seed": seed,
            "labels": labels or "all",
            "accuracy": round(probe(data, *features, labels), 4),
            "seconds": seconds,
        }
        for labels in LABELS
    ]


def append(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS, help="updates")
    parser.add_argument("--validation", action="store_true", help="leave the test images alone: to choose settings")
    parser.add_argument("--quick", action="store_true", help="10 updates, one seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = [0] if arguments.quick else arguments.seeds
    data, file = digits(arguments.validation), arguments.out / "runs.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    plan = [("none", "raw", 0)]
    plan += [(k, m, s) for s in seeds for m in arguments.methods for k in arguments.encoders]
    for kind, method, seed in plan:
        rows = list(csv.DictReader(file.open())) if file.exists() else []
        if any((r["encoder"], r["method"], r["seed"]) == (kind, method, str(seed)) for r in rows):
            continue
        append(file, run(kind, method, seed, data, 10 if arguments.quick else arguments.steps))
    figures = table(list(csv.DictReader(file.open())))
    draw(figures, arguments.out / "accuracy.png")
    print(f"\n{json.dumps(figures)}")


if __name__ == "__main__":
    main()
