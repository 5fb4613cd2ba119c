"""The last few values of each judged row, as evidence for whoever reads an alert.

Record of KEPT seconds uint32 since the epoch and KEPT values float32 per row, the newest last; second 0: none yet. Eight are
one line of memory, moved up by one as a whole: most rows are never shown, so that more would be memory for nothing. Times
are whole seconds, because a person reads them.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import bare, fetch
from anomaly.detect.layout import lined, longer

KEPT = 8
LARGEST = 3e38  # what a float32 holds; evidence needs no more
AHEAD = 8  # rows by which memory is asked before their turn
RING = np.dtype([("second", "u4", (KEPT,)), ("value", "f4", (KEPT,))])


@bare
def push(row, time, value, rings):  # type: ignore[no-untyped-def]
    """Keep values in arrival order, those that are finite."""
    for i in range(row.size):
        if i + AHEAD < row.size:
            fetch(rings, row[i + AHEAD], 0)
        if not math.isfinite(value[i]):
            continue
        ring = rings[row[i]]
        for k in range(KEPT - 1):
            ring.second[k], ring.value[k] = ring.second[k + 1], ring.value[k + 1]
        ring.second[KEPT - 1], ring.value[KEPT - 1] = time[i] // 1000, min(max(value[i], -LARGEST), LARGEST)


class Recent:
    """The last KEPT values by row."""

    def __init__(self) -> None:
        self.rings: NDArray[np.void] = lined(0, RING)

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rings exist."""
        self.rings = longer(self.rings, rows)

    def keep(self, row: NDArray[np.int32], time: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        """Keep judged values in arrival order; what is not finite is no evidence."""
        push(row, time, value, self.rings)

    def last(
        self, row: int, times: NDArray[np.int64] | None = None, values: NDArray[np.float64] | None = None
    ) -> tuple[tuple[int, float], ...]:
        """The last KEPT (time ms, value) pairs of a row, oldest first, with newer ones that are not kept yet."""
        ring = self.rings[row]
        there = ring["second"] > 0
        second, kept = ring["second"][there].astype(np.int64), ring["value"][there]
        if times is not None and values is not None:
            second, kept = (
                np.concatenate([second, times // 1000]),
                np.concatenate([kept, np.clip(values, -LARGEST, LARGEST).astype(np.float32)]),
            )
        return tuple((int(s) * 1000, float(v)) for s, v in zip(second[-KEPT:], kept[-KEPT:], strict=True))

    def take(self, rows: ArrayLike) -> bytes:
        """State of some rows, to be put back by `put`."""
        return self.rings[np.asarray(rows, np.int64)].tobytes()

    def put(self, rows: ArrayLike, data: bytes) -> None:
        """Put back what `take` gave, into as many rows."""
        at = np.asarray(rows, np.int64)
        self.ensure(int(at.max(initial=-1)) + 1)
        self.rings[at] = np.frombuffer(data, RING)
