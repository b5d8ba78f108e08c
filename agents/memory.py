"""How a training's process uses memory: what it frees stays its own, and convolutions find their weights in a quick order."""

import ctypes
import os

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

# glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """
    Tell glibc's allocator to hand nothing back to the system before two gigabytes lie free, and to map no piece of up to 32
    MiB (the most it allows) by itself.

    By its defaults an update's larger tensors are given back and fetched anew each time, page by page, which took up to a
    quarter of a training's time on CPU (benchmarks/freed_memory.md). No number changes. The process stays as large as it once
    was.

    :return: whether it did; not where the allocator is another one, nor where the user has set one of its variables
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS and Windows
        return False
    if any(name in os.environ for name in VARIABLES):
        return False
    return all([mallopt(MMAP_THRESHOLD, 2**25), mallopt(TRIM_THRESHOLD, 2**31 - 1)])


def put_channels_last(model: BaseAlgorithm) -> None:
    """
    Store the weights of the policy's convolutions with the channels last, if it is on a CPU.

    PyTorch's CPU convolutions then learn 1.1 to 1.7 times as fast (benchmarks/channels_last.md). Nothing but the order of the
    numbers in memory changes; sums are made in another order, so results differ by rounding. Copies of the policy and of its
    weights keep the order, a loaded model does not. What it does on a GPU has not been measured, so there it does nothing.

    :param model: just built, or just loaded
    """
    if model.device.type == "cpu":
        model.policy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors alone
