"""How a training's process keeps memory: what it frees stays its own, as the next update asks for the same again."""

import ctypes
import os

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
