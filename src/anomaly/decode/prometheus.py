"""Prometheus remote write 1.0: a WriteRequest in protobuf, in one snappy block.

Labels are attributes, but for `__name__`, which is the metric. A stale marker, the one NaN with the bits STALE, ends its
series. Types are not with the samples: the request's own metadata are asked, else the name (`naming`). The buckets of a
classic histogram stay what they are on the wire, one counter for each `le`.
One bad series does not spoil its request: it is set aside, the rest goes on, and the record becomes a dead letter once for
each kind of fault. Native histograms (field 4) are such a fault until they are decoded.
The usual request is scanned (`prometheus_scan`), its series found by the bytes of their labels. Any other is parsed, one
series at a time: an empty one costs a sender two bytes, and a parser of the whole request a hundred.
Source: the remote write 1.0 specification.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import cramjam
import numpy as np
from numpy.typing import NDArray

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, register
from anomaly.decode.known import OVERFLOW, Known
from anomaly.decode.naming import kind_of, stem, unit_of
from anomaly.decode.points import Flag, Kind, Points
from anomaly.decode.prometheus_messages import Metadata, TimeSeries, WriteRequest, message
from anomaly.decode.prometheus_scan import scan
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.table import MISSING
from anomaly.decode.wire import BAD

STALE = np.uint64(0x7FF0000000000002)
MAX_BYTES = 64 << 20  # of one request, decompressed
MAX_COUNT = 1 << 18  # series in one request; Prometheus sends a few thousand
SMALLEST = 8  # bytes of a sample: a time and a zero, which is not written; a scan with more than these is refused
MAX_SERIES, MAX_LABELS = 1 << 20, 1 << 16  # bytes of one series with its samples, and of its labels

# MetricMetadata.MetricType. In families of histogram and summary only the sums and counts are counters.
_GAUGES, _COUNTER, _FAMILIES = (2, 4, 7, 8), 1, (3, 5)


class RemoteWrite:
    """Decodes requests of at most `limit` bytes, decompressed."""

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self.limit = limit
        self._known = Known()

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block."""
        parts: list[Points] = []
        dead: list[DeadLetter] = []
        overflow = 0
        for i in range(len(records)):
            if records.value_len[i] <= 0:
                continue
            try:
                body = decompressed(records.value(i), self.limit)
                points, faults, past = self._scanned(body, i, catalog) or _points(read(body), i, catalog)
            except BadRecord as error:
                dead.append(records.dead(i, error))
                continue
            parts.append(points)
            overflow += past
            dead += [records.dead(i, BadRecord(reason, f"{n} of its series")) for reason, n in sorted(faults.items())]
        return Decoded(Points.joined(parts), dead, overflow)

    def _scanned(self, body: bytes, record: int, catalog: Catalog) -> tuple[Points, Counter[str], int] | None:
        """Points of a request of the usual form, and how many points are of series past the limit; None for another."""
        room = len(body) // SMALLEST + 1
        key, bits = np.zeros(room, np.uint64), np.zeros(room, np.uint64)
        begin, past, series, time = (np.zeros(room, np.int64) for _ in range(4))
        padded = np.frombuffer(body + bytes(8), np.uint8)
        seed = np.uint64(catalog.identity.seed)
        count, n = scan(padded, len(body), seed, key, begin, past, series, time, bits)
        rows = None if n == BAD else self._rows(body, key[:count], begin, past, catalog)
        if rows is None:
            return None
        row = rows[series[:n]]
        held = np.flatnonzero(row != OVERFLOW)
        points = Points.empty(held.size)
        points.series, points.kind = catalog.hash[row[held]], self._known.kinds(row[held])
        points.time, points.value = time[held], bits[held].view(np.float64)
        points.flags[bits[held] == STALE] = Flag.STALE
        points.record[:] = record
        return points, Counter(), int(n - held.size)

    def _rows(
        self, body: bytes, key: NDArray[np.uint64], begin: NDArray[np.int64], past: NDArray[np.int64], catalog: Catalog
    ) -> NDArray[np.int32] | None:
        """The catalog's row, or OVERFLOW, of each series; None if the labels of one are not what they should be."""
        rows = self._known.find(key, catalog)
        for j in np.flatnonzero(rows == MISSING).tolist():
            labels = body[begin[j] : past[j]]
            if len(labels) > MAX_LABELS:
                return None
            try:
                rows[j] = self._known.noted(catalog.row((labels, 0), lambda x=labels: describe(x)), catalog)  # type: ignore[misc]
            except BadRecord:
                return None
            self._known.learn(key[j], int(rows[j]))
        return rows


def decompressed(value: bytes, limit: int) -> bytes:
    """The request of a record. Its claimed size is judged before a byte of it is decompressed."""
    try:
        size = cramjam.snappy.decompress_raw_len(value)
        if size > limit:
            raise BadRecord("too_large", f"{size} bytes decompressed, over {limit}")
        return bytes(cramjam.snappy.decompress_raw(value))
    except cramjam.DecompressionError as error:
        raise BadRecord("bad_compression", str(error)) from None


def read(body: bytes) -> Any:
    """The message of a request."""
    request = message(WriteRequest, body)
    if max(len(request.timeseries), len(request.metadata)) > MAX_COUNT:
        raise BadRecord("too_large", f"{len(request.timeseries)} series, over {MAX_COUNT}")
    if body and not request.timeseries and not request.metadata:
        raise BadRecord("not_remote_write", "neither series nor metadata of version 1.0")
    return request


def _points(request: Any, record: int, catalog: Catalog) -> tuple[Points, Counter[str], int]:
    """Points of one request, its faults by reason, and how many points are of series past the limit."""
    held: list[tuple[int, Any]] = []
    faults: Counter[str] = Counter()
    overflow = 0
    try:
        types = {m.metric_family_name: m.type for m in (message(Metadata, raw) for raw in request.metadata if raw)}
    except BadRecord as error:
        faults, types = Counter({error.reason: 1}), {}
    for raw in request.timeseries:
        try:
            row, series = _series(raw, types, catalog)
        except BadRecord as error:
            faults[error.reason] += 1
            continue
        faults["native_histogram"] += bool(series.histograms)
        if row == MISSING:
            overflow += len(series.samples)
        else:
            held += [(row, sample) for sample in series.samples]
    return _columns(held, record, catalog), +faults, overflow


def _series(raw: bytes, types: dict[str, int], catalog: Catalog) -> tuple[int, Any]:
    """The catalog's row of a series, and a TimeSeries with its samples."""
    if len(raw) > MAX_SERIES:
        raise BadRecord("too_large", f"a series of {len(raw)} bytes")
    series = message(TimeSeries, raw)
    labels = TimeSeries(labels=series.labels).SerializeToString()
    if len(labels) > MAX_LABELS:
        raise BadRecord("too_large", f"labels of {len(labels)} bytes")
    if not series.samples:
        return MISSING, series
    family = _family(labels, types) if types else 0
    return catalog.row((labels, family), lambda: describe(labels, family)), series


def _columns(held: Sequence[tuple[int, Any]], record: int, catalog: Catalog) -> Points:
    points = Points.empty(len(held))
    rows: NDArray[np.int64] = np.array([row for row, _ in held], np.int64)
    points.series = catalog.hash[rows]
    points.kind[:] = [catalog.series[row].kind for row, _ in held]
    points.time[:] = [sample.timestamp for _, sample in held]
    points.value[:] = [sample.value for _, sample in held]
    points.flags[points.value.view(np.uint64) == STALE] = Flag.STALE
    points.record[:] = record
    return points


def describe(labels: bytes, family: int = 0) -> Description:
    """The series of the bytes of its labels. An empty value is the same as no label, as in Prometheus."""
    given = message(TimeSeries, labels).labels
    attributes = {label.name: label.value for label in given}
    if len(attributes) != len(given):
        raise BadRecord("duplicate_label")
    metric = attributes.pop("__name__", "")
    if not metric:
        raise BadRecord("no_name")
    return Description(metric, unit_of(metric), {k: v for k, v in attributes.items() if v}, _kind(metric, family))


def _family(labels: bytes, types: dict[str, int]) -> int:
    """The type that the request's metadata give the metric, 0 if none."""
    metric = next((label.value for label in message(TimeSeries, labels).labels if label.name == "__name__"), "")
    return types.get(metric) or types.get(stem(metric), 0)


def _kind(metric: str, family: int) -> Kind:
    """By the type of the metric's family where it is known, else by the name."""
    if family == _COUNTER:
        return Kind.COUNTER
    return Kind.GAUGE if family in _GAUGES or (family in _FAMILIES and stem(metric) == metric) else kind_of(metric)


register("prometheus_remote_write")(RemoteWrite)
