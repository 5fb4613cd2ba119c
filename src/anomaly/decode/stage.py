"""The decode stage: raw records of a source -> blocks of points by group, and dead letters.

It holds nothing that cannot be built anew: the catalog of series it has met and when each was last announced. A series
is announced to its partition when it is new and again every ANNOUNCE_EVERY of data time, because the receiver may have
lost it, or may be another one.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode import csv, influx, otlp, prometheus, prometheus_json, telegraf_json
from anomaly.decode.block import Announced, Block
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded, Encoding
from anomaly.decode.identity import Identity
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, DeadLetter, Records

BROUGHT = (csv, influx, otlp, prometheus, prometheus_json, telegraf_json)  # each registers its encodings when imported
ANNOUNCE_EVERY = 60_000  # ms of data time: the longest that a receiver which lost its labels is blind for a series

PAST_LIMIT = "past_limit"  # the outcome of a point whose series is one more than `limits.series`

# Before 2001-09-09 in milliseconds a number is a clock that was never set, or seconds taken for milliseconds.
EARLIEST = 1_000_000_000_000


class Decode:
    """Decodes every source of a configuration into blocks for `partitions` partitions of anomaly.points."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self.limits, self.partitions = settings.limits, partitions
        self.catalog = Catalog(Identity(settings.identity, settings.identity.seed), settings.limits.series)
        self.overflow = 0
        self._encodings: dict[str, Encoding] = {}
        self._announced = Announcements(self.catalog)
        self._heard: dict[tuple[str, int], int] = {}
        self._narrow = np.min_scalar_type(partitions)

    def blocks(self, source: SourceSettings, records: Records) -> tuple[list[tuple[int, Block]], list[DeadLetter]]:
        """Blocks by partition, a tick where a partition has no point; and what was set aside, once per record."""
        held, large = self._of_bearable_size(records)
        decoded = self._encoding(source.encoding).decode(held, self.catalog)
        self.overflow += decoded.overflow
        points, unusable = self._of_bearable_time(decoded, held)
        heard = self._hear(records, points)
        return self._split(source, records, points, heard), large + decoded.dead + unusable

    def _encoding(self, name: str) -> Encoding:
        if name not in self._encodings:
            self._encodings[name] = ENCODINGS[name]()
        return self._encodings[name]

    def _of_bearable_size(self, records: Records) -> tuple[Records, list[DeadLetter]]:
        """The block with the records over the limit emptied, and those as dead letters."""
        large = np.flatnonzero(records.value_len > self.limits.record_bytes)
        if not large.size:
            return records, []
        error = BadRecord("too_large", f"over {self.limits.record_bytes} bytes")
        dead = [records.dead(int(i), error) for i in large]
        records.value_len[large] = 0
        return records, dead

    def _of_bearable_time(self, decoded: Decoded, records: Records) -> tuple[Points, list[DeadLetter]]:
        """The points whose time can be true, and the records of the others.

        One point dated next year would make every later one of its series late, and blind us to it until then.
        """
        points = decoded.points
        at = records.time[points.record] if len(points) else np.zeros(0, np.int64)
        future = (at >= 0) & (points.time > at + int(self.limits.future * 1000))
        unset = points.time < EARLIEST
        if not (future.any() or unset.any()):
            return points, []
        dead = _dead(records, points, future, "future_timestamp") + _dead(records, points, unset, "bad_timestamp")
        return points.take(~(future | unset)), dead

    def _hear(self, records: Records, points: Points) -> int:
        """How far the input partition was heard, in ms of event time; never goes back."""
        place = (records.source, records.partition)
        newest = int(points.time.max()) if len(points) else 0
        self._heard[place] = max(self._heard.get(place, 0), newest)
        return self._heard[place]

    def _split(self, source: SourceSettings, records: Records, points: Points, heard: int) -> list[tuple[int, Block]]:
        rows = self.catalog.rows_of(points.series)
        partition = (self.catalog.group[rows] % np.uint64(self.partitions)).astype(self._narrow)  # sorts faster
        order = np.argsort(partition, kind="stable")
        edges = np.searchsorted(partition[order], np.arange(self.partitions + 1))
        lateness = int(source.lateness * 1000)
        blocks = []
        for p in range(self.partitions):
            own = order[edges[p] : edges[p + 1]]
            mine = points if own.size == len(points) else points.take(own)
            new = self._announced.due(rows[own], mine.time)
            place = (records.source, records.partition, records.first_offset, records.next_offset)
            blocks.append((p, Block(*place, heard, lateness, mine, new)))
        return blocks


def _dead(records: Records, points: Points, bad: NDArray[np.bool_], reason: str) -> list[DeadLetter]:
    """One dead letter per record that holds a bad point; its other points go on."""
    count = Counter(points.record[bad].tolist())
    return [records.dead(i, BadRecord(reason, f"{n} of its points"), n) for i, n in sorted(count.items())]


class Announcements:
    """When each series was last announced; columns over the catalog's rows.

    until int64 (rows,)  data time in ms from which the series is to be announced again; 0: never was
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._until: NDArray[np.int64] = np.zeros(1 << 10, np.int64)

    def due(self, rows: NDArray[np.int32], time: NDArray[np.int64]) -> Announced:
        """The series among these points that must be announced with them, in order of appearance."""
        if self._until.size < len(self.catalog.series):
            self._until = np.concatenate([self._until, np.zeros(self.catalog.hash.size - self._until.size, np.int64)])
        late = np.flatnonzero(time >= self._until[rows])
        if not late.size:
            return Announced()
        fresh, first = np.unique(rows[late], return_index=True)
        self._until[fresh] = time[late[first]] + ANNOUNCE_EVERY
        return Announced.of(self.catalog.series[r] for r in fresh[np.argsort(first)].tolist())
