"""The points of a block by partition of anomaly.points: a counting sort, which keeps arrival order within each.

Columns as in `Points` and `catalog_rows.ROW`; counts int64 (partitions,).
Source: D. Knuth, The Art of Computer Programming, volume 3, section 5.2, algorithm D (distribution counting).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import fetch, kernel
from anomaly.decode.catalog import Catalog
from anomaly.decode.catalog_rows import AHEAD, row_of
from anomaly.decode.points import BY_POINT, Points, constant

# A series is announced again after so many ms of data time: the longest that a receiver which lost its labels is blind for
# it. Each time costs its text, five times as much as a point of it.
ANNOUNCE_EVERY = 300_000


@kernel
def survey(series, time, slots, rows, partition, counts, late):  # type: ignore[no-untyped-def]
    """Partition of each point into `partition`, points of each into `counts`, rows due for announcement into `late`.

    Returns how many are due; they are noted as announced. The first time is shorter, by as much as the series' hash says:
    series that came together are not announced again together.
    """
    due, mask = 0, np.uint64(slots.size - 1)
    for i in range(series.size):
        if i + 2 * AHEAD < series.size:
            fetch(slots, np.int64(series[i + 2 * AHEAD] & mask), 0)
            soon = slots[series[i + AHEAD] & mask]
            if soon >= 0:
                fetch(rows, soon, 0)
        row = row_of(series[i], slots, rows)
        partition[i] = rows[row].partition
        counts[partition[i]] += 1
        if time[i] >= rows[row].until:
            early = 0 if rows[row].until else (rows[row].hash >> np.uint64(48)) * (ANNOUNCE_EVERY // 2) >> np.uint64(16)
            rows[row].until = time[i] + ANNOUNCE_EVERY - np.int64(early)
            late[due] = row
            due += 1
    return due


@kernel
def distribute(partition, begin, order):  # type: ignore[no-untyped-def]
    """Points by partition into `order`; `begin`, where each one begins there, becomes where each one ends."""
    for i in range(partition.size):
        p = partition[i]
        order[begin[p]] = i
        begin[p] += 1


def split(points: Points, catalog: Catalog) -> tuple[list[Points], NDArray[np.int32]]:
    """The points of each partition, and the rows of the catalog that are to be announced with them."""
    n = len(points)
    partition, counts, late = np.empty(n, np.uint16), np.zeros(catalog.partitions, np.int64), np.empty(n, np.int32)
    due = survey(contiguous(points.series), contiguous(points.time), catalog.slots, catalog.columns, partition, counts, late)
    return list(_distributed(points, partition, counts)), np.unique(late[:due])


def _distributed(points: Points, partition: NDArray[np.uint16], counts: NDArray[np.int64]) -> Iterator[Points]:
    if counts.max() == len(points):  # all in one, or none at all
        yield from (points if count else Points.empty() for count in counts)
        return
    order = np.empty(len(points), np.int64)
    ends = np.cumsum(counts)
    distribute(partition, ends - counts, order)
    columns = {name: _sorted(getattr(points, name), order) for name in BY_POINT}
    for begin, end in zip(ends - counts, ends, strict=True):
        yield Points(**{name: column[begin:end] for name, column in columns.items()}, buckets=points.buckets)


def _sorted(column: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """A column in order. One that is the same throughout is its first value, looked at again and again."""
    return np.broadcast_to(column[:1], column.shape) if constant(column) else column.take(order)


def contiguous(column: NDArray[Any]) -> NDArray[Any]:
    """A column as kernels want it."""
    held: NDArray[Any] = np.require(column, requirements=("C", "W"))
    return held
