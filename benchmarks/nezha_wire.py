"""Rows of the Nezha slice as a Collector would send them: OTLP protobuf of a few seconds each, in order of time.

A resource is a service's pod. A metric's name is its column's without the unit in brackets, which becomes an OTLP unit; a
count of bytes is told by its name. Spans have neither kind nor status, as the file has none. A line has the time of the
file, also where that is none; when it was observed is when the runtime wrote it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

from benchmarks.nezha_read import LogRow, MetricRow, Row, SpanRow, service_of
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

STEP = 2_000_000_000  # ns of a record
METRICS, SPANS, LOGS = "otlp_proto", "otlp_spans_proto", "otlp_logs_proto"  # encodings, in the order in which they are heard
UNITS = {"%": ("%", 1.0), "s": ("s", 1.0), "Mi": ("By", 1048576.0), "m": ("{cpu}", 1e-3), "Ops": ("{operation}/s", 1.0)}
UNSIGNED = (1 << 64) - 1


class Record(NamedTuple):
    """What one source says of a few seconds that begin at `at` ns."""

    at: int
    encoding: str
    value: bytes


def records(rows: Iterable[Row]) -> Iterator[Record]:
    """All rows, of any source, in order."""
    for step, together in groupby(sorted(rows, key=lambda row: row.at), key=lambda row: row.at // STEP):
        held: dict[str, list[Any]] = defaultdict(list)
        for row in together:
            held[SENT[type(row)][0]].append(row)
        for encoding, make in SENT.values():
            if held[encoding]:
                yield Record(step * STEP, encoding, make(held[encoding]))


def sent_metrics(rows: Sequence[MetricRow]) -> bytes:
    """Gauges."""
    request = ExportMetricsServiceRequest()
    for row in rows:
        resource = request.resource_metrics.add()
        describe(resource.resource, {"service.name": row.service, "k8s.pod.name": row.pod})
        scope = resource.scope_metrics.add()
        for column, value in row.values.items():
            name, unit, times = named(column)
            point = scope.metrics.add(name=name, unit=unit).gauge.data_points.add()
            point.time_unix_nano, point.as_double = row.at, value * times
    return bytes(request.SerializeToString())


@cache
def named(column: str) -> tuple[str, str, float]:
    """A column's metric: name, unit, and what its values are multiplied by."""
    name, _, unit = column.removesuffix(")").partition("(")
    return name, *UNITS.get(unit, ("By" if name.endswith("Bytes") else "", 1.0))


def sent_spans(rows: Sequence[SpanRow]) -> bytes:
    """Spans, by pod."""
    request, scopes = ExportTraceServiceRequest(), dict[str, Any]()
    for row in rows:
        if row.pod not in scopes:
            resource = request.resource_spans.add()
            describe(resource.resource, {"service.name": service_of(row.pod), "k8s.pod.name": row.pod})
            scopes[row.pod] = resource.scope_spans.add().spans
        scopes[row.pod].add(
            trace_id=bytes.fromhex(row.trace), span_id=bytes.fromhex(row.span), parent_span_id=bytes.fromhex(row.parent),
            name=row.operation, start_time_unix_nano=row.start, end_time_unix_nano=row.end,
        )  # fmt: skip
    return bytes(request.SerializeToString())


def sent_logs(rows: Sequence[LogRow]) -> bytes:
    """Lines, by pod."""
    request, scopes = ExportLogsServiceRequest(), dict[str, Any]()
    for row in rows:
        if row.pod not in scopes:
            resource = request.resource_logs.add()
            who = {"service.name": service_of(row.pod), "k8s.pod.name": row.pod, "k8s.node.name": row.node}
            describe(resource.resource, who)
            scopes[row.pod] = resource.scope_logs.add().log_records
        line = scopes[row.pod].add(
            trace_id=bytes.fromhex(row.trace), span_id=bytes.fromhex(row.span),
            time_unix_nano=row.time & UNSIGNED, observed_time_unix_nano=row.at,
        )  # fmt: skip
        line.body.string_value = row.body
    return bytes(request.SerializeToString())


def describe(resource: Any, attributes: dict[str, str]) -> None:
    """Say whose it is; what is not known is not said."""
    for key, value in attributes.items():
        if value:
            resource.attributes.add(key=key).value.string_value = value


SENT: dict[type, tuple[str, Callable[[Sequence[Any]], bytes]]] = {
    MetricRow: (METRICS, sent_metrics),
    SpanRow: (SPANS, sent_spans),
    LogRow: (LOGS, sent_logs),
}
