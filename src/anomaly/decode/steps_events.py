"""Events of traces as rows, as the buffer of steps holds them: spans, and lines of logs that say which trace they are of.

An event points to its group and to what it is by hash; names have a group's attributes and a step's words by these hashes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.decode.spans import NANOSECONDS, Spans
from anomaly.decode.spans_known import Known
from anomaly.decode.wire import mix

SPAN, LINE = 0, 1

# key: of the trace, never 0; `what`: of a span the hash of its operation, of a line that of its step; `start` ns, of a line
# when it was written; `end` ms; `duration` ns; `place` where it came from, a number of the buffer's; `mute`: lines of its
# group may be missing.
EVENT = np.dtype([
    ("key", "u8"), ("trace", "u8"), ("low", "u8"), ("span", "u8"), ("parent", "u8"), ("group", "u8"), ("what", "u8"),
    ("start", "i8"), ("duration", "i8"), ("end", "i8"), ("place", "i4"), ("type", "u1"), ("kind", "u1"), ("mute", "u1"),
    ("spare", "u1"),
])  # fmt: skip


def in_words(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """EVENT (n,) as uint64 (n, words), the same memory."""
    return rows.view(np.uint64).reshape(rows.size, EVENT.itemsize // 8)


class Whose(msgspec.Struct, array_like=True):
    """A group: its name, and the attributes that make it this one; `spans`: whether spans of it were heard."""

    name: str
    attributes: dict[str, str]
    spans: bool = False


class Words(msgspec.Struct, array_like=True):
    """An operation or a step: what it is called, and of a line an example without secrets and the place in the source."""

    text: str
    example: str = ""
    code: str = ""


@dataclass(slots=True)
class Names:
    """What hashes stand for."""

    groups: dict[int, Whose] = field(default_factory=dict)
    words: dict[int, Words] = field(default_factory=dict)

    def learn(self, more: "Names") -> None:
        """Know these as well."""
        for hashed, group in more.groups.items():
            known = self.groups.setdefault(hashed, group)
            known.spans = known.spans or group.spans
        for hashed, words in more.words.items():
            self.words.setdefault(hashed, words)


@dataclass(slots=True)
class Events:
    """Events of a block, of which the buffer takes those that it wants.

    key    uint64 (n,)  of the trace, 0: of none that steps could be made of
    record int32 (n,)   rising
    heard  int64 (records,)  how far their place was heard with each record, ms
    first  the record that is here number 0; `place`, source and partition, if not of the block
    rows   gives those at an index as EVENT, `place` and `key` left to the buffer; names gives what their hashes mean
    """

    key: NDArray[np.uint64]
    record: NDArray[np.int32]
    heard: NDArray[np.int64]
    rows: Callable[[NDArray[np.intp]], NDArray[Any]]
    names: Callable[[NDArray[np.intp]], Names]
    type: int = SPAN
    first: int = 0
    place: tuple[str, int] | None = None


@bare
def trace_keys(trace, low, useful, out):  # type: ignore[no-untyped-def]
    """The key of each trace, 0 where it is not useful or there is none."""
    for i in range(trace.size):
        known = useful[i] and (trace[i] | low[i]) != np.uint64(0)
        out[i] = mix(trace[i], low[i]) | np.uint64(1) if known else np.uint64(0)


@bare
def mixed(a, b, out):  # type: ignore[no-untyped-def]
    """One hash of two, each."""
    for i in range(a.size):
        out[i] = mix(a[i], b[i]) | np.uint64(1)


class Columns(NamedTuple):
    """What `write_spans` reads, as `Spans` has it; groups and operations by number, int32."""

    trace: NDArray[np.uint64]
    low: NDArray[np.uint64]
    span: NDArray[np.uint64]
    parent: NDArray[np.uint64]
    group: NDArray[np.int32]
    operation: NDArray[np.int32]
    start: NDArray[np.int64]
    duration: NDArray[np.int64]
    time: NDArray[np.int64]
    kind: NDArray[np.uint8]


@bare
def write_spans(index, columns, groups, operations, rows):  # type: ignore[no-untyped-def]
    """The spans at `index` as EVENT, row by row; groups and operations by number: their hashes."""
    for k in range(index.size):
        i, row = index[k], rows[k]
        row.trace, row.low, row.span, row.parent = columns.trace[i], columns.low[i], columns.span[i], columns.parent[i]
        row.group, row.what = groups[columns.group[i]], operations[columns.operation[i]]
        row.start = columns.start[i] if columns.start[i] > 0 else columns.time[i] * NANOSECONDS
        row.end, row.duration, row.kind = columns.time[i], columns.duration[i], columns.kind[i]


def mix_of(a: NDArray[np.uint64], *more: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One hash of several columns, never 0."""
    for b in more:
        out = np.empty(a.size, np.uint64)
        mixed(np.ascontiguousarray(a), np.ascontiguousarray(b), out)
        a = out
    return a


def keys_of(trace: NDArray[np.uint64], low: NDArray[np.uint64], useful: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """As `trace_keys`."""
    out = np.empty(trace.size, np.uint64)
    trace_keys(np.ascontiguousarray(trace), np.ascontiguousarray(low), useful, out)
    return out


def heard_by(record: NDArray[np.int32], time: NDArray[np.int64], records: int) -> NDArray[np.int64]:
    """The latest of these times with each record and before, 0 before the first; `record` rises."""
    heard = np.zeros(records, np.int64)
    if record.size:
        first = np.flatnonzero(np.diff(record, prepend=-1))
        heard[record[first]] = np.maximum.reduceat(time, first)
    return np.maximum.accumulate(heard)


def joined(a: Events, b: Events, index: NDArray[np.int32]) -> Events:
    """The events of both, in the order of their records; those of `b` are at `index`."""
    n, order = a.key.size, np.argsort(np.concatenate([a.record, index[b.record]]), kind="stable")
    heard = np.zeros(a.heard.size, np.int64)
    heard[index] = b.heard

    def rows(at: NDArray[np.intp]) -> NDArray[Any]:
        which = order[at]
        made = np.zeros(at.size, EVENT)
        made[which < n], made[which >= n] = a.rows(which[which < n]), b.rows(which[which >= n] - n)
        return made

    def names(at: NDArray[np.intp]) -> Names:
        which = order[at]
        found = a.names(which[which < n])
        found.learn(b.names(which[which >= n] - n))
        return found

    record = np.concatenate([a.record, index[b.record]])[order]
    heard = np.maximum(np.maximum.accumulate(heard), a.heard)
    return Events(np.concatenate([a.key, b.key])[order], record, heard, rows, names, a.type)


def of_spans(
    spans: Spans, group: NDArray[np.int32], operation: NDArray[np.int32], known: Known, repeated: NDArray[np.uint8],
    records: int,
) -> Events:  # fmt: skip
    """Spans with their groups and operations, but for those that came before."""
    useful = (operation >= 0) & (spans.span != 0) & (repeated == 0)

    flat = np.ascontiguousarray
    columns = Columns(
        flat(spans.trace), flat(spans.trace_low), flat(spans.span), flat(spans.parent), flat(group), flat(operation),
        flat(spans.start), flat(spans.duration), flat(spans.time), flat(spans.kind),
    )  # fmt: skip

    def rows(index: NDArray[np.intp]) -> NDArray[Any]:
        made = np.zeros(index.size, EVENT)
        write_spans(index, columns, known.hash, known.wire, made)
        return made

    def names(index: NDArray[np.intp]) -> Names:
        groups = np.flatnonzero(np.bincount(group[index])).tolist()
        operations = np.flatnonzero(np.bincount(operation[index])).tolist()
        return Names(
            {known.groups[g].hash: Whose(known.groups[g].name, known.groups[g].attributes, True) for g in groups},
            {int(known.wire[o]): Words(known.names[o]) for o in operations},
        )

    key = keys_of(spans.trace, spans.trace_low, useful)
    return Events(key, spans.record, heard_by(spans.record, spans.time, records), rows, names)
