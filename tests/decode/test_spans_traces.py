"""From bytes of traces to points: what is counted, of whom, under which names, and what happens at the limits."""

import base64
import json
import logging
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decode.otlp_requests import NANO, NOW
from tests.decode.span_requests import Request, request, span

from anomaly.config.settings import Limits, Settings, SourceSettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded
from anomaly.decode.identity import Identity
from anomaly.decode.points import Flag, Kind
from anomaly.decode.records import Records
from anomaly.decode.spans_series import BOUNDS, CELL
from anomaly.decode.spans_traces import LET_GO_SPANS, OTHER_OPERATIONS, REPEATED_SPANS, Traces
from anomaly.decode.stage import Decode

CALLS, DURATION = "traces.span.metrics.calls", "traces.span.metrics.duration"
CALL = "traces.service.graph.request"
SOURCE = "otlp_spans_proto"


class Reader:
    """An encoding with its catalog; records are numbered on."""

    def __init__(self, encoding: str = SOURCE, limits: Limits | None = None) -> None:
        traces = ENCODINGS[encoding]()
        assert isinstance(traces, Traces)
        self.traces = traces
        self.traces.limits = limits or Limits()
        self.catalog, self.offset = Catalog(Identity(Settings().identity, 7)), 0

    def read(self, *values: bytes, partition: int = 0) -> Decoded:
        """Decode a block."""
        records = Records.of(values, "spans", partition, self.offset)
        self.offset += len(records)
        return self.traces.decode(records, self.catalog)

    def said(self, decoded: Decoded) -> list[dict[str, Any]]:
        """The points, by name."""
        found, points = [], decoded.points
        for i, row in enumerate(self.catalog.rows_of(points.series).tolist()):
            s = self.catalog.series[row]
            held = points.buckets[points.bucket_at[i] : points.bucket_at[i] + points.bucket_len[i]]
            found.append({"metric": s.metric, "group": s.group, "labels": dict(s.labels), "unit": s.unit, "bounds": s.bounds,
                          "instance": dict(s.instance), "n": points.count[i] if len(held) else points.value[i],
                          "sum": points.value[i], "buckets": held.tolist(), "time": int(points.time[i]),
                          "start": int(points.start[i]), "kind": points.kind[i], "flags": points.flags[i]})  # fmt: skip
        return found

    def counts(self, *values: bytes) -> Counter[tuple[str, ...]]:
        """How many of each metric, by group and operation."""
        found: Counter[tuple[str, ...]] = Counter()
        for one in self.said(self.read(*values)):
            who = (one["labels"]["client"],) if "client" in one["labels"] else ()
            found[(one["metric"], *who, one["group"], one["labels"]["span.name"])] += int(one["n"])
        return found


def test_a_span_is_a_call_and_a_duration_as_the_collectors_connector_names_them():
    reader = Reader()
    value = request(span("GET /cart", lasted=0.25, status=2, service__instance__id="i1", service__namespace="eu"))
    calls, lasted = reader.said(reader.read(value))
    labels = {"span.name": "GET /cart", "span.kind": "SPAN_KIND_SERVER", "status.code": "STATUS_CODE_ERROR"}
    for one in (calls, lasted):
        assert (one["group"], one["labels"], one["instance"]) == ("eu/shop", labels, {"service.instance.id": "i1"})
        assert (one["time"], one["start"]) == (NOW, (NOW - 1) // CELL * CELL)
        assert one["flags"] == Flag.PART
    assert (calls["metric"], calls["n"], calls["kind"]) == (CALLS, 1, Kind.DELTA)
    assert (lasted["metric"], lasted["unit"], lasted["n"], lasted["kind"]) == (DURATION, "s", 1, Kind.HISTOGRAM_DELTA)
    assert lasted["sum"] == pytest.approx(0.25)
    assert lasted["bounds"] == BOUNDS
    assert lasted["buckets"].index(1) == BOUNDS.index(0.25)  # a bucket holds its upper bound


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 80 * 10**9) | st.sampled_from([round(b * 1e9) for b in BOUNDS]), min_size=1, max_size=30))
def test_durations_fall_into_the_buckets_that_numpy_finds(lasted: list[int]):
    reader = Reader()
    spans = [span(own=i + 1, lasted=ns / 1e9) for i, ns in enumerate(lasted)]
    found = [one for one in reader.said(reader.read(request(*spans))) if one["metric"] == DURATION]
    exact = [round(s["lasted"]) / 1e9 for s in spans]
    expected = np.bincount(np.searchsorted(np.floor(np.array(BOUNDS) * 1e9) / 1e9, exact), minlength=len(BOUNDS) + 1)
    np.testing.assert_array_equal(np.sum([one["buckets"] for one in found], axis=0), expected)
    assert sum(one["sum"] for one in found) == pytest.approx(sum(exact))


def test_what_one_record_says_of_an_operation_in_a_cell_is_one_point():
    ends = [0.0, 0.1, -0.2, CELL / 1000, CELL / 1000 + 0.1]
    reader = Reader()
    found = reader.said(reader.read(request(*[span(own=i + 1, at=at) for i, at in enumerate(ends)]), request(span(own=9))))
    calls = [(one["n"], (one["time"] - NOW) / 1000) for one in found if one["metric"] == CALLS]
    assert calls == [(2, 0.0), (2, 5.0), (1, 5.1), (1, 0.0)]
    assert [one["time"] > one["start"] for one in found] == [True] * len(found)
    assert all(one["time"] - one["start"] <= CELL for one in found)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(1, 9)), max_size=20), st.integers(1, 20))
def test_the_points_do_not_depend_on_the_blocks_that_records_come_in(drawn: list[tuple[int, int, int]], cut: int):
    values = [request(span(f"op{o}", f"s{s}", own=k, parent=k - 1, at=0.1 * i)) for i, (s, o, k) in enumerate(drawn)]
    whole, parted = Reader(), Reader()
    together = whole.said(whole.read(*values))
    pieces = [parted.said(parted.read(*values[i : i + cut])) for i in range(0, len(values), cut)]
    assert [one for piece in pieces for one in piece] == together


def test_a_call_between_services_is_of_the_callees_group_and_no_instance():
    caller = span("GET b", "a", kind=3, own=1, lasted=0.5, service__instance__id="a1", deployment__environment__name="eu")
    callee = span("/b", "b", own=2, parent=1, lasted=0.4, service__instance__id="b1", deployment__environment__name="eu")
    reader = Reader()
    assert reader.counts(request(callee)) == {(CALLS, "b", "/b"): 1, (DURATION, "b", "/b"): 1}
    found = [one for one in reader.said(reader.read(request(caller))) if one["metric"].startswith(CALL)]
    labels = {"client": "a", "span.name": "/b", "status.code": "STATUS_CODE_UNSET"}
    assert {(one["group"], tuple(one["labels"].items()), tuple(one["instance"])) for one in found} == {
        ("b", tuple(sorted(labels.items())), ())
    }
    assert {one["metric"]: round(one["sum"], 3) for one in found} == {CALL: 1, f"{CALL}.client": 0.5, f"{CALL}.between": 0.1}


def test_a_block_that_is_decoded_again_says_the_same():
    """The stage asks again where the receiver of its points has forgotten a series."""
    reader = Reader()
    records = Records.of([request(span("GET b", "a", 3, own=1), span("/b", "b", own=2, parent=1))], "spans")
    first, again = (reader.said(reader.traces.decode(records, reader.catalog)) for _ in range(2))
    assert first == again
    assert len(first) == 7


def test_a_span_that_comes_again_in_another_record_is_counted_once():
    reader, value = Reader(), request(span(own=1), span(own=2))
    assert reader.counts(value)[CALLS, "shop", "GET /"] == 2
    assert reader.counts(value) == {}
    assert reader.traces.counts[REPEATED_SPANS] == 2


def test_spans_without_ids_are_counted_and_never_joined():
    reader = Reader()
    assert reader.counts(request(span(own=0), span(own=0)))[CALLS, "shop", "GET /"] == 2
    assert reader.traces.counts[REPEATED_SPANS] == 0


def test_operations_past_the_limit_of_a_group_are_one_and_the_group_is_named(caplog: pytest.LogCaptureFixture):
    reader = Reader(limits=Limits(operations=3))
    names = ["a", "b", "c", "d", "e", "a", "d"]
    with caplog.at_level(logging.WARNING):
        found = reader.counts(request(*[span(name, own=i + 1) for i, name in enumerate(names)], span("z", "web", own=9)))
    calls = {key[1:]: n for key, n in found.items() if key[0] == CALLS}
    expected = {("shop", "a"): 2, ("shop", "b"): 1, ("shop", "c"): 1, ("shop", "other"): 3, ("web", "z"): 1}
    assert calls == expected
    assert reader.traces.counts[OTHER_OPERATIONS] == 3
    assert [r.getMessage() for r in caplog.records] == ["shop has more than 3 operations: further ones are counted as one"]


def test_an_operation_that_nobody_uses_for_an_hour_gives_way():
    reader = Reader(limits=Limits(operations=1))
    assert (CALLS, "shop", "old") in reader.counts(request(span("old", own=1)))
    assert (CALLS, "shop", "other") in reader.counts(request(span("new", own=2, at=3500)))
    assert (CALLS, "shop", "other") in reader.counts(request(span("new", own=3, at=3700)))
    assert (CALLS, "shop", "new") in reader.counts(request(span("new", own=4, at=3701)))


def test_a_hundred_thousand_operations_make_no_more_series_than_the_limit():
    reader = Reader(limits=Limits(operations=100))
    for turn in range(10):
        reader.read(request(*[span(f"GET /item/{turn}/{i}", own=1 + i + 1000 * turn) for i in range(1000)]))
    assert reader.catalog.used == 2 * 101
    assert reader.traces.counts[OTHER_OPERATIONS] == 10_000 - 100


def test_halves_that_are_let_go_of_before_their_time_are_counted():
    reader = Reader(limits=Limits(spans=4096))
    reader.read(*[request(*[span(own=i + 1, trace=t) for i in range(1000)]) for t in range(1, 10)])
    assert reader.traces.counts[LET_GO_SPANS] > 4000


def test_partitions_join_their_own_and_a_partition_that_goes_is_forgotten():
    reader, caller, callee = Reader(), request(span("x", "a", 3, own=1)), request(span("/b", "b", own=2, parent=1))
    reader.read(caller, partition=0)
    assert not [o for o in reader.said(reader.read(callee, partition=1)) if o["metric"] == CALL]
    reader.traces.drop("spans", 0)
    again = reader.said(reader.read(request(span("/b", "b", own=3, parent=1)), partition=0))
    assert not [o for o in again if o["metric"] == CALL]


@pytest.mark.parametrize(
    ("start", "end", "counted", "timed"),
    [(0, NOW, 1, 0), (NOW, 0, 1, 0), (NOW + 5, NOW, 1, 0), (NOW - 5, NOW, 1, 1)],
)
def test_missing_and_reversed_times_leave_the_call_and_no_duration(start: int, end: int, counted: int, timed: int):
    one = span()
    one["end"], one["lasted"] = end * NANO, (end - start) * NANO if end else 0
    raw = request(one)
    if not end or not start:
        made = Request.FromString(raw)
        found = made.resource_spans[0].scope_spans[0].spans[0]
        found.start_time_unix_nano, found.end_time_unix_nano = start * NANO, end * NANO
        raw = made.SerializeToString()
    reader = Reader()
    found_counts = reader.counts(raw)
    assert (found_counts[CALLS, "shop", "GET /"], found_counts[DURATION, "shop", "GET /"]) == (counted, timed)


def test_spans_without_any_time_and_of_next_year_are_set_aside_with_their_number_and_the_others_go_on():
    source, day = SourceSettings(topic="t", encoding=SOURCE), 86_400
    never = span(own=1)
    never["end"] = never["lasted"] = 0
    records = Records.of([request(never, span(own=2)), request(span(own=3, at=400 * day), span(own=4))], "t", time=NOW)
    blocks, dead = Decode(Settings(), 1).blocks(source, records)
    assert [(d.offset, d.reason, d.points) for d in dead] == [(0, "bad_timestamp", 1), (1, "future_timestamp", 1)]
    assert len(blocks[0][1].points) == 4


def test_a_name_that_is_no_text_refuses_its_record_each_time():
    bad = request(span("naïve", own=1)).replace("naïve".encode(), b"na\xff\xfeve")
    for value in (bad, request(span(own=2, zone="naïve")).replace("naïve".encode(), b"na\xff\xfeve")):
        reader = Reader()
        for turn in range(2):
            found = reader.read(value, request(span(own=5 + turn)))
            assert [d.reason for d in found.dead] == ["malformed"]
            assert len(found.points) == 2


def test_json_is_read_as_protobuf_is_with_ids_in_hex_or_base64():
    spans = [span("GET b", "a", 3, own=1), span("/b", "b", own=2, parent=1, status=2)]
    reader, expected = Reader(), Reader()

    def hexadecimal(n: int, trace: bool = False) -> bytes:
        return (7).to_bytes(8, "little") + n.to_bytes(8, "little") if trace else n.to_bytes(8, "little")

    for write in (bytes.hex, lambda raw: raw.hex().upper(), lambda raw: base64.b64encode(raw).decode()):
        resources = []
        for one in spans:
            ids = {"traceId": write(hexadecimal(1, True)), "spanId": write(hexadecimal(one["own"]))}
            ids |= {"parentSpanId": write(hexadecimal(one["parent"]))} if one["parent"] else {}
            times = {"startTimeUnixNano": str(one["end"] - one["lasted"]), "endTimeUnixNano": one["end"]}
            status = {"code": one["status"]} if one["status"] else {}
            said = {**ids, **times, "name": one["operation"], "kind": one["kind"], "status": status, "events": [{}]}
            name = {"key": "service.name", "value": {"stringValue": one["service"]}}
            resources.append({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [said]}]})
        reader, expected = Reader("otlp_spans_json"), Reader()
        found = reader.said(reader.read(json.dumps({"resourceSpans": resources}).encode()))
        assert found == expected.said(expected.read(request(*spans)))
        assert any(one["metric"] == CALL for one in found)
