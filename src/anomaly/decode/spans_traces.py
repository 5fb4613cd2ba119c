"""The encodings of traces: `otlp_spans_proto`, `otlp_spans_json`, `jaeger_proto`, `jaeger_json` and `zipkin_json`.

bytes -> spans (an encoding each) -> who and which operation (`spans_known`) -> calls between services (`spans_join`) ->
points (`spans_series`). What is known of operations, and the halves of calls that wait, are memories of decode's: after a
restart calls whose halves lie on both sides of it are not counted.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import Limits
from anomaly.decode import spans_jaeger, spans_otlp, spans_zipkin
from anomaly.decode import spans_series as made
from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, register
from anomaly.decode.index import MISSING
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.spans import KINDS, STATUSES, Spans
from anomaly.decode.spans_join import CALL, LET_GO, REPEATED, Join
from anomaly.decode.spans_known import PAST, UNREADABLE, Known
from anomaly.decode.spans_parsed import ParsedSpans

# Before 2001-09-09 in ms a time is a clock that was never set; such spans are joined with nothing.
EARLIEST = 1_000_000_000_000

# What is counted of spans besides points.
REPEATED_SPANS, OTHER_OPERATIONS, LET_GO_SPANS = "span_repeated", "span_other_operation", "span_let_go"


class Reader(Protocol):
    """Bytes -> spans."""

    def spans(self, records: Records) -> tuple[Spans, list[DeadLetter]]:
        """The spans of a block, in the order of their records, and the records that nobody can read."""


@dataclass(slots=True)
class Block:
    """What a block of records holds, once its spans have been joined: to be taken for points as often as is asked."""

    records: Records
    spans: Spans
    operation: NDArray[np.int32]
    repeated: NDArray[np.uint8]
    calls: NDArray[Any]
    dead: list[DeadLetter]
    past: int


class Traces:
    """Decodes blocks of spans to the points of operations and calls."""

    def __init__(self, reader: Callable[[int], Reader], limits: Limits | None = None) -> None:
        self._reader, self.limits = reader, limits or Limits()
        self.counts: Counter[str] = Counter()
        self._known: Known | None = None
        self._joins: dict[tuple[str, int], Join] = {}
        self._latest: Block | None = None

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block. The same one is joined once, however often it is asked for."""
        if self._known is None:
            self._known = Known(catalog.identity, self.limits.operations)
        if self._latest is None or self._latest.records is not records:
            self._latest = self._joined(records, catalog, self._known)
        block = self._latest
        found = [self._of_spans(block, catalog, self._known), self._of_calls(block, catalog, self._known)]
        points = Points.joined([points for points, _ in found])
        points = points.take(np.argsort(points.record, kind="stable"))
        return Decoded(points, block.dead, block.past + sum(lost for _, lost in found))

    def drop(self, source: str, partition: int) -> None:
        """Another worker reads this input partition."""
        self._joins.pop((source, partition), None)
        self._latest = None

    def _joined(self, records: Records, catalog: Catalog, known: Known) -> Block:
        spans, dead = self._reader(catalog.identity.seed).spans(records)
        group, operation = named(spans, known)
        unread = np.unique(spans.record[operation == UNREADABLE])
        if unread.size:
            error = BadRecord("malformed", "a name or an attribute is not UTF-8")
            dead = sorted(dead + [records.dead(i, error) for i in unread.tolist()], key=lambda d: d.offset)
            good = ~np.isin(spans.record, unread)
            spans, group, operation = spans.take(good), group[good], operation[good]
        join = self._joins.setdefault(
            (records.source, records.partition), Join(self.limits.spans, int(self.limits.span_wait * 1000))
        )
        before = join.counts.copy()
        calls, repeated = join.take(spans, group, operation, records.offset, known.environment, EARLIEST)
        self.counts[REPEATED_SPANS] += int(join.counts[REPEATED] - before[REPEATED])
        self.counts[LET_GO_SPANS] += int(join.counts[LET_GO] - before[LET_GO])
        self.counts[OTHER_OPERATIONS] = sum(known.over.values())
        past = int(np.count_nonzero(operation == PAST))
        return Block(records, spans, operation, repeated, calls, dead, past)

    def _of_spans(self, block: Block, catalog: Catalog, known: Known) -> tuple[Points, int]:
        spans, key = block.spans, np.empty(len(block.spans), np.uint64)
        resources = np.array([r.key & 0xFFFFFFFFFFFFFFFF for r in spans.resources], np.uint64)
        columns = resources, spans.resource, known.wire, block.operation, spans.kind, spans.status, block.repeated
        made.series_keys(*columns, key)
        parts, of = made.parts_of(spans.record, key, spans.time)

        def labels(i: int) -> dict[str, str]:
            status, kind = STATUSES[spans.status[i]], KINDS[spans.kind[i]]
            said = {"span.name": known.names[block.operation[i]], "span.kind": kind, "status.code": status}
            return {**spans.resources[spans.resource[i]].attributes(), **said}

        return series(catalog, parts, labels, [
            (made.CALLS, made.counted(parts)), (made.DURATION, made.lasted(parts, of, spans.duration)),
        ])  # fmt: skip

    def _of_calls(self, block: Block, catalog: Catalog, known: Known) -> tuple[Points, int]:
        calls, key = block.calls, np.empty(block.calls.size, np.uint64)
        caller, group, operation, status, record, time, waited, between = (
            np.ascontiguousarray(calls[name])
            for name in ("caller", "group", "operation", "status", "record", "time", "waited", "between")
        )
        made.call_keys(known.hash, known.wire, caller, group, operation, status, key)
        parts, of = made.parts_of(record, key, time)

        def labels(i: int) -> dict[str, str]:
            said = {"client": known.groups[caller[i]].name, "span.name": known.names[operation[i]]}
            return {**known.groups[group[i]].attributes, **said, "status.code": STATUSES[status[i]]}

        return series(catalog, parts, labels, [
            (made.REQUESTS, made.counted(parts)), (made.WAITED, made.lasted(parts, of, waited)),
            (made.BETWEEN, made.lasted(parts, of, between)),
        ])  # fmt: skip


def named(spans: Spans, known: Known) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Group and operation of each span, negative where it has none."""
    numbers = known.group_of(spans.resources)
    group = numbers[spans.resource] if numbers.size else np.zeros(0, np.int32)
    return group, known.operation_of(spans, group)


def series(
    catalog: Catalog, parts: made.Parts, labels: Callable[[int], dict[str, str]], metrics: Sequence[tuple[str, Points]]
) -> tuple[Points, int]:
    """The points of metrics that share their parts, a part's together; and how many are of series past the limit."""
    many, lost = len(metrics), 0
    found = []
    for number, (metric, points) in enumerate(metrics):
        bounds, unit = (made.BOUNDS, "s") if points.buckets.size else ((), "")
        kind = Kind.HISTOGRAM_DELTA if bounds else Kind.DELTA

        def describe(
            p: int, metric: str = metric, unit: str = unit, kind: Kind = kind, bounds: tuple[float, ...] = bounds
        ) -> Description:
            return Description(metric, unit, labels(int(parts.first[p])), kind, bounds)

        rows = catalog.rows(made.of_metric(parts.key, number + 1), describe)
        points.series, _, points.writer = catalog.named(rows)
        said = (rows != MISSING) & ((points.count > 0) if bounds else True)
        lost += int(np.count_nonzero(rows == MISSING))
        found.append(points.take(said) if not said.all() else points)
    return Points.joined(found) if many else Points.empty(), lost


def _parsed(parse: Any) -> Callable[[], Traces]:
    return lambda: Traces(lambda seed: ParsedSpans(parse, seed))


register("otlp_spans_proto")(lambda: Traces(spans_otlp.OtlpSpans))
register("otlp_spans_json")(_parsed(spans_otlp.parse_json))
register("jaeger_proto")(_parsed(spans_jaeger.parse_protobuf))
register("jaeger_json")(_parsed(spans_jaeger.parse_json))
register("zipkin_json")(_parsed(spans_zipkin.parse_json))
