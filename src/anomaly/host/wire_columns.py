"""Columns as bytes, each in as few as its numbers need, and back.

One byte says how a column of n numbers stands there:
 0        the same number throughout: eight bytes, whatever their type
 1 2 4    whole numbers: eight bytes with the least of them, then what each has more, in so many bytes
 9 10 12  whole numbers that never fall: eight bytes with the first, then what each has more than the one before, in 1, 2, 4
 8        as in memory
 24       eight-byte floats, their first bytes one after the other, then their second bytes, and so on: the bytes that say
          how large a number is are much alike, so that what comes after compresses them, in less time too
Each part begins at a multiple of eight bytes. The last is what HDF5 and Blosc call the shuffle filter.
"""

from collections.abc import Callable
from typing import Any

import cramjam
import numpy as np
from numpy.typing import NDArray

from anomaly.decode.points import Points, constant, ranges, repeated
from anomaly.decode.records import BadRecord

SAME, PLAIN, SHUFFLED, RISING = 0, 8, 24, 8


def packed(column: NDArray[Any]) -> tuple[int, list[bytes]]:
    """How a column stands there, and its parts."""
    if not column.size:
        return PLAIN, []
    if constant(column):
        return SAME, [padded(column[:1].tobytes())]
    if column.dtype == np.float64:
        return SHUFFLED, [shuffled(column)]
    if column.dtype == np.uint64:
        return PLAIN, [column.tobytes()]
    whole = column.astype(np.int64, copy=False)
    steps = np.diff(whole)  # past the range of int64 it goes round, and back again when it is read
    rising = int(steps.min()) >= 0
    begin = int(whole[0] if rising else whole.min())
    most = int(steps.max()) if rising else int(whole.max()) - begin
    width = next((w for w in (1, 2, 4) if most < 1 << 8 * w), PLAIN)
    if width == PLAIN:
        return PLAIN, [padded(column.tobytes())]
    more = np.concatenate([np.zeros(1, np.int64), steps]) if rising else whole - begin
    head = np.array([begin], np.int64).tobytes()
    return width | (RISING if rising else 0), [head, padded(more.astype(f"u{width}").tobytes())]


def shuffled(column: NDArray[np.float64]) -> bytes:
    """Eight-byte floats byte by byte."""
    return np.ascontiguousarray(column).view(np.uint8).reshape(-1, 8).T.tobytes()


def padded(raw: bytes) -> bytes:
    """The bytes, and zeros up to a multiple of eight."""
    return raw + bytes(-len(raw) % 8)


def gathered(points: Points) -> NDArray[np.float64]:
    """The buckets of these points alone, one point after the other."""
    if not points.bucket_len.any():
        return np.zeros(0)
    found: NDArray[np.float64] = points.buckets[ranges(points.bucket_at, points.bucket_len.astype(np.int64))]
    return found


def with_buckets(columns: dict[str, NDArray[np.generic]], buckets: NDArray[np.float64]) -> Points:
    """Points of columns off the wire, their buckets one point after the other; raises BadRecord where they do not fit."""
    length = columns["bucket_len"]
    if not buckets.size and not length.any():
        return Points(**columns, bucket_at=repeated(np.zeros(1, np.int64), length.size), buckets=buckets)  # type: ignore[arg-type]
    size = length.astype(np.int64)
    if size.size and (size.min() < 0 or int(size.sum()) != buckets.size):
        raise BadRecord("bad_block", "buckets do not add up")
    return Points(**columns, bucket_at=np.cumsum(size) - size, buckets=buckets)  # type: ignore[arg-type]


def expand(into: Callable[[bytes, memoryview], int], body: bytes, size: int, most: int) -> NDArray[np.uint8]:
    """A body decompressed by `into`; its claim of `size` bytes is judged before a byte of it is."""
    if size > most:
        raise BadRecord("bad_block", f"{size} bytes when decompressed")
    room = np.empty(size, np.uint8)
    try:
        if into(body, room.data) == size:
            return room
    except cramjam.DecompressionError as error:
        raise BadRecord("bad_block", str(error)) from error
    raise BadRecord("bad_block", "body is short")


class Reader:
    """Takes the parts of a body one after the other; raises BadRecord where there is less than was said."""

    def __init__(self, raw: NDArray[np.uint8]) -> None:
        self.raw, self.at = raw, 0

    def take(self, n: int, kind: Any) -> NDArray[Any]:
        """`n` numbers as in memory, not to be written to."""
        dtype = np.dtype(kind)
        end = self.at + n * dtype.itemsize
        if end > self.raw.size:
            raise BadRecord("bad_block", "columns are short")
        part: NDArray[Any] = self.raw[self.at : end].view(dtype)
        self.at = end + -end % 8
        return part

    def has(self, size: int) -> bool:
        """Whether so many bytes are left."""
        return self.raw.size - self.at >= size

    def column(self, how: int, n: int, kind: Any) -> NDArray[Any]:
        """A column of `n` numbers; one that is the same throughout has a stride of 0."""
        dtype = np.dtype(kind)
        if n and how == SAME:
            return repeated(self.take(8 // dtype.itemsize, dtype), n)
        if not n or how == PLAIN:
            return self.take(n, dtype)
        if how == SHUFFLED and dtype == np.float64:
            return self.floats(n)
        width = how & ~RISING
        if width not in (1, 2, 4):
            raise BadRecord("bad_block", f"a column written as {how}")
        begin, more = int(self.take(1, np.int64)[0]), self.take(n, f"u{width}")
        whole: NDArray[Any] = np.cumsum(more, dtype=np.int64) if how & RISING else more.astype(np.int64)
        whole += begin
        return whole.astype(dtype, copy=False)

    def floats(self, n: int) -> NDArray[np.float64]:
        """`n` floats that were written byte by byte."""
        planes = self.take(8 * n, np.uint8).reshape(8, n)
        found: NDArray[np.float64] = np.ascontiguousarray(planes.T).view(np.float64).reshape(n)
        return found
