"""
Times ways to shift each image of a batch by offsets of its own, and every augmentation of cpc_rl.augment.

    OMP_NUM_THREADS=1 python benchmarks/augment_speed.py > benchmarks/augment_speed.md

All ways are first checked to give the same images. The last line holds all figures, in milliseconds, as one JSON object.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cpc_rl.augment import AUGMENTATIONS, make_augmentation, shift

PAD = 4
KINDS = ("uint8", "float32")
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/augment_speed.py > benchmarks/augment_speed.md"
BATCHES = ((128, 9, 84, 84), (256, 4, 64, 64))


def coordinates(images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, H) and columns (N, W) that each sample's shifted image is read from."""
    height, width = images.shape[2:]
    rows = (torch.arange(height) + offsets[:, :1] - PAD).clamp_(0, height - 1)
    columns = (torch.arange(width) + offsets[:, 1:] - PAD).clamp_(0, width - 1)
    return rows, columns


def padded(images: Tensor) -> Tensor:
    """The border repeated on all sides; F.pad cannot do that for uint8."""
    n, channels, height, width = images.shape
    sides = (n, channels, height, PAD)
    images = torch.cat((images[..., :1].expand(sides), images, images[..., -1:].expand(sides)), dim=3)
    ends = (n, channels, PAD, width + 2 * PAD)
    return torch.cat((images[:, :, :1].expand(ends), images, images[:, :, -1:].expand(ends)), dim=2)


def whole_rows(images: Tensor, offsets: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    rows, _ = coordinates(images, offsets)
    sides = (n, channels, height, PAD)
    images = torch.cat((images[..., :1].expand(sides), images, images[..., -1:].expand(sides)), dim=3)
    planes = torch.arange(n * channels).view(n, channels, 1) * (height * images.shape[3])
    starts = planes + (rows * images.shape[3] + offsets[:, 1:])[:, None]
    return images.view(-1).unfold(0, width, 1).index_select(0, starts.view(-1)).view(n, channels, height, width)


def pixel_gather(images: Tensor, offsets: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    rows, columns = coordinates(images, offsets)
    index = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1).expand(n, channels, height * width)
    return images.view(n, channels, -1).gather(2, index).view_as(images)


def rows_then_gather(images: Tensor, offsets: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    rows, columns = coordinates(images, offsets)
    planes = torch.arange(n * channels).view(n, channels, 1) * height
    by_row = images.view(-1, width).index_select(0, (planes + rows[:, None]).view(-1)).view_as(images)
    return by_row.gather(3, columns[:, None, None].expand_as(images))


def two_gathers(images: Tensor, offsets: Tensor) -> Tensor:
    rows, columns = coordinates(images, offsets)
    by_row = images.gather(2, rows[:, None, :, None].expand_as(images))
    return by_row.gather(3, columns[:, None, None].expand_as(images))


def index_all(images: Tensor, offsets: Tensor) -> Tensor:
    rows, columns = coordinates(images, offsets)
    samples, channels = torch.arange(len(images)).view(-1, 1, 1, 1), torch.arange(images.shape[1]).view(1, -1, 1, 1)
    return images[samples, channels, rows[:, None, :, None], columns[:, None, None, :]]


def pad_and_unfold(images: Tensor, offsets: Tensor) -> Tensor:
    crops = padded(images).unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)  # (N, C, 2p+1, 2p+1, H, W), a view
    return crops.permute(0, 2, 3, 1, 4, 5)[torch.arange(len(images)), offsets[:, 0], offsets[:, 1]]


def loop_of_slices(images: Tensor, offsets: Tensor) -> Tensor:
    height, width = images.shape[2:]
    crops = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded(images), offsets.tolist(), strict=True)]
    return torch.stack(crops)


def grid_sample(images: Tensor, offsets: Tensor) -> Tensor:
    height, width = images.shape[2:]
    rows, columns = coordinates(images, offsets)
    y, x = (2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=3)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(images.dtype)


SHIFTS = {
    "cpc_rl.augment.shift": lambda images, offsets: shift(images, offsets, PAD),
    "whole rows out of overlapping runs (kept for uint8)": whole_rows,
    "loop over samples, slices": loop_of_slices,
    "gather of pixels, one flat index (kept for floats)": pixel_gather,
    "rows by index_select, then gather": rows_then_gather,
    "pad, unfold view, index": pad_and_unfold,
    "gather rows, gather columns": two_gathers,
    "index all four dimensions": index_all,
    "grid_sample on a float copy": grid_sample,
}


def as_kind(integers: list[Tensor], kind: str) -> list[Tensor]:
    return integers if kind == "uint8" else [images.float() / 255 for images in integers]


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    """The least of ``repeats`` timings: what else the machine does can only add."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return round(1000 * min(times), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three timings of each instead of thirty")
    repeats = 3 if parser.parse_args().quick else 30
    torch.manual_seed(0)
    titles = [f"({', '.join(map(str, batch))})" for batch in BATCHES]
    integers = [torch.randint(0, 256, batch, dtype=torch.uint8) for batch in BATCHES]
    figures: dict[str, dict[str, list[float | None]]] = {"shift": {}, "augmentations": {}}

    print("# Speed of the augmentations\n")
    print(f"Milliseconds for a batch, the least of {repeats}, on {platform.machine()}, {torch.get_num_threads()} thread(s),")
    print(f"torch {torch.__version__}. Command: `{COMMAND}`.\n")
    columns = [f"{title} {kind}" for kind in KINDS for title in titles]
    batches = [batch for kind in KINDS for batch in as_kind(integers, kind)]
    print("## Random shift, each image by its own offset\n")
    print("All ways give the same images.\n")
    print(f"| way | {' | '.join(columns)} |\n|---|---|---|---|---|")
    for name, function in SHIFTS.items():
        figures["shift"][name] = []
        for images in batches:
            offsets = torch.randint(0, 2 * PAD + 1, (len(images), 2))
            if not torch.equal(function(images, offsets), index_all(images, offsets)):
                raise RuntimeError(f"The way {name!r} gives other images than plain indexing.")
            figures["shift"][name].append(milliseconds(lambda f=function, i=images, o=offsets: f(i, o), repeats))
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in figures['shift'][name])} |")
    print("\n## Every augmentation with its defaults\n")
    print("Grayscale is for RGB alone; random_crop cuts 60 x 60.\n")
    print(f"| name | {' | '.join(columns)} |\n|---|---|---|---|---|")
    for name in sorted(AUGMENTATIONS):
        augmentation = make_augmentation({"random_crop": {"size": 60}} if name == "random_crop" else name)
        row = [
            None
            if name == "grayscale" and images.shape[1] % 3
            else milliseconds(lambda a=augmentation, i=images: a(i), repeats)
            for images in batches
        ]
        figures["augmentations"][name] = row
        print(f"| {name} | {' | '.join('-' if value is None else f'{value:.2f}' for value in row)} |")
    print()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
