"""OTLP metrics: the encodings `otlp_proto`, scanned off the wire, and `otlp_json`.

Both give the points of an ExportMetricsServiceRequest, as the OpenTelemetry Collector writes it to Kafka. The scanner
takes what nearly every record holds; the record that it refuses goes, whole, to the complete decoder behind it. A text
that is not UTF-8 is found out when its series is first described, and refuses the record that holds it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from anomaly.decode import otlp_scan as at
from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, Parsed, Sample, register
from anomaly.decode.otlp_attributes import attributes
from anomaly.decode.otlp_json import fill
from anomaly.decode.otlp_samples import around, bounds_of, samples
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.table import MISSING
from anomaly.decode.wire import BAD, BYTES, skip, small

Bytes = NDArray[np.uint8]

FLOODED = BadRecord("malformed", "more points than its bytes can hold times for")


def parse_protobuf(value: bytes) -> Iterable[Sample]:
    """The complete decoder of the protobuf form."""
    try:
        request = ExportMetricsServiceRequest.FromString(value)
    except DecodeError as error:
        if value.lstrip()[:1] in (b"{", b"["):
            raise BadRecord("malformed", "this looks like JSON: is the encoding of the source otlp_json?") from error
        raise BadRecord("truncated" if is_cut(value) else "malformed", str(error)) from error
    return samples(request)


def parse_json(value: bytes) -> Iterable[Sample]:
    """The decoder of the JSON form."""
    request = ExportMetricsServiceRequest()
    fill(request, value, leave=frozenset({"exemplars"}))
    return samples(request)


def is_cut(value: bytes) -> bool:
    """Whether the last field of a request runs past its end."""
    buffer, position = np.frombuffer(value, np.uint8), 0
    while position < buffer.size:
        tag, position = small(buffer, position, buffer.size)
        if position == BAD:
            return True
        following = skip(buffer, position, buffer.size, tag, 0)
        if following == BAD:
            length, start = small(buffer, position, buffer.size)
            return bool(tag & 7 == BYTES and (start == BAD or start + length > buffer.size))
        position = following
    return False


@dataclass(slots=True)
class Scanned:
    """What the scanner made of a block; columns as `otlp_scan` has them, cut to their length."""

    buffer: Bytes
    out: NDArray[np.uint64]
    buckets: NDArray[np.float64]
    contexts: NDArray[np.int64]
    refused: NDArray[np.uint8]

    def points(self, series: NDArray[np.uint64], record: NDArray[np.int32]) -> Points:
        """The columns of a block, given what the wire does not say."""
        out = self.out
        return Points(
            series=series,
            time=out[at.TIME].view(np.int64),
            start=out[at.START].view(np.int64),
            value=out[at.VALUE].view(np.float64),
            count=out[at.COUNT].view(np.float64),
            kind=out[at.KIND].astype(np.uint8),
            flags=out[at.FLAGS].astype(np.uint8),
            record=record,
            bucket_at=out[at.BUCKET_AT].view(np.int64),
            bucket_len=out[at.BUCKET_LEN].astype(np.int32),
            buckets=self.buckets,
        )


def scan(records: Records, seed: int) -> Scanned:
    """Scan a block of records."""
    points, buckets = at.room(records.value_len)
    out, counts = np.empty((at.FIELDS, points), np.uint64), np.empty(buckets)
    contexts, used = np.zeros((at.PLACES, points + 1), np.int64), np.zeros(3, np.int64)
    refused = np.zeros(len(records), np.uint8)
    buffer = records.buffer.view()
    buffer.flags.writeable = False  # one form only, or the kernel is compiled again for the other
    place = np.ascontiguousarray(records.value_at), np.ascontiguousarray(records.value_len)
    at.scan(buffer, *place, np.uint64(seed), out, counts, contexts, used, refused)
    n = int(used[at.POINTS])
    return Scanned(buffer, out[:, :n], counts[: used[at.BUCKETS]], contexts, refused)


class Describer:
    """Gives the catalog the series of a scanned point, from the bytes where the scanner met it."""

    def __init__(self, scanned: Scanned) -> None:
        self.scanned = scanned
        self.unreadable: list[int] = []  # wire keys of the points that could not be described
        self._around: dict[int, tuple[str, str, dict[str, str]]] = {}

    def __call__(self, i: int) -> Description | None:
        """The series of point `i`; None if its text is not UTF-8 or its bounds do not rise."""
        out = self.scanned.out
        try:
            metric, unit, held = self._context(int(out[at.CONTEXT, i]))
            kind = Kind(int(out[at.KIND, i]))
            value = self._bytes(int(out[at.AT, i]), int(out[at.END, i]))
            if kind in (Kind.HISTOGRAM, Kind.HISTOGRAM_DELTA):
                point = HistogramDataPoint.FromString(value)
                bounds = bounds_of(point.explicit_bounds)
                return Description(metric, unit, {**held, **attributes(point.attributes)}, kind, bounds)
            own = attributes(NumberDataPoint.FromString(value).attributes)
            return Description(metric, unit, {**held, **own}, kind)
        except (DecodeError, UnicodeDecodeError, BadRecord):
            self.unreadable.append(int(out[at.WIRE, i]))
            return None

    def _context(self, context: int) -> tuple[str, str, dict[str, str]]:
        if context not in self._around:
            place = self.scanned.contexts[:, context].tolist()
            resource = Resource.FromString(self._bytes(place[at.RESOURCE], place[at.RESOURCE_END]))
            scope = InstrumentationScope.FromString(self._bytes(place[at.SCOPE], place[at.SCOPE_END]))
            metric = self._bytes(place[at.NAME], place[at.NAME_END]).decode()
            unit = self._bytes(place[at.UNIT], place[at.UNIT_END]).decode()
            self._around[context] = metric, unit, around(resource, scope)
        return self._around[context]

    def _bytes(self, first: int, end: int) -> bytes:
        return self.scanned.buffer[first:end].tobytes()


@register("otlp_proto")
class OtlpProto:
    """The protobuf form: one scan per block, then the complete decoder for the records that were refused."""

    def __init__(self) -> None:
        self._complete = Parsed(parse_protobuf)

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block of ExportMetricsServiceRequests."""
        scanned = scan(records, catalog.identity.seed)
        describe = Describer(scanned)
        rows = catalog.rows(scanned.out[at.WIRE], describe)
        record = scanned.out[at.RECORD].astype(np.int32)
        if describe.unreadable:
            held = np.isin(scanned.out[at.WIRE], np.array(describe.unreadable, np.uint64))
            scanned.refused[record[held]] = at.REFUSED
        points = scanned.points(catalog.hash[rows], record)
        refused, lost = scanned.refused != at.OK, rows == MISSING
        if not (lost.any() or refused.any()):
            return Decoded(points)
        refused_points = refused[record]
        overflow = int(np.count_nonzero(lost & ~refused_points))
        return self._behind(records, catalog, Decoded(points.take(~(lost | refused_points)), [], overflow), scanned.refused)

    def _behind(self, records: Records, catalog: Catalog, decoded: Decoded, refused: Bytes) -> Decoded:
        """What the scanner took, with what the complete decoder makes of the records that it did not take."""
        index = np.flatnonzero(refused == at.REFUSED).astype(np.int32)
        more = self._complete.decode(_only(records, index), catalog)
        more.points.record = index[more.points.record]
        points = Points.joined([decoded.points, more.points])
        points = points.take(np.argsort(points.record, kind="stable"))
        flooded: list[DeadLetter] = [records.dead(int(i), FLOODED) for i in np.flatnonzero(refused == at.FLOOD)]
        return Decoded(points, more.dead + flooded, decoded.overflow + more.overflow)


@register("otlp_json")
class OtlpJson(Parsed):
    """The JSON form."""

    def __init__(self) -> None:
        super().__init__(parse_json)


def _only(records: Records, index: NDArray[np.int32]) -> Records:
    """The records at `index`, over the same buffer."""
    columns = {name: getattr(records, name)[index] for name in ("offset", "time", "value_at", "value_len")}
    return replace(records, **columns)
