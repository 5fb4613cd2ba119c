"""Spans as Jaeger puts them on Kafka, one a record: protobuf, and two forms of JSON.

The protobuf message is `model.Span`, from descriptors made here so far as we read it. Its JSON form has ids in base64, times
as text and typed tags; the form that Jaeger's page and its Elasticsearch store use has ids in hex, microseconds and plain
tags. A span's kind is the tag `span.kind`, its status `otel.status_code` or `error`.
Source: jaeger-idl, proto/api_v2/model.proto; names and numbers are its.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct, field
from msgspec.json import Decoder

from anomaly.decode.descriptors import pool_of
from anomaly.decode.otlp import is_cut
from anomaly.decode.records import BadRecord
from anomaly.decode.spans import (
    CLIENT,
    CONSUMER,
    ERROR,
    INTERNAL,
    OKAY,
    PRODUCER,
    SERVER,
    UNSET,
    UNSPECIFIED,
    Span,
    hexadecimal,
    number_of,
    trace_of,
)
from anomaly.decode.text import read_json

_PACKAGE = "anomaly.jaeger.v1"
_MESSAGES = {
    "KeyValue": [
        ("key", 1, "string", False), ("v_type", 2, "int32", False), ("v_str", 3, "string", False),
        ("v_bool", 4, "bool", False), ("v_int64", 5, "int64", False), ("v_float64", 6, "double", False),
    ],
    "SpanRef": [("trace_id", 1, "bytes", False), ("span_id", 2, "bytes", False), ("ref_type", 3, "int32", False)],
    "Process": [("service_name", 1, "string", False), ("tags", 2, "KeyValue", True)],
    "Moment": [("seconds", 1, "int64", False), ("nanos", 2, "int32", False)],
    "Span": [
        ("trace_id", 1, "bytes", False), ("span_id", 2, "bytes", False), ("operation_name", 3, "string", False),
        ("references", 4, "SpanRef", True), ("start_time", 6, "Moment", False), ("duration", 7, "Moment", False),
        ("tags", 8, "KeyValue", True), ("process", 10, "Process", False),
    ],
}  # fmt: skip
_KINDS = {
    "internal": INTERNAL, "server": SERVER, "client": CLIENT, "producer": PRODUCER, "consumer": CONSUMER,
}  # fmt: skip
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}
_LATEST = 1 << 63  # ns
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)?")
_LASTED = re.compile(r"(-?[\d.]+)(s|ms|us|µs|ns)")


JaegerSpan: Any = GetMessageClass(
    pool_of("anomaly/jaeger.proto", _PACKAGE, _MESSAGES).FindMessageTypeByName(f"{_PACKAGE}.Span")
)


class Tag(Struct, gc=False):
    """A tag in either JSON form."""

    key: str = ""
    vType: str | int = "STRING"  # noqa: N815 (names are the sender's)
    vStr: str = ""  # noqa: N815
    vBool: bool = False  # noqa: N815
    vInt64: str | int = 0  # noqa: N815
    vFloat64: str | float = 0.0  # noqa: N815
    value: str | bool | int | float | None = None


class Reference(Struct, gc=False):
    """Another span that this one belongs to."""

    traceId: str = ""  # noqa: N815
    traceID: str = ""  # noqa: N815
    spanId: str = ""  # noqa: N815
    spanID: str = ""  # noqa: N815
    refType: str | int = "CHILD_OF"  # noqa: N815


class Process(Struct, gc=False):
    """Who sent it."""

    serviceName: str = ""  # noqa: N815
    tags: list[Tag] = []


class Message(Struct, gc=False):
    """A span in either JSON form."""

    traceId: str = ""  # noqa: N815
    traceID: str = ""  # noqa: N815
    spanId: str = ""  # noqa: N815
    spanID: str = ""  # noqa: N815
    parentSpanID: str = ""  # noqa: N815
    operationName: str = ""  # noqa: N815
    references: list[Reference] = []
    startTime: str | int = 0  # noqa: N815
    duration: str | int = 0
    tags: list[Tag] = []
    process: Process = field(default_factory=Process)


_DECODER = Decoder(Message)


def parse_protobuf(value: bytes) -> Iterator[Span]:
    """One span."""
    try:
        found = JaegerSpan.FromString(value)
    except DecodeError as error:
        raise BadRecord("truncated" if is_cut(value) else "malformed", str(error)) from error
    parent = parent_of((r.ref_type == 0, r.span_id) for r in found.references if r.trace_id == found.trace_id)
    start = instant(found.start_time.seconds * 10**9 + found.start_time.nanos)
    tags = _tags(found.tags)
    yield Span(
        resource_of(found.process.service_name, _tags(found.process.tags)),
        found.operation_name,
        trace_of(found.trace_id),
        number_of(found.span_id),
        number_of(parent),
        kind_of(tags),
        status_of(tags),
        start,
        end_of(start, found.duration.seconds * 10**9 + found.duration.nanos),
    )


def parse_json(value: bytes) -> Iterator[Span]:
    """One span, in either form."""
    m = read_json(_DECODER, value)
    trace = hexadecimal(m.traceId or m.traceID, 16)
    same = [r for r in m.references if hexadecimal(r.traceId or r.traceID, 16) == trace]
    parent = parent_of((r.refType in ("CHILD_OF", 0), hexadecimal(r.spanId or r.spanID)) for r in same)
    start, tags = moment(m.startTime), {tag.key: _value(tag) for tag in m.tags}
    yield Span(
        resource_of(m.process.serviceName, {tag.key: _value(tag) for tag in m.process.tags}),
        m.operationName,
        trace_of(trace),
        number_of(hexadecimal(m.spanId or m.spanID)),
        number_of(parent or hexadecimal(m.parentSpanID)),
        kind_of(tags),
        status_of(tags),
        start,
        end_of(start, lasted(m.duration)),
    )


def parent_of(references: Iterable[tuple[bool, bytes]]) -> bytes:
    """The span that is waited for; else one that this one follows from; b"": none."""
    found = sorted(references, key=lambda pair: not pair[0])
    return found[0][1] if found else b""


def resource_of(service: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Attributes of a process, as OpenTelemetry names them."""
    return {**tags, "service.name": service}


def kind_of(tags: Mapping[str, str]) -> int:
    """The kind of a span; UNSPECIFIED where the tag is missing or unheard of."""
    return _KINDS.get(tags.get("span.kind", "").lower(), UNSPECIFIED)


def status_of(tags: Mapping[str, str]) -> int:
    """ERROR by `error`, or what OpenTelemetry's exporter said."""
    if tags.get("error", "false").lower() not in ("false", "") or tags.get("otel.status_code") == "ERROR":
        return ERROR
    return OKAY if tags.get("otel.status_code") == "OK" else UNSET


def instant(ns: int) -> int:
    """A time since the epoch, ns."""
    if not 0 <= ns < _LATEST:
        raise BadRecord("bad_timestamp", "before 1970 or past 2262")  # the number may have any length
    return ns


def end_of(start: int, ns: int) -> int:
    """When a span ended; one that took a negative time ends before it began, which is said of its duration later."""
    return instant(start + ns) if start else 0


def moment(given: str | int) -> int:
    """A time, ns since the epoch: written out, or a number of microseconds."""
    if isinstance(given, int):
        return instant(given * 1000)
    found = _MOMENT.fullmatch(given)
    try:
        if found is None:
            raise ValueError(given)
        whole, fraction, zone = found.groups()
        base = datetime.fromisoformat(whole + (zone or "Z").upper()).astimezone(UTC)
        seconds = int(base.timestamp())
    except (ValueError, OverflowError) as error:
        raise BadRecord("bad_timestamp", given[:80]) from error
    return instant(max(seconds, 0) * 10**9 + int((fraction or "0").ljust(9, "0")))


def lasted(given: str | int) -> int:
    """A duration, ns: a number with its unit, or microseconds."""
    if isinstance(given, int):
        return given * 1000
    found = _LASTED.fullmatch(given)
    try:
        return int(Decimal(found[1]) * _UNITS[found[2]]) if found else int(given) * 1000
    except (ValueError, InvalidOperation) as error:
        raise BadRecord("malformed", f"a duration: {given[:80]!r}") from error


def _tags(pairs: Iterable[Any]) -> dict[str, str]:
    return {
        pair.key: text((pair.v_str, pair.v_bool, pair.v_int64, pair.v_float64)[pair.v_type]) if 0 <= pair.v_type < 4 else ""
        for pair in pairs
    }


def _value(tag: Tag) -> str:
    if tag.value is not None:
        return text(tag.value)
    held = {"BOOL": tag.vBool, "INT64": tag.vInt64, "FLOAT64": tag.vFloat64, 1: tag.vBool, 2: tag.vInt64, 3: tag.vFloat64}
    return text(held.get(tag.vType, tag.vStr))


def text(value: str | bool | int | float) -> str:
    """A tag's value as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)
