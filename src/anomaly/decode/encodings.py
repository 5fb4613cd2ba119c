"""The encodings a source may have, by the name that the configuration uses; one file each registers itself here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.index import MISSING
from anomaly.decode.points import Flag, Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.steps_events import Events


@dataclass(slots=True)
class Decoded:
    """The points of a block of records and what had to be set aside; `overflow` counts points of series past the limit.

    `tells_time`: whether its source is heard by them, as one that is never silent for long. `events` are what of it is of
    traces.
    """

    points: Points
    dead: list[DeadLetter] = field(default_factory=list)
    overflow: int = 0
    events: list[Events] = field(default_factory=list)
    tells_time: bool = True


class Encoding(Protocol):
    """Bytes -> columns. Never raises for what a record holds: a bad record is a dead letter, and the stream goes on."""

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block. An empty or null value is valid and holds nothing."""


class Sample(NamedTuple):
    """One point as a parser gives it; `time` and `start` in milliseconds."""

    series: Description
    time: int
    value: float
    start: int = 0
    observations: float = 0.0
    buckets: tuple[float, ...] = ()
    flags: Flag = Flag.NONE


Parse = Callable[[bytes], Iterable[Sample]]


class Parsed:
    """An encoding given by a parser: plain, complete, an object per point. Raise BadRecord for what cannot be read."""

    def __init__(self, parse: Parse) -> None:
        self.parse = parse

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Parse record by record; one that cannot be read gives no point at all."""
        found: list[tuple[int, Sample]] = []
        dead: list[DeadLetter] = []
        for i in range(len(records)):
            try:
                found += [(i, s) for s in self.parse(records.value(i))] if records.value_len[i] > 0 else []
            except BadRecord as error:
                dead.append(records.dead(i, error))
        rows = catalog.rows(catalog.hashed([key(s.series) for _, s in found]), lambda j: found[j][1].series).tolist()
        samples = [(i, row, s) for row, (i, s) in zip(rows, found, strict=True) if row != MISSING]
        return Decoded(columns(samples, catalog), dead, len(found) - len(samples))


def behind(complete: Parsed, records: Records, left: NDArray[np.intp], catalog: Catalog, decoded: Decoded) -> Decoded:
    """What a scanner took, with what the complete decoder makes of the records at `left`; arrival order is kept."""
    index = left.astype(np.int32)
    columns = {name: getattr(records, name)[index] for name in ("offset", "time", "value_at", "value_len")}
    more = complete.decode(replace(records, **columns), catalog)
    more.points.record = index[more.points.record]
    points = Points.joined([decoded.points, more.points])
    points = points.take(np.argsort(points.record, kind="stable"))
    dead = sorted(decoded.dead + more.dead, key=lambda d: d.offset)
    return Decoded(points, dead, decoded.overflow + more.overflow)


def key(described: Description) -> bytes:
    """The wire key of a parsed series: attribute order does not matter."""
    parts = described.metric, described.unit, described.attributes, int(described.kind), described.bounds
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)


def columns(samples: list[tuple[int, int, Sample]], catalog: Catalog) -> Points:
    """(record index, catalog row, sample) triples as columns."""
    points = Points.empty(len(samples), sum(len(s.buckets) for _, _, s in samples))
    points.series, points.kind, points.writer = catalog.named(np.array([row for _, row, _ in samples], np.int32))
    at = 0
    for i, (record, _, s) in enumerate(samples):
        points.record[i] = record
        points.time[i], points.start[i], points.value[i], points.count[i] = s.time, s.start, s.value, s.observations
        points.flags[i] = s.flags
        points.bucket_at[i], points.bucket_len[i] = at, len(s.buckets)
        points.buckets[at : at + len(s.buckets)] = s.buckets
        at += len(s.buckets)
    return points


ENCODINGS: dict[str, Callable[[], Encoding]] = {}


def register(name: str) -> Callable[[Callable[[], Encoding]], Callable[[], Encoding]]:
    """Make an encoding known under `name`."""

    def add(make: Callable[[], Encoding]) -> Callable[[], Encoding]:
        ENCODINGS[name] = make
        return make

    return add
