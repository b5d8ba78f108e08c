"""
How close the fast CarRacing's picture is to the stock one, as an agent sees both.

    python -W ignore -m benchmarks.car_racing_picture > benchmarks/car_racing_picture.md

Prints the mean absolute difference in grey levels on states along badly driven roads and, as its last line, its figures as
JSON; writes examples side by side to benchmarks/car_racing_picture.png (not with ``--quick``).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing

from envs import ImageObservation
from envs.car_picture import CarPicture
from envs.fast_car_racing import FastCarRacing
from envs.preprocessing import resize
from tests.envs.driving import Undrawn, steer_along

COMMAND = "python -W ignore -m benchmarks.car_racing_picture > benchmarks/car_racing_picture.md"
TILE = 128  # pixels of an example
KINDS = ((64, True), (64, False), (84, True), (96, False))  # size, grayscale


def states(seed: int, domain_randomize: bool, steps: int = 400) -> Iterator[tuple[FastCarRacing, int]]:
    """The environment every few physics steps, more often in the first second, when the picture zooms in."""
    rng = np.random.default_rng(seed)
    env = FastCarRacing(frame_skip=1, domain_randomize=domain_randomize)
    env.reset(seed=seed)
    swerve = 0.0
    for step in range(steps):
        swerve = 0.95 * swerve + rng.normal(0, 0.15)
        env.step(np.clip(steer_along(env) + np.array([swerve, 0, 0], np.float32), -1, 1))
        if step % (5 if step < 50 else 20) == 0:
            yield env, step


def pictures(env: FastCarRacing, size: int, grayscale: bool) -> tuple[np.ndarray, np.ndarray]:
    """Stock and fast observation (size, size, 1 or 3) of a state."""
    stock = ImageObservation(Undrawn(), size, grayscale).observation(CarRacing._render(env, "state_pixels"))
    picture = CarPicture(grayscale)
    picture.start(env)
    return stock, resize(picture.draw(env), size)


def example(env: FastCarRacing) -> np.ndarray:
    """A row (TILE, 5 * TILE, 3): stock and fast in colour, their difference four times as strong, stock and fast in gray."""
    stock, fast = pictures(env, 64, False)
    difference = np.minimum(np.abs(stock.astype(int) - fast) * 4, 255).astype(np.uint8)
    gray = [np.repeat(picture, 3, axis=-1) for picture in pictures(env, 64, True)]
    tiles = [cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_NEAREST) for tile in (stock, fast, difference, *gray)]
    return np.hstack(tiles)


def write_examples(path: Path) -> None:
    """One row per state, and a line that names the columns."""
    chosen = {(0, False): (5, 25, 80), (3, False): (200,), (4, False): (300,), (6, True): (160,)}
    rows = [example(env) for key, steps in chosen.items() for env, step in states(*key) if step in steps]
    header = np.full((20, 5 * TILE, 3), 255, np.uint8)
    for column, title in enumerate(("stock", "fast", "difference x 4", "stock, gray", "fast, gray")):
        cv2.putText(header, title, (column * TILE + 6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), np.vstack([header, *rows])[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description="Difference of the fast CarRacing's picture from the stock one.")
    parser.add_argument("--quick", action="store_true", help="two roads, and no picture")
    quick = parser.parse_args().quick
    found: dict[tuple[int, bool, bool, str], list[float]] = {}
    for domain_randomize in (False, True):
        for seed in range(1 if quick else 8):
            for env, step in states(seed, domain_randomize):
                phase = "first second" if step < 50 else "later"
                for size, grayscale in KINDS:
                    stock, fast = pictures(env, size, grayscale)
                    difference = float(np.abs(stock.astype(float) - fast).mean())
                    found.setdefault((size, grayscale, domain_randomize, phase), []).append(difference)
    print(f"`{COMMAND}`\n\nMean absolute difference between the fast picture and the stock one, in grey levels of 0..255.\n")
    print("| size | channels | colours    | frames of    | states | mean | largest |")
    print("|-----:|---------:|------------|--------------|-------:|-----:|--------:|")
    figures = []
    for (size, grayscale, domain_randomize, phase), values in found.items():
        channels, colors = 1 if grayscale else 3, "randomised" if domain_randomize else "default"
        mean, largest = float(np.mean(values)), max(values)
        print(f"| {size:4} | {channels:8} | {colors:10} | {phase:12} | {len(values):6} | {mean:4.2f} | {largest:7.2f} |")
        figures.append({"size": size, "channels": channels, "colors": colors, "phase": phase, "mean": mean, "max": largest})
    if not quick:
        write_examples(Path(__file__).with_suffix(".png"))
        print("\n![stock and fast pictures side by side](car_racing_picture.png)")
    print()
    print(json.dumps({"benchmark": "car_racing_picture", "mean_absolute_difference": figures}))


if __name__ == "__main__":
    main()
