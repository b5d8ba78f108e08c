"""Frames that are kept compressed."""

import sys
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpc_rl.frame_store import FrameStore

Codec = tuple[Callable[[Any], bytes], Callable[[bytes], bytes]]


def make_codec(name: str) -> Codec:
    """
    :param name: ``"zlib"`` (level 1), or ``"zstd"`` (level 3): about as small, and several times as fast.
    :return: Functions that compress and decompress.
    :raises ValueError: if the name is another one.
    :raises ImportError: if there is no zstd.
    """
    if name == "zlib":
        return partial(zlib.compress, level=1), zlib.decompress
    if name != "zstd":
        raise ValueError(f"compression must be None, 'zlib' or 'zstd', but it is {name!r}.")
    try:
        zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "zstd")
    except ImportError as error:
        raise ImportError("compression='zstd' needs Python 3.14 or the package zstd: pip install zstd.") from error
    return lambda data: zstd.compress(data, 3), zstd.decompress


class CompressedFrameStore(FrameStore):
    """
    A :class:`FrameStore` whose frames are compressed one by one as they are written. Only reading takes longer.

    :param compression: See :func:`make_codec`.
    """

    def __init__(self, n_ring: int, frame_shape: tuple[int, ...], dtype: Any, compression: str):
        self.compression = compression
        self._compress, self._decompress = make_codec(compression)
        self._blank = self._compress(np.zeros(frame_shape, dtype).tobytes())
        self._n_bytes = 0
        super().__init__(n_ring, frame_shape, dtype)

    def _places(self, n: int) -> NDArray:
        places = np.empty(n, dtype=object)
        places.fill(self._blank)  # np.full() would make other bytes of it, without zeros at the end
        return places

    def _put(self, places: NDArray, rows: Any, frames: NDArray) -> None:
        for row, frame in zip(rows, frames, strict=True):
            old, places[row] = places[row], self._compress(np.ascontiguousarray(frame).tobytes())
            self._n_bytes += sys.getsizeof(places[row]) - (0 if old is self._blank else sys.getsizeof(old))

    @property
    def nbytes(self) -> int:
        return super().nbytes + self._n_bytes

    def take(self, numbers: NDArray[Any], out: NDArray) -> None:
        """See :meth:`FrameStore.take`."""
        size = int(np.prod(self.frame_shape)) * self.dtype.itemsize
        target = out.reshape(-1).view(np.uint8).data
        for place, number in enumerate(numbers.reshape(-1).tolist()):
            frame = self.ring[number] if number < self.zero else self.extra[number - self.zero]
            target[place * size : (place + 1) * size] = self._decompress(frame)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in ("_compress", "_decompress")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._compress, self._decompress = make_codec(state["compression"])
        self._blank = state["_blank"]
        super().__setstate__(state)
