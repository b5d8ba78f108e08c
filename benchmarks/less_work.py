"""
Times ways to do less work in the passes that a head makes for itself, against the plain way.

    OMP_NUM_THREADS=2 python -m benchmarks.less_work > benchmarks/less_work.md

The pass of keys (no gradient) over 128 uint8 images of 9x84x84 through NatureCNN, the head's optimiser, the momentum copy. All
ways of a part run in turn in one process; medians of the rounds. The last line holds all figures as one JSON object.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor

from benchmarks.turns import in_turn
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.momentum import momentum_copy, momentum_update

SPACE = spaces.Box(0, 255, (9, 84, 84), np.uint8)
COMMAND = "OMP_NUM_THREADS=2 python -m benchmarks.less_work > benchmarks/less_work.md"
Way = tuple[Callable[[], object], str]  # what to time, and how far its result lies from the plain one


def key_passes(device: str, compiled: bool) -> dict[str, Way]:
    """The pass of keys, in several ways."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (128, *SPACE.shape), dtype=torch.uint8)
    extractor = NatureCNN(SPACE, 512).to(device).requires_grad_(False)
    encoder = Encoder({IMAGE: extractor}, SPACE)
    last = NatureCNN(SPACE, 512).to(device).requires_grad_(False)
    last.load_state_dict(extractor.state_dict())
    last = last.to(memory_format=torch.channels_last)
    fast = torch.compile(extractor) if compiled else None

    def plain(module: Callable[[Tensor], Tensor] = extractor) -> Tensor:
        return module(images.to(device).float() / 255.0)

    def half() -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return extractor(images.to(device).float() / 255.0).float()

    def channels_last() -> Tensor:
        return last(images.to(device).to(torch.float32, memory_format=torch.channels_last).div_(255.0))

    def from_floats() -> Tensor:
        return extractor((images.float() / 255.0).to(device))

    ways: dict[str, Callable[[], Tensor]] = {
        "plain": plain,
        "memory kept for the floats (what cpc_rl does on CPUs)": lambda: encoder(images.to(device)),
        "channels last": channels_last,
        "bfloat16": half,
    }
    if fast is not None:
        ways["torch.compile"] = lambda: plain(fast)
    if device != "cpu":
        ways["floats moved instead of bytes"] = from_floats
    reference = plain()
    scale = float(reference.abs().mean())
    return {name: (way, f"{float((way() - reference).abs().max()) / scale:.0e}") for name, way in ways.items()}


def optimisers(device: str) -> dict[str, Way]:
    """Adam on a head of the size of ``atc``'s, and on the encoder (separate mode)."""

    def adam(**keywords: bool) -> Callable[[], object]:
        sizes = [(512, 128), (128, 512), (512, 128), (128, 128), (512, 3136), (64, 64, 3, 3), (64, 32, 4, 4), (32, 9, 8, 8)]
        parameters = [torch.nn.Parameter(torch.randn(size, device=device)) for size in sizes]
        for p in parameters:
            p.grad = torch.randn_like(p)
        return torch.optim.Adam(parameters, lr=1e-3, **keywords).step

    return {
        "plain": (adam(), "0"),
        "foreach": (adam(foreach=True), "0"),
        "fused": (adam(fused=True), "float error"),
    }


def momentum(device: str) -> dict[str, Way]:
    """The step of a momentum copy of NatureCNN."""
    source = NatureCNN(SPACE, 512).to(device)
    target = momentum_copy(source)

    @torch.no_grad()
    def one_by_one() -> None:
        for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
            mine.mul_(0.99).add_(theirs, alpha=0.01)

    return {
        "plain": (one_by_one, "0"),
        "all at once (what cpc_rl does)": (lambda: momentum_update(target, source, 0.01), "float error"),
    }


@torch.no_grad()
def measure(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Median milliseconds of each way."""

    def to_its_end(way: Callable[[], object]) -> None:
        way()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    whole = {name: partial(to_its_end, way) for name, (way, _) in ways.items()}
    return in_turn(whole, rounds, warm_ups=2, clock=time.perf_counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds, nothing compiled")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else 31
    parts = {
        "pass of keys": key_passes(arguments.device, compiled=not arguments.quick),
        "the head's optimiser": optimisers(arguments.device),
        "momentum copy": momentum(arguments.device),
    }
    figures = {part: measure(ways, rounds) for part, ways in parts.items()}
    print("# Less work per pass\n")
    print(f"Medians of {rounds} rounds in turn; {torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(f"{platform.machine()}, device {arguments.device}.\n\n    {COMMAND}\n")
    print("| part | way | ms | of plain | largest difference, of the mean |\n|---|---|---|---|---|")
    for part, milliseconds in figures.items():
        for name, value in milliseconds.items():
            print(f"| {part} | {name} | {value:.2f} | {value / milliseconds['plain']:.2f} | {parts[part][name][1]} |")
    print("\n" + json.dumps({"benchmark": "less_work", "device": arguments.device, "milliseconds": figures}))


if __name__ == "__main__":
    main()
