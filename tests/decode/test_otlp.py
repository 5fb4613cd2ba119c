"""OTLP metrics. The scanner is held against the complete decoder, and that one against what the bytes were made from."""

import gzip
import os
import struct
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from tests.decode.otlp_requests import NANO, NOW, Request, field, gauge, requests, wrapped

from anomaly.config.settings import IdentitySettings
from anomaly.decode import otlp_columns
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import Decoded, Parsed
from anomaly.decode.identity import Identity
from anomaly.decode.otlp import OtlpProto, parse_protobuf
from anomaly.decode.otlp_describe import scan
from anomaly.decode.points import Flag, Kind
from anomaly.decode.records import Records

EVERYTHING = IdentitySettings(ignore=(), environment=(), group=(), instance=())  # every attribute is a label


def catalog(limit: int = 1_000_000, settings: IdentitySettings = EVERYTHING) -> Catalog:
    return Catalog(Identity(settings, 5), limit)


def rows(decoded: Decoded, known: Catalog) -> list[tuple[Any, ...]]:
    """Each point with its series in full, NaN made comparable."""
    points, found = decoded.points, []
    for i in range(len(points)):
        series = known.series[int(known.rows_of(points.series[i : i + 1])[0])]
        at, many = int(points.bucket_at[i]), int(points.bucket_len[i])
        found.append((
            int(points.record[i]), series.metric, series.unit, series.labels, int(points.time[i]), int(points.start[i]),
            struct.pack("<d", points.value[i]) if points.value[i] == points.value[i] else b"nan", float(points.count[i]),
            Kind(points.kind[i]), Flag(points.flags[i]), tuple(points.buckets[at : at + many].tolist()),
        ))  # fmt: skip
    return found


def scanned(*values: bytes) -> tuple[list[tuple[Any, ...]], list[str]]:
    known = catalog()
    decoded = OtlpProto().decode(Records.of(values), known)
    return rows(decoded, known), [d.reason for d in decoded.dead]


def complete(*values: bytes) -> tuple[list[tuple[Any, ...]], list[str]]:
    known = catalog()
    decoded = Parsed(parse_protobuf).decode(Records.of(values), known)
    return rows(decoded, known), [d.reason for d in decoded.dead]


def taken(value: bytes) -> bool:
    """Whether the scanner itself understood a record."""
    return bool(scan(Records.of([value]), 0).refused[0] == otlp_columns.OK)


@given(st.lists(requests(), max_size=3))
@settings(max_examples=150, deadline=None)
def test_the_scanner_gives_what_the_complete_decoder_gives(drawn: list[Request]):
    values = [r.SerializeToString() for r in drawn]
    assert all(taken(v) for v in values)
    assert scanned(*values) == complete(*values)


UNUSUAL = field(1, field(2, field(2, field(1, b"a") * 2)))  # a name twice, which the scanner leaves to the complete decoder


@given(st.lists(st.tuples(requests(), st.booleans()), max_size=3))
@settings(max_examples=60, deadline=None)
def test_records_the_scanner_does_not_take_come_out_in_their_place(drawn: list[tuple[Request, bool]]):
    values = [r.SerializeToString() + (UNUSUAL if rare else b"") for r, rare in drawn]
    assert [taken(v) for v in values] == [not rare for _, rare in drawn]
    assert scanned(*values) == complete(*values)


def exponential(scale: int, counts: list[int], negative: tuple[int, ...] = (), zeros: int = 0, points: int = 1) -> bytes:
    """A request of one exponential histogram."""
    request = Request()
    data = request.resource_metrics.add().scope_metrics.add().metrics.add(name="latency").exponential_histogram
    for _ in range(points):
        point = data.data_points.add(time_unix_nano=NOW * NANO, scale=scale, zero_count=zeros, count=sum(counts))
        point.positive.bucket_counts.extend(counts)
        point.negative.bucket_counts.extend(negative)
    return request.SerializeToString()


def test_a_sender_that_lowers_its_scale_keeps_its_series_and_its_bounds_until_below_the_canonical_one():
    known = catalog()
    values = [exponential(scale, [1, 2, 3]) for scale in (20, 5, 1, 0, -3, -9)]
    points = OtlpProto().decode(Records.of(values), known).points
    found = [known.series[r] for r in known.rows_of(points.series)]
    assert len({s.hash for s in found}) == 1
    assert points.bucket_len.tolist() == [130, 130, 130, 66, 9, 2]
    assert len(known.series) == 4
    assert scanned(*values) == complete(*values)


@pytest.mark.parametrize(
    "value",
    [
        exponential(3, [2**53 + 1]),
        exponential(3, [1], (2**53 + 1,)),
        exponential(3, [1], zeros=2**53 + 1),
        exponential(3, [1], (2**53,) * 600),
    ],
)
def test_counts_that_a_double_may_not_hold_are_added_by_the_complete_decoder(value: bytes):
    assert not taken(value)
    assert scanned(value) == complete(value)


def test_many_small_exponential_points_get_the_room_that_they_need():
    value = exponential(3, [1], points=5000)
    assert taken(value)
    assert scanned(value) == complete(value)


def test_quantiles_of_a_summary_count_as_points_when_a_flood_is_judged():
    request = Request()
    point = request.resource_metrics.add().scope_metrics.add().metrics.add(name="s").summary.data_points.add()
    for _ in range(10_000):
        point.quantile_values.add()
    value = request.SerializeToString()
    assert scanned(value) == complete(value) == ([], ["malformed"])


@given(requests(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_attributes_does_not_change_a_series_nor_its_key_on_the_wire(request_: Request, random: Random):
    other = Request.FromString(request_.SerializeToString())
    for resource_metrics in other.resource_metrics:
        shuffle(resource_metrics.resource.attributes, random)
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    shuffle(point.attributes, random)
    a, b = (scan(Records.of([r.SerializeToString()]), 3).out[otlp_columns.WIRE] for r in (request_, other))
    np.testing.assert_array_equal(a, b)
    assert scanned(request_.SerializeToString()) == scanned(other.SerializeToString())


def shuffle(pairs: Any, random: Random) -> None:
    held = list(pairs)
    random.shuffle(held)
    del pairs[:]
    pairs.extend(held)


@given(requests(), st.integers(0, 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_different_series_have_different_keys_and_the_seed_changes_all_of_them(request_: Request, seed: int):
    value = request_.SerializeToString()
    wire = scan(Records.of([value]), seed).out[otlp_columns.WIRE].tolist()
    found = list(parse_protobuf(value))
    identities = {(s.series.metric, s.series.unit, s.series.kind, s.series.bounds, repr(sorted(s.series.attributes.items())))
                  for s in found}  # fmt: skip
    assert len(set(wire)) >= len(identities)
    assert not set(wire) & set(scan(Records.of([value]), seed ^ 1).out[otlp_columns.WIRE].tolist())


def test_a_label_moved_to_the_resource_the_unit_or_the_name_is_another_key():
    plain = gauge(1.0, pod="a")
    moved = gauge(1.0)
    moved.resource_metrics[0].resource.attributes.append(KeyValue(key="pod", value=AnyValue(string_value="a")))
    variants = [plain, moved, gauge(1.0, pod="b"), gauge(1.0, unit="s", pod="a"), gauge(1.0, metric="ms", pod="a")]
    variants += [gauge(1.0, metric="s", unit="m"), gauge(1.0, metric="m", unit="s"), gauge(1.0, metric="ms", unit="")]
    wire = [int(scan(Records.of([v.SerializeToString()]), 0).out[otlp_columns.WIRE, 0]) for v in variants]
    assert len(set(wire)) == len(variants)


@pytest.mark.parametrize(
    ("kind", "temporality", "monotonic", "expected"),
    [
        ("gauge", 0, False, Kind.GAUGE),
        ("sum", 2, True, Kind.COUNTER),
        ("sum", 0, True, Kind.COUNTER),
        ("sum", 1, True, Kind.DELTA),
        ("sum", 2, False, Kind.GAUGE),
        ("sum", 1, False, Kind.DELTA),
        ("histogram", 2, False, Kind.HISTOGRAM),
        ("histogram", 0, False, Kind.HISTOGRAM),
        ("histogram", 1, False, Kind.HISTOGRAM_DELTA),
        ("exponential_histogram", 2, False, Kind.HISTOGRAM),
        ("exponential_histogram", 1, False, Kind.HISTOGRAM_DELTA),
    ],
)
def test_kind_and_temporality_say_how_a_number_is_read(kind: str, temporality: int, monotonic: bool, expected: Kind):
    request = Request()
    data = getattr(request.resource_metrics.add().scope_metrics.add().metrics.add(name="m"), kind)
    if kind != "gauge":
        data.aggregation_temporality = temporality
    if kind == "sum":
        data.is_monotonic = monotonic
    data.data_points.add(time_unix_nano=NOW * NANO)
    value = request.SerializeToString()
    assert [row[8] for row in scanned(value)[0]] == [expected] == [row[8] for row in complete(value)[0]]


def test_times_are_floored_to_milliseconds_and_integers_become_floats():
    request = gauge(0.0)
    point = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    point.time_unix_nano, point.start_time_unix_nano, point.as_int = NOW * NANO + 999_999, NANO, -(2**53) - 1
    points = OtlpProto().decode(Records.of([request.SerializeToString()]), catalog()).points
    assert (points.time[0], points.start[0], points.value[0]) == (NOW, 1, -(2.0**53))


def test_no_recorded_value_is_stale_and_other_flags_are_nothing():
    request = gauge(1.0, 2.0, 3.0)
    for point, flags in zip(
        request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points, (0, 1, 6), strict=True
    ):
        point.flags = flags
    points = OtlpProto().decode(Records.of([request.SerializeToString()]), catalog()).points
    assert points.flags.tolist() == [Flag.NONE, Flag.STALE, Flag.NONE]


def test_a_histogram_keeps_sum_count_and_counts_and_its_bounds_describe_it():
    request = Request()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="d", unit="s")
    for bounds, total in (([0.1, 1.0], 4.5), ([0.1, 2.0], None)):
        metric.histogram.data_points.add(
            time_unix_nano=NOW * NANO, count=6, sum=total, explicit_bounds=bounds, bucket_counts=[1, 2, 3]
        )
    value, known = request.SerializeToString(), catalog()
    points = OtlpProto().decode(Records.of([value]), known).points
    assert taken(value)
    assert points.count.tolist() == [6.0, 6.0]
    assert points.value[0] == 4.5
    assert np.isnan(points.value[1])
    assert points.buckets.tolist() == [1.0, 2.0, 3.0] * 2
    assert [s.bounds for s in known.series] == [(0.1, 1.0), (0.1, 2.0)]
    assert len({s.hash for s in known.series}) == 1


def test_attributes_are_told_as_text_and_the_point_hides_the_scope_hides_the_resource():
    request = gauge(1.0, service="outer", a="point")
    metrics = request.resource_metrics[0]
    for pairs, text in ((metrics.resource.attributes, "resource"), (metrics.scope_metrics[0].scope.attributes, "scope")):
        pairs.extend(KeyValue(key=k, value=AnyValue(string_value=text)) for k in "ab")
    metrics.scope_metrics[0].scope.name, metrics.scope_metrics[0].scope.version = "meter", "2"
    point = metrics.scope_metrics[0].metrics[0].gauge.data_points[0]
    for key, held in {
        "bool": AnyValue(bool_value=True), "int": AnyValue(int_value=-7), "double": AnyValue(double_value=0.5),
        "bytes": AnyValue(bytes_value=b"\x00\xff"), "none": AnyValue(),
    }.items():  # fmt: skip
        point.attributes.append(KeyValue(key=key, value=held))
    deep = point.attributes.add(key="deep").value
    deep.kvlist_value.values.add(key="z").value.array_value.values.extend(
        [AnyValue(int_value=1), AnyValue(string_value="x")]
    )
    deep.kvlist_value.values.add(key="y").value.bool_value = False
    known = catalog()
    OtlpProto().decode(Records.of([request.SerializeToString()]), known)
    assert dict(known.series[0].labels) == {
        "service.name": "outer", "a": "point", "b": "scope", "otel.scope.name": "meter", "otel.scope.version": "2",
        "bool": "true", "int": "-7", "double": "0.5", "bytes": "AP8=", "none": "", "deep": '{"y":false,"z":[1,"x"]}',
    }  # fmt: skip


def test_a_summary_is_a_histogram_without_buckets_and_a_gauge_per_quantile():
    request = Request()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="rpc", unit="s")
    point = metric.summary.data_points.add(time_unix_nano=NOW * NANO, start_time_unix_nano=NANO, count=10, sum=2.5)
    for q, reading in ((0.5, 0.2), (1.0, 0.9)):
        point.quantile_values.add(quantile=q, value=reading)
    found = [(r[1], r[3], struct.unpack("<d", r[6])[0], r[7], r[8]) for r in scanned(request.SerializeToString())[0]]
    assert found == [
        ("rpc", (), 2.5, 10.0, Kind.HISTOGRAM),
        ("rpc", (("quantile", "0.5"),), 0.2, 0.0, Kind.GAUGE),
        ("rpc", (("quantile", "1"),), 0.9, 0.0, Kind.GAUGE),
    ]


# Forms that are legal and rare: the scanner leaves them to the complete decoder, and the points are right.
POINT = field(3, NOW * NANO, 1) + field(4, 1.5, 1)
COUNTS, BOUNDS = struct.pack("<3Q", 1, 2, 3), struct.pack("<2d", 0.1, 1.0)
RARE = {
    "unpacked counts and bounds": field(1, b"h") + field(9, field(1, field(3, NOW * NANO, 1) + b"".join(
        [field(6, n, 1) for n in (1, 2, 3)] + [field(7, b, 1) for b in (0.1, 1.0)]))),
    "counts in two pieces": field(1, b"h") + field(9, field(1, field(3, NOW * NANO, 1) + field(6, COUNTS[:8])
        + field(7, BOUNDS) + field(6, COUNTS[8:]))),
    "time twice": field(1, b"m") + field(5, field(1, field(3, 7, 1) + POINT)),
    "value twice": field(1, b"m") + field(5, field(1, field(6, 7, 1) + POINT)),
    "name twice": field(1, b"x") + field(1, b"m") + field(5, field(1, POINT)),
    "two kinds of data": field(7, field(1, POINT)) + field(1, b"m") + field(5, field(1, POINT)),
    "gauge in two pieces": field(5, field(1, POINT)) + field(1, b"m") + field(5, field(1, POINT)),
    "known field of another wire type": field(1, b"m") + field(5, field(1, POINT + field(3, 1, 5))),
    "flags as bytes": field(1, b"m") + field(5, field(1, POINT + field(8, b"\x01"))),
    "a group": field(1, b"m") + field(5, field(1, POINT + b"\xa3\x06\xa4\x06")),
    "a tag in more bytes than it needs": field(1, b"m") + field(5, field(1, POINT + b"\xc0\x80\x80\x00\x01")),
}  # fmt: skip


@pytest.mark.parametrize("name", RARE)
def test_rare_forms_give_the_points_of_the_complete_decoder(name: str):
    value = wrapped(RARE[name])
    found, reasons = complete(value)
    assert (len(found) > 0, reasons) == (True, [])
    assert scanned(value) == (found, [])


def test_unknown_fields_are_skipped_by_the_scanner_itself():
    unknown = field(99, b"later") + field(98, 5, 0) + field(97, 1.0, 1) + field(96, 1, 5)
    point = field(1, unknown + POINT + unknown)
    metric = unknown + field(5, unknown + point + unknown) + field(1, b"m") + unknown
    value = unknown + field(1, unknown + field(2, unknown + field(2, metric) + unknown) + unknown) + unknown
    assert taken(value)
    assert len(scanned(value)[0]) == 1
    assert scanned(value) == complete(value)


def test_resource_scope_and_name_may_stand_behind_what_they_describe():
    request = gauge(1.0, service="late")
    resource = request.resource_metrics[0].resource.SerializeToString()
    scope = field(2, field(5, field(1, POINT)) + field(3, b"s") + field(1, b"m")) + field(1, field(1, b"meter"))
    value = field(1, field(2, scope) + field(1, resource))
    assert taken(value)
    found, _ = scanned(value)
    assert found == complete(value)[0]
    assert found[0][1:4] == ("m", "s", (("otel.scope.name", "meter"), ("service.name", "late")))


BROKEN = {
    "malformed": {
        "temporality of the future": field(1, b"m") + field(7, field(1, POINT) + field(2, 3, 0)),
        "more counts than bounds allow": field(9, field(1, POINT[:9] + field(6, COUNTS) + field(7, BOUNDS[:8]))),
        "bounds without counts": field(9, field(1, POINT[:9] + field(7, BOUNDS))),
        "bounds that fall": field(9, field(1, POINT[:9] + field(6, COUNTS) + field(7, struct.pack("<2d", 2, 1)))),
        "bounds that are no numbers": field(9, field(1, POINT[:9] + field(6, COUNTS) + field(7, b"\xff" * 16))),
        "counts that are no whole words": field(9, field(1, POINT[:9] + field(6, COUNTS[:-1]) + field(7, BOUNDS))),
        "name that is not UTF-8": field(1, b"\xff") + field(5, field(1, POINT)),
        "unit that is not UTF-8": field(3, b"\xc3") + field(5, field(1, POINT)),
        "attribute that is not UTF-8": field(5, field(1, POINT + field(7, field(1, b"\xff")))),
        "value that is not UTF-8": field(5, field(1, POINT + field(7, field(1, b"k") + field(2, field(1, b"\x80"))))),
        "length past the end of its message": field(5, field(1, POINT)[:-1]),
        "length of four gigabytes": field(5, b"\x0a\xff\xff\xff\xff\x0f" + POINT),
        "length of all bits": field(5, b"\x0a" + b"\xff" * 9 + b"\x01" + POINT),
        "varint without an end": field(5, field(1, POINT + b"\x40" + b"\xff" * 12)),
        "field zero": field(5, field(1, POINT + b"\x00\x01")),
        "wire type seven": field(5, field(1, POINT + b"\x9f\x06")),
        "group without an end": field(5, field(1, POINT + b"\xa3\x06")),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN["malformed"])
def test_a_record_with_a_broken_part_gives_no_point_and_a_reason_and_the_others_go_on(name: str):
    good = gauge(1.0, 2.0)
    request = good.SerializeToString() + wrapped(BROKEN["malformed"][name])
    found, reasons = scanned(good.SerializeToString(), request, good.SerializeToString())
    assert reasons == ["malformed"]
    assert [row[0] for row in found] == [0, 0, 2, 2]
    assert complete(request) == ([], ["malformed"])


def test_text_that_is_not_utf8_refuses_its_record_every_time_and_never_becomes_known():
    known, decoder = catalog(), OtlpProto()
    bad = wrapped(field(1, b"m") + field(5, field(1, POINT + field(7, field(1, b"\xff")))))
    for _ in range(2):
        decoded = decoder.decode(Records.of([bad]), known)
        assert (len(decoded.points), [d.value for d in decoded.dead], decoded.overflow) == (0, [bad], 0)
    assert not known.series


def test_json_on_a_protobuf_topic_is_named_as_what_it_is():
    decoded = OtlpProto().decode(Records.of([b'{"resourceMetrics":[]}']), catalog())
    assert [d.reason for d in decoded.dead] == ["malformed"]
    assert "otlp_json" in decoded.dead[0].detail


def test_a_nest_of_a_thousand_lists_is_refused():
    value = AnyValue(string_value="x").SerializeToString()
    for _ in range(1000):
        value = field(5, field(1, value))
    request = wrapped(field(1, b"m") + field(5, field(1, POINT + field(7, field(1, b"k") + field(2, value)))))
    assert scanned(request) == ([], ["malformed"])


def test_empty_and_null_values_hold_nothing_and_are_no_fault():
    for values in ([], [b""], [None], [None, b"", None]):
        decoded = OtlpProto().decode(Records.of(values), catalog())
        assert (len(decoded.points), decoded.dead) == (0, [])


def test_a_flood_of_empty_points_is_set_aside_before_it_takes_memory():
    for kind in (5, 7, 9, 10, 11):
        flood = wrapped(field(1, b"m") + field(kind, field(1, b"") * 100_000))
        found, reasons = scanned(gauge(1.0).SerializeToString(), flood)
        assert (len(found), reasons) == (1, ["malformed"])
    metrics = field(1, field(2, field(2, field(5, field(1, b""))) * 100_000))
    assert scanned(metrics) == ([], ["malformed"])


def test_exponential_points_that_would_be_a_flood_of_buckets_are_set_aside():
    point = field(1, field(3, NOW * NANO, 1) + field(6, 2 * 5, 0))  # scale 5
    assert scanned(wrapped(field(10, point * 70_000))) == ([], ["too_large"])


def test_a_request_of_a_million_unknown_fields_and_a_cut_is_set_aside_at_once():
    assert scanned(field(2, 1, 0) * 1_000_000 + b"\x0a\x05ab")[1] == ["malformed"]


def test_a_key_that_comes_twice_makes_the_same_series_in_either_order():
    first, second = gauge(1.0, a="1"), gauge(1.0, a="2")
    for request, text in ((first, "2"), (second, "1")):
        point = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
        point.attributes.append(KeyValue(key="a", value=AnyValue(string_value=text)))
    values = [r.SerializeToString() for r in (first, second)]
    assert scanned(values[0]) == scanned(values[1]) == complete(values[0])


def test_series_past_the_limit_are_counted_and_known_ones_go_on():
    known, decoder = catalog(limit=1), OtlpProto()
    values = [gauge(1.0, metric=m).SerializeToString() for m in ("a", "b", "a", "c")]
    for _ in range(2):
        decoded = decoder.decode(Records.of(values), known)
        assert (decoded.points.record.tolist(), decoded.overflow, decoded.dead) == ([0, 2], 2, [])


def test_a_dead_letter_has_the_bytes_and_the_offset_of_its_record():
    good, bad = gauge(1.0).SerializeToString(), b"\x0a\x05ab"
    decoded = OtlpProto().decode(Records.of([good, bad, good, bad], "metrics", 3, 100, NOW), catalog())
    assert [(d.source, d.partition, d.offset, d.time, d.reason, d.value) for d in decoded.dead] == [
        ("metrics", 3, 101, NOW, "truncated", bad),
        ("metrics", 3, 103, NOW, "truncated", bad),
    ]
    assert decoded.points.record.tolist() == [0, 2]


@given(requests(("gauge", "sum", "histogram", "summary", "exponential_histogram")))
@settings(max_examples=15, deadline=None)
def test_a_record_cut_anywhere_gives_what_the_complete_decoder_says_and_nothing_more(request_: Request):
    whole = request_.SerializeToString()
    ends = {0}
    for resource_metrics in request_.resource_metrics:
        ends.add(max(ends) + len(field(1, resource_metrics.SerializeToString())))
    for cut in range(0, len(whole), 1 + len(whole) // 150):
        found, reasons = scanned(whole[:cut])
        assert reasons == ([] if cut in ends else ["truncated"])
        assert cut in ends or not found
        assert (found, reasons) == complete(whole[:cut])


@given(requests(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_byte_never_gives_another_number_than_the_complete_decoder(request_: Request, data: st.DataObject):
    value = bytearray(request_.SerializeToString())
    if not value:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(value))


def agree(value: bytes) -> None:
    """What the complete decoder takes, the scanner gives alike; what that one refuses gives all or nothing.

    All: where the damage lies in what is not read, see below.
    """
    found, reasons = scanned(value)
    expected, refused = complete(value)
    assert (found, reasons) == (expected, []) or (refused and not (found and reasons))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_gives_what_the_complete_decoder_gives(noise: bytes):
    agree(noise)


def test_what_is_not_read_is_not_checked():
    """A damaged description or exemplar costs no points."""
    metric = field(1, b"m") + field(2, b"\xff") + field(5, field(1, POINT + field(5, b"\xff\xff")))
    assert len(scanned(wrapped(metric))[0]) == 1
    assert complete(wrapped(metric)) == ([], ["malformed"])


COLLECTOR = Path(os.environ.get("ANOMALY_DATA", "")) / "collector" / "otlp_metrics.bin.gz"


@pytest.mark.skipif(
    "ANOMALY_DATA" not in os.environ or not COLLECTOR.exists(),
    reason="ANOMALY_DATA names no folder with a collector's records",
)
def test_every_record_of_a_real_collector_is_scanned_with_every_point():
    data, values, at = gzip.decompress(COLLECTOR.read_bytes()), [], 0
    while at < len(data):
        _, _, key, size = struct.unpack_from(">iqii", data, at)
        at += 20 + max(key, 0)
        values.append(data[at : at + size])
        at += size
    expected = sum(
        len(getattr(m, kind).data_points)
        for value in values
        for rm in Request.FromString(value).resource_metrics
        for sm in rm.scope_metrics
        for m in sm.metrics
        if (kind := m.WhichOneof("data"))
    )
    known = catalog()
    decoded = OtlpProto().decode(Records.of(values), known)
    assert (len(decoded.points), decoded.dead, decoded.overflow) == (expected, [], 0)
    assert expected > 20_000
    assert all(taken(value) for value in values)
    assert rows(decoded, known) == complete(*values)[0]


def test_a_block_of_the_smallest_points_fits_though_room_is_made_for_usual_ones():
    point = field(1, field(3, NOW * NANO, 1))
    value = wrapped(field(5, point * 500))
    assert taken(value)
    assert len(scanned(value, value)[0]) == 1000
