"""Points as columns: what every encoding decodes to, and what detect reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Kind(IntEnum):
    """How the number of a point is to be read."""

    GAUGE = 0  # as it is; also non-monotonic cumulative sums (OpenTelemetry's up-down counters)
    COUNTER = 1  # monotonic, since `start`: becomes a rate
    DELTA = 2  # what was added since `start` (0: since the point before): becomes a rate
    HISTOGRAM = 3  # value is the sum, count the number of observations, both since `start`, as are the buckets
    HISTOGRAM_DELTA = 4  # the same, since the point before


class Flag(IntFlag):
    """What a point says besides its number."""

    NONE = 0
    STALE = 1  # no recorded value, stale marker: the series ends or pauses here; the value says nothing
    BEAT = 2  # of no series of a sender: it says that its group, which is a giant, was heard (`giants`)
    PART = 4  # a part of a delta: others of the same time or before add to it, from whoever and in whatever order
    CHANGE = 8  # of nothing that is measured: it says that something was changed (`changes`)


@dataclass(slots=True)
class Points:
    """n points in arrival order, and m bucket counts in a ragged side column.

    series uint64 (n,)   fingerprint of the canonical series (`Series.hash`)
    time   int64  (n,)   milliseconds since the epoch
    start  int64  (n,)   milliseconds since the epoch from which cumulative or delta values count; 0: not given
    value  float64 (n,)  the number as sent, even if not finite; for histograms the sum of the observations
    count  float64 (n,)  histograms: number of observations; else 0
    kind   uint8  (n,)   Kind
    flags  uint8  (n,)   Flag
    record int32  (n,)   the record it came in: its index while a block is decoded, in a Block its offset since the first
    bucket_at int64 (n,), bucket_len int32 (n,)  the point's range of `buckets`; length 0: none
    buckets float64 (m,) observations per bucket (not cumulated over buckets), one more than `Series.bounds`
    writer uint16 (n,)   which of several senders of the series it came from (`identity.Placed.writer`); 0: not said
    A column that is the same throughout may have a stride of 0.
    """

    series: NDArray[np.uint64]
    time: NDArray[np.int64]
    start: NDArray[np.int64]
    value: NDArray[np.float64]
    count: NDArray[np.float64]
    kind: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    record: NDArray[np.int32]
    bucket_at: NDArray[np.int64]
    bucket_len: NDArray[np.int32]
    buckets: NDArray[np.float64]
    writer: NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, np.uint16))

    def __post_init__(self) -> None:
        if self.writer.size != self.series.size:
            self.writer = np.zeros(self.series.size, np.uint16)

    def __len__(self) -> int:
        return int(self.series.size)

    @classmethod
    def empty(cls, n: int = 0, m: int = 0) -> "Points":
        """Columns of `n` points and `m` buckets, all zero."""
        kinds = (
            np.uint64,
            np.int64,
            np.int64,
            np.float64,
            np.float64,
            np.uint8,
            np.uint8,
            np.int32,
            np.int64,
            np.int32,
        )
        return cls(*(np.zeros(n, k) for k in kinds), np.zeros(m))  # type: ignore[arg-type, call-arg]

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Points":
        """The points at `index`, in that order, over the same buckets."""
        return Points(**{name: getattr(self, name)[index] for name in BY_POINT}, buckets=self.buckets)

    def owned(self) -> "Points":
        """The points in arrays that may be written to: what came off the wire may not, and is another type to a kernel."""
        return Points(**{name: owned(getattr(self, name)) for name in BY_POINT}, buckets=owned(self.buckets))

    @classmethod
    def joined(cls, parts: Sequence["Points"]) -> "Points":
        """The points of `parts`, one after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.empty()
        columns = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        shift = np.cumsum([0] + [p.buckets.size for p in parts[:-1]])
        columns["bucket_at"] = np.concatenate([p.bucket_at + s for p, s in zip(parts, shift, strict=True)])
        return cls(**columns)


BY_POINT = tuple(f.name for f in fields(Points) if f.name != "buckets")


def ranges(begin: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of all ranges, one range after the other."""
    before = np.cumsum(length) - length
    places: NDArray[np.int64] = np.arange(int(length.sum())) + np.repeat(begin - before, length)
    return places


def owned(column: NDArray[Any]) -> NDArray[Any]:
    """The column in one piece that may be written to; `np.require` takes as long as a small block."""
    return column if column.flags.carray else column.copy()


def repeated(column: NDArray[Any], n: int) -> NDArray[Any]:
    """The first number of a column n times over, with a stride of 0, not to be written to: `np.broadcast_to` takes 10 µs."""
    found: NDArray[Any] = np.ndarray(n, column.dtype, column, strides=(0,))
    found.flags.writeable = False
    return found


def constant(column: NDArray[Any]) -> bool:
    """Whether a column that holds something is the same throughout, to the bit."""
    if column.size and column.strides == (0,):
        return True
    bits = column.view(f"u{column.itemsize}")
    return bits.size > 0 and all(bool((part == bits[0]).all()) for part in (bits[:64], bits))
