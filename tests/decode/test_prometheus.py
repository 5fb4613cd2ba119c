"""Remote write, against bytes put together by hand from the encoding's definition."""

import math
import struct
from typing import Any

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from anomaly.config.settings import IdentitySettings
from anomaly.decode import prometheus_native, prometheus_series
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded
from anomaly.decode.exponential import canonical
from anomaly.decode.identity import Identity
from anomaly.decode.points import Flag, Kind
from anomaly.decode.prometheus import RemoteWrite
from anomaly.decode.prometheus_messages import Histogram
from anomaly.decode.prometheus_series import MAX_COUNT
from anomaly.decode.records import Records

MS = 1_767_225_600_000
STALE = struct.pack("<Q", 0x7FF0000000000002)
COUNTER, GAUGE, HISTOGRAM, SUMMARY = 1, 2, 3, 5


def varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def label(name: str, value: str) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value.encode()))


def sample(value: float | bytes, time: int = MS) -> bytes:
    raw = value if isinstance(value, bytes) else struct.pack("<d", value)
    return field(2, b"\x09" + raw + b"\x10" + varint(time))


def timeseries(*samples: bytes, **labels: str) -> bytes:
    return field(1, b"".join(label(k, v) for k, v in labels.items()) + b"".join(samples))


def metadata(kind: int, family: str) -> bytes:
    return field(3, b"\x08" + varint(kind) + field(2, family.encode()) + field(4, b"help"))


def snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


def catalog(limit: int = 1000) -> Catalog:
    return Catalog(Identity(IdentitySettings()), limit)


def decode(*values: bytes | None, into: Catalog | None = None, limit: int = 1 << 20) -> Decoded:
    return RemoteWrite(limit).decode(Records.of(list(values), "metrics"), into or catalog())


def test_a_sample_is_a_point_of_the_series_that_its_labels_name():
    known = catalog()
    body = timeseries(sample(1.5), sample(2.5, MS + 15_000), __name__="http_requests_total", code="200", job="shop")
    decoded = decode(snappy(body), into=known)
    (series,) = known.series
    assert (series.metric, series.group, series.labels, series.kind) == (
        "http_requests_total", "shop", (("code", "200"),), Kind.COUNTER
    )  # fmt: skip
    points = decoded.points
    assert (points.time.tolist(), points.value.tolist()) == ([MS, MS + 15_000], [1.5, 2.5])
    assert (points.series.tolist(), points.kind.tolist()) == ([series.hash] * 2, [Kind.COUNTER] * 2)
    assert decoded.dead == []


NAMES = st.text(st.characters(codec="utf-8"), max_size=200)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(NAMES.map(lambda n: "l" + n), NAMES.filter(bool), max_size=4),
            st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=4),
            st.booleans(),
        ),
        max_size=5,
    )
)
def test_whatever_a_valid_request_holds_comes_out_in_order(
    drawn: list[tuple[dict[str, str], list[tuple[float, int]], bool]],
):
    known = catalog()
    body, expected = b"", []
    for labels, samples, backwards in drawn:
        parts = [label("__name__", "m"), *(label(k, v) for k, v in labels.items())]
        parts = [p for pair in (parts, [sample(v, t) for v, t in samples]) for p in pair]
        body += field(1, b"".join(parts[::-1] if backwards else parts))
        order = samples[::-1] if backwards else samples
        expected += [(sorted(labels.items()), repr(v), t) for v, t in order]
    points = decode(snappy(body), into=known).points
    labels_of = {s.hash: sorted(s.labels) for s in known.series}
    found = zip(points.series.tolist(), points.value.tolist(), points.time.tolist(), strict=True)
    assert [(labels_of[s], repr(v), t) for s, v, t in found] == expected


def test_the_order_of_labels_does_not_matter():
    one = timeseries(sample(1), __name__="up", a="1", b="2")
    other = timeseries(sample(1), b="2", a="1", __name__="up")
    assert len(set(decode(snappy(one + other)).points.series.tolist())) == 1


def test_a_label_with_an_empty_value_is_no_label():
    known = catalog()
    decode(snappy(timeseries(sample(1), __name__="up", a="")), into=known)
    assert known.series[0].labels == ()


def test_only_the_stale_marker_ends_a_series():
    nan = struct.pack("<Q", 0x7FF8000000000001)
    points = decode(snappy(timeseries(sample(1), sample(nan), sample(STALE), __name__="up"))).points
    assert points.flags.tolist() == [Flag.NONE, Flag.NONE, Flag.STALE]


def test_buckets_of_a_classic_histogram_stay_counters_apart():
    known = catalog()
    body = b"".join(timeseries(sample(n), __name__="d_seconds_bucket", le=le) for n, le in enumerate(("0.1", "+Inf")))
    decode(snappy(body), into=known)
    assert [(s.metric, s.unit, s.kind, s.labels) for s in known.series] == [
        ("d_seconds_bucket", "s", Kind.COUNTER, (("le", "0.1"),)),
        ("d_seconds_bucket", "s", Kind.COUNTER, (("le", "+Inf"),)),
    ]


@pytest.mark.parametrize(
    ("family", "kind", "metric", "expected"),
    [
        ("restarts", COUNTER, "restarts", Kind.COUNTER),  # a counter that its name does not show
        ("requests", COUNTER, "requests_total", Kind.COUNTER),  # OpenMetrics: the family is without the suffix
        ("jobs_total", GAUGE, "jobs_total", Kind.GAUGE),
        ("queue_count", GAUGE, "queue_count", Kind.GAUGE),
        ("rpc_seconds", HISTOGRAM, "rpc_seconds_bucket", Kind.COUNTER),
        ("rpc_seconds", SUMMARY, "rpc_seconds_sum", Kind.COUNTER),
        ("rpc_seconds", SUMMARY, "rpc_seconds", Kind.GAUGE),  # a quantile
        ("other", GAUGE, "x_total", Kind.COUNTER),
    ],
)
def test_the_requests_own_metadata_say_the_kind(family: str, kind: int, metric: str, expected: Kind):
    decoded = decode(snappy(timeseries(sample(1), __name__=metric) + metadata(kind, family)))
    assert decoded.points.kind.tolist() == [expected]


def native(**fields: Any) -> bytes:
    """A native histogram as a field of a series; spans as (offset, length)."""
    spans = {k: [{"offset": o, "length": n} for o, n in fields.pop(k)] for k in list(fields) if k.endswith("spans")}
    return field(4, Histogram(timestamp=MS, **fields, **spans).SerializeToString())


def buckets(decoded: Decoded, known: Catalog) -> list[dict[float, float]]:
    """For each point, the buckets that hold something by their upper bound."""
    points, found = decoded.points, []
    for i, row in enumerate(known.rows_of(points.series).tolist()):
        at, bounds = int(points.bucket_at[i]), (*known.series[row].bounds, math.inf)
        held = points.buckets[at : at + int(points.bucket_len[i])].tolist()
        found.append({b: n for b, n in zip(bounds, held, strict=True) if n})
    return found


def test_a_native_histogram_is_a_histogram_of_canonical_bounds():
    """Schema 0: bucket i holds (2**(i-1), 2**i]; the example of the specification's spans, with a gap of one bucket."""
    known = catalog()
    spans = {"positive_spans": [(0, 2), (1, 1)], "negative_spans": [(2, 1)]}
    counts = {"positive_deltas": [3, 1, -2], "negative_deltas": [5], "zero_count_int": 7, "count_int": 21}
    decoded = decode(snappy(timeseries(native(schema=0, sum=4.5, **spans, **counts), __name__="d_seconds")), into=known)
    points, (series,) = decoded.points, known.series
    assert (series.metric, series.unit, series.kind, decoded.dead) == ("d_seconds", "s", Kind.HISTOGRAM, [])
    assert (points.value.tolist(), points.count.tolist(), points.time.tolist()) == ([4.5], [21.0], [MS])
    assert buckets(decoded, known) == [{series.bounds[0]: 12.0, 1.0: 3.0, 2.0: 4.0, 8.0: 2.0}]


def test_a_float_histogram_sends_its_counts_as_they_are():
    known = catalog()
    body = native(schema=1, count_float=2.5, positive_spans=[(2, 2)], positive_counts=[0.5, 2.0])
    assert buckets(decode(snappy(timeseries(body, __name__="d")), into=known), known) == [{2.0: 0.5, 2.0**1.5: 2.0}]


def test_custom_bounds_are_kept_and_the_last_bucket_is_above_them():
    known = catalog()
    body = native(schema=-53, count_int=6, custom_values=[0.1, 0.5], positive_spans=[(0, 3)], positive_deltas=[1, 1, 1])
    assert buckets(decode(snappy(timeseries(body, __name__="d")), into=known), known) == [
        {0.1: 1.0, 0.5: 2.0, math.inf: 3.0}
    ]


@settings(max_examples=80, deadline=None)
@given(st.integers(-4, 8), st.integers(-60, 60), st.lists(st.integers(0, 9), min_size=1, max_size=9), st.integers(0, 5))
def test_a_native_histogram_and_an_exponential_one_of_the_same_buckets_are_equal(
    schema: int, first: int, counts: list[int], zeros: int
):
    other = ExponentialHistogramDataPoint(scale=schema, zero_count=zeros)
    other.positive.offset = first
    other.positive.bucket_counts.extend(counts)
    deltas = np.diff([0, *counts]).tolist()
    span = {"offset": first + 1, "length": len(counts)}
    made = Histogram(schema=schema, zero_count_int=zeros, positive_deltas=deltas, positive_spans=[span])
    assert prometheus_native.buckets(made) == canonical(other)


def test_a_stale_marker_ends_a_native_histogram_too():
    stale = struct.unpack("<d", STALE)[0]
    assert decode(snappy(timeseries(native(sum=stale), __name__="d"))).points.flags.tolist() == [Flag.STALE]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": 9}, "bad_histogram"),
        ({"schema": -5}, "bad_histogram"),
        ({"positive_spans": [(0, 2)], "positive_deltas": [1]}, "bad_histogram"),
        ({"positive_spans": [(0, 2**32 - 1)], "positive_deltas": [1]}, "bad_histogram"),
        ({"positive_spans": [(0, 1)], "positive_deltas": [-1]}, "bad_histogram"),
        ({"positive_spans": [(0, 1)], "positive_counts": [math.nan]}, "bad_histogram"),
        ({"schema": -53, "custom_values": [2.0, 1.0]}, "bad_histogram"),
        ({"schema": -53, "custom_values": [1.0], "positive_spans": [(2, 1)], "positive_deltas": [1]}, "bad_histogram"),
        ({"reset_hint": 3}, "gauge_histogram"),
    ],
)
def test_a_bad_native_histogram_sets_its_series_aside_once_a_record_and_the_others_go_on(
    fields: dict[str, Any], reason: str
):
    body = timeseries(sample(1), native(**fields), __name__="x") * 2 + timeseries(sample(2), __name__="y")
    decoded = decode(snappy(body), snappy(body))
    assert decoded.points.value.tolist() == [2.0, 2.0]
    assert [(d.offset, d.reason, d.detail) for d in decoded.dead] == [(i, reason, "2 of its series") for i in (0, 1)]


def test_a_request_of_nothing_but_empty_histograms_takes_no_more_memory_than_it_may():
    flood = timeseries(b"\x22\x00" * 400_000, __name__="d")
    assert [d.reason for d in decode(snappy(flood), limit=4 << 20).dead] == ["too_large"]


def test_an_odd_series_is_read_completely_and_its_neighbours_are_scanned_all_in_their_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prometheus_series, "read", lambda body: pytest.fail("the whole request was parsed"))
    exemplar = field(3, b"")
    body = GOOD + timeseries(sample(2), exemplar, __name__="b") + timeseries(sample(3), __name__="c")
    decoded = decode(snappy(body), snappy(timeseries(native(sum=4.0), __name__="h") + GOOD))
    assert decoded.points.value.tolist() == [1.5, 2.0, 3.0, 4.0, 1.5]
    assert decoded.points.record.tolist() == [0, 0, 0, 1, 1]


def test_metadata_alone_and_unknown_fields_of_a_request_leave_the_scanner_on_its_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prometheus_series, "samples", lambda *_: pytest.fail("the complete decoder was asked"))
    known, encoding = catalog(), RemoteWrite()
    body = metadata(COUNTER, "up") + GOOD + field(9, b"new")
    decoded = encoding.decode(Records.of([snappy(metadata(COUNTER, "up")), snappy(GOOD), snappy(body), snappy(GOOD)]), known)
    assert decoded.points.kind.tolist() == [Kind.GAUGE, Kind.COUNTER, Kind.GAUGE]
    assert len(set(decoded.points.series.tolist())) == 1


def test_a_bad_series_is_set_aside_and_the_others_of_its_request_go_on():
    body = timeseries(sample(1), job="a") + field(1, label("a", "1") * 2 + label("__name__", "m") + sample(2))
    decoded = decode(snappy(body + timeseries(sample(3), __name__="up")))
    assert decoded.points.value.tolist() == [3.0]
    assert [(d.reason, d.detail) for d in decoded.dead] == [
        ("duplicate_label", "1 of its series"),
        ("no_name", "1 of its series"),
    ]


def test_the_usual_request_is_only_scanned_once_its_series_are_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prometheus_series, "read", lambda body: pytest.fail("the complete decoder was asked"))
    known, encoding = catalog(), RemoteWrite()
    body = timeseries(sample(1), sample(0.0, 5), __name__="up", job="a") + timeseries(sample(STALE), __name__="x_total")
    first = encoding.decode(Records.of([snappy(body)]), known)
    monkeypatch.setattr(prometheus_series, "describe", lambda labels: pytest.fail("a known series was described again"))
    again = encoding.decode(Records.of([snappy(body)] * 2), known).points
    assert [repr(v) for v in again.value.tolist()] == ["1.0", "0.0", "nan"] * 2
    assert again.series.tolist() == first.points.series.tolist() * 2
    assert again.record.tolist() == [0, 0, 0, 1, 1, 1]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=4)),
        max_size=6,
    )
)
def test_the_scanner_and_the_complete_decoder_agree_to_the_bit(drawn: list[tuple[str, list[tuple[float, int]]]]):
    known = catalog()
    usual = b"".join(timeseries(*(sample(v, t) for v, t in found), __name__=f"{n}_total", le=n) for n, found in drawn)
    one, other = decode(snappy(usual), into=known).points, decode(snappy(usual + b"\x23\x24"), into=known).points
    for column in ("series", "time", "kind", "flags", "record"):
        assert getattr(one, column).tolist() == getattr(other, column).tolist()
    assert one.value.tobytes() == other.value.tobytes()


UNUSUAL = field(3, b"")  # an exemplar, which the scanner leaves to the complete decoder
GOOD = timeseries(sample(1.5), __name__="up", job="a")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (GOOD, "bad_compression"),  # not compressed
        (b"\xff" * 20, "bad_compression"),
        (snappy(GOOD)[:-1], "bad_compression"),
        (snappy(b"\x0a\xff\xff\xff\xff\x0f" + GOOD), "bad_protobuf"),  # a length of 4 GB
        (snappy(GOOD[:-1]), "bad_protobuf"),
        (snappy(b"\x0b" * 5000), "bad_protobuf"),  # groups in groups
        (snappy(b"\x08\x01" + GOOD + b"\x0f"), "bad_protobuf"),  # no such wire type
        (snappy(field(1, label("__name__", "up")[:-1] + sample(1))), "bad_protobuf"),
        (snappy(field(1, label("__name__", "up")[:-1])), "bad_protobuf"),
        (snappy(field(1, field(1, field(1, b"__name__") + field(2, b"\xff\xfe")) + sample(1))), "bad_protobuf"),
        (snappy(field(4, b"__name__") + field(5, b"\x0a\x00")), "not_remote_write"),  # version 2.0
        (snappy(field(1, label("__name__", "x" * 70_000) + sample(1))), "too_large"),
        (snappy(timeseries(*[label("a", "b")] * 10_000, sample(1))), "too_large"),
        (snappy(timeseries(sample(1) * 60_000, UNUSUAL, __name__="up")), "too_large"),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_its_reason(value: bytes, reason: str):
    decoded = decode(snappy(GOOD), value, snappy(GOOD), limit=4 << 20)
    assert decoded.points.value.tolist() == [1.5, 1.5]
    assert [(d.offset, d.reason, d.value) for d in decoded.dead] == [(1, reason, value)]


def test_a_claimed_size_over_the_limit_is_refused_before_anything_is_decompressed():
    bomb = varint(1 << 31) + b"\x00"  # two gigabytes, it says; there is nothing to decompress
    assert [(d.reason, d.detail[:10]) for d in decode(bomb).dead] == [("too_large", "2147483648")]
    assert [d.reason for d in decode(snappy(bytes(1001)), limit=1000).dead] == ["too_large"]
    assert decode(snappy(GOOD), limit=len(GOOD)).dead == []


def test_a_request_of_hundreds_of_thousands_of_empty_series_is_refused():
    empty = b"\x0a\x00" * (MAX_COUNT + 1)
    group = b"\x23\x24"  # a form that the scanner leaves
    assert [d.reason for d in decode(snappy(empty + group)).dead] == ["too_large"]
    assert decode(snappy(empty)).dead == []  # the scanner finds nothing in it, and builds nothing


def test_a_flood_of_empty_samples_is_left_to_the_complete_decoder():
    flood = timeseries(b"\x12\x00" * 200_000, __name__="x")
    decoded = decode(snappy(GOOD), snappy(flood), snappy(GOOD))
    assert (len(decoded.points), decoded.dead) == (200_002, [])
    assert decoded.points.record.tolist() == [0, *[1] * 200_000, 2]


def test_many_small_requests_and_many_odd_series_get_the_room_that_they_need():
    odd = timeseries(field(9, b""), __name__="o") * 3000
    small = [snappy(timeseries(sample(i, 1), __name__="x")) for i in range(3000)]
    decoded = decode(snappy(odd), *small)
    assert decoded.points.value.tolist() == [float(i) for i in range(3000)]


def test_empty_and_null_records_and_an_empty_request_are_valid():
    assert decode(b"", None, snappy(b""), snappy(metadata(COUNTER, "x"))).dead == []


def test_points_of_series_past_the_limit_are_counted():
    body = b"".join(timeseries(sample(1), sample(2), __name__=n) for n in "abc")
    decoded = decode(snappy(body), into=catalog(limit=1))
    assert (len(decoded.points), decoded.overflow) == (2, 4)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 10_000), st.integers(0, 255))
def test_no_bytes_raise_anything(noise: bytes, place: int, byte: int):
    flipped = bytearray(GOOD * 2 + metadata(COUNTER, "up"))
    flipped[place % len(flipped)] = byte
    decode(noise, snappy(noise), snappy(bytes(flipped)))


def test_every_truncation_of_the_protobuf_is_a_dead_letter_or_ends_between_two_series():
    body = GOOD + timeseries(sample(2), __name__="y")
    decoded = decode(*(snappy(body[:n]) for n in range(1, len(body))))
    assert len(decoded.dead) == len(body) - 2
    assert decoded.points.value.tolist() == [1.5]


def test_it_is_registered():
    assert isinstance(ENCODINGS["prometheus_remote_write"](), RemoteWrite)
