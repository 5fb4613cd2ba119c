"""The last few values of each judged row, as evidence for whoever reads an alert.

Record of KEPT seconds uint32 since the epoch and KEPT values float32 per row, the newest last; second 0: none yet. Eight are
one line of memory, moved up by one as a whole: most rows are never shown, so that more would be memory for nothing. Times
are whole seconds, because a person reads them.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import inlined
from anomaly.detect.layout import lined, longer

KEPT = 8
LARGEST = 3e38  # what a float32 holds; evidence needs no more
RING = np.dtype([("second", "u4", (KEPT,)), ("value", "f4", (KEPT,))])


@inlined
def push(ring, time, value):  # type: ignore[no-untyped-def]
    """Keep a value if it is finite: what is not is no evidence."""
    if math.isfinite(value):
        for k in range(KEPT - 1):
            ring.second[k], ring.value[k] = ring.second[k + 1], ring.value[k + 1]
        ring.second[KEPT - 1], ring.value[KEPT - 1] = time // 1000, min(max(value, -LARGEST), LARGEST)


@inlined
def show(ring, event):  # type: ignore[no-untyped-def]
    """Copy what is kept into an event."""
    for k in range(KEPT):
        event.second[k], event.value[k] = ring.second[k], ring.value[k]


def pairs(second: NDArray[np.uint32], value: NDArray[np.float32]) -> tuple[tuple[int, float], ...]:
    """The (time ms, value) pairs of a ring, shape (KEPT,) each, oldest first."""
    return tuple((s * 1000, v) for s, v in zip(second.tolist(), value.tolist(), strict=True) if s > 0)


class Recent:
    """The last KEPT values by row."""

    def __init__(self) -> None:
        self.rings: NDArray[np.void] = lined(0, RING)

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rings exist."""
        self.rings = longer(self.rings, rows)

    def take(self, rows: ArrayLike) -> bytes:
        """State of some rows, to be put back by `put`."""
        return self.rings[np.asarray(rows, np.int64)].tobytes()

    def put(self, rows: ArrayLike, data: bytes) -> None:
        """Put back what `take` gave, into as many rows."""
        at = np.asarray(rows, np.int64)
        self.ensure(int(at.max(initial=-1)) + 1)
        self.rings[at] = np.frombuffer(data, RING)
