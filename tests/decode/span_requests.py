"""Trace requests for the tests: strategies that draw whole ones, and a hand for small ones."""

import struct
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.decode.otlp_requests import NANO, NOW, attributes, texts, times

Request = ExportTraceServiceRequest
ids = st.sampled_from([b"", b"\0" * 8, b"abcdefgh", b"12345678", b"x" * 3, b"\xff" * 8])
trace_ids = st.sampled_from([b"", b"\0" * 16, b"t" * 16, b"u" * 16, b"h" * 8, b"z" * 5])
moments = times | st.sampled_from([0, 1, 2**63, 2**64 - 1])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    request = Request()
    for _ in range(draw(st.integers(0, 2))):
        resource = request.resource_spans.add(schema_url=draw(texts))
        resource.resource.attributes.extend(draw(attributes()))
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_spans.add()
            scope.scope.name = draw(texts)
            for _ in range(draw(st.integers(0, 3))):
                draw(spans(scope))
    return request


@st.composite
def spans(draw: st.DrawFn, scope: Any) -> None:
    span = scope.spans.add(trace_id=draw(trace_ids), span_id=draw(ids), parent_span_id=draw(ids), name=draw(texts))
    span.kind = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, -1]))
    span.start_time_unix_nano, span.end_time_unix_nano = draw(moments), draw(moments)
    span.trace_state, span.dropped_links_count = draw(texts), draw(st.integers(0, 3))
    span.attributes.extend(draw(attributes()))
    span.flags = draw(st.sampled_from([0, 1, 256]))
    if draw(st.booleans()):
        span.status.message, span.status.code = draw(texts), draw(st.sampled_from([0, 1, 2, 7]))
    for _ in range(draw(st.integers(0, 2))):
        span.events.add(name=draw(texts), time_unix_nano=draw(moments)).attributes.extend(draw(attributes()))
        span.links.add(trace_id=draw(trace_ids))


def span(
    operation: str = "GET /", service: str = "shop", kind: int = 2, own: int = 1, parent: int = 0, trace: int = 1,
    at: float = 0.0, lasted: float = 0.1, status: int = 0, **held: str,
) -> dict[str, Any]:  # fmt: skip
    """A span that ends `at` seconds after NOW."""
    ids, end = {"own": own, "parent": parent, "trace": trace}, round((NOW + at * 1000) * NANO)
    said = {"operation": operation, "service": service, "kind": kind, "status": status, "held": held}
    return {**ids, **said, "end": end, "lasted": round(lasted * 1e9)}


def request(*given: dict[str, Any]) -> bytes:
    """One request, a resource for each span."""
    made = Request()
    for one in given:
        resource = made.resource_spans.add()
        for key, value in {"service.name": one["service"], **one["held"]}.items():
            resource.resource.attributes.add(key=key.replace("__", ".")).value.string_value = value
        found = resource.scope_spans.add().spans.add(name=one["operation"], kind=one["kind"])
        found.trace_id, found.span_id = struct.pack("<QQ", 7, one["trace"]), struct.pack("<Q", one["own"])
        if one["parent"]:
            found.parent_span_id = struct.pack("<Q", one["parent"])
        found.end_time_unix_nano, found.start_time_unix_nano = one["end"], one["end"] - one["lasted"]
        found.status.code = one["status"]
    return made.SerializeToString()
