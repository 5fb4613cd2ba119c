"""Telegraf's JSON, against orjson."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded
from anomaly.decode.identity import Identity
from anomaly.decode.points import Kind
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.telegraf_json import parse

S = 1_767_225_600


def decode(*values: bytes | None) -> Decoded:
    return ENCODINGS["telegraf_json"]().decode(Records.of(list(values), "telegraf"), Catalog(Identity(IdentitySettings())))


def message(fields: dict[str, object], at: object = S, name: str = "cpu", **tags: str) -> bytes:
    return orjson.dumps({"name": name, "tags": tags, "fields": fields, "timestamp": at})


def test_each_numeric_field_is_a_series_named_after_measurement_and_field():
    fields = {"usage_idle": 91.5, "count": 7, "up": True, "state": "running", "none": None}
    samples = list(parse(message(fields, host="a", cpu="cpu0")))
    assert [(s.series.metric, s.value, s.series.kind) for s in samples] == [
        ("cpu_usage_idle", 91.5, Kind.GAUGE),
        ("cpu_count", 7.0, Kind.COUNTER),
        ("cpu_up", 1.0, Kind.GAUGE),
    ]
    assert {s.time for s in samples} == {S * 1000}
    assert all(s.series.attributes == {"host": "a", "cpu": "cpu0"} for s in samples)


def test_the_host_is_the_group_and_the_tags_are_labels():
    known = Catalog(Identity(IdentitySettings()))
    ENCODINGS["telegraf_json"]().decode(Records.of([message({"x": 1}, host="a", cpu="cpu0")]), known)
    assert (known.series[0].group, known.series[0].labels) == ("a", (("cpu", "cpu0"),))


def test_a_batch_is_its_metrics_one_after_the_other():
    single = [message({"x": i}, name=n) for i, n in enumerate(("a", "b"))]
    batch = b'{"metrics":[' + b",".join(single) + b"]}"
    assert list(parse(batch)) == [s for value in single for s in parse(value)]
    assert list(parse(b'{"metrics":[]}')) == []


@pytest.mark.parametrize("at", [S, S * 1000, S * 10**6, S * 10**9, float(S), "2026-01-01T00:00:00Z", str(S)])
def test_the_unit_of_the_time_is_told_by_its_size(at: object):
    assert [s.time for s in parse(message({"x": 1}, at))] == [S * 1000]


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=6),
        st.none() | st.booleans() | st.text(max_size=3) | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False),
        max_size=6,
    )
)
def test_whatever_fields_a_message_has_they_come_out_as_orjson_reads_them(fields: dict[str, object]):
    raw = message(fields)
    expected = orjson.loads(raw)["fields"]
    found = {s.series.metric: s.value for s in parse(raw)}
    assert found == {f"cpu_{k}": float(v) for k, v in expected.items() if v is not None and not isinstance(v, str)}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (message({"x": 1})[:-1], "bad_json"),
        (b"[]", "bad_json"),
        (b"null", "bad_json"),
        (b"NaN", "bad_json"),
        (b"{}", "no_name"),
        (b'{"metrics":[{}]}', "no_name"),
        (b'{"metrics":[1]}', "bad_json"),
        (b'{"name":"a","fields":{"x":1}}', "no_timestamp"),
        (message({"x": [1]}), "bad_json"),
        (message({"x": {"y": 1}}), "bad_json"),
        (message({"x": 1}, host=1), "bad_json"),  # type: ignore[arg-type]
        (message({"x": 1}, at=10**19), "bad_timestamp"),
        (message({"x": 1}, at="soon"), "bad_timestamp"),
        (message({"x": 1}, at=[]), "bad_json"),
        (message({"x": 7}).replace(b"7", b"NaN"), "bad_json"),
        (message({"x": 7}).replace(b"7", b"1e999"), "bad_json"),
        (message({"x": 7}).replace(b":7", b":7" + b"0" * 400), "bad_number"),
        (message({"x": 7}).replace(b":7", b":7" + b"0" * 9000), "bad_json"),
        (message({"x": 1}, host="HOST").replace(b"HOST", b"\xff"), "bad_utf8"),
        (b"[" * 200_000, "bad_json"),
        (b'{"metrics":' * 200_000, "bad_json"),
        (b'{"fields":{"a":' + b'{"a":' * 200_000, "bad_json"),
    ],
)
def test_a_bad_message_is_set_aside_with_its_reason_and_its_neighbours_go_on(value: bytes, reason: str):
    decoded = decode(message({"x": 1}), value, b"", None, message({"x": 2}))
    assert decoded.points.value.tolist() == [1.0, 2.0]
    assert [(d.offset, d.reason, d.value) for d in decoded.dead] == [(1, reason, value)]


def test_one_bad_metric_refuses_its_batch():
    with pytest.raises(BadRecord, match="no_timestamp"):
        list(parse(b'{"metrics":[' + message({"x": 1}) + b',{"name":"a","fields":{"x":1}}]}'))


def test_times_of_zero_and_before_come_through_to_be_judged_later():
    assert [s.time for at in (0, -5) for s in parse(message({"x": 1}, at))] == [0, -5000]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 10_000), st.integers(0, 255))
def test_no_bytes_raise_anything(noise: bytes, place: int, byte: int):
    flipped = bytearray(message({"usage_idle": 91.5, "n": 7}, host="a"))
    flipped[place % len(flipped)] = byte
    decode(noise, bytes(flipped))
