"""Frames of stacked images, each kept once, and arrays of stacks that are put together when they are read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int32]


class FrameStore:
    """
    Frames that are found by number. Those below ``len(ring)`` lie in a ring whose rows the owner writes. Those above lie in a
    part that grows, for what fits no ring: the frames of resets, and stacks that do not continue the ones before.

    :param n_ring: Rows of the ring.
    :param frame_shape: ``(C, H, W)`` of one frame.
    """

    def __init__(self, n_ring: int, frame_shape: tuple[int, ...], dtype: Any):
        self.frame_shape, self.dtype = frame_shape, np.dtype(dtype)
        self.ring, self.extra = self._places(n_ring), self._places(1)
        self.n_written = 0
        """Rows of the ring that may differ from zero: the first ones."""
        self._free: list[int] = []

    def _places(self, n: int) -> NDArray:
        """:return: Room for n frames, which read as zeros."""
        return np.zeros((n, *self.frame_shape), dtype=self.dtype)

    def _put(self, places: NDArray, rows: Any, frames: NDArray) -> None:
        places[rows] = frames

    @property
    def zero(self) -> int:
        """The number of a frame of zeros."""
        return len(self.ring)

    @property
    def nbytes(self) -> int:
        return self.ring.nbytes + self.extra.nbytes

    def write(self, rows: NDArray[np.int64], frames: NDArray) -> None:
        """Write frames ``(E, C, H, W)`` to rows ``(E,)`` of the ring."""
        self._put(self.ring, rows, frames)
        self.n_written = max(self.n_written, int(rows[-1]) + 1)

    def keep(self, frame: NDArray) -> int:
        """
        Keep a frame ``(C, H, W)`` outside of the ring until :meth:`drop`.

        :return: Its number.
        """
        if not self._free:
            old = self.extra
            self.extra = self._places(len(old) + max(len(old) // 8, 4))
            self.extra[: len(old)] = old
            self._free = list(range(len(self.extra) - 1, len(old) - 1, -1))
        place = self._free.pop()
        self._put(self.extra, [place], frame[None])
        return self.zero + place

    def drop(self, number: int) -> None:
        """Give back what :meth:`keep` gave."""
        self._free.append(number - self.zero)

    def keep_stack(self, stack: NDArray, newest: int | None = None) -> tuple[list[int], list[int]]:
        """
        Keep a stack that continues none: zero padding and repeated frames cost nothing.

        :param stack: ``(n, C, H, W)``, oldest to newest.
        :param newest: The newest frame's number, where it is stored already.
        :return: The n frames' numbers, and those of them that were given out by :meth:`keep`.
        """
        numbers, kept = [self.zero] * len(stack), []
        for i in reversed(range(len(stack))):
            if newest is not None and i == len(stack) - 1:
                numbers[i] = newest
            elif i + 1 < len(stack) and same_bytes(stack[i], stack[i + 1]):
                numbers[i] = numbers[i + 1]
            elif as_words(stack[i : i + 1]).any():
                numbers[i] = self.keep(stack[i])
                kept.append(numbers[i])
        return numbers, kept

    def take(self, numbers: NDArray[Any], out: NDArray) -> None:
        """
        Read frames.

        :param numbers: Of any shape.
        :param out: ``(*numbers.shape, C, H, W)``, contiguous.
        """
        # With mode="raise" NumPy would write to a buffer first, and copy that
        np.take(self.ring, numbers, axis=0, out=out, mode="clip")
        if numbers.size and numbers.max() >= self.zero:
            outside = numbers >= self.zero
            out[outside] = self.extra[numbers[outside] - self.zero]

    def __getstate__(self) -> dict[str, Any]:
        """Rows that were never written are not saved."""
        return {**self.__dict__, "ring": self.ring[: self.n_written], "n_ring": len(self.ring)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        written = state["ring"]
        self.__dict__.update({name: value for name, value in state.items() if name != "n_ring"})
        if len(written) < state["n_ring"]:
            self.ring = self._places(state["n_ring"])
            self.ring[: len(written)] = written


class FrameStacks:
    """
    Reads as an array of stacked observations, made from single frames whenever it is indexed.

    :param store: The frames.
    :param numbers: ``(*leading, n)`` the stacks' frames, oldest to newest.
    :ivar shape: ``(*leading, n * C, H, W)``.
    """

    def __init__(self, store: FrameStore, numbers: Numbers):
        self.store, self.numbers = store, numbers

    @property
    def shape(self) -> tuple[int, ...]:
        channels, *sides = self.store.frame_shape
        return (*self.numbers.shape[:-1], self.numbers.shape[-1] * channels, *sides)

    @property
    def dtype(self) -> np.dtype:
        return self.store.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: Any) -> NDArray:
        """
        :param key: Picks among the leading axes; axes of the image may only follow as full slices.
        :raises IndexError: otherwise.
        """
        parts = key if isinstance(key, tuple) else (key,)
        trailing = parts[self.numbers.ndim - 1 :]
        if any(not isinstance(part, slice) or part != slice(None) for part in trailing) or any(p is Ellipsis for p in parts):
            raise IndexError("Stacks made from single frames are read whole: index the slot and the environment only.")
        return self._read(self.numbers[parts[: self.numbers.ndim - 1]])

    def _read(self, numbers: Numbers) -> NDArray:
        out = np.empty((*numbers.shape, *self.store.frame_shape), dtype=self.dtype)
        self.store.take(numbers, out)
        return out.reshape(*numbers.shape[:-1], *self.shape[-3:])

    def take(self, rows: NDArray[Any], out: NDArray | None = None) -> NDArray:
        """
        :param rows: Of any shape, in the array with its leading axes flattened.
        :return: ``(*rows.shape, n * C, H, W)``, which is ``out`` if given.
        """
        numbers = self.numbers.reshape(-1, self.numbers.shape[-1])[rows]
        if out is None:
            return self._read(numbers)
        self.store.take(numbers, out.reshape(*numbers.shape, *self.store.frame_shape))
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        if copy is False:
            raise ValueError("Stacks made from single frames cannot be read without a copy.")
        array = self[:]
        return array if dtype is None else array.astype(dtype, copy=False)


def as_words(frames: NDArray) -> NDArray:
    """
    Bytes for comparison, as wide integers: eight times as fast, and no number is unequal to itself.

    :param frames: ``(*leading, C, H, W)``.
    :return: ``(*leading, words)`` unsigned integers; a view if ``frames`` are contiguous.
    """
    size = int(np.prod(frames.shape[-3:])) * frames.itemsize
    width = next(width for width in (8, 4, 2, 1) if size % width == 0)
    flat = np.ascontiguousarray(frames).reshape(-1).view(np.uint8).view(f"u{width}")
    return flat.reshape(*frames.shape[:-3], size // width)


def same_bytes(a: NDArray, b: NDArray) -> bool:
    """Whether two arrays ``(..., C, H, W)`` of one shape and type are the same, bit for bit."""
    return bool((as_words(a) == as_words(b)).all())
