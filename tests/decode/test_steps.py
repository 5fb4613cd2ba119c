"""Traces as steps: whatever the order and the cutting of records, the same is counted as by a walk in plain Python."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from anomaly.config.settings import Limits, Settings, SourceSettings
from anomaly.decode.identity import EXAMPLE, Series
from anomaly.decode.records import Records
from anomaly.decode.spans_series import BOUNDS, BUCKETS
from anomaly.decode.stage import Decode
from anomaly.decode.steps import LEFT_OUT, ORPHANS
from anomaly.decode.steps_series import (
    BETWEEN,
    CELL,
    CODE,
    METRICS,
    NEXT,
    SELF,
    STEP,
    STEPS,
    TOTAL,
    as_buckets,
    as_words,
    hexadecimal,
)

T0, MS = 1_700_000_000_000, 1_000_000
SPANS, LINES = "otlp_spans_proto", "otlp_logs_proto"


class S(NamedTuple):
    """A span; times in ms after T0."""

    trace: int
    own: int
    parent: int
    service: str
    name: str
    start: int
    end: int
    kind: int = 2


class L(NamedTuple):
    """A line; `at` in ms after T0."""

    trace: int
    span: int
    service: str
    at: int
    text: str
    level: int = 9


def trace_id(n: int) -> bytes:
    return n.to_bytes(16, "big")


def span_record(spans: Iterable[S]) -> bytes:
    request = ExportTraceServiceRequest()
    for s in spans:
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = s.service
        span = resource.scope_spans.add().spans.add(
            trace_id=trace_id(s.trace), span_id=s.own.to_bytes(8, "big"), name=s.name, kind=s.kind
        )
        span.parent_span_id = s.parent.to_bytes(8, "big") if s.parent else b""
        span.start_time_unix_nano, span.end_time_unix_nano = (T0 + s.start) * MS, (T0 + s.end) * MS
    return request.SerializeToString()


def line_record(lines: Iterable[L]) -> bytes:
    request = ExportLogsServiceRequest()
    for one in lines:
        resource = request.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = one.service
        line = resource.scope_logs.add().log_records.add(time_unix_nano=(T0 + one.at) * MS, severity_number=one.level)
        line.trace_id = trace_id(one.trace) if one.trace else b""
        line.span_id = one.span.to_bytes(8, "big") if one.span else b""
        line.body.string_value = one.text
    return request.SerializeToString()


class Fed:
    """A decoder, and what its points of traces add up to: by metric, group, labels that count and cell."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.decode = Decode(Settings(limits=limits or Limits()), 1)
        self.sum, self.n = Counter[Any](), Counter[Any]()
        self.words = dict[Any, list[list[int]]]()
        self.series = dict[int, Series]()
        self._offset = Counter[str]()

    def take(self, encoding: str, values: Sequence[bytes], **of: Any) -> None:
        """A block of records."""
        records = Records.of(values, encoding, 0, self._offset[encoding])
        records.time[:] = -1
        self._offset[encoding] += len(values)
        blocks, dead = self.decode.blocks(SourceSettings(topic=encoding, encoding=encoding, **of), records)
        assert not dead
        for _, block in blocks:
            self.series |= {s.hash: s for s in block.series}
            points = block.points
            for i in range(len(points)):
                s = self.series[int(points.series[i])]
                if s.metric not in METRICS:
                    continue
                assert points.time[i] == points.start[i] + CELL
                labels = tuple(pair for pair in s.labels if pair[0] not in (EXAMPLE, CODE))
                key = s.metric, s.group, labels, int(points.start[i] - T0)
                self.sum[key] += round(float(points.value[i]) * (1 if s.metric == STEPS else 1000))
                self.n[key] += round(float(points.count[i]))
                at, length = int(points.bucket_at[i]), int(points.bucket_len[i])
                held = points.buckets[at : at + length]
                first = 0 if s.metric == STEPS else BUCKETS
                assert held[:first].sum() == points.count[i]
                self.words.setdefault(key, []).extend(as_words(held[first:]).tolist())

    def close(self) -> None:
        """Time goes on for all of them."""
        for _ in range(2):
            self.take(LINES, [line_record([L(0, 0, "clock", 200_000, "tick")])])
            self.take(SPANS, [span_record([S(1 << 60, 1, 0, "clock", "tick", 200_000, 200_000)])])


def expected(spans: Iterable[S], lines: Iterable[L]) -> tuple[Counter[Any], Counter[Any]]:
    """The sums and counts of what closed traces say, walked one by one."""
    total, n = Counter[Any](), Counter[Any]()
    held = {(s.trace, s.own): s for s in spans}
    written = dict.fromkeys(lines)
    seen = set[Any]()
    calls = [(c, *busy(c, held)) for c in held.values() if c.kind in (0, 2, 5) and is_far(c, held)]
    for s in held.values():
        below = [c for c in held.values() if c.trace == s.trace and c.parent == s.own]
        events = [(line.at, step_of(line)) for line in written if (line.trace, line.span) == (s.trace, s.own)]
        events += [(at, f"call {c.service} {c.name}") for c, own, at in calls if own == (s.trace, s.own)]
        walk = [(s.start, "start"), *sorted(events), (s.end, "end")]
        for (_, a), (at, b) in pairwise(walk):
            for labels in ((("span.name", s.name), (STEP, a)), ((NEXT, b), ("span.name", s.name), (STEP, a))):
                key = STEPS, s.service, tuple(sorted(labels)), (T0 + at) // CELL * CELL - T0
                if (key, s.trace) not in seen:
                    seen.add((key, s.trace))
                    total[key] += 1
                    n[key] += 0
        cell = (T0 + s.end) // CELL * CELL - T0
        own = max(s.end - s.start - sum(c.end - c.start for c in below if c.kind != 5), 0)
        for metric, ms in ((SELF, own), (TOTAL, s.end - s.start)):
            total[metric, s.service, (("span.name", s.name),), cell] += ms
            n[metric, s.service, (("span.name", s.name),), cell] += 1
        caller = held.get((s.trace, s.parent))
        if caller and caller.service != s.service and s.kind in (0, 2):
            key = BETWEEN, s.service, (("client", caller.service), ("span.name", s.name)), cell
            total[key] += max(caller.end - caller.start - (s.end - s.start), 0)
            n[key] += 1
    return total, n


def is_far(c: S, held: dict[Any, S]) -> bool:
    """Whether another service called this."""
    above = held.get((c.trace, c.parent))
    return above is not None and above.service != c.service


def busy(c: S, held: dict[Any, S]) -> tuple[tuple[int, int], int]:
    """The span in whose course this was called, and when: that of the client's span, if another one is above it."""
    caller = at = held[c.trace, c.parent]
    while at.kind in (3, 4) and (up := held.get((at.trace, at.parent))) and up.service == at.service:
        at = up
    return ((at.trace, at.own), caller.start) if at.kind not in (3, 4) and at != caller else ((c.trace, c.parent), c.start)


def step_of(line: L) -> str:
    level = "ERROR" if line.level == 17 else "INFO"
    return f"{level} Cart.java:12" if "Cart.java" in line.text else f"{level} {line.text}"


def without_clock(found: Counter[Any]) -> dict[Any, int]:
    return {key: n for key, n in found.items() if key[1] != "clock"}


TEXTS = ("order placed", "order sent now", "at Cart.java:12 it failed", "nothing left")


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[S], list[L]]:
    """Traces of a tree of spans each, and lines in them; no two events of a span at one time, as their order is chance."""
    spans, lines = [], []
    for trace in range(1, draw(st.integers(1, 4)) + 1):
        count = draw(st.integers(1, 5))
        for own in range(1, count + 1):
            start = draw(st.integers(0, 4_000)) * 2
            parent = draw(st.integers(0, own - 1))
            service, name = draw(st.sampled_from(["a", "b", "c"])), draw(st.sampled_from(["GET", "PUT"]))
            spans.append(
                S(trace, own, parent, service, name, start, start + draw(st.integers(0, 900)), draw(st.integers(0, 5)))
            )
        at = draw(st.lists(st.integers(0, 4_500), max_size=8, unique=True))
        for t in at:
            of = draw(st.sampled_from([s for s in spans if s.trace == trace]))
            lines.append(
                L(trace, of.own, of.service, 2 * t + 1, draw(st.sampled_from(TEXTS)), draw(st.sampled_from([9, 17])))
            )
    starts = Counter((s.trace, s.parent, s.start) for s in spans)
    return [s for s in spans if starts[s.trace, s.parent, s.start] == 1], lines


@settings(max_examples=60, deadline=None)
@given(stories(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_whatever_the_order_and_cutting_of_records_the_same_is_counted_as_by_hand(story, chance, size):
    spans, lines = story
    held = {(s.trace, s.own) for s in spans}
    lines = [one for one in lines if (one.trace, one.span) in held]
    fed, sent = Fed(), [*spans, *lines, *spans[:2], *lines[:2]]  # some of it twice
    chance.shuffle(sent)
    for i in range(0, len(sent), size):
        some = sent[i : i + size]
        fed.take(SPANS, [span_record([s]) for s in some if isinstance(s, S)])
        fed.take(LINES, [line_record([one]) for one in some if isinstance(one, L)])
    fed.close()
    total, n = expected(spans, lines)
    assert without_clock(fed.sum) == total
    assert without_clock(fed.n) == n


def test_exemplars_are_traces_of_the_cell_and_of_durations_the_slowest():
    fed = Fed()
    fed.take(SPANS, [span_record([S(t, 1, 0, "a", "GET", 0, 100 * t) for t in range(1, 9)])])
    fed.close()
    (key,) = [key for key in fed.words if key[0] == TOTAL and key[1] == "a"]
    assert [hexadecimal(a, b) for a, b, _ in fed.words[key]] == [trace_id(t).hex() for t in (8, 7, 6, 5)]
    assert [ms - T0 for *_, ms in fed.words[key]] == [800, 700, 600, 500]
    (key,) = [key for key in fed.words if key[0] == STEPS and len(key[2]) == 3 and key[1] == "a"]
    assert fed.sum[key] == 8
    assert len({tuple(word) for word in fed.words[key]}) == 4
    assert next(s.bounds for s in fed.series.values() if s.metric == TOTAL) == BOUNDS


def test_a_line_before_its_span_began_by_another_clock_stands_between_start_and_end():
    fed = Fed()
    fed.take(SPANS, [span_record([S(1, 1, 0, "a", "GET", 100, 110)])])
    fed.take(LINES, [line_record([L(1, 1, "a", 98, "came early"), L(1, 1, "a", 112, "came late")])])
    fed.close()
    steps = {(dict(k[2])[STEP], dict(k[2])[NEXT]) for k in fed.sum if k[0] == STEPS and k[1] == "a" and len(k[2]) == 3}
    assert steps == {("start", "INFO came early"), ("INFO came early", "INFO came late"), ("INFO came late", "end")}


@pytest.mark.parametrize("key", ["order.id", r"(ord-\d+)"])
@pytest.mark.parametrize("encoding", ["otlp_logs_proto", "json_logs"])
def test_lines_that_share_a_key_are_a_session(key, encoding):
    """By an attribute or by what a pattern finds; of no span, and of no other session."""
    values = []
    for i, text in enumerate(("placed", "paid", "sent")):
        for order in ("ord-1", "ord-2"):
            request = ExportLogsServiceRequest()
            resource = request.resource_logs.add()
            resource.resource.attributes.add(key="service.name").value.string_value = "shop"
            line = resource.scope_logs.add().log_records.add(time_unix_nano=(T0 + i) * MS, severity_number=9)
            line.body.string_value = f"{text} {order}"
            line.attributes.add(key="order.id").value.string_value = order
            as_json = (
                f'{{"ts":{T0 + i},"service":"shop","level":"info","message":"{text} {order}","order":{{"id":"{order}"}}}}'
            )
            values.append(request.SerializeToString() if encoding == "otlp_logs_proto" else as_json.encode())
    fed = Fed()
    fed.take(encoding, values, session_key=key)
    as_json = as_json.replace("ord-2", "ord-3").replace(str(T0 + 2), str(T0 + 90_000))
    line.time_unix_nano, line.body.string_value = (T0 + 90_000) * MS, "sent ord-3"
    line.attributes[0].value.string_value = "ord-3"
    later = request.SerializeToString() if encoding == "otlp_logs_proto" else as_json.encode()
    fed.take(encoding, [later], session_key=key)
    found = {
        (dict(k[2])[STEP], dict(k[2])[NEXT]): n
        for k, n in fed.sum.items()
        if k[0] == STEPS and k[1] == "shop" and NEXT in dict(k[2])
    }
    assert found == {
        ("start", "INFO placed ord-<*>"): 2, ("INFO placed ord-<*>", "INFO paid ord-<*>"): 2,
        ("INFO paid ord-<*>", "INFO sent ord-<*>"): 2, ("INFO sent ord-<*>", "end"): 2,
    }  # fmt: skip


def test_a_service_whose_lines_are_not_heard_makes_no_steps_meanwhile():
    """Missing lines are no missing steps; durations, and the steps of others, go on."""
    fed = Fed()
    story = lambda t, at: [S(t, 1, 0, "a", "GET", at, at + 50), S(t, 2, 1, "b", "PUT", at + 10, at + 20)]  # noqa: E731
    fed.take(SPANS, [span_record(story(1, 0))])
    fed.take(LINES, [line_record([L(1, 2, "b", 15, "kept"), L(0, 0, "b", 60, "of no trace")])])
    for t in range(2, 60):
        fed.take(SPANS, [span_record(story(t, 1_000 * t))])
    counted = Counter[Any]()
    for (metric, group, labels, _), n in fed.sum.items():
        if metric == STEPS and dict(labels)[STEP] == "start" and NEXT in dict(labels):
            counted[group, dict(labels)[NEXT]] += n
    assert counted["a", "call b PUT"] >= 25
    assert {key: n for key, n in counted.items() if key[0] == "b"} == {("b", "INFO kept"): 1}
    own = sum(n for (metric, group, *_), n in fed.n.items() if (metric, group) == (SELF, "b"))
    assert own == counted["a", "call b PUT"]


def test_past_the_limit_whole_traces_are_left_out_and_counted():
    """Of those that are taken all is there; memory stays below the limit, whatever comes at one moment."""
    fed = Fed(Limits(traced_events=2_048))
    for first in range(1, 40_001, 4_000):
        fed.take(
            SPANS,
            [
                span_record([S(t, own, own - 1, "a", f"op{own}", 10, 20) for own in (1, 2)])
                for t in range(first, first + 4_000)
            ],
        )
        assert fed.decode.steps
        assert fed.decode.steps.held.size <= 2 * 2_048
    fed.close()
    counts = {k[2][0][1]: n for k, n in fed.n.items() if k[0] == TOTAL and k[1] == "a"}
    assert 100 < counts["op1"] == counts["op2"] <= 2_048
    assert fed.decode.counts[LEFT_OUT] in (80_000 - 2 * counts["op1"], 80_001 - 2 * counts["op1"])  # with the clock or not


def test_a_line_of_a_span_that_nobody_heard_of_is_counted_and_makes_no_step():
    fed = Fed()
    fed.take(SPANS, [span_record([S(1, 1, 0, "a", "GET", 0, 9)])])
    fed.take(LINES, [line_record([L(1, 7, "a", 5, "whose")])])
    fed.close()
    assert fed.decode.counts[ORPHANS] == 1
    assert not [k for k in fed.sum if "INFO whose" in str(k)]


@settings(max_examples=15, deadline=None)
@given(stories(), st.integers(0, 6))
def test_what_is_held_goes_on_in_another_process_as_if_it_had_not_stopped(story, cut):
    spans, lines = story
    held = {(s.trace, s.own) for s in spans}
    sent = [*spans, *(one for one in lines if (one.trace, one.span) in held)]
    fed, other = Fed(), Fed()
    for i, one in enumerate(sent):
        if i == cut and fed.decode.steps and other.decode.steps:
            other.decode.steps.load(fed.decode.steps.dump())
            other.sum, other.n, fed = fed.sum, fed.n, other
        encoding, value = (SPANS, span_record([one])) if isinstance(one, S) else (LINES, line_record([one]))
        fed.take(encoding, [value])
    fed.close()
    assert without_clock(fed.sum) == expected(spans, [one for one in sent if isinstance(one, L)])[0]


def test_words_survive_the_way_as_buckets():
    words = np.array([[0x7FF0000000000001, 1, T0], [0xFFFFFFFFFFFFFFFF, 0, 2**63]], np.uint64)
    np.testing.assert_array_equal(as_words(as_buckets(words)), words)
