"""Ranges of values in one array, and arrays that grow."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from anomaly.compiled import kernel

LINE = 64  # bytes that memory gives at once: a row of as many begins where one does


class Pool:
    """Values of which each row of a table owns a range, such as the buckets of a histogram: one array that grows.

    The owner's column `column` has integer fields `<name>_at` and `<name>_len`. `count` int64 (1,): places in use, those
    that were left behind by ranges that moved included.
    """

    def __init__(self, name: str, column: str, dtype: DTypeLike) -> None:
        self.name, self.column = name, column
        self.array: NDArray[Any] = np.zeros(0, dtype)
        self.count = np.zeros(1, np.int64)

    def reserve(self, size: int) -> None:
        """Make at least `size` places exist; new ones are zero."""
        self.array = grown(self.array, size)


@kernel
def scatter(at, length, values, pool, size):  # type: ignore[no-untyped-def]
    """Copy values, which lie one range after the other, to their places; arrays are bytes, places counted in `size`."""
    n = 0
    for i in range(at.size):
        begin = at[i] * size
        for j in range(length[i] * size):
            pool[begin + j] = values[n]
            n += 1


@kernel
def collect(at, length, pool, values, size):  # type: ignore[no-untyped-def]
    """The opposite of `scatter`."""
    n = 0
    for i in range(at.size):
        begin = at[i] * size
        for j in range(length[i] * size):
            values[n] = pool[begin + j]
            n += 1


def collected(pool: NDArray[Any], at: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[Any]:
    """The values of all ranges, one after the other."""
    values = np.zeros(int(length.sum()), pool.dtype)
    collect(at, length, pool.view(np.uint8), values.view(np.uint8), pool.itemsize)
    return values


def chosen(column: NDArray[Any], rows: NDArray[np.intp], out: NDArray[np.uint8]) -> None:
    """Copy some rows of a column, as bytes: what rows are made of would cost time."""
    if rows.size:
        kind = np.dtype((np.void, column[:1].nbytes))
        np.take(column.view(np.uint8).reshape(-1).view(kind), rows, out=out.view(kind), mode="clip")


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array, or one of at least `size` that begins with it: longer by half, so that growing costs little altogether;
    what is new is zero."""
    if size <= len(array):
        return array
    rows = max(size, len(array) + len(array) // 2, 64)
    raw = np.zeros(rows * array.itemsize * int(np.prod(array.shape[1:])) + LINE, np.uint8)
    begin = -raw.ctypes.data % LINE
    larger = raw[begin : begin + raw.size - LINE].view(array.dtype).reshape(rows, *array.shape[1:])
    larger[: len(array)] = array
    return larger
