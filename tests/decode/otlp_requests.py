"""Requests for the OTLP tests: strategies that draw whole ones, and a hand for small ones."""

import struct
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Request = ExportMetricsServiceRequest

NOW = 1_700_000_000_000  # ms
NANO = 1_000_000

KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")

texts = st.sampled_from(["", "a", "http.route", "/orders", "naïve", "位", "x" * 40])
keys = st.sampled_from(["service.name", "pod", "zone", "http.route", "quantum", "k" * 20])
doubles = st.floats(width=64) | st.integers(-5, 5).map(float)
times = st.integers(NOW, NOW + 100_000).map(lambda ms: ms * NANO + 123)
counts = st.integers(0, 2**64 - 1) | st.integers(0, 100)
exact = st.integers(0, 300) | st.integers(2**53 - 3, 2**53)  # counts of which the scanner takes the sum
flags = st.sampled_from([0, 0, 0, 1, 2, 3, 2**32 - 1])


@st.composite
def values(draw: st.DrawFn, depth: int = 0) -> AnyValue:
    kind = draw(st.sampled_from(["string", "string", "bool", "int", "double", "bytes", "none", "array", "map"]))
    if kind == "string":
        return AnyValue(string_value=draw(texts))
    if kind == "bool":
        return AnyValue(bool_value=draw(st.booleans()))
    if kind == "int":
        return AnyValue(int_value=draw(st.integers(-(2**63), 2**63 - 1)))
    if kind == "double":
        return AnyValue(double_value=draw(doubles))
    if kind == "bytes":
        return AnyValue(bytes_value=draw(st.binary(max_size=5)))
    made = AnyValue()
    if kind == "array" and depth < 2:
        made.array_value.values.extend(draw(st.lists(values(depth=depth + 1), max_size=2)))
    if kind == "map" and depth < 2:
        made.kvlist_value.values.extend(draw(attributes(depth + 1)))
    return made


@st.composite
def attributes(draw: st.DrawFn, depth: int = 0) -> list[KeyValue]:
    names = draw(st.lists(keys, max_size=4, unique=True))
    return [KeyValue(key=name, value=draw(values(depth))) for name in names]


@st.composite
def points(draw: st.DrawFn, into: Any, kind: str) -> None:
    point = into.data_points.add(time_unix_nano=draw(times), flags=draw(flags))
    point.start_time_unix_nano = draw(st.just(0) | times)
    point.attributes.extend(draw(attributes()))
    if kind in ("gauge", "sum"):
        given = draw(st.sampled_from(["double", "int", "none"]))
        if given == "double":
            point.as_double = draw(doubles)
        if given == "int":
            point.as_int = draw(st.integers(-(2**63), 2**63 - 1))
        return
    point.count = draw(counts)
    if kind == "summary" or draw(st.booleans()):
        point.sum = draw(doubles)
    if kind == "summary":
        for q in draw(st.lists(st.floats(0, 1), max_size=2, unique=True)):
            point.quantile_values.add(quantile=q, value=draw(doubles))
    if kind == "histogram" and draw(st.booleans()):
        bounds = sorted(draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4, unique=True)))
        point.explicit_bounds.extend(bounds)
        point.bucket_counts.extend(draw(st.lists(counts, min_size=len(bounds) + 1, max_size=len(bounds) + 1)))
        point.min = draw(doubles)
    if kind == "exponential_histogram":
        point.scale = draw(st.integers(-10, 20) | st.integers(-(2**31), 2**31 - 1))
        point.zero_count = draw(exact)
        for side in (point.positive, point.negative):
            side.offset = draw(st.integers(-200, 200) | st.integers(-(2**31), 2**31 - 1))
            side.bucket_counts.extend(draw(st.lists(exact, max_size=5)))


@st.composite
def requests(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Request:
    request = Request()
    for _ in range(draw(st.integers(0, 2))):
        resource_metrics = request.resource_metrics.add()
        resource_metrics.resource.attributes.extend(draw(attributes()))
        resource_metrics.resource.dropped_attributes_count = draw(st.integers(0, 1))
        for _ in range(draw(st.integers(0, 2))):
            scope_metrics = resource_metrics.scope_metrics.add()
            if draw(st.booleans()):
                scope_metrics.scope.name = draw(texts)
                scope_metrics.scope.version = draw(texts)
                scope_metrics.scope.attributes.extend(draw(attributes()))
            for _ in range(draw(st.integers(0, 3))):
                metric = scope_metrics.metrics.add(name=draw(texts), unit=draw(texts))
                kind = draw(st.sampled_from([*kinds, "nothing"]))
                if kind == "nothing":
                    continue
                data = getattr(metric, kind)
                data.SetInParent()
                if kind not in ("gauge", "summary"):
                    data.aggregation_temporality = draw(st.sampled_from([0, 1, 2]))
                if kind == "sum":
                    data.is_monotonic = draw(st.booleans())
                for _ in range(draw(st.integers(0, 3))):
                    draw(points(data, kind))
    return request


def gauge(
    *readings: float, time: int = NOW, metric: str = "m", unit: str = "", service: str = "s", **labels: str
) -> Request:
    """One gauge, a point for each reading, a second apart."""
    request = Request()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value=service)))
    made = resource_metrics.scope_metrics.add().metrics.add(name=metric, unit=unit)
    for i, reading in enumerate(readings):
        point = made.gauge.data_points.add(time_unix_nano=(time + 1000 * i) * NANO, as_double=reading)
        point.attributes.extend(KeyValue(key=k, value=AnyValue(string_value=v)) for k, v in labels.items())
    return request


def field(number: int, data: bytes | int | float, wire: int = 2) -> bytes:
    """A field of a message, written by hand."""
    tag = varint(number << 3 | wire)
    if wire == 2:
        assert isinstance(data, bytes)
        return tag + varint(len(data)) + data
    if wire == 1:
        return tag + (struct.pack("<d", data) if isinstance(data, float) else struct.pack("<Q", data))
    assert isinstance(data, int)
    return tag + (varint(data) if wire == 0 else struct.pack("<I", data))


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def wrapped(metric: bytes) -> bytes:
    """A request that holds one metric, given as the bytes of its message."""
    return field(1, field(2, field(2, metric)))
