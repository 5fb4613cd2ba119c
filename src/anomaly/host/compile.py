"""The kernels, compiled by use: a minute of made-up telemetry goes the whole way, so each meets the types of real data.

numba keeps what it compiled (see anomaly.compiled), so this takes a minute once per installation, and a second or two after.
The blocks of a Kafka fetch can be written to and the bodies of requests cannot; that is two types, so both go through.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cramjam
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.csv import points_of_csv
from anomaly.decode.identity import Identity
from anomaly.decode.prometheus_messages import TimeSeries, WriteRequest
from anomaly.decode.records import Records
from anomaly.decode.spans_traces import of_wire
from anomaly.decode.stage import Decode
from anomaly.engine import Engine
from anomaly.host.blocks import BlockReader
from anomaly.host.compile_traces import judge_traces

BEGIN = 1_700_000_000  # seconds since the epoch
LONG = 90  # seconds of telemetry: past the first closed cells, the first anomaly, and what a second instance may borrow
FAULT, TWO = 70, 85  # the second from which the service fails, and that from which it has two instances
BOUNDS = (0.05, 0.1, 0.5)
PROMETHEUS = '{"timestamp":"2026-01-01T00:00:00Z","value":"1.5","name":"up","labels":{"__name__":"up","job":"shop"}}'
TELEGRAF = '{"fields":{"a":1.5,"b":2},"name":"cpu","tags":{"host":"a"},"timestamp":1767225600}'
CSV = "timestamp,value\n2026-01-01 00:00:00,18.0\n2026-01-01 00:05:00,18.5\n"


def compile_kernels() -> float:
    """Compile, or load from the cache, everything that a worker or a replay calls; the seconds it took."""
    began = time.perf_counter()
    sent = list(requests())
    traced = [spans(second) for second in range(2)]
    work = (
        ("otlp_spans_proto", traced),
        ("otlp_proto", sent[:TWO]), ("otlp_proto", sent[TWO:]), ("prometheus_json", [PROMETHEUS.encode()] * 2),
        ("telegraf_json", [TELEGRAF.encode()] * 2), ("prometheus_remote_write", [remote_write()] * 2),
        ("otlp_logs_proto", [log_lines(second) for second in (0, 60)]), ("text_logs", [b"2026-01-01 00:00:00 INFO up 1"]),
    )  # fmt: skip
    for wrapped in (as_sent, as_fetched):
        engine = Engine(Settings(), load_specs())
        for i, (encoding, values) in enumerate(work):  # each from a topic of its own: what has been read there is not taken
            for records in wrapped(f"{encoding}-{i}", values):
                engine.process(SourceSettings(topic=records.source, encoding=encoding), records)
    join_elsewhere(traced)
    judge_traces()
    read_a_table()
    return time.perf_counter() - began


def join_elsewhere(values: Sequence[bytes]) -> None:
    """Spans that are passed on, and joined where they arrive."""
    here, there = Decode(Settings(), 1), Decode(Settings(), 1, encodings={"spans": of_wire()})
    here.passed = []
    here.blocks(SourceSettings(topic="t", encoding="otlp_spans_proto"), Records.of(values, "t"))
    records = [value for passed in here.passed for _, value in passed.records(1)]
    there.blocks(SourceSettings(topic="s", encoding="spans"), Records.of(records, "s"))


def as_sent(topic: str, values: Sequence[bytes]) -> Iterator[Records]:
    """As the OTLP receiver and files give it."""
    yield Records.of(values, topic)


def as_fetched(topic: str, values: Sequence[bytes]) -> Iterator[Records]:
    """As the brokers give it."""
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for i, value in enumerate(values):
        batch.append(i, BEGIN * 1000, None, value, [])
    yield from BlockReader((topic, 0), bytes(batch.build()), None, 0)


def remote_write() -> bytes:
    """A request with one sample."""
    labels = [{"name": "__name__", "value": "up"}, {"name": "job", "value": "shop"}]
    series = TimeSeries(labels=labels, samples=[{"value": 1.5, "timestamp": BEGIN * 1000}])
    request = WriteRequest(timeseries=[series.SerializeToString()])
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def log_lines(second: int) -> bytes:
    """A request with one log line."""
    request = ExportLogsServiceRequest()
    one = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=(BEGIN + second) * 10**9)
    one.body.string_value = f"served order {second} in 5 ms"
    one.trace_id, one.span_id = bytes([second + 1] * 16), b"a" * 8
    return request.SerializeToString()


def read_a_table() -> None:
    """A file of one point a row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_text(CSV)
        points_of_csv(path, Catalog(Identity(Settings().identity)))


def spans(second: int) -> bytes:
    """A service calls another one."""
    request, now = ExportTraceServiceRequest(), (BEGIN + second) * 10**9
    for kind, service in ((2, b"b"), (3, b"a")):
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = service.decode()
        span = resource.scope_spans.add().spans.add(trace_id=bytes([second + 1] * 16), span_id=service * 8, name="call")
        span.parent_span_id, span.kind = b"a" * 8 if service == b"b" else b"", kind
        span.start_time_unix_nano, span.end_time_unix_nano = now, now + 10**8
    return request.SerializeToString()


def requests() -> Iterator[bytes]:
    """A service that serves and then fails, a request a second: from each instance a gauge, a counter and a histogram."""
    for second in range(LONG):
        request = ExportMetricsServiceRequest()
        for instance in ("a", "b") if second >= TWO else ("a",):
            resource = request.resource_metrics.add()
            for key, value in (("service.name", "compile"), ("service.instance.id", instance)):
                resource.resource.attributes.add(key=key).value.string_value = value
            export(resource.scope_metrics.add().metrics, second)
        yield request.SerializeToString()


def export(metrics: Any, second: int) -> None:
    """What an instance has to say after so many seconds."""
    begin, now = BEGIN * 10**9, (BEGIN + second) * 10**9
    depth = second % 3 + 1e3 * (second >= FAULT)
    metrics.add(name="depth").gauge.data_points.add(time_unix_nano=now, as_double=depth)
    counter = metrics.add(name="done").sum
    counter.is_monotonic, counter.aggregation_temporality = True, 2
    counter.data_points.add(time_unix_nano=now, start_time_unix_nano=begin, as_int=10 * second)
    served = metrics.add(name="http.server.request.duration", unit="s").histogram
    served.aggregation_temporality = 2
    for status, n in (("200", 20 * second), ("500", 20 * max(second - FAULT, 0))):
        point = served.data_points.add(time_unix_nano=now, start_time_unix_nano=begin, count=n, sum=0.04 * n)
        point.explicit_bounds.extend(BOUNDS)
        point.bucket_counts.extend((n, 0, 0, 0))
        point.attributes.add(key="http.response.status_code").value.string_value = status
