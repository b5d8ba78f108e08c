"""Augmentations that look at each image through a window of its own: random shift, random crop, translate."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cpc_rl.augment.base import Augmentation, check_positive, check_range, draw_integers


def _gather_pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of (N, C, H, W) ``images`` where each sample's ``rows`` (N, h) and ``columns`` (N, w) cross: (N, C, h, w)."""
    n, channels, height, width = images.shape
    index = rows[:, :, None] * width + columns[:, None, :]  # (N, h, w)
    index = index.view(n, 1, rows.shape[1] * columns.shape[1]).expand(n, channels, -1)
    pixels = images.reshape(n, channels, height * width).gather(2, index)
    return pixels.view(n, channels, rows.shape[1], columns.shape[1])


def _copy_runs(images: Tensor, rows: Tensor, left: Tensor, width: int) -> Tensor:
    """
    As :func:`_gather_pixels` for ``width`` adjacent columns from ``left`` (N,) on. Each row of the output is then a run of
    adjacent numbers in memory: the batch is viewed as all such runs, overlapping, and whole ones are copied, which is several
    times as fast on CPU as a gather of pixels (benchmarks/augment_speed.md).
    """
    n, channels, height, width_in = images.shape
    planes = torch.arange(n * channels, device=images.device).view(n, channels, 1) * (height * width_in)
    starts = planes + (rows * width_in + left[:, None])[:, None, :]  # (N, C, h)
    runs = images.reshape(-1).unfold(0, width, 1)  # a view, no copy
    return runs.index_select(0, starts.view(-1)).view(n, channels, rows.shape[1], width)


def _can_copy_runs(images: Tensor) -> bool:
    # The backward pass would materialise every overlapping run.
    return len(images) > 0 and not (images.requires_grad and torch.is_grad_enabled())


def shift(images: Tensor, offsets: Tensor, pad: int) -> Tensor:
    """
    Pads the images by repeating their border and crops them back to their size: ``out[y, x] = in[y + dy - pad, x + dx - pad]``
    with both coordinates clamped to the image. No float copy is made of uint8 images.

    :param images: (N, C, H, W), any dtype
    :param offsets: (N, 2) int64, (dy, dx) of each sample, within 0..2*pad; (pad, pad) leaves it where it is
    :param pad: number of pixels added on each side
    :return: (N, C, H, W)
    """
    n, channels, height, width = images.shape
    # Rows need no padding: whole rows are looked up, so that a clamped row number does the same.
    rows = (torch.arange(height, device=images.device) + offsets[:, :1] - pad).clamp_(0, height - 1)  # (N, H)
    if images.element_size() > 1 or not _can_copy_runs(images):  # a padded copy of floats costs more than copying runs saves
        columns = (torch.arange(width, device=images.device) + offsets[:, 1:] - pad).clamp_(0, width - 1)  # (N, W)
        return _gather_pixels(images, rows, columns)
    sides = (n, channels, height, pad)
    padded = torch.cat((images[..., :1].expand(sides), images, images[..., -1:].expand(sides)), dim=3)
    return _copy_runs(padded, rows, offsets[:, 1], width)


def crop(images: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """
    :param images: (N, C, H, W), any dtype
    :param offsets: (N, 2) int64, the (top, left) corner of each sample's crop, within 0..H-height and 0..W-width
    :return: (N, C, height, width)
    """
    rows = torch.arange(height, device=images.device) + offsets[:, :1]  # (N, height)
    if _can_copy_runs(images):
        return _copy_runs(images, rows, offsets[:, 1], width)
    return _gather_pixels(images, rows, torch.arange(width, device=images.device) + offsets[:, 1:])


@dataclass(frozen=True)
class RandomShift(Augmentation):
    """
    Random shift by up to ``pad`` pixels each way, the border repeated (DrQ: Kostrikov et al., 2020,
    https://arxiv.org/abs/2004.13649). Each of the (2 pad + 1)^2 shifts is equally likely.

    :param pad: the greatest shift in pixels
    """

    pad: int = 4

    def __post_init__(self) -> None:
        check_range("pad", self.pad)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        size = (len(images), 2)
        offsets = torch.randint(0, 2 * self.pad + 1, size, generator=generator, device=images.device)
        return shift(images, offsets, self.pad)


def _as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size that may be given as one number for both."""
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return height, width


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """
    A crop at a random place, every place equally likely (CURL: Laskin et al., 2020, https://arxiv.org/abs/2004.04136, which
    renders 100 x 100 and crops to 84). The output is smaller than the input.

    :param size: side of the crop in pixels, or (height, width)
    """

    size: int | tuple[int, int] = 84

    def __post_init__(self) -> None:
        check_positive("size", min(_as_pair(self.size)))

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        height, width = _as_pair(self.size)
        if height > images.shape[2] or width > images.shape[3]:
            raise ValueError(f"A crop of {height} x {width} does not fit in images of {images.shape[2]} x {images.shape[3]}.")
        top = draw_integers(images, 0, images.shape[2] - height, generator)
        left = draw_integers(images, 0, images.shape[3] - width, generator)
        return crop(images, torch.stack((top, left), dim=1), height, width)


@dataclass(frozen=True)
class Translate(Augmentation):
    """
    Moves the image over black (RAD: Laskin et al., 2020, https://arxiv.org/abs/2004.14990).

    :param pad: the greatest move in pixels each way; the size is kept and what leaves the frame is lost
    :param size: if given, nothing is lost: the whole image is put at a random place of a black canvas of this side (or height,
        width), which the output then has (RAD: 100 to 108), and ``pad`` is not used
    """

    pad: int = 4
    size: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_range("pad", self.pad)

    def augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        height_in, width_in = images.shape[2:]
        if self.size is None:
            height, width = height_in, width_in
            down = right = self.pad
            places = (2 * self.pad, 2 * self.pad)
        else:
            height, width = _as_pair(self.size)
            down, right = places = (height - height_in, width - width_in)
            if min(places) < 0:
                raise ValueError(f"Images of {height_in} x {width_in} do not fit in a canvas of {height} x {width}.")
        # A window of the output's size over the image in a black surround.
        top = draw_integers(images, 0, places[0], generator)
        left = draw_integers(images, 0, places[1], generator)
        return crop(F.pad(images, (right, right, down, down)), torch.stack((top, left), dim=1), height, width)
