"""Prometheus remote write 1.0: a WriteRequest in protobuf, in one snappy block.

Labels are attributes, but for `__name__`, which is the metric. A stale marker, the one NaN with the bits STALE, ends its
series. Types are not with the samples: the request's own metadata are asked, else the name (`naming`). The buckets of a
classic histogram stay what they are on the wire, one counter for each `le`; native ones come to canonical bounds.
One bad series does not spoil its request: it is set aside, the rest goes on, and the record becomes a dead letter once for
each kind of fault.
The usual series are scanned (`prometheus_scan`), and found by the bytes of their labels; others, and a request whose own
fields are odd, go to the complete decoder (`prometheus_series`), one series at a time: an empty one costs a sender two
bytes, and a parser of the whole request a hundred.
Source: the remote write 1.0 specification.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomaly.decode import prometheus_series as complete
from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, Sample, columns, key, register
from anomaly.decode.index import MISSING
from anomaly.decode.known import OVERFLOW, Known
from anomaly.decode.points import Flag, Points
from anomaly.decode.prometheus_bodies import Bodies, Decompressor
from anomaly.decode.prometheus_scan import LEAST, METADATA, REFUSED, SCANNED, scan
from anomaly.decode.records import BadRecord, DeadLetter, Records

MAX_BYTES = 64 << 20  # of one request, decompressed
MOST_BUCKETS = 8_000_000  # of the native histograms of some requests; those of one with few bytes can stand for many
USUAL = 48  # bytes of a series with one sample, for which room is made at first


class RemoteWrite:
    """Decodes requests of at most `limit` bytes, decompressed."""

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self._known, self._decompressor = Known("prometheus_remote_write"), Decompressor(limit)

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block."""
        dead: list[DeadLetter] = []
        parts: list[Points] = []
        overflow = 0
        for bodies in self._decompressor.bodies(records, dead):
            some = Requests(bodies, self._known, catalog)
            parts.append(some.points())
            overflow += some.overflow
            for j, error in sorted(some.broken.items()):
                dead.append(records.dead(int(bodies.record[j]), error))
            for j, faults in sorted(some.faults.items()):
                each = [BadRecord(reason, f"{n} of its series") for reason, n in sorted(faults.items())]
                dead += [records.dead(int(bodies.record[j]), error) for error in each]
        return Decoded(Points.joined(parts), sorted(dead, key=lambda d: d.offset), overflow)


@dataclass(slots=True)
class _Odd:
    """What the complete decoder made of series: triples of request, row and sample, and where each series stood."""

    found: list[tuple[int, int, Sample]] = field(default_factory=list)
    place: list[int] = field(default_factory=list)


class Requests:
    """Some requests on their way to points, scanned; `faults` and `broken` are by index of the request."""

    def __init__(self, bodies: Bodies, known: Known, catalog: Catalog) -> None:
        self.bodies, self.known, self.catalog = bodies, known, catalog
        self.overflow, self.faults, self.broken = 0, dict[int, Counter[str]](), dict[int, BadRecord]()
        self._odd, self._types, self._buckets = _Odd(), dict[int, dict[str, int]](), 0
        self.form: NDArray[np.uint8] = np.zeros(bodies.at.size, np.uint8)
        total, used, room = int(bodies.size.sum()), np.zeros(3, np.int64), int(bodies.size.sum()) // USUAL + 64
        seed = known.seed(catalog)
        while True:
            key, begin, past = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
            series, time, bits = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.uint64)
            record, left = np.empty(room, np.int32), np.empty((3, room), np.int64)
            columns = key, begin, past, record, series, time, bits, left
            if scan(bodies.buffer, bodies.at, bodies.size, seed, self.form, used, *columns):
                break
            room = total // LEAST + 2 * bodies.at.size + 64
        k, n, odd = used.tolist()
        self.key, self.begin, self.past, self.record = key[:k], begin[:k], past[:k], record[:k]
        self.series, self.time, self.bits, self.left = series[:n], time[:n], bits[:n], left[:, :odd]

    def points(self) -> Points:
        """The points of all requests, in the order of the wire."""
        rows = self.known.rows(self.key, self.catalog, self._describe)
        self._tell(rows)
        for first, end, j in self.left.T.tolist():
            self._complete(j, first, self.bodies.bytes(first, end))
        for j in np.flatnonzero(rows == MISSING).tolist():
            self._fault(int(self.record[j]), self._why(j))
        for j in np.flatnonzero(self.form == REFUSED).tolist():
            self._whole(j)
        scanned, place = self._scanned(rows)
        if not self._odd.found:
            return scanned
        odd = columns(self._odd.found, self.catalog)
        odd.record = self.bodies.record[odd.record]
        order = np.argsort(np.concatenate([place, np.array(self._odd.place, np.int64)]), kind="stable")
        return Points.joined([scanned, odd]).take(order)

    def _describe(self, j: int) -> Description:
        return complete.describe(self.bodies.bytes(int(self.begin[j]), int(self.past[j])))

    def _why(self, j: int) -> str:
        """Why a scanned series could not be described."""
        try:
            self._describe(j)
        except BadRecord as error:
            return error.reason
        raise AssertionError("a series that can be described has a row, or is past the limit")

    def _tell(self, rows: NDArray[np.int32]) -> None:
        """Give the series of requests with metadata the rows of the kinds that those tell."""
        for request in np.flatnonzero(self.form == METADATA).tolist():
            first, end = np.searchsorted(self.record, (request, request + 1)).tolist()
            for j in (np.flatnonzero(rows[first:end] >= 0) + first).tolist():
                described = self._describe(j)
                told = complete.kind(described.metric, self._types_of(request))
                if told != self.catalog.kind[rows[j]]:
                    rows[j] = self._row(described._replace(kind=told))

    def _types_of(self, request: int) -> dict[str, int]:
        """What a request's own metadata tell; asked only where there are series."""
        if request not in self._types:
            at = int(self.bodies.at[request])
            try:
                body = self.bodies.bytes(at, at + int(self.bodies.size[request]))
                self._types[request] = complete.types_of(complete.read(body))
            except BadRecord as error:
                self._fault(request, error.reason)
                self._types[request] = {}
        return self._types[request]

    def _whole(self, request: int) -> None:
        """A request of another form, series by series."""
        at = int(self.bodies.at[request])
        try:
            read = complete.read(self.bodies.bytes(at, at + int(self.bodies.size[request])))
        except BadRecord as error:
            self.broken[request] = error
            return
        for raw in read.timeseries:
            self._complete(request, at, raw)

    def _complete(self, request: int, place: int, raw: bytes) -> None:
        """A series that is not usual."""
        types = self._types_of(request) if self.form[request] != SCANNED else {}
        try:
            found = complete.samples(raw, types)
        except BadRecord as error:
            self._fault(request, error.reason)
            return
        self._buckets += sum(len(sample.buckets) for sample in found)
        if self._buckets > MOST_BUCKETS:
            self._fault(request, "too_large")
            return
        for sample in found:
            row = self._row(sample.series)
            if row == OVERFLOW:
                self.overflow += 1
            else:
                self._odd.found.append((request, row, sample))
                self._odd.place.append(place)

    def _row(self, series: Description) -> int:
        row = self.catalog.row(key(series), lambda: series)
        return OVERFLOW if row == MISSING else row

    def _fault(self, request: int, reason: str) -> None:
        self.faults.setdefault(request, Counter())[reason] += 1

    def _scanned(self, rows: NDArray[np.int32]) -> tuple[Points, NDArray[np.int64]]:
        """The points of usual series, and where each one's series stands."""
        row = rows[self.series]
        held: NDArray[np.intp] | slice = slice(None)
        if np.any(rows < 0):
            held = np.flatnonzero(row >= 0)
            self.overflow += int(np.count_nonzero(row == OVERFLOW))
        row, series, bits = row[held], self.series[held], self.bits[held]
        points = Points.empty(row.size)
        points.series, points.kind, points.writer = self.catalog.named(row)
        points.time, points.value = self.time[held], bits.view(np.float64)
        points.flags[bits == complete.STALE] = Flag.STALE
        points.record = self.bodies.record[self.record[series]]
        return points, self.begin[series] if self._odd.found else self.begin[:0]


register("prometheus_remote_write")(RemoteWrite)
