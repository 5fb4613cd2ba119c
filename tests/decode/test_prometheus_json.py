"""The one-point JSON of the prometheus-kafka-adapter, against orjson and float()."""

import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded
from anomaly.decode.identity import Identity
from anomaly.decode.points import Kind
from anomaly.decode.prometheus_json import PrometheusJson
from anomaly.decode.records import Records

AT, MS = "2026-01-01T00:00:00Z", 1_767_225_600_000


def catalog(limit: int = 1000) -> Catalog:
    return Catalog(Identity(IdentitySettings()), limit)


def message(name: str = "up", value: object = "1", at: object = AT, **labels: object) -> bytes:
    return orjson.dumps({"timestamp": at, "value": value, "name": name, "labels": {"__name__": name, **labels}})


def decode(*values: bytes | None, into: Catalog | None = None) -> Decoded:
    return PrometheusJson().decode(Records.of(list(values), "metrics"), into or catalog())


def test_a_message_is_one_point_of_the_series_that_its_labels_name():
    known = catalog()
    decoded = decode(message("http_requests_total", "9876543210.5", job="shop", code="200"), into=known)
    (series,) = known.series
    assert (series.metric, series.kind, series.group, series.labels) == (
        "http_requests_total", Kind.COUNTER, "shop", (("code", "200"),)
    )  # fmt: skip
    points = decoded.points
    assert (points.series.tolist(), points.time.tolist(), points.value.tolist()) == ([series.hash], [MS], [9876543210.5])
    assert (points.kind.tolist(), points.record.tolist(), decoded.dead) == ([Kind.COUNTER], [0], [])


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
            st.dictionaries(TEXT, TEXT, max_size=3),
            st.floats(),
            st.integers(0, 4_102_444_800),
            st.sampled_from(["", "  ", "\n\t"]),
        ),
        max_size=8,
    )
)
def test_whatever_a_valid_message_holds_comes_out_as_orjson_reads_it(
    drawn: list[tuple[str, dict[str, str], float, int, str]],
):
    known, encoding = catalog(), PrometheusJson()
    values = []
    for name, labels, value, second, gap in drawn:
        text = message(name, repr(value), f"{second}", **{"k" + k: v for k, v in labels.items()}).decode()
        values.append((gap + text.replace('","value"', f'"{gap},{gap}"value"') + gap).encode())
    decoded = encoding.decode(Records.of(values), known)
    assert not decoded.dead
    by_hash = {s.hash: s for s in known.series}
    for i, raw in enumerate(values):
        expected = orjson.loads(raw)
        point = by_hash[int(decoded.points.series[i])]
        labels = {k: v for k, v in expected["labels"].items() if k != "__name__"}
        assert (point.metric, dict(point.labels)) == (expected["name"], labels)
        assert decoded.points.time[i] == int(expected["timestamp"]) * 1000
        assert repr(float(decoded.points.value[i])) == repr(float(expected["value"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats() | st.integers(-(10**20), 10**20), min_size=1, max_size=20))
def test_values_are_bit_for_bit_those_that_were_written(values: list[float]):
    decoded = decode(*(message(value=repr(v), job="a") for v in values))
    assert [repr(v) for v in decoded.points.value.tolist()] == [repr(float(v)) for v in values]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("+Inf", math.inf), ("-Inf", -math.inf), ("NaN", math.nan), ("1e-7", 1e-7), (2.5, 2.5), (7, 7.0), ("-0", -0.0)],
)
def test_a_value_may_have_any_form_of_a_number(value: object, expected: float):
    assert repr(decode(message(value=value)).points.value.tolist()) == repr([expected])


@pytest.mark.parametrize(
    ("at", "ms"),
    [
        ("2026-01-01T00:00:00.25Z", MS + 250),
        ("2026-01-01T02:00:00+02:00", MS),
        (MS, MS),
        (MS // 1000, MS),
        ("1970-01-01T00:00:00Z", 0),  # whether that can be true is judged later
        ("1969-12-31T23:59:59Z", -1000),
    ],
)
def test_a_time_may_be_written_out_or_be_a_number(at: object, ms: int):
    assert decode(message(at=at)).points.time.tolist() == [ms]


def test_arrival_order_is_kept_whichever_way_a_message_was_read():
    values = ["1", "+Inf", "3", "1e2", "5"]
    messages = [message(value=v, at=AT if i % 2 else MS) for i, v in enumerate(values)]
    points = decode(*messages).points
    assert (points.value.tolist(), points.record.tolist()) == ([float(v) for v in values], [0, 1, 2, 3, 4])


def test_the_order_of_labels_and_of_members_does_not_matter():
    known = catalog()
    values = [
        message(job="a", code="200"),
        b'{"labels":{"code":"200","job":"a","__name__":"up"},"name":"up","value":"1","timestamp":"2026-01-01T00:00:00Z"}',
        b'{"labels":{"code":"\\u0032\\u0030\\u0030","job":"a"},"name":"up","value":"1","timestamp":"2026-01-01T00:00:00Z"}',
    ]
    assert len(set(decode(*values, into=known).points.series.tolist())) == 1


def test_two_metrics_with_the_same_label_bytes_are_two_series():
    raw = b'{"timestamp":"2026-01-01T00:00:00Z","value":"1","name":"%s","labels":{"job":"a"}}'
    assert len(set(decode(raw % b"up", raw % b"down").points.series.tolist())) == 2


def test_empty_and_null_records_are_valid_and_hold_nothing():
    decoded = decode(b"", None, message())
    assert (len(decoded.points), decoded.points.record.tolist(), decoded.dead) == (1, [2], [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (message()[:-1], "bad_json"),
        (message() + b"x", "bad_json"),
        (message() + message(), "bad_json"),
        (b"[]", "bad_json"),
        (b"{}", "bad_json"),
        (b"\x00\x01", "bad_json"),
        (message(value=None), "bad_json"),
        (message(value=[1]), "bad_json"),
        (message(value=True), "bad_json"),
        (message(value="fast"), "bad_number"),
        (message(value=""), "bad_number"),
        (message(value="1_0"), "bad_number"),
        (message().replace(b'"1"', b"1" + b"0" * 400), "bad_number"),
        (message(at="yesterday"), "bad_timestamp"),
        (message(at="2026-02-30T00:00:00Z"), "bad_timestamp"),
        (message(at=10**19), "bad_timestamp"),
        (message(code=200), "bad_json"),
        (message(code={"deep": 1}), "bad_json"),
        (message(job="JOB").replace(b"JOB", b"\xff\xfe"), "bad_utf8"),
        (message(name="NAME").replace(b"NAME", b"\xc3("), "bad_utf8"),
        (b'{"labels":' + b'{"a":' * 100_000, "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (message(job="a\tb").replace(b"\\t", b"\t"), "bad_json"),
    ],
)
def test_a_bad_message_is_set_aside_with_its_reason_and_its_neighbours_go_on(value: bytes, reason: str):
    decoded = decode(message(value="1"), value, message(value="2"), value)
    assert decoded.points.value.tolist() == [1.0, 2.0]
    assert [(d.offset, d.reason, d.value) for d in decoded.dead] == [(1, reason, value), (3, reason, value)]


def test_the_first_sight_of_a_series_may_be_a_bad_message():
    decoded = decode(message(value="slow", job="a"), message(value="1", job="a"))
    assert (decoded.points.value.tolist(), [d.reason for d in decoded.dead]) == ([1.0], ["bad_number"])


def test_every_truncation_is_set_aside():
    whole = message("http_requests_total", "1.5", job="shop")
    decoded = decode(*(whole[:n] for n in range(1, len(whole))))
    assert (len(decoded.points), len(decoded.dead)) == (0, len(whole) - 1)


def test_a_repeated_member_counts_as_its_last_one():
    raw = b'{"value":"1","timestamp":"2026-01-01T00:00:00Z","value":"2","name":"up","labels":{"a":"1","a":"2"}}'
    known = catalog()
    assert decode(raw, into=known).points.value.tolist() == [2.0]
    assert known.series[0].labels == (("a", "2"),)


def test_points_of_series_past_the_limit_are_counted_again_and_again():
    known, encoding = catalog(limit=1), PrometheusJson()
    values = [message(job="a"), message(job="b"), message(job="b", at=MS), message(job="a")]
    for _ in range(2):
        decoded = encoding.decode(Records.of(values), known)
        assert (len(decoded.points), decoded.overflow, decoded.dead) == (2, 2, [])


def test_an_encoding_that_meets_another_catalog_forgets_the_first():
    encoding, other = PrometheusJson(), catalog()
    encoding.decode(Records.of([message(job="a"), message(job="b")]), catalog())
    points = encoding.decode(Records.of([message(job="b")]), other).points
    assert points.series.tolist() == [other.series[0].hash]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(0, 120), st.integers(0, 255))
def test_no_bytes_raise_anything(values: list[bytes], place: int, byte: int):
    flipped = bytearray(message("http_requests_total", "1.5", job="shop"))
    flipped[place % len(flipped)] = byte
    decoded = decode(*values, bytes(flipped))
    assert len(decoded.points) + len(decoded.dead) == sum(bool(v) for v in values) + 1


def test_it_is_registered():
    assert isinstance(ENCODINGS["prometheus_json"](), PrometheusJson)
