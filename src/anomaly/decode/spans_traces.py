"""The encodings of traces: `otlp_spans_proto`, `otlp_spans_json`, `jaeger_proto`, `jaeger_json` and `zipkin_json`.

bytes -> spans (an encoding each) -> who and which operation (`spans_known`) -> calls between services (`spans_join`) ->
points (`spans_series`). What is known of operations, and the halves of calls that wait, are memories of decode's: after a
restart calls whose halves lie on both sides of it are not counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import Limits
from anomaly.decode import spans_jaeger, spans_otlp, spans_wire, spans_zipkin
from anomaly.decode import spans_series as made
from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, register
from anomaly.decode.index import MISSING
from anomaly.decode.points import BY_POINT, Kind, Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.spans import KINDS, STATUSES, Spans
from anomaly.decode.spans_join import CALL, LET_GO, REPEATED, Join
from anomaly.decode.spans_known import PAST, UNREADABLE, Known
from anomaly.decode.spans_parsed import ParsedSpans
from anomaly.decode.steps_events import Events, of_spans

# Before 2001-09-09 in ms a time is a clock that was never set; such spans are joined with nothing.
EARLIEST = 1_000_000_000_000

# What is counted of spans besides points.
REPEATED_SPANS, OTHER_OPERATIONS, LET_GO_SPANS = "span_repeated", "span_other_operation", "span_let_go"

WHO = "caller", "group", "operation"  # of a call


class Reader(Protocol):
    """Bytes -> spans."""

    def spans(self, records: Records) -> tuple[Spans, list[DeadLetter]]:
        """The spans of a block, in the order of their records, and the records that nobody can read."""


@dataclass(slots=True)
class Block:
    """What a block of records holds, once its spans have been joined: to be taken for points as often as is asked."""

    records: Records
    spans: Spans
    group: NDArray[np.int32]
    operation: NDArray[np.int32]
    repeated: NDArray[np.uint8]
    calls: NDArray[Any]
    dead: list[DeadLetter]
    past: int
    told: dict[int, spans_wire.Told]


@dataclass(slots=True)
class Passed:
    """A block whose calls are joined elsewhere, what its numbers mean, and how far its source was heard, ms."""

    block: Block
    known: Known
    heard: int = 0

    def records(self, partitions: int) -> Iterator[tuple[int, bytes]]:
        """Its spans as records, each with its partition."""
        b = self.block
        once, place = b.repeated == 0, (b.records.source, b.records.partition, self.heard)
        return spans_wire.encode(b.spans.take(once), b.group[once], b.operation[once], self.known, partitions, place)


class Traces:
    """Decodes blocks of spans to the points of operations, unless `calls_alone`, and of calls.

    Where calls are joined elsewhere, `passes` is a list: blocks are put there, and their calls are not counted here.
    """

    def __init__(self, reader: Callable[[int], Reader], limits: Limits | None = None, calls_alone: bool = False) -> None:
        self.calls_alone = calls_alone
        self.passes: list[Passed | spans_wire.PassedLines] | None = None
        self._reader, self.limits = reader, limits or Limits()
        self.counts: Counter[str] = Counter()
        self.known: Known | None = None
        self._joins: dict[tuple[str, int], Join] = {}
        self._latest: Block | None = None

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block. The same one is joined once, however often it is asked for."""
        if self.known is None:
            self.known = Known(catalog.identity, self.limits.operations)
        if self._latest is None or self._latest.records is not records:
            self._latest = self._joined(records, catalog, self.known)
            if self.passes is not None:
                self.passes.append(Passed(self._latest, self.known))
        block = self._latest
        mine, theirs = self._of_spans(block, self.known), self._of_calls(block, self.known)
        m, c = mine.parts.key.size * made.BUCKETS, theirs.parts.key.size * made.BUCKETS
        buckets = np.zeros(m + 2 * c)
        found = [
            series(catalog, mine, made.CALLS, made.counted(mine.parts)),
            series(catalog, mine, made.DURATION, mine.lasted("duration", buckets, 0)),
            series(catalog, theirs, made.REQUESTS, made.counted(theirs.parts)),
            series(catalog, theirs, made.WAITED, theirs.lasted("waited", buckets, m)),
            series(catalog, theirs, made.BETWEEN, theirs.lasted("between", buckets, m + c)),
        ]
        columns = {name: np.concatenate([getattr(p, name) for p, _ in found]) for name in BY_POINT}
        points = Points(**columns, buckets=buckets)
        lost = block.past + sum(lost for _, lost in found)
        return Decoded(
            points.take(np.argsort(points.record, kind="stable")), block.dead, lost, self._events(block, self.known)
        )

    def join(self, source: str, partition: int) -> Join:
        """The halves of an input partition."""
        place = source, partition
        if place not in self._joins:
            self._joins[place] = Join(self.limits.spans, int(self.limits.span_wait * 1000))
        return self._joins[place]

    def drop(self, source: str, partition: int) -> None:
        """Another worker reads this input partition."""
        self._joins.pop((source, partition), None)
        self._latest = None

    def _joined(self, records: Records, catalog: Catalog, known: Known) -> Block:
        reader = self._reader(catalog.identity.seed)
        spans, dead = reader.spans(records)
        spans, untimely = bearable(spans, records, int(self.limits.future * 1000))
        dead += untimely
        group = known.group_of(spans)
        operation = known.operation_of(spans, group)
        unread = np.unique(spans.record[operation == UNREADABLE])
        if unread.size:
            error = BadRecord("malformed", "a name or an attribute is not UTF-8")
            dead += [records.dead(i, error) for i in unread.tolist()]
            good = ~np.isin(spans.record, unread)
            spans, group, operation = spans.take(good), group[good], operation[good]
        join = self.join(records.source, records.partition)
        before = join.counts.copy()
        calls, repeated = join.take(spans, group, operation, records.offset, known.environment, EARLIEST)
        self.counts[REPEATED_SPANS] += int(join.counts[REPEATED] - before[REPEATED])
        self.counts[LET_GO_SPANS] += int(join.counts[LET_GO] - before[LET_GO])
        self.counts[OTHER_OPERATIONS] = sum(known.over.values())
        past = int(np.count_nonzero(operation == PAST))
        calls = calls if self.passes is None else calls[:0]
        told = reader.told if isinstance(reader, spans_wire.WireSpans) else {}
        return Block(records, spans, group, operation, repeated, calls, sorted(dead, key=lambda d: d.offset), past, told)

    def _events(self, block: Block, known: Known) -> list[Events]:
        """The spans, and what came with them, for whoever puts traces together."""
        if self.passes is not None:
            return []
        events = of_spans(block.spans, block.group, block.operation, known, block.repeated, len(block.records))
        return spans_wire.apart(events, block.told) if self.calls_alone else [events]

    def _of_spans(self, block: Block, known: Known) -> "Said":
        spans, key = block.spans, np.empty(len(block.spans), np.uint64)
        columns = spans.sender, spans.resource, known.wire, block.operation, spans.kind, spans.status, block.repeated
        made.series_keys(*columns, key)
        key[:] = 0 if self.calls_alone else key

        def labels(i: int) -> dict[str, str]:
            status, kind = STATUSES[spans.status[i]], KINDS[spans.kind[i]]
            said = {"span.name": known.names[block.operation[i]], "span.kind": kind, "status.code": status}
            return {**spans.told(int(spans.resource[i])), **said}

        return Said(*made.parts_of(spans.record, key, spans.time), {"duration": spans.duration}, labels)

    def _of_calls(self, block: Block, known: Known) -> "Said":
        calls = {name: np.ascontiguousarray(block.calls[name]) for name in CALL.names or ()}
        key, caller, group, operation = np.empty(block.calls.size, np.uint64), *(calls[n] for n in WHO)
        made.call_keys(known.hash, known.wire, caller, group, operation, calls["status"], key)

        def labels(i: int) -> dict[str, str]:
            said = {"client": known.groups[caller[i]].name, "span.name": known.names[operation[i]]}
            return {**known.groups[group[i]].attributes, **said, "status.code": STATUSES[calls["status"][i]]}

        return Said(*made.parts_of(calls["record"], key, calls["time"]), calls, labels)


class Said(NamedTuple):
    """What the spans or the calls of a block say: parts, the part of each, durations by name (ns), and the labels of one."""

    parts: made.Parts
    of: NDArray[np.int32]
    ns: Mapping[str, NDArray[np.int64]]
    labels: Callable[[int], dict[str, str]]

    def lasted(self, name: str, buckets: NDArray[np.float64], at: int) -> Points:
        """The points of one of the durations."""
        return made.lasted(self.parts, self.of, self.ns[name], buckets, at)


def series(catalog: Catalog, said: Said, metric: str, points: Points) -> tuple[Points, int]:
    """The points of a metric, a part each, with their series; and how many are of series past the limit."""
    bounds, unit = (made.BOUNDS, "s") if metric in made.DURATIONS else ((), "")
    kind, first = Kind.HISTOGRAM_DELTA if bounds else Kind.DELTA, said.parts.first
    rows = catalog.rows(
        made.of_metric(said.parts.key, metric), lambda p: Description(metric, unit, said.labels(int(first[p])), kind, bounds)
    )
    points.series, _, points.writer = catalog.named(rows)
    lost = rows == MISSING
    useless = lost | (points.count == 0) if bounds else lost
    return (points.take(~useless) if useless.any() else points), int(np.count_nonzero(lost))


def bearable(spans: Spans, records: Records, future: int) -> tuple[Spans, list[DeadLetter]]:
    """The spans whose times can be true, and the records of the others, each with how many of its spans are set aside.

    One that ended next year would move the time of its source there.
    """
    sent = records.time[spans.record] if len(spans) else np.zeros(0, np.int64)
    wrong = {"bad_timestamp": spans.time < EARLIEST, "future_timestamp": (sent >= 0) & (spans.time > sent + future)}
    if not any(bad.any() for bad in wrong.values()):
        return spans, []
    dead = []
    for reason, bad in wrong.items():
        held, many = np.unique(spans.record[bad], return_counts=True)
        pairs = zip(held.tolist(), many.tolist(), strict=True)
        dead += [records.dead(i, BadRecord(reason, f"{n} of its spans"), n) for i, n in pairs]
    return spans.take(~(wrong["bad_timestamp"] | wrong["future_timestamp"])), dead


TRACES = frozenset({"jaeger_json", "jaeger_proto", "otlp_spans_json", "otlp_spans_proto", "zipkin_json"})


def _parsed(parse: Any) -> Callable[[], Traces]:
    return lambda: Traces(lambda seed: ParsedSpans(parse, seed))


def of_wire() -> Traces:
    """What `spans_wire` wrote, to the points of calls."""
    return Traces(spans_wire.WireSpans, calls_alone=True)


register("otlp_spans_proto")(lambda: Traces(spans_otlp.OtlpSpans))
register("otlp_spans_json")(_parsed(spans_otlp.parse_json))
register("jaeger_proto")(_parsed(spans_jaeger.parse_protobuf))
register("jaeger_json")(_parsed(spans_jaeger.parse_json))
register("zipkin_json")(_parsed(spans_zipkin.parse_json))
