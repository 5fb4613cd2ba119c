"""Spans and calls -> points: rate, errors and durations of each operation, and of each call between two services.

They have the names and labels that the Collector's span metrics connector gives them, so that what judges those judges
these: `traces.span.metrics.calls` and `traces.span.metrics.duration` (s) by span.name, span.kind and status.code, with the
labels of the resource. Calls between services are of the callee's group, and of no instance: `traces.service.graph.request`
by client (the caller's group), span.name and status.code, `….client` (s), how long the caller waited, and `….between` (s),
how much of that the callee did not work on it: the way between the two.

What one record says of one series in one cell of CELL ms is one point, a part of what happened in that cell: parts add up,
in whatever order they come, from however many senders (`Flag.PART`). So a point depends on its record alone.
parts: key uint64, record int32, base and time int64 ms, first int64 (the index of its first span or call), n float64
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.decode.exponential import BOUNDS as CANONICAL
from anomaly.decode.exponential import LOWEST, SCALE
from anomaly.decode.points import Flag, Kind, Points
from anomaly.decode.spans import UNKNOWN
from anomaly.decode.wire import mix

CALLS, DURATION = "traces.span.metrics.calls", "traces.span.metrics.duration"
REQUESTS, WAITED, BETWEEN = (f"traces.service.graph.request{suffix}" for suffix in ("", ".client", ".between"))
METRICS = CALLS, DURATION, REQUESTS, WAITED, BETWEEN
DURATIONS = DURATION, WAITED, BETWEEN

CELL = 5_000  # ms, the shortest that detect has

# Half-octaves from half a millisecond to half a minute, a part of those that exponential histograms have.
FIRST, LAST = -11, 5  # octaves
BOUNDS = CANONICAL[SCALE][2 * (FIRST - LOWEST) : 2 * (LAST - LOWEST) + 1]
BUCKETS = len(BOUNDS) + 1
# The largest whole number of ns that is in each bucket but the last.
_LIMITS = np.array([int(b * 1e9) for b in BOUNDS], np.int64)
_UNKNOWN, _NO = UNKNOWN, np.uint64(0)
EDGES = np.searchsorted(_LIMITS, [1 << k for k in range(63)]).astype(np.uint8)  # the bucket of each power of two


@bare
def bucket_of(ns, limits, edges):  # type: ignore[no-untyped-def]
    """The bucket of a duration."""
    k, left = 0, ns
    for step in (32, 16, 8, 4, 2, 1):
        if left >> step:
            left >>= step
            k += step
    at = np.int64(edges[k])
    while at < limits.size and ns > limits[at]:
        at += 1
    return at


class Parts(NamedTuple):
    """Columns of parts, as above."""

    key: NDArray[np.uint64]
    record: NDArray[np.int32]
    base: NDArray[np.int64]
    time: NDArray[np.int64]
    first: NDArray[np.int64]
    n: NDArray[np.float64]


@bare
def group_up(record, key, time, cell, slots, parts, of):  # type: ignore[no-untyped-def]
    """Put together what is of one record, key and cell; `of` int32 becomes the part of each, -1 where `key` is 0.

    `slots` int32 (capacity,) zeros, a power of two above twice the most of a record; a slot that leads to a part of another
    record is free. Returns the number of parts.
    """
    used, mask = 0, np.uint64(slots.size - 1)
    for i in range(record.size):
        of[i] = -1
        if key[i] == np.uint64(0):
            continue
        base = (time[i] - 1) // cell * cell
        slot = mix(key[i], np.uint64(base)) & mask
        while True:
            p = np.int64(slots[slot]) - 1
            if p < 0 or parts.record[p] != record[i]:
                slots[slot] = used + 1
                p = np.int64(used)
                parts.key[p], parts.record[p], parts.base[p], parts.first[p] = key[i], record[i], base, i
                parts.time[p], parts.n[p] = time[i], 0.0
                used += 1
                break
            if parts.key[p] == key[i] and parts.base[p] == base:
                break
            slot = (slot + np.uint64(1)) & mask
        parts.n[p] += 1.0
        parts.time[p] = max(parts.time[p], time[i])
        of[i] = p
    return used


@bare
def add_up(of, ns, limits, edges, total, count, buckets):  # type: ignore[no-untyped-def]
    """The durations of each part: sum in s, how many are known, and how many are in each bucket."""
    for i in range(of.size):
        p = of[i]
        if p >= 0 and ns[i] != _UNKNOWN:
            total[p] += ns[i] * 1e-9
            count[p] += 1.0
            buckets[p, bucket_of(ns[i], limits, edges)] += 1.0


def parts_of(record: NDArray[np.int32], key: NDArray[np.uint64], time: NDArray[np.int64]) -> tuple[Parts, NDArray[np.int32]]:
    """The parts that the spans or calls of a block make, in the order of their records, and the part of each."""
    n = key.size
    most = int(np.bincount(record - record[0]).max()) if n else 0
    times = np.empty((3, n), np.int64)
    room = Parts(np.empty(n, np.uint64), np.empty(n, np.int32), times[0], times[1], times[2], np.empty(n))
    of, slots = np.empty(n, np.int32), np.zeros(1 << (2 * most).bit_length(), np.int32)
    used = group_up(record, key, time, CELL, slots, room, of)
    return Parts._make([column[:used] for column in room]), of


def counted(parts: Parts) -> Points:
    """How many: a point for each part, of a series that the caller names."""
    points = _points(parts)
    points.value, points.kind[:] = parts.n, Kind.DELTA
    return points


def lasted(parts: Parts, of: NDArray[np.int32], ns: NDArray[np.int64], buckets: NDArray[np.float64], at: int) -> Points:
    """How long: a point for each part, the buckets of all of them into `buckets`, zeros, from `at` on."""
    points, m = _points(parts), parts.key.size
    held = buckets[at : at + m * BUCKETS].reshape(m, BUCKETS)
    add_up(of, ns, _LIMITS, EDGES, points.value, points.count, held)
    points.kind[:], points.bucket_len[:] = Kind.HISTOGRAM_DELTA, BUCKETS
    points.bucket_at = at + np.arange(m) * BUCKETS
    return points


def _points(parts: Parts) -> Points:
    points = Points.empty(parts.key.size)
    points.record, points.time, points.start = parts.record, parts.time, parts.base
    points.flags[:] = Flag.PART
    return points


@bare
def series_keys(sender, resource, wire, operation, kind, status, repeated, out):  # type: ignore[no-untyped-def]
    """The key of what each span counts towards, never 0; 0 for repeats and for what has no operation."""
    for i in range(resource.size):
        if operation[i] < 0 or repeated[i] != 0:
            out[i] = _NO
            continue
        key = mix(sender[resource[i]], wire[operation[i]])
        out[i] = mix(key, np.uint64(kind[i]) << np.uint64(8) | np.uint64(status[i])) | np.uint64(1)


@bare
def call_keys(group_hash, wire, caller, group, operation, status, out):  # type: ignore[no-untyped-def]
    """The key of what each call counts towards, never 0."""
    for i in range(caller.size):
        key = mix(mix(group_hash[caller[i]], group_hash[group[i]]), wire[operation[i]])
        out[i] = mix(key, np.uint64(status[i])) | np.uint64(1)


def of_metric(key: NDArray[np.uint64], metric: str) -> NDArray[np.uint64]:
    """The wire keys of one of the metrics that share their keys."""
    return key ^ np.uint64(METRICS.index(metric) + 1 << 1)
