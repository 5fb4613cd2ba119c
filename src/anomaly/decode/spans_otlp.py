"""Spans of OTLP: protobuf, scanned off the wire, and JSON.

A value is an ExportTraceServiceRequest, as the OpenTelemetry Collector writes it to Kafka. What the scanner refuses goes,
whole, to the complete decoder. A name or a resource that is not UTF-8 is found out when it is first described.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from anomaly.decode import spans_scan as at
from anomaly.decode.otlp import request_of
from anomaly.decode.otlp_attributes import attributes
from anomaly.decode.otlp_json import fill
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.spans import Span, Spans, duration_of, number_of, time_of, trace_of
from anomaly.decode.spans_parsed import parsed

FLOODED = "malformed", "more spans than its bytes can hold times for"
# Bytes per span for which room is made at first; a Collector's have twice as many. Room for the smallest possible ones would
# be fresh pages of the system for every block.
USUAL_SPAN = 64


def spans(request: Any, size: int) -> Iterable[Span]:
    """The spans of a request of `size` bytes, in order."""
    found = 0
    for resource_spans in request.resource_spans:
        held = attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for each in scope_spans.spans:
                found += 1
                if found > size // at.LEAST_SPAN:
                    raise BadRecord(*FLOODED)
                yield _span(each, held)


def _span(each: Any, held: dict[str, str]) -> Span:
    ids = trace_of(each.trace_id), number_of(each.span_id), number_of(each.parent_span_id)
    kind = each.kind if 0 <= each.kind <= 5 else 0
    status = each.status.code if 0 <= each.status.code <= 2 else 0
    return Span(held, each.name, *ids, kind, status, each.start_time_unix_nano, each.end_time_unix_nano)


def parse_protobuf(value: bytes) -> Iterable[Span]:
    """The complete decoder of the protobuf form."""
    return spans(request_of(ExportTraceServiceRequest, value, "otlp_spans_json"), len(value))


def parse_json(value: bytes) -> Iterable[Span]:
    """The decoder of the JSON form."""
    request = ExportTraceServiceRequest()
    fill(request, value, leave=frozenset({"events", "links"}))
    return spans(request, len(value))


class OtlpSpans:
    """The protobuf form: one scan per block, then the complete decoder for the records that were refused."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def spans(self, records: Records) -> tuple[Spans, list[DeadLetter]]:
        """The spans of a block, and the records that nobody can read."""
        found, refused = scan(records, self.seed)
        dead = [records.dead(int(i), BadRecord(*FLOODED)) for i in np.flatnonzero(refused == at.FLOOD)]
        left = np.flatnonzero(refused == at.REFUSED)
        if left.size:
            more, unread = parsed(parse_protobuf, records, self.seed, left)
            found, dead = Spans.joined(found, more), sorted(dead + unread, key=lambda d: d.offset)
        return found, dead


def scan(records: Records, seed: int) -> tuple[Spans, NDArray[np.uint8]]:
    """The spans of a block that the scanner takes, and its verdict on each record."""
    buffer = records.readable
    value_at, value_len = np.ascontiguousarray(records.value_at), np.ascontiguousarray(records.value_len)
    held = np.maximum(value_len, 0).astype(np.int64)
    room = int((held // USUAL_SPAN).sum())
    while True:
        out, resources = np.empty((at.FIELDS, room), np.uint64), np.empty((at.PLACES, room), np.int64)
        used, refused = np.zeros(2, np.int64), np.zeros(len(records), np.uint8)
        if at.scan(buffer, value_at, value_len, np.uint64(seed), out, resources, used, refused) == at.OK:
            return columns(buffer, out[:, : used[at.SPANS]], resources[:, : used[at.RESOURCES]]), refused
        room = int((held // at.LEAST_SPAN).sum())


def columns(buffer: NDArray[np.uint8], out: NDArray[np.uint64], resources: NDArray[np.int64]) -> Spans:
    """What the scanner wrote, as spans."""
    start, end = out[at.START].view(np.int64), out[at.END].view(np.int64)
    return Spans(
        record=out[at.RECORD].astype(np.int32),
        resource=out[at.RESOURCE].astype(np.int32),
        name=out[at.NAME],
        name_at=out[at.NAME_AT].view(np.int64),
        name_end=out[at.NAME_END].view(np.int64),
        trace=out[at.TRACE],
        trace_low=out[at.TRACE_LOW],
        span=out[at.SPAN],
        parent=out[at.PARENT],
        kind=out[at.KIND].astype(np.uint8),
        status=out[at.STATUS].astype(np.uint8),
        start=start,
        duration=duration_of(start, end),
        time=time_of(start, end),
        sender=resources[at.KEY].view(np.uint64),
        told=lambda r: described(buffer, int(resources[at.AT, r]), int(resources[at.STOP, r])),
        text=buffer,
    )


def described(buffer: NDArray[np.uint8], first: int, stop: int) -> dict[str, str]:
    """The attributes of a Resource where the scanner met it."""
    try:
        return attributes(ResourceMessage.FromString(buffer[first:stop].tobytes()).attributes)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadRecord("malformed", str(error)) from error
