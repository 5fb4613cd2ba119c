"""Spans on their way to where they are joined: records of anomaly.spans, columns of the spans of one partition of traces.

A record holds its services (the attributes that make them these), their operations by name, and a column for each thing that
a join looks at; or lines of logs that are of traces, as rows. Either says which source it is of, and how far that was heard.
It is MessagePack, with a version; what it cannot be is a dead letter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.decode.records import PADDING, BadRecord, DeadLetter, Records
from anomaly.decode.spans import Spans
from anomaly.decode.spans_known import Known
from anomaly.decode.spans_parsed import hashed_attributes
from anomaly.decode.steps_events import EVENT, LINE, Events, Names, Whose, Words
from anomaly.decode.wire import mix

VERSION, LINES = 1, 2  # of a record of spans, and of one of lines
MOST = 20_000  # spans of a record: a megabyte and a half
COLUMNS = {
    "resource": "<u2", "operation": "<u2", "trace": "<u8", "trace_low": "<u8", "span": "<u8", "parent": "<u8",
    "kind": "u1", "status": "u1", "start": "<i8", "duration": "<i8", "time": "<i8",
}  # fmt: skip


class Record(msgspec.Struct, array_like=True):
    """What a record holds: services by their attributes, operations by name and its hash, and columns by name."""

    version: int
    services: list[dict[str, str]]
    operations: list[tuple[str, int]]
    columns: dict[str, bytes]
    source: str = ""
    partition: int = 0
    heard: int = 0


class LinesRecord(msgspec.Struct, array_like=True):
    """Lines of traces of one source: EVENT as bytes, and what their hashes mean; or no line, and how far it was heard."""

    version: int
    source: str
    partition: int
    heard: int
    groups: dict[int, Whose]
    words: dict[int, Words]
    rows: bytes


class Told(NamedTuple):
    """What a record says besides its spans: its source, how far that was heard, ms, and lines with their names, or None."""

    source: str
    partition: int
    heard: int
    lines: tuple[NDArray[Any], Names] | None


_to_bytes, _from_bytes = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Record).decode
_lines_from = msgspec.msgpack.Decoder(LinesRecord).decode


@bare
def place(trace, trace_low, partitions, out):  # type: ignore[no-untyped-def]
    """The partition of each trace."""
    for i in range(trace.size):
        out[i] = mix(trace[i], trace_low[i]) % np.uint64(partitions)


def encode(
    spans: Spans, group: NDArray[np.int32], operation: NDArray[np.int32], known: Known, partitions: int,
    told: tuple[str, int, int] = ("", 0, 0),
) -> Iterator[tuple[int, bytes]]:  # fmt: skip
    """Records, each with its partition; spans that cannot be joined stay behind. An order within a trace is kept."""
    where = np.empty(len(spans), np.int32)
    place(spans.trace, spans.trace_low, partitions, where)
    useful = (operation >= 0) & (spans.span != 0) & ((spans.trace | spans.trace_low) != 0)
    for p in range(partitions):
        mine = np.flatnonzero(useful & (where == p))
        for begin in range(0, mine.size, MOST):
            index = mine[begin : begin + MOST]
            yield p, _record(spans.take(index), group[index], operation[index], known, told)


def _record(
    spans: Spans, group: NDArray[np.int32], operation: NDArray[np.int32], known: Known, told: tuple[str, int, int]
) -> bytes:
    services, resource = np.unique(group, return_inverse=True)
    operations, named = np.unique(operation, return_inverse=True)
    held: dict[str, NDArray[Any]] = {"resource": resource, "operation": named}
    columns = {n: held[n] if n in held else getattr(spans, n) for n in COLUMNS}
    return _to_bytes(
        Record(
            VERSION,
            [known.groups[g].attributes for g in services.tolist()],
            [(known.names[o], int(known.wire[o])) for o in operations.tolist()],
            {name: columns[name].astype(kind).tobytes() for name, kind in COLUMNS.items()},
            *told,
        )
    )


@dataclass(slots=True)
class PassedLines:
    """Lines that are put together with spans elsewhere; on a `beat` all are told how far their source was heard, ms."""

    events: Events
    source: str
    partition: int
    heard: int
    beat: bool

    def records(self, partitions: int) -> Iterator[tuple[int, bytes]]:
        """They as records, each with its partition."""
        index = np.flatnonzero(self.events.key)
        rows, where = self.events.rows(index), np.empty(index.size, np.int32)
        rows["key"], rows["type"] = self.events.key[index], LINE
        place(np.ascontiguousarray(rows["trace"]), np.ascontiguousarray(rows["low"]), partitions, where)
        for p in range(partitions):
            mine = np.flatnonzero(where == p)
            for begin in range(0, max(mine.size, int(self.beat)), MOST):
                some = mine[begin : begin + MOST]
                names = self.events.names(index[some])
                told = self.source, self.partition, self.heard
                yield p, _to_bytes(LinesRecord(LINES, *told, names.groups, names.words, rows[some].tobytes()))


def apart(events: Events, told: Mapping[int, Told]) -> list[Events]:
    """Spans and lines by record, each of the source that it came from."""
    found = []
    for i, one in sorted(told.items()):
        place, heard = (one.source, one.partition), np.array([one.heard or events.heard[i]])
        if one.lines is None:
            begin, end = np.searchsorted(events.record, [i, i + 1]).tolist()
            found.append(replace(_part(events, begin, end), heard=heard, first=i, place=place))
        else:
            rows, names = one.lines
            none = np.zeros(rows.size, np.int32)
            key = np.ascontiguousarray(rows["key"])
            found.append(Events(key, none, heard, _copied(rows), _always(names), LINE, i, place))
    return found


def _part(events: Events, begin: int, end: int) -> Events:
    """The events of one record."""
    return Events(
        events.key[begin:end], np.zeros(end - begin, np.int32), events.heard,
        lambda index: events.rows(index + begin), lambda index: events.names(index + begin), events.type,
    )  # fmt: skip


def _always(names: Names) -> Callable[[NDArray[np.intp]], Names]:
    return lambda _: names


def _copied(rows: NDArray[Any]) -> Callable[[NDArray[np.intp]], NDArray[Any]]:
    return lambda index: rows[index]


def lines_in(value: bytes) -> Told:
    """A record of lines; BadRecord where it is none."""
    try:
        record = _lines_from(value)
        rows = np.frombuffer(record.rows, EVENT)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadRecord("malformed", str(error)) from error
    if not (_known(rows["group"], record.groups) and _known(rows["what"], record.words) and rows["key"].all()):
        raise BadRecord("malformed", "lines of nobody")
    return Told(record.source, record.partition, record.heard, (rows, Names(record.groups, record.words)))


def _known(hashes: NDArray[np.uint64], names: Mapping[int, Any]) -> bool:
    return all(h in names for h in np.unique(hashes).tolist())


class WireSpans:
    """What `encode` wrote, as an encoding of spans."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.told: dict[int, Told] = {}

    def spans(self, records: Records) -> tuple[Spans, list[DeadLetter]]:
        """The spans of a block, and the records that nobody can read."""
        found, dead = [], []
        for i in range(len(records)):
            if records.value_len[i] <= 0:
                continue
            try:
                value = records.value(i)
                if value[1:2] == bytes([LINES]):
                    self.told[i] = lines_in(value)
                    continue
                record, columns = decoded(value)
                self.told[i] = Told(record.source, record.partition, record.heard, None)
                found.append((i, record, columns))
            except BadRecord as error:
                dead.append(records.dead(i, error))
        return _joined(found, self.seed), dead


def decoded(value: bytes) -> tuple[Record, dict[str, NDArray[Any]]]:
    """A record and its columns; BadRecord where it is none of ours."""
    try:
        record = _from_bytes(value)
        columns = {name: np.frombuffer(record.columns[name], kind) for name, kind in COLUMNS.items()}
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise BadRecord("malformed", str(error)) from error
    if record.version != VERSION:
        raise BadRecord("newer", f"spans of version {record.version}, and this one knows {VERSION}")
    tables = (columns["resource"], record.services), (columns["operation"], record.operations)
    one_length = len({column.size for column in columns.values()}) == 1
    if not one_length or any(column.size and column.max() >= len(table) for column, table in tables):
        raise BadRecord("malformed", "columns of several lengths, or past their tables")
    return record, columns


def _joined(found: Sequence[tuple[int, Record, dict[str, NDArray[Any]]]], seed: int) -> Spans:
    """The spans of several records."""
    services = [service for _, record, _ in found for service in record.services]
    operations = [operation for _, record, _ in found for operation in record.operations]
    names = [name.encode() for name, _ in operations]
    size = np.array([len(name) for name in names], np.int64)
    end, at = np.cumsum(size), 0
    whole: dict[str, list[NDArray[Any]]] = {name: [np.zeros(0, kind)] for name, kind in COLUMNS.items()}
    record, resource, named = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    first = 0
    for i, one, columns in found:
        for name in COLUMNS:
            whole[name].append(columns[name])
        record.append(np.full(columns["span"].size, i, np.int32))
        resource.append(columns["resource"].astype(np.int32) + first)
        named.append(columns["operation"].astype(np.int64) + at)
        first, at = first + len(one.services), at + len(one.operations)
    operation = np.concatenate(named)
    sender = np.array([hashed_attributes(service, seed) for service in services], np.uint64)
    joined = {name: np.concatenate(parts) for name, parts in whole.items() if name not in ("resource", "operation")}
    return Spans(
        record=np.concatenate(record),
        resource=np.concatenate(resource),
        name=np.array([hashed for _, hashed in operations], np.uint64)[operation],
        name_at=(end - size)[operation],
        name_end=end[operation],
        sender=sender,
        told=services.__getitem__,
        text=np.frombuffer(b"".join(names) + bytes(PADDING), np.uint8),
        **joined,
    )
