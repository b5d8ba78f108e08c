"""Arithmetic of brightness and colour on stacks of frames, (N, F, c, H, W) floats in 0..1 with c = 1 (grey) or 3 (RGB)."""

import torch
from torch import Tensor

# ITU-R BT.601, the weights of OpenCV's and PIL's grey.
LUMA = (0.299, 0.587, 0.114)


def split_frames(images: Tensor, channels_per_frame: int | None) -> Tensor:
    """
    :param images: (N, C, H, W)
    :param channels_per_frame: 1 or 3; None means 3 where C is a multiple of 3, else 1
    :return: (N, C / channels_per_frame, channels_per_frame, H, W)
    :raises ValueError: if the channels do not divide into such frames
    """
    channels = images.shape[1]
    per_frame = channels_per_frame or (3 if channels % 3 == 0 else 1)
    if channels % per_frame:
        raise ValueError(f"Images of {channels} channels cannot be stacks of frames with {per_frame} channels each.")
    return images.unflatten(1, (channels // per_frame, per_frame))


def per_sample(values: Tensor, images: Tensor) -> Tensor:
    """(N,) as (N, 1, ..., 1) in the dtype of ``images``, to broadcast against them."""
    return values.to(images.dtype).view(-1, *[1] * (images.ndim - 1))


def luma(frames: Tensor) -> Tensor:
    """Grey values of (N, F, 3, H, W) RGB frames, or (N, F, 1, H, W) grey ones as they are: (N, F, 1, H, W)."""
    if frames.shape[2] == 1:
        return frames
    return (frames * frames.new_tensor(LUMA).view(3, 1, 1)).sum(2, keepdim=True)


def adjust_brightness(frames: Tensor, factor: Tensor) -> Tensor:
    """Scales (N, F, c, H, W) frames in 0..1 by ``factor`` (N,), clamped to 0..1."""
    return (frames * per_sample(factor, frames)).clamp_(0, 1)


def adjust_contrast(frames: Tensor, factor: Tensor) -> Tensor:
    """Moves (N, F, c, H, W) frames in 0..1 away from the mean grey of each frame by ``factor`` (N,), clamped to 0..1."""
    factor = per_sample(factor, frames)
    mean = luma(frames).mean((2, 3, 4), keepdim=True)
    return (factor * frames).add_((1 - factor) * mean).clamp_(0, 1)


def adjust_saturation(frames: Tensor, factor: Tensor) -> Tensor:
    """Moves each pixel of (N, F, 3, H, W) frames in 0..1 away from its own grey by ``factor`` (N,), clamped to 0..1."""
    factor = per_sample(factor, frames)
    return (factor * frames).add_((1 - factor) * luma(frames)).clamp_(0, 1)


def adjust_hue(frames: Tensor, turn: Tensor) -> Tensor:
    """
    Turns the hue of (N, F, 3, H, W) frames in 0..1 by ``turn`` (N,), 1 being the whole colour circle. Value and saturation,
    in HSV's sense, are kept.
    """
    red, green, blue = frames.unbind(2)
    value = frames.amax(2)
    chroma = value - frames.amin(2)
    divisor = torch.where(chroma == 0, 1.0, chroma)  # grey has no hue: any is as good
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )  # in sixths of the circle, (N, F, H, W)
    hue = hue + 6 * per_sample(turn, hue)
    # Each channel falls from the value by the chroma, over a trapezoid of the hue whose start differs by channel.
    distance = (hue.unsqueeze(2) + frames.new_tensor([5, 3, 1]).view(3, 1, 1)) % 6
    fall = torch.minimum(distance, 4 - distance).clamp(0, 1)
    return value.unsqueeze(2) - chroma.unsqueeze(2) * fall
