"""Whatever a record of log lines or spans holds: it is decoded, or set aside with its reason; its neighbours are read."""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from tests.decode.span_requests import Request, request, span
from tests.decode.test_otlp_logs import NANO
from tests.decode.test_otlp_logs import request as log_request
from tests.decode.test_spans_jaeger import SPANS, jaeger, zipkin

from anomaly.config.settings import IdentitySettings, Settings, SourceSettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.identity import Identity
from anomaly.decode.json_logs import lines
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.spans_jaeger import JaegerSpan
from anomaly.decode.stage import Decode

NOW = 1_700_000_000_000
TRACE, OWN = "0700000000000000" + "0100000000000000", "0100000000000000"
DEEP = 2_000

LOGS = log_request(
    {"text": "paid order 7 of bob@x.org", "severity_number": 9, "time_unix_nano": NOW * NANO, "trace_id": b"t" * 16},
    {"body": {"int_value": 3}, "severity_text": "ERROR", "observed_time_unix_nano": NOW * NANO},
)
TRACES = Request.FromString(request(span(lasted=0.2, status=2), span("/b", "b", parent=1, own=2)))


def in_json(message: Any) -> dict[str, Any]:
    """A request as OTLP's JSON has it: ids in hex."""
    held: dict[str, Any] = MessageToDict(message, use_integers_for_enums=True)
    for resource in held.get("resourceSpans", []):
        for one in resource["scopeSpans"][0]["spans"]:
            one |= {k: base64.b64decode(one[k]).hex() for k in ("traceId", "spanId", "parentSpanId") if k in one}
    return held


def jaeger_json(**more: Any) -> dict[str, Any]:
    return {
        "traceID": TRACE, "spanID": OWN, "operationName": "GET b", "startTime": NOW * 1000, "duration": 5_000,
        "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "0900000000000000"}],
        "tags": [{"key": "span.kind", "type": "string", "value": "client"}],
        "process": {"serviceName": "a", "tags": [{"key": "host.name", "vType": "STRING", "vStr": "h"}]}, **more,
    }  # fmt: skip


LINE = {"@timestamp": NOW / 1000, "log": '{"msg":"paid 7","level":"error"}\n', "kubernetes": {"labels": {"app": "cart"}}}
GOOD: dict[str, bytes] = {
    "otlp_logs_proto": LOGS.SerializeToString(),
    "otlp_logs_json": orjson.dumps(MessageToDict(LOGS, use_integers_for_enums=True) | {"unknown": 1}),
    "json_logs": orjson.dumps(LINE),
    "text_logs": b"2023-11-14 22:13:20,250 ERROR lost 3 of caf\xc3\xa9\n  at x.Y.z(Y.java:3)",
    "otlp_spans_proto": TRACES.SerializeToString(),
    "otlp_spans_json": orjson.dumps(in_json(TRACES)),
    "jaeger_proto": jaeger(SPANS[1]),
    "jaeger_json": orjson.dumps(jaeger_json()),
    "zipkin_json": orjson.dumps([zipkin(one) for one in SPANS]),
}

NUMBERS: list[Any] = [
    0,
    -1,
    1e300,
    -1e300,
    2**63,
    2**64,
    10**400,
    0.5,
    True,
    None,
    "",
    "1e9",
    "NaN",
    "yesterday",
    [],
    {},
    "9" * 5_000,
]
TEXTS: list[Any] = [None, 7, True, [], {}, "", "\0", "é" * 40_000, "\ud800", ["a", {"b": None}]]
IDS = ["", "0", "00" * 8, "g" * 16, "f" * 15, "f" * 17, "F" * 32, "f" * 33, "AAAA", "ff" * 100, 7, None, [], "\u0660" * 16]


def deep(opening: str, inner: str, closing: str) -> bytes:
    """Nested deeper than anybody reads."""
    return (opening * DEEP + inner + closing * DEEP).encode()


def changed(whole: Any, path: tuple[str | int, ...], value: Any) -> bytes:
    """A copy with another value in one place, as JSON; orjson would refuse some of them."""
    copy = orjson.loads(orjson.dumps(whole))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(copy).encode()


def each(encoding: str, *paths: tuple[tuple[str | int, ...], Sequence[Any]]) -> Iterator[bytes]:
    """Every value in each place."""
    whole = orjson.loads(GOOD[encoding])
    for path, values in paths:
        yield from (changed(whole, path, value) for value in values)
        wrong: list[Any] = [None, 7, "x", [], {}, [[]]]
        yield from (changed(whole, path[: n + 1], value) for n in range(len(path)) for value in wrong)


RECORD, SPAN = ("resourceLogs", 0, "scopeLogs", 0, "logRecords", 0), ("resourceSpans", 0, "scopeSpans", 0, "spans", 0)


def json_logs() -> Iterator[bytes]:
    yield from each("json_logs", (("@timestamp",), NUMBERS), (("log",), TEXTS), (("kubernetes", "labels", "app"), TEXTS))
    yield from (changed(LINE, (key,), other) for key in ("level", "message", "resource") for other in (*TEXTS, *NUMBERS))
    yield orjson.dumps({"log": orjson.dumps({"log": orjson.dumps({"log": orjson.dumps(LINE).decode()}).decode()}).decode()})
    yield from (b'{"log":' + deep(*parts) + b"}" for parts in (("[", "1", "]"), ('{"log":', "1", "}"), ('{"a":', "1", "}")))
    yield b'{"message":' + b'{"a":' * 300 + b"1" + b"}" * 301
    yield b'{"log":"a"}\n\n{"log":"b"}\n{"log"'


def otlp_logs_json() -> Iterator[bytes]:
    times = (*RECORD, "timeUnixNano"), NUMBERS
    yield from each("otlp_logs_json", times, ((*RECORD, "body", "stringValue"), TEXTS), ((*RECORD, "traceId"), IDS))
    yield (
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":'
        + deep('{"kvlistValue":{"values":[{"key":"a","value":', '{"intValue":"1"}', "}]}}")
        + b"}]}]}]}"
    )


def otlp_spans_json() -> Iterator[bytes]:
    named = (("traceId", IDS), ("spanId", IDS), ("name", TEXTS), ("startTimeUnixNano", NUMBERS), ("kind", NUMBERS))
    yield from each("otlp_spans_json", *(((*SPAN, name), values) for name, values in named))


def of_jaeger() -> Iterator[bytes]:
    named: list[tuple[tuple[str | int, ...], Sequence[Any]]] = [
        (("traceID",), IDS), (("spanID",), IDS), (("operationName",), TEXTS), (("startTime",), NUMBERS),
        (("duration",), [*NUMBERS, "9" * 5_000 + "s", "-1s", "1.2.3s", ".s"]), (("process", "serviceName"), TEXTS),
        (("references", 0, "spanID"), IDS), (("tags", 0, "value"), [*TEXTS, *NUMBERS]),
    ]  # fmt: skip
    yield from each("jaeger_json", *named)


def of_zipkin() -> Iterator[bytes]:
    named = (
        ("traceId", IDS),
        ("id", IDS),
        ("parentId", IDS),
        ("name", TEXTS),
        ("timestamp", NUMBERS),
        ("duration", NUMBERS),
    )
    yield from each("zipkin_json", *(((0, name), values) for name, values in named))
    yield from each("zipkin_json", ((0, "tags", "error"), TEXTS), ((0, "localEndpoint", "serviceName"), TEXTS))


def protobuf_logs() -> Iterator[bytes]:
    for time in (0, 1, NOW, NOW * 1000, NOW * 10**6, 2**63, 2**64 - 1):
        yield log_request({"text": "a", "time_unix_nano": time, "observed_time_unix_nano": time}).SerializeToString()
    for size in (0, 1, 15, 17, 1_000):
        yield log_request({"text": "a", "trace_id": b"x" * size, "span_id": b"y" * size}).SerializeToString()
    yield log_request({"text": "é" * 100_000}, {"text": "\0"}, {"text": ""}, {}).SerializeToString()
    yield log_request({"text": "XXXX"}).SerializeToString().replace(b"XXXX", b"\xff\xfe\x00\xc3")
    yield ExportLogsServiceRequest().SerializeToString() + b"\x0a\x00" * 500
    yield b"\x0a\xff\xff\xff\xff\x0f"


def protobuf_spans() -> Iterator[bytes]:
    for size in (0, 1, 7, 9, 15, 17, 1_000):
        made = Request.FromString(GOOD["otlp_spans_proto"])
        one = made.resource_spans[0].scope_spans[0].spans[0]
        one.trace_id, one.span_id, one.parent_span_id = b"x" * size, b"y" * size, b"z" * size
        yield made.SerializeToString()
    yield from (request(span(at=at, lasted=lasted)) for at in (-1.6e9, 0.0, 5e9) for lasted in (-1.0, 0.0, 1e8))
    yield request(span("é" * 100_000), span("", ""), span("\0", kind=77, status=99))
    yield request(span("XXXX")).replace(b"XXXX", b"\xff\xfe\x00\xc3")
    yield b"\x0a\x00" * 500


def protobuf_jaeger() -> Iterator[bytes]:
    for size in (0, 1, 7, 9, 15, 17, 1_000):
        yield JaegerSpan(trace_id=b"x" * size, span_id=b"y" * size, start_time={"seconds": NOW // 1000}).SerializeToString()
    for seconds in (-1, 0, 1, 2**40, -(2**63), 2**63 - 1):
        for nanos in (-1, 0, 2**31 - 1):
            moment = {"seconds": seconds, "nanos": nanos}
            yield JaegerSpan(start_time=moment, duration={"seconds": 1}).SerializeToString()
            yield JaegerSpan(start_time={"seconds": NOW // 1000}, duration=moment).SerializeToString()
    yield JaegerSpan(operation_name="é" * 100_000, tags=[{"key": "a", "v_type": 99}]).SerializeToString()
    yield JaegerSpan(tags=[{"key": "a", "v_type": -99}]).SerializeToString()


TRAPS: dict[str, Callable[[], Iterator[bytes]]] = {
    "otlp_logs_proto": protobuf_logs, "otlp_logs_json": otlp_logs_json, "json_logs": json_logs,
    "text_logs": lambda: iter([b"\xff", b"\0" * 100, "é".encode() * 100_000, b"9999-99-99 99:99:99,999999999Z x", b" \n"]),
    "otlp_spans_proto": protobuf_spans, "otlp_spans_json": otlp_spans_json, "jaeger_proto": protobuf_jaeger,
    "jaeger_json": of_jaeger, "zipkin_json": of_zipkin,
}  # fmt: skip
ANYWHERE = [
    None, b"", b"{}", b"[]", b"null", b"0", b'""', b"\xef\xbb\xbf{}", b"\x00" * 64, b"\xff" * 64, b"[" * 10_000,
    deep("[", "", "]"), deep('{"a":', "1", "}"), b'{"a":"\\ud800"}', b'{"a":1e999}', b'{"a":' + b"9" * 5_000 + b"}",
]  # fmt: skip


def damaged(whole: bytes) -> Iterator[bytes]:
    """Truncated at every byte, a byte replaced here and there, twice, reversed."""
    random = Random(9)
    yield from (whole[:cut] for cut in range(1, len(whole)))
    for _ in range(300):
        value = bytearray(whole)
        for _ in range(random.randint(1, 3)):
            value[random.randrange(len(value))] = random.choice(
                [0, 1, 8, 34, 92, 123, 125, 0x7F, 0x80, 0xFF, random.randrange(256)]
            )
        yield bytes(value)
    yield from (whole + whole, whole[::-1], whole + b"\x00")


def read(encoding: str, values: Sequence[bytes | None]) -> tuple[Counter[int], list[DeadLetter]]:
    """How many points each record of a block has, and what was set aside."""
    stage, records = Decode(Settings(), 1), Records.of(values, "t", 0, 0, NOW + 1_000)
    blocks, dead = stage.blocks(SourceSettings(topic="t", encoding=encoding), records)
    return Counter(n for _, block in blocks for n in block.points.record.tolist()), dead


@pytest.mark.parametrize("encoding", sorted(GOOD))
def test_a_broken_record_is_set_aside_or_read_and_its_neighbours_are_read(encoding: str):
    good, bad = GOOD[encoding], [*damaged(GOOD[encoding]), *TRAPS[encoding](), *ANYWHERE]
    assert read(encoding, [good])[0][0] > 0 == len(read(encoding, [good])[1])
    held, dead = read(encoding, [good, *bad, good])

    assert held[0] > 0 < held[len(bad) + 1] or encoding.startswith(("otlp_spans", "jaeger", "zipkin"))  # ids come once
    assert held[0] == read(encoding, [good])[0][0]
    assert all(re.fullmatch(r"[a-z0-9_]+", letter.reason) for letter in dead)
    whole = Counter(letter.offset for letter in dead if letter.points == 0)
    assert set(whole.values()) <= {1}
    assert not any(held[offset] for offset in whole), "set aside as a whole, and yet read"
    assert all(letter.value == bad[letter.offset - 1] for letter in dead)


@pytest.mark.parametrize("encoding", sorted(GOOD))
def test_a_block_of_broken_records_is_what_they_are_one_by_one(encoding: str):
    """What a record holds changes nothing of what another one is."""
    bad = [*damaged(GOOD[encoding]), *TRAPS[encoding]()][:: 23 if encoding.startswith("otlp") else 11]
    together = {letter.offset: letter.reason for letter in read(encoding, bad)[1]}
    alone = [read(encoding, [value])[1] for value in bad]

    assert together == {i: letters[0].reason for i, letters in enumerate(alone) if letters}


UNITS = [NOW / 1000, str(NOW // 1000), NOW, str(NOW), NOW * 1000, NOW * 10**6, str(NOW * 10**6), "2023-11-14T22:13:20Z",
         "2023-11-14T23:13:20.000000001+01:00", "2023-11-14 22:13:20"]  # fmt: skip


@pytest.mark.parametrize("time", UNITS)
@pytest.mark.parametrize("name", ["@timestamp", "timestamp", "time", "ts"])
def test_a_time_in_any_unit_is_the_same_time(name: str, time: Any):
    (line,) = lines(orjson.dumps({name: time, "log": "a"}))
    assert line.time == NOW


@pytest.mark.parametrize("time", [0, -5, "", "soon", None, [], True])
def test_a_line_without_a_time_has_its_records(time: Any):
    (line,) = lines(orjson.dumps({"@timestamp": time, "log": "a"}))
    assert line.time == 0
    assert read("json_logs", [orjson.dumps({"@timestamp": time, "log": "a"})])[0][0] == 1


@pytest.mark.parametrize("encoding", ["otlp_spans_proto", "otlp_spans_json", "jaeger_proto", "jaeger_json", "zipkin_json"])
def test_spans_that_come_twice_or_in_another_order_are_counted_once(encoding: str):
    """Senders repeat themselves, and several of them do not wait for each other."""

    def said(values: list[bytes]) -> Counter[tuple[Any, ...]]:
        stage, found = Decode(Settings(), 1), Counter[tuple[Any, ...]]()
        for block in (values[:2], values[2:]):
            for _, one in stage.blocks(
                SourceSettings(topic="t", encoding=encoding), Records.of(block, "t", 0, 0, NOW + 1_000)
            )[0]:
                points = one.points
                for i in range(len(points)):
                    found[int(points.series[i]), int(points.time[i])] += points.value[i]
        return Counter({key: round(value, 9) for key, value in found.items()})

    values = {
        "otlp_spans_proto": lambda s: request(s),
        "otlp_spans_json": lambda s: orjson.dumps(in_json(Request.FromString(request(s)))),
        "jaeger_proto": jaeger, "zipkin_json": lambda s: orjson.dumps(zipkin(s)),
        "jaeger_json": lambda s: orjson.dumps(jaeger_json(spanID=f"{s['own']:016x}", process={"serviceName": s["service"]})),
    }[encoding]  # fmt: skip
    a, b = values(span()), values(span(own=2, trace=2, service="mail"))
    assert said([a, b, b, a]) == said([b, a]) == said([a, b]) != Counter()


def test_a_line_that_is_json_in_json_in_json_says_at_last_what_it_says():
    inner: dict[str, Any] = {"msg": "paid 7", "level": "error"}
    for _ in range(2):
        inner = {"log": orjson.dumps(inner).decode()}
    known = Catalog(Identity(IdentitySettings()))
    (line,) = lines(orjson.dumps(inner))
    assert (line.text, known.used) == ("paid 7", 0)


def test_what_has_no_line_or_no_object_says_so():
    for value, reason in ((b'{"a":1}', "no_message"), (b"7", "bad_json"), (b'{"log":""}', "no_message")):
        with pytest.raises(BadRecord, match=reason):
            list(lines(value))
