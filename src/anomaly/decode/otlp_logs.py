"""OTLP logs: the encodings `otlp_logs_proto`, scanned off the wire, and `otlp_logs_json`.

Both count the lines of an ExportLogsServiceRequest. The scanner takes what nearly every record holds; the record that it
refuses goes, whole, to the complete decoder behind it. A body that is no text: of a map the message within it, if it names
one, else all of it as JSON. A line without a body has the name of its event. Who wrote a line are its resource's attributes.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from anomaly.decode import otlp_logs_scan as at
from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, register
from anomaly.decode.index import MISSING
from anomaly.decode.log_lines import Counted, Line, Lines
from anomaly.decode.log_mask import scratch
from anomaly.decode.otlp import request_of
from anomaly.decode.otlp_attributes import attributes, plain
from anomaly.decode.otlp_columns import OK, REFUSED
from anomaly.decode.otlp_json import fill
from anomaly.decode.otlp_logs_scan import MOST_NUMBER, PER_LEVEL, UNSAID
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.spans import number_of, trace_of
from anomaly.decode.steps_events import joined
from anomaly.decode.steps_lines import Said, Session, Written, place_in

MESSAGE = ("message", "msg", "log", "body", "event")  # keys of a map that hold the line
MILLISECOND, LATEST = 1_000_000, 1 << 63
USUAL_LINE = 96  # bytes of a line, for which room is made at first; fewer kinds than lines need it


def parse_protobuf(value: bytes) -> ExportLogsServiceRequest:
    """The protobuf form."""
    request: ExportLogsServiceRequest = request_of(ExportLogsServiceRequest, value, "otlp_logs_json")
    return request


def parse_json(value: bytes) -> ExportLogsServiceRequest:
    """The JSON form."""
    request = ExportLogsServiceRequest()
    fill(request, value, leave=frozenset({"scope"}))
    return request


def lines(request: ExportLogsServiceRequest, session: Session | None = None) -> Iterator[Line]:
    """The lines of a request, in order."""
    for resource_logs in request.resource_logs:
        held = attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                ns, said, about = instant(record), text(record), attributes(record.attributes) if record.attributes else {}
                trace = session.of(said, held | about) if session else trace_of(record.trace_id)
                span = 0 if session else number_of(record.span_id)
                yield Line(held, level(record), said, ns // MILLISECOND, trace, span, ns, place_in(about))


def level(record: Any) -> int:
    """The level by its number, else by its name."""
    if 0 < record.severity_number <= MOST_NUMBER:
        return int((record.severity_number - 1) // PER_LEVEL)
    name = record.severity_text
    return level_by_letter(name) if name and not record.severity_number else UNSAID


def level_by_letter(name: str) -> int:
    """As the scanner reads names."""
    raw = np.frombuffer(name.encode() + bytes(8), np.uint8)
    return int(at.level_of(raw, np.int64(0), 0, len(name.encode())))


def text(record: Any) -> str:
    """What the line says."""
    if not record.HasField("body"):
        return str(record.event_name)
    if record.body.HasField("string_value"):
        return str(record.body.string_value)
    held = plain(record.body)
    if isinstance(held, dict):
        held = next((held[key] for key in MESSAGE if isinstance(held.get(key), str)), held)
    return held if isinstance(held, str) else orjson.dumps(held, option=orjson.OPT_SORT_KEYS).decode()


def instant(record: Any) -> int:
    """When it was written, else when it was read, ns; 0: neither is known. Before 1970 is a clock that was never set."""
    written, read = record.time_unix_nano, record.observed_time_unix_nano
    return int(written if 0 < written < LATEST else read if read < LATEST else 0)


class Complete(Lines):
    """The complete decoder, an object per line."""

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Parse record by record; one that cannot be read gives no line at all."""
        found: list[tuple[int, Line]] = []
        dead: list[DeadLetter] = []
        for i in range(len(records)):
            try:
                if records.value_len[i] > 0:
                    found += [(i, line) for line in lines(self._parse(records.value(i)), self.session)]
            except BadRecord as error:
                dead.append(records.dead(i, error))
        return self.of_lines(found, dead, records, catalog)

    def _parse(self, value: bytes) -> ExportLogsServiceRequest:
        raise NotImplementedError


@register("otlp_logs_json")
class OtlpLogsJson(Complete):
    """The JSON form."""

    def _parse(self, value: bytes) -> ExportLogsServiceRequest:
        return parse_json(value)


@register("otlp_logs_proto")
class OtlpLogsProto(Complete):
    """The protobuf form: one scan per block, then the complete decoder for the records that were refused."""

    def _parse(self, value: bytes) -> ExportLogsServiceRequest:
        return parse_protobuf(value)

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block of ExportLogsServiceRequests."""
        if self.session:  # keys of sessions are read by the complete decoder alone
            return super().decode(records, catalog)
        buffer, out, refused, traced = scan(records, catalog.identity.seed)
        counted = counted_of(out)
        describe = Describer(self, buffer, out)
        rows = self.series(counted, catalog, describe)
        if describe.unreadable:
            refused[counted.record[np.isin(counted.wire, np.fromiter(describe.unreadable, np.uint64))]] = REFUSED
        taken = refused[counted.record] == OK
        overflow = int(counted.lines[taken & (rows == MISSING)].sum())
        rows[~taken] = MISSING
        events = self.events(written(describe, traced, counted), counted, records, catalog)
        decoded = Decoded(counted.points(records, catalog, rows), [], overflow, [events])
        left = np.flatnonzero(refused)
        return self._behind(records, left, catalog, decoded) if left.size else decoded

    def _behind(self, records: Records, left: NDArray[np.intp], catalog: Catalog, decoded: Decoded) -> Decoded:
        """What the scanner took, with what the complete decoder makes of the records at `left`; arrival order is kept."""
        index = left.astype(np.int32)
        columns = {name: getattr(records, name)[index] for name in ("offset", "time", "value_at", "value_len")}
        more = super().decode(replace(records, **columns), catalog)
        more.points.record = index[more.points.record]
        points = Points.joined([decoded.points, more.points])
        points = points.take(np.argsort(points.record, kind="stable"))
        events = [joined(a, b, index) for a, b in zip(decoded.events, more.events, strict=True)]
        return Decoded(points, more.dead, decoded.overflow + more.overflow, events)


def scan(records: Records, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint64]]:
    """Buffer, columns, verdicts on the records, and lines of traces, as `otlp_logs_scan` has them."""
    buffer = records.readable
    value_at, value_len = np.ascontiguousarray(records.value_at), np.ascontiguousarray(records.value_len)
    held, most = int(np.maximum(value_len, 0).sum()), int(value_len.max(initial=0))
    where, room = np.zeros(at.WHERE, np.int64), scratch()
    for each in (USUAL_LINE, at.LEAST_LINE):
        out = np.empty((at.FIELDS, held // each + 16), np.uint64)
        slots = np.zeros(1 << (2 * (most // each) + 64).bit_length(), np.int32)
        traced = np.empty((held // at.LEAST_TRACED + 16, at.TRACED), np.uint64)
        used, refused = np.zeros(2, np.int64), np.zeros(len(records), np.uint8)
        if at.scan(buffer, value_at, value_len, np.uint64(seed), where, room, slots, out, traced, used, refused) == OK:
            break
    return buffer, out[:, : used[0]], refused, traced[: used[1]]


def counted_of(out: NDArray[np.uint64]) -> Counted:
    """The scanner's columns."""
    time, record = out[at.TIME].astype(np.int64), out[at.RECORD].astype(np.int32)
    return Counted(out[at.WIRE], out[at.REST], time, out[at.COUNT].astype(np.float64), record)


def written(describe: "Describer", traced: NDArray[np.uint64], counted: Counted) -> Written:
    """The scanner's lines of traces."""
    trace, low, span, ns, kind, first, end = traced.T
    kind = kind.astype(np.intp)

    def said(k: int) -> Said | None:
        i = int(np.argmax(kind == k))
        return describe.said(k, int(first[i]), int(end[i]))

    return Written(trace, low, span, ns.astype(np.int64), counted.record[kind], kind, counted.wire, said)


class Describer:
    """Gives the series of a column."""

    def __init__(self, lines: Lines, buffer: NDArray[np.uint8], out: NDArray[np.uint64]) -> None:
        self.lines, self.buffer, self.out = lines, buffer, out
        self.unreadable: set[int] = set()
        self._known: dict[tuple[int, int], dict[str, str]] = {}

    def __call__(self, i: int) -> Description | None:
        """The series of column `i`; None if its resource is none."""
        place = self.out[:, i].tolist()
        try:
            return self.lines.described(self._who(*place[at.RESOURCE : at.RESOURCE_END + 1]), *self._said(place))
        except DecodeError:
            self.unreadable.add(place[at.WIRE])
            return None

    def said(self, i: int, first: int, end: int) -> Said | None:
        """The same as steps want it; [first, end) is a line of this kind."""
        place = self.out[:, i].tolist()
        try:
            line = LogRecord.FromString(self.buffer[first:end].tobytes())
            about = attributes(line.attributes) if line.attributes else {}
            return self.lines.said(self._who(*place[at.RESOURCE : at.RESOURCE_END + 1]), *self._said(place), place_in(about))
        except DecodeError:
            return None

    def _said(self, place: list[int]) -> tuple[int, str]:
        return place[at.LEVEL], self.buffer[place[at.AT] : place[at.END]].tobytes().decode()

    def _who(self, first: int, end: int) -> dict[str, str]:
        if (first, end) not in self._known:
            self._known[first, end] = attributes(Resource.FromString(self.buffer[first:end].tobytes()).attributes)
        return self._known[first, end]
