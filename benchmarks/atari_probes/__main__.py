"""
What encoders that were trained without reward know of Atari's state: F1 of linear probes, by ST-DIM's protocol.

    OMP_NUM_THREADS=1 python -m benchmarks.atari_probes --cache FOLDER --out benchmarks/results/atari_probes

Anand et al. 2019: frames of random actions, 210 x 160 grey, each action for 4 frames; the labels are bytes of the RAM; an
episode ends with a life, and those of 64 frames and less are left out of the probes. The frames that train an encoder are
others than those of the probes. "supervised" trains the encoder with the labels too, and "majority" knows no features.

Frames are recorded once per game, into the cache (about 30 MB a game). Every game and method is one result in a file, and one
that is there is not computed again: a run that was interrupted goes on, and parts of the grid may run one after the other.
Features are probed as they are, as in the paper, and standardised. The tables, with the published figures in parentheses, the
CSV and the picture hold all games and methods that were asked for. The last line holds all figures as one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.atari_probes.figure import draw
from benchmarks.atari_probes.frames import Frames
from benchmarks.atari_probes.methods import METHODS, Budget
from benchmarks.atari_probes.scores import SCALES, Probing, result_file, scored
from benchmarks.atari_probes.table import markdown, means, write_csv

GAMES = ["pong", "bowling", "boxing", "private_eye", "freeway", "seaquest"]


def main() -> None:
    """Compute what is missing and print the table."""
    arguments = _arguments()
    if arguments.quick:
        with TemporaryDirectory() as folder:
            arguments.cache = arguments.out = Path(folder)
            arguments.games, arguments.frames, arguments.probe_frames = ["seaquest"], 400, 1200
            arguments.steps, arguments.epochs = 2, 2
            _run(arguments)
    else:
        _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    budget = Budget(arguments.steps, arguments.learning_rate, 64, arguments.precision, arguments.seed)
    probing = Probing(arguments.epochs, arguments.patience)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    folder = arguments.out / "runs"
    for game in arguments.games:
        frames = Frames(game, arguments.frames, arguments.probe_frames, arguments.seed, arguments.cache)
        found[game] = {
            method: scored(frames, method, budget, probing, folder, arguments.device)
            for method in arguments.methods
            if not arguments.collect or result_file(game, method, budget, folder).exists()
        }
    write_csv(found, arguments.out / "f1.csv")
    draw(found, arguments.methods, arguments.out / "f1")
    figures: dict[str, Any] = {}
    for scale in SCALES:
        reports = {game: {m: result["reports"][scale] for m, result in row.items()} for game, row in found.items()}
        print(f"Features {scale}:\n\n{markdown(reports, arguments.methods)}\n")
        figures[scale] = means(reports)
    kept = ("frames", "probe_frames", "steps", "learning_rate", "epochs", "patience", "precision", "seed", "device")
    print(json.dumps({"f1": figures, **{name: getattr(arguments, name) for name in kept}}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=GAMES, help="as ale-py names them, such as ms_pacman")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--cache", type=Path, help="folder of the recorded frames", required="--quick" not in sys.argv)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/atari_probes"), help="folder of the results")
    parser.add_argument("--collect", action="store_true", help="compute nothing: the tables of what is there")
    parser.add_argument("--frames", type=int, default=30_000, help="that train an encoder")
    parser.add_argument("--probe-frames", type=int, default=50_000, help="that train, stop and test the probes")
    parser.add_argument("--steps", type=int, default=23_500, help="updates; 50 passes over the frames")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="the highest; Anand et al. keep 3e-4")
    parser.add_argument("--epochs", type=int, default=100, help="of a probe, at most")
    parser.add_argument("--patience", type=int, default=15, help="epochs without a better validation score")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="of the extractor's training")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one game, a few frames and updates, to see that it runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
