"""OTLP JSON against the protobuf of the same request, and what a sender may and may not write."""

import base64
from typing import Any

import numpy as np
import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decode.otlp_requests import NANO, NOW, Request, requests

from anomaly.config.settings import IdentitySettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded
from anomaly.decode.identity import Identity
from anomaly.decode.otlp import OtlpJson, parse_json, parse_protobuf
from anomaly.decode.records import Records


def decoded(*values: bytes) -> Decoded:
    return OtlpJson().decode(Records.of(values), Catalog(Identity(IdentitySettings())))


def document(point: dict[str, Any] | None = None, **metric: Any) -> bytes:
    """A request with one gauge point, changed by what is given."""
    made = {"timeUnixNano": str(NOW * NANO), "asDouble": 1.5, **(point or {})}
    held = {"name": "m", "gauge": {"dataPoints": [made]}, **metric}
    return orjson.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [held]}]}]})


def refused(value: bytes) -> str:
    found = decoded(value)
    assert len(found.points) == 0
    return f"{found.dead[0].reason}: {found.dead[0].detail}"


@given(requests(("gauge", "sum", "histogram", "exponential_histogram", "summary")), st.booleans())
@settings(max_examples=100, deadline=None)
def test_json_gives_the_points_of_the_protobuf_of_the_same_request(request_: Request, by_name: bool):
    """protobuf's own JSON is OTLP's but for ids; enums come as numbers or names."""
    text = json_format.MessageToJson(request_, use_integers_for_enums=not by_name).encode()
    assert repr(list(parse_json(text))) == repr(list(parse_protobuf(request_.SerializeToString())))


def test_a_request_as_the_collector_writes_it():
    """64-bit integers as strings, enums as integers, ids in hex, an exemplar, attributes of several types."""
    value = orjson.dumps({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeMetrics": [{"scope": {"name": "meter"}, "metrics": [{"name": "d", "unit": "s", "histogram": {
            "aggregationTemporality": 2,
            "dataPoints": [{
                "attributes": [{"key": "code", "value": {"intValue": "200"}}],
                "startTimeUnixNano": str((NOW - 5000) * NANO), "timeUnixNano": str(NOW * NANO),
                "count": "3", "sum": 4.5, "bucketCounts": ["1", "2"], "explicitBounds": [0.5], "min": 1, "max": 2,
                "exemplars": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}],
            }]}}]}]}]})  # fmt: skip
    points = decoded(value).points
    assert (points.time.tolist(), points.start.tolist()) == ([NOW], [NOW - 5000])
    assert (points.value.tolist(), points.count.tolist(), points.buckets.tolist()) == ([4.5], [3.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"asDouble": 2}, 2.0), ({"asDouble": "Infinity"}, np.inf), ({"asDouble": "-Infinity"}, -np.inf),
        ({"asDouble": "NaN"}, np.nan), ({"asDouble": "1.5e3"}, 1500.0), ({"asDouble": None, "asInt": "-7"}, -7.0),
        ({"asDouble": None, "asInt": 7}, 7.0), ({"asDouble": None, "asInt": 0}, 0.0), ({"asDouble": None}, np.nan),
        ({"flags": 1}, 1.5), ({"unheardOf": [1, {"x": 2}]}, 1.5), ({"timeUnixNano": NOW * NANO}, 1.5),
    ],
)  # fmt: skip
def test_numbers_come_in_the_forms_that_the_protocol_allows(given_: dict[str, Any], expected: float):
    found = decoded(document(given_))
    assert not found.dead
    np.testing.assert_array_equal(found.points.value, [expected])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"resourceMetrics":[{"scop', "truncated"),
        (b'{"resourceMetrics":[}', "malformed"),
        (b"[]", "malformed: ExportMetricsServiceRequest must be an object"),
        (b"7", "malformed"),
        (b'{"resourceMetrics":[{}', "truncated"),
        (b"\xff\xfe{}", "malformed"),
        (b'{"resource_metrics":[]}', "malformed: resource_metrics: keys are lowerCamelCase"),
        (b'{"resourceMetrics":{}}', "malformed: resourceMetrics: must be a list"),
        (document({"time_unix_nano": "1"}), "malformed: time_unix_nano: keys are lowerCamelCase"),
        (document({"timeUnixNano": "soon"}), "malformed: timeUnixNano: 'soon' is not an integer"),
        (document({"timeUnixNano": "-1"}), "malformed: timeUnixNano"),
        (document({"timeUnixNano": str(2**64)}), "malformed: timeUnixNano"),
        (document({"timeUnixNano": True}), "malformed: timeUnixNano: True is not an integer"),
        (document({"timeUnixNano": 1.5}), "malformed: timeUnixNano: 1.5 is not an integer"),
        (document({"timeUnixNano": [1]}), "malformed: timeUnixNano"),
        (document({"asDouble": "high"}), "malformed: asDouble"),
        (document({"asDouble": {}}), "malformed: asDouble"),
        (document({"attributes": [{"key": 1}]}), "malformed: key: 1 is not a string"),
        (document({"attributes": [{"key": "k", "value": {"boolValue": "true"}}]}), "malformed: boolValue"),
        (document({"attributes": [{"key": "k", "value": {"bytesValue": "***"}}]}), "malformed: bytesValue"),
        (document({"attributes": ["k"]}), "malformed: KeyValue must be an object, not str"),
        (document(gauge={}, sum={"aggregationTemporality": "SOMETIMES"}), "malformed: aggregationTemporality"),
        (document(gauge={}, sum={"aggregationTemporality": 9, "dataPoints": []}), "malformed: aggregation"),
        (
            document(histogram={"dataPoints": [{"bucketCounts": [1, 2, 3], "explicitBounds": []}]}),
            "malformed: 3 bucket counts",
        ),
    ],
)
def test_what_is_not_otlp_json_is_set_aside_with_what_is_wrong(value: bytes, reason: str):
    assert refused(value).startswith(reason)


@pytest.mark.parametrize("depth", [60, 900, 100_000])
def test_deep_nesting_is_refused(depth: int):
    value = document({"attributes": [{"key": "k", "value": "HERE"}]})
    deep = b'{"arrayValue":{"values":[' * depth + b"{}" + b"]}}" * depth
    assert refused(value.replace(b'"HERE"', deep)).startswith("malformed")


def test_bytes_come_in_base64():
    value = document({"attributes": [{"key": "k", "value": {"bytesValue": base64.b64encode(b"\x00\xff").decode()}}]})
    assert not decoded(value).dead


def test_a_bad_record_costs_its_own_points_only_and_an_empty_one_is_valid():
    found = decoded(document(), b"", b"{}", b"{", document())
    assert found.points.record.tolist() == [0, 4]
    assert [(d.offset, d.reason) for d in found.dead] == [(3, "truncated")]


@given(requests(("gauge", "sum", "histogram", "exponential_histogram", "summary")), st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_text_never_raises(request_: Request, data: st.DataObject):
    text = bytearray(json_format.MessageToJson(request_, indent=None).encode())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    found = decoded(bytes(text))
    assert not (found.dead and len(found.points))


def test_both_forms_are_registered_by_the_names_of_the_collector():
    assert {"otlp_proto", "otlp_json"} <= ENCODINGS.keys()
