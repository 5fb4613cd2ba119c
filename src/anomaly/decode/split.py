"""The points of a block by partition of anomaly.points: a counting sort, which keeps arrival order within each.

The beats of giants (`giants`) go to every partition, each behind the point that it came with.
Columns as in `Points` and `catalog_rows.ROW`; counts int64 (partitions,).
Source: D. Knuth, The Art of Computer Programming, volume 3, section 5.2, algorithm D (distribution counting).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import fetch, kernel
from anomaly.decode.catalog import Catalog
from anomaly.decode.catalog_rows import AHEAD, row_of
from anomaly.decode.giants import BEAT_EVERY, Beats, with_beats
from anomaly.decode.points import BY_POINT, Flag, Points, constant, owned, repeated

# A series is announced again after so many ms of data time: the longest that a receiver which lost its labels is blind for
# it. Each time costs its text, five times as much as a point of it.
ANNOUNCE_EVERY = 300_000
STALE = int(Flag.STALE)


@kernel
def survey(series, time, flags, slots, rows, beaten, partition, counts, late, beats):  # type: ignore[no-untyped-def]
    """Partition of each point into `partition`, points of each into `counts`, rows due for announcement into `late`.

    Into `beats` those points with which a giant's beat is due since `beaten`, ms by its number. Returns how many rows and
    beats are due; they are noted as announced, and sent. The first time a series is announced again earlier, by as much as
    its hash says: series that came together are not announced again together.
    """
    due, said, mask = 0, 0, np.uint64(slots.size - 1)
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
        giant = rows[row].giant
        if giant != 0 and time[i] >= beaten[giant] + BEAT_EVERY and flags[i] & STALE == 0:
            beaten[giant] = time[i]
            beats[said] = i
            said += 1
    return due, said


@kernel
def distribute(partition, begin, order):  # type: ignore[no-untyped-def]
    """Points by partition into `order`; `begin`, where each one begins there, becomes where each one ends."""
    for i in range(partition.size):
        p = partition[i]
        order[begin[p]] = i
        begin[p] += 1


class Parts(NamedTuple):
    """The points of each partition, the rows of the catalog that are to be announced, and the beats that are among them."""

    points: list[Points]
    due: NDArray[np.int32]
    beats: Beats


def split(points: Points, catalog: Catalog, beaten: NDArray[np.int64]) -> Parts:
    """The points of each partition; `beaten` is of the input that they came by (`Giants.beaten`)."""
    n = len(points)
    partition, counts = np.empty(n, np.uint16), np.zeros(catalog.partitions, np.int64)
    late, at = np.empty(n, np.int32), np.empty(n, np.int64)
    columns = [owned(column) for column in (points.series, points.time, points.flags)]
    due, said = survey(*columns, catalog.slots, catalog.columns, beaten, partition, counts, late, at)
    beats = catalog.giants.beats(at[:said], catalog.columns["giant"][catalog.rows_of(points.series[at[:said]])])
    return Parts(list(_distributed(points, partition, counts, beats)), np.unique(late[:due]), beats)


def _distributed(points: Points, partition: NDArray[np.uint16], counts: NDArray[np.int64], beats: Beats) -> Iterator[Points]:
    if counts.max() == len(points) and not len(beats):  # all in one, or none at all
        yield from (points if count else Points.empty() for count in counts)
        return
    order = np.empty(len(points), np.int64)
    ends = np.cumsum(counts)
    distribute(partition, ends - counts, order)
    if len(beats):
        yield from (with_beats(points, order[begin:end], beats) for begin, end in zip(ends - counts, ends, strict=True))
        return
    columns = {name: _sorted(getattr(points, name), order) for name in BY_POINT}
    for begin, end in zip(ends - counts, ends, strict=True):
        yield Points(**{name: column[begin:end] for name, column in columns.items()}, buckets=points.buckets)


def _sorted(column: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """A column in order. One that is the same throughout is its first value, looked at again and again."""
    return repeated(column, column.size) if constant(column) else column.take(order)
