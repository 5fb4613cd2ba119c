"""Jaeger's and Zipkin's spans on Kafka, against what the same calls are in OTLP."""

import base64
import json
from collections import Counter
from typing import Any

import pytest
from tests.decode.otlp_requests import NANO, NOW
from tests.decode.span_requests import request, span
from tests.decode.test_spans_traces import Reader

from anomaly.decode.spans_jaeger import JaegerSpan, lasted, moment

SPANS = [span("GET b", "a", 3, own=1, lasted=0.5), span("/b", "b", own=2, parent=1, lasted=0.25, status=2)]
KINDS = {0: "", 2: "server", 3: "client"}
TRACE = (7).to_bytes(8, "little") + (1).to_bytes(8, "little")


def own(n: int) -> bytes:
    return n.to_bytes(8, "little")


def said(encoding: str, *values: bytes) -> Counter[str]:
    """The points that an encoding gives, as text, in whatever order."""
    reader = Reader(encoding)
    return Counter(repr(one) for one in reader.said(reader.read(*values)))


@pytest.fixture(scope="module")
def expected() -> Counter[str]:
    return said("otlp_spans_proto", *[request(one) for one in SPANS])


def jaeger(one: dict[str, Any], kind: bool = True) -> bytes:
    """One span as `model.Span`."""
    start = one["end"] - one["lasted"]
    made = JaegerSpan(trace_id=TRACE, span_id=own(one["own"]), operation_name=one["operation"])
    made.start_time.seconds, made.start_time.nanos = divmod(start, 10**9)
    made.duration.seconds, made.duration.nanos = divmod(one["lasted"], 10**9)
    made.process.service_name = one["service"]
    if one["parent"]:
        made.references.add(trace_id=b"another", span_id=own(9))
        made.references.add(trace_id=TRACE, span_id=own(8), ref_type=1)
        made.references.add(trace_id=TRACE, span_id=own(one["parent"]))
    if kind and one["kind"]:
        made.tags.add(key="span.kind", v_str=KINDS[one["kind"]])
    if one["status"]:
        made.tags.add(key="error", v_type=1, v_bool=True)
    return bytes(made.SerializeToString())


def test_jaegers_protobuf_says_what_otlp_says(expected: Counter[str]):
    assert said("jaeger_proto", *[jaeger(one) for one in SPANS]) == expected


def test_jaegers_json_of_the_message_says_what_otlp_says(expected: Counter[str]):
    """As protobuf's JSON writer makes it: ids in base64, times as text, typed tags."""
    values = []
    for one in SPANS:
        start = one["end"] - one["lasted"]
        trace = base64.b64encode(TRACE).decode()
        refs = [{"traceId": trace, "spanId": base64.b64encode(own(one["parent"])).decode()}] if one["parent"] else []
        tags: list[dict[str, Any]] = [
            {"key": "span.kind", "vStr": KINDS[one["kind"]]},
            {"key": "retries", "vType": "INT64", "vInt64": "3"},
        ]
        tags += [{"key": "error", "vType": "BOOL", "vBool": True}] if one["status"] else []
        values.append(json.dumps({
            "traceId": trace, "spanId": base64.b64encode(own(one["own"])).decode(), "operationName": one["operation"],
            "references": refs, "startTime": f"2023-11-14T22:13:{start / 1e9 - 1_699_999_980:09.6f}Z",
            "duration": f"{one['lasted'] / 1e9}s", "tags": tags, "process": {"serviceName": one["service"], "tags": []},
        }).encode())  # fmt: skip
    assert said("jaeger_json", *values) == expected


def test_jaegers_json_of_the_page_says_what_otlp_says(expected: Counter[str]):
    """As its Elasticsearch store and its page have it: ids in hex, microseconds, plain tags."""
    values = []
    for one in SPANS:
        refs = [{"refType": "CHILD_OF", "traceID": TRACE.hex(), "spanID": own(one["parent"]).hex()}] if one["parent"] else []
        tags: list[dict[str, Any]] = [{"key": "span.kind", "type": "string", "value": KINDS[one["kind"]]}]
        tags += [{"key": "error", "type": "bool", "value": True}] if one["status"] else []
        values.append(json.dumps({
            "traceID": TRACE.hex(), "spanID": own(one["own"]).hex(), "operationName": one["operation"], "references": refs,
            "startTime": (one["end"] - one["lasted"]) // 1000, "duration": one["lasted"] // 1000, "tags": tags,
            "process": {"serviceName": one["service"]},
        }).encode())  # fmt: skip
    assert said("jaeger_json", *values) == expected


def zipkin(one: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One span as Zipkin writes it."""
    return {
        "traceId": TRACE.hex(), "id": own(one["own"]).hex(), "name": one["operation"],
        **({"parentId": own(one["parent"]).hex()} if one["parent"] else {}),
        **({"kind": KINDS[one["kind"]].upper()} if one["kind"] else {}),
        "timestamp": (one["end"] - one["lasted"]) // 1000, "duration": one["lasted"] // 1000,
        "localEndpoint": {"serviceName": one["service"]}, "tags": {"error": ""} if one["status"] else {}, **more,
    }  # fmt: skip


def test_zipkins_json_says_what_otlp_says_in_lists_or_alone(expected: Counter[str]):
    assert said("zipkin_json", *[json.dumps(zipkin(one)).encode() for one in SPANS]) == expected
    together = said("zipkin_json", json.dumps([zipkin(one) for one in SPANS]).encode())
    assert together == said("otlp_spans_proto", request(*SPANS))


def test_zipkins_two_halves_of_one_id_are_a_call_and_no_repeat(expected: Counter[str]):
    halves = [zipkin(SPANS[0]), zipkin({**SPANS[1], "own": 1, "parent": 0}, shared=True)]
    assert said("zipkin_json", *[json.dumps(one).encode() for one in halves]) == expected


def test_without_a_kind_a_call_to_another_service_is_known_all_the_same():
    reader = Reader("jaeger_proto")
    found = reader.said(reader.read(*[jaeger(one, kind=False) for one in SPANS]))
    assert {one["labels"]["span.kind"] for one in found if "span.kind" in one["labels"]} == {"SPAN_KIND_UNSPECIFIED"}
    assert [one["labels"]["client"] for one in found if one["metric"] == "traces.service.graph.request"] == ["a"]


@pytest.mark.parametrize(
    ("encoding", "value", "reason"),
    [
        ("jaeger_proto", b"\xff", "truncated"),
        ("jaeger_proto", jaeger(SPANS[0])[:-1], "truncated"),
        ("jaeger_proto", JaegerSpan(start_time={"seconds": -5}).SerializeToString(), "bad_timestamp"),
        ("jaeger_proto", JaegerSpan(start_time={"seconds": 2**62}).SerializeToString(), "bad_timestamp"),
        ("jaeger_json", b"{", "bad_json"),
        ("jaeger_json", b"[]", "bad_json"),
        ("jaeger_json", b'{"traceID":"?"}', "malformed"),
        ("jaeger_json", b'{"startTime":"yesterday"}', "bad_timestamp"),
        ("jaeger_json", b'{"duration":"long"}', "malformed"),
        ("jaeger_json", b'{"startTime":99999999999999999}', "bad_timestamp"),
        ("zipkin_json", b'[{"traceId":7}]', "bad_json"),
        ("zipkin_json", b'[{"timestamp":-1}]', "bad_timestamp"),
        ("zipkin_json", b'[{"timestamp":1e300}]', "bad_timestamp"),
        ("zipkin_json", b'[{"id":"no hex, nor base64"}]', "malformed"),
        ("otlp_spans_json", b'{"resourceSpans":[{"scope_spans":[]}]}', "malformed"),
        ("otlp_spans_json", b'{"resourceSpans":', "truncated"),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_its_reason(encoding: str, value: bytes, reason: str):
    found = Reader(encoding).read(value, b"")
    assert [(d.reason, d.points) for d in found.dead] == [(reason, 0)]
    assert not len(found.points)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-11-14T22:13:20Z", NOW * NANO),
        ("2023-11-14T23:13:20.000000001+01:00", NOW * NANO + 1),
        ("2023-11-14T22:13:20.5", NOW * NANO + 5 * 10**8),
    ],
)
def test_a_time_keeps_its_nanoseconds(text: str, ns: int):
    assert moment(text) == ns


def test_a_duration_has_a_unit():
    texts = ["0.000123s", "1.5ms", "2us", "3ns", "-1s", "7"]
    assert [lasted(text) for text in texts] == [123_000, 1_500_000, 2_000, 3, -(10**9), 7_000]
