"""The last few values of each judged row, as evidence for whoever reads an alert.

second uint32 (rows, KEPT) since the epoch, value float32 (rows, KEPT), count int64 (rows,) of values ever kept: the newest
is at (count - 1) % KEPT. Times are whole seconds, because a person reads them.
"""

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare

KEPT = 16
LARGEST = 3e38  # what a float32 holds; evidence needs no more


@bare
def push(row, time, value, second, kept, count):  # type: ignore[no-untyped-def]
    """Keep values in arrival order, those that are finite."""
    for i in range(row.size):
        r = row[i]
        if not math.isfinite(value[i]):
            continue
        at = count[r] % second.shape[1]
        second[r, at], kept[r, at] = time[i] // 1000, min(max(value[i], -LARGEST), LARGEST)
        count[r] += 1


class Recent:
    """Rings of the last KEPT values by row."""

    def __init__(self) -> None:
        self.second: NDArray[np.uint32] = np.zeros((0, KEPT), np.uint32)
        self.value: NDArray[np.float32] = np.zeros((0, KEPT), np.float32)
        self.count: NDArray[np.int64] = np.zeros(0, np.int64)

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rings exist."""
        have = self.count.size
        if rows > have:
            more = max(rows, 2 * have, 64) - have
            self.second = np.concatenate([self.second, np.zeros((more, KEPT), np.uint32)])
            self.value = np.concatenate([self.value, np.zeros((more, KEPT), np.float32)])
            self.count = np.concatenate([self.count, np.zeros(more, np.int64)])

    def keep(self, row: NDArray[np.int32], time: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        """Keep judged values in arrival order; what is not finite is no evidence."""
        push(row, time, value, self.second, self.value, self.count)

    def last(
        self, row: int, times: NDArray[np.int64] | None = None, values: NDArray[np.float64] | None = None
    ) -> tuple[tuple[int, float], ...]:
        """The last KEPT (time ms, value) pairs of a row, oldest first, with newer ones that are not kept yet."""
        have = min(int(self.count[row]), KEPT)
        at = (self.count[row] - have + np.arange(have)) % KEPT
        second, kept = self.second[row, at].astype(np.int64), self.value[row, at]
        if times is not None and values is not None:
            second, kept = (
                np.concatenate([second, times // 1000]),
                np.concatenate([kept, np.clip(values, -LARGEST, LARGEST).astype(np.float32)]),
            )
        return tuple((int(s) * 1000, float(v)) for s, v in zip(second[-KEPT:], kept[-KEPT:], strict=True))
