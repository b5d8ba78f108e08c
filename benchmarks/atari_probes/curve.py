"""
F1 over the number of updates, from the results that ``python -m benchmarks.atari_probes --steps N`` left for several ``N``.

    python -m benchmarks.atari_probes.curve --game pong --methods stdim cpc
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.atari_probes.figure import draw_curve
from benchmarks.atari_probes.scores import SCALES
from benchmarks.atari_probes.table import f1

Points = list[tuple[int, dict[str, float]]]


def points(folder: Path, game: str, method: str, seed: int) -> Points:
    """
    :param folder: of the results
    :return: updates, and F1 by the features' scale; the random encoder first, with 0 updates
    """
    found = []
    for name in ("random", method):
        for file in folder.glob(f"{game}-{name}-*-seed{seed}.json"):
            result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            found.append((int(result["settings"]["budget"]["steps"]), {s: f1(result["reports"][s]) for s in SCALES}))
    return sorted(found, key=lambda point: point[0])


def main() -> None:
    """Print the points and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="pong")
    parser.add_argument("--methods", nargs="+", default=["stdim"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/atari_probes"), help="folder of the results")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    curve = {name: points(arguments.out / "runs", arguments.game, name, arguments.seed) for name in arguments.methods}
    print(f"| method | updates | {' | '.join(SCALES)} |\n{'|---' * (2 + len(SCALES))}|")
    for method, own in curve.items():
        for steps, values in own:
            print(f"| {method} | {steps} | {' | '.join(f'{values[scale]:.2f}' for scale in SCALES)} |")
    draw_curve(curve, arguments.game, arguments.out / f"curve-{arguments.game}")
    print("\n" + json.dumps({"game": arguments.game, "f1": curve}))


if __name__ == "__main__":
    main()
