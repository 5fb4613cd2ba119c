"""OTLP metrics: the encodings `otlp_proto`, scanned off the wire, and `otlp_json`.

Both give the points of an ExportMetricsServiceRequest, as the OpenTelemetry Collector writes it to Kafka. The scanner
takes what nearly every record holds; the record that it refuses goes, whole, to the complete decoder behind it. A text
that is not UTF-8 is found out when its series is first described, and refuses the record that holds it.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from anomaly.decode import otlp_columns as at
from anomaly.decode import otlp_outline as where
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import Decoded, Parsed, Sample, behind, register
from anomaly.decode.index import MISSING
from anomaly.decode.otlp_describe import Describer, scan
from anomaly.decode.otlp_json import fill
from anomaly.decode.otlp_samples import FLOODED, samples
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.wire import BAD, BYTES, skip, small

MOST_FIELDS = 10_000  # of a request that are looked at to tell a cut one from a malformed one


def request_of(kind: type[Any], value: bytes, as_json: str) -> Any:
    """An export request of this kind; `as_json` is the encoding to name where it looks like JSON."""
    try:
        return kind.FromString(value)
    except DecodeError as error:
        if value.lstrip(b" \t\r")[:1] in (b"{", b"["):  # not a newline: that is how a request begins
            raise BadRecord("malformed", f"this looks like JSON: is the encoding of the source {as_json}?") from error
        raise BadRecord("truncated" if is_cut(value) else "malformed", str(error)) from error


def parse_protobuf(value: bytes) -> Iterable[Sample]:
    """The complete decoder of the protobuf form."""
    return samples(request_of(ExportMetricsServiceRequest, value, "otlp_json"), len(value))


def parse_json(value: bytes) -> Iterable[Sample]:
    """The decoder of the JSON form."""
    request = ExportMetricsServiceRequest()
    fill(request, value, leave=frozenset({"exemplars"}))
    return samples(request, len(value))


def is_cut(value: bytes) -> bool:
    """Whether the last field of a request runs past its end."""
    buffer, position = np.frombuffer(value, np.uint8), 0
    for _ in range(MOST_FIELDS):
        if position >= buffer.size:
            break
        tag, position = small(buffer, position, buffer.size)
        if position == BAD:
            return True
        following = skip(buffer, position, buffer.size, tag, 0)
        if following == BAD:
            length, start = small(buffer, position, buffer.size)
            return bool(tag & 7 == BYTES and (start == BAD or start + length > buffer.size))
        position = following
    return False


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
        record = scanned.contexts[where.RECORD].astype(np.int32)[scanned.out[at.CONTEXT].view(np.int64)]
        if describe.unreadable:
            held = np.isin(scanned.out[at.WIRE], np.array(describe.unreadable, np.uint64))
            scanned.refused[record[held]] = at.REFUSED
        series, _, writer = catalog.named(rows)
        points = scanned.points(series, record)
        points.writer = writer
        refused, lost = scanned.refused != at.OK, rows == MISSING
        if not (lost.any() or refused.any()):
            return Decoded(points)
        refused_points = refused[record]
        overflow = int(np.count_nonzero(lost & ~refused_points))
        return self._behind(records, catalog, Decoded(points.take(~(lost | refused_points)), [], overflow), scanned.refused)

    def _behind(self, records: Records, catalog: Catalog, decoded: Decoded, refused: NDArray[np.uint8]) -> Decoded:
        """What the scanner took, with what the complete decoder makes of the records that it did not take."""
        decoded.dead = [records.dead(int(i), BadRecord(*FLOODED)) for i in np.flatnonzero(refused == at.FLOOD)]
        return behind(self._complete, records, np.flatnonzero(refused == at.REFUSED), catalog, decoded)


@register("otlp_json")
class OtlpJson(Parsed):
    """The JSON form."""

    def __init__(self) -> None:
        super().__init__(parse_json)
