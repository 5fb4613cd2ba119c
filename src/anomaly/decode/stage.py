"""The decode stage: raw records of a source -> blocks of points by group, and dead letters.

It holds nothing that cannot be built anew: the catalog of series it has met and when each was last announced. A series
is announced to its partition when it is new and again every ANNOUNCE_EVERY of data time, because the receiver may have
lost it, or may be another one; the beat of a giant (`giants`) whenever there is one. Where the receiver is at hand it is
asked instead (`knows`), and no text is kept: a series is announced once, and what the receiver has let go is described anew.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode import (
    changes,
    csv,
    influx,
    json_logs,
    k8s_events,
    otlp,
    otlp_logs,
    prometheus,
    prometheus_json,
    spans_traces,
    spans_wire,
    telegraf_json,
    text_logs,
)  # fmt: skip
from anomaly.decode.block import Announced, Block
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded, Encoding
from anomaly.decode.identity import Identity
from anomaly.decode.index import MISSING
from anomaly.decode.log_lines import Lines
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.split import split
from anomaly.decode.steps import TURN, Due, Steps
from anomaly.decode.steps_events import LINE
from anomaly.decode.steps_lines import Session
from anomaly.decode.steps_points import points_of

# Each registers its encodings when imported.
BROUGHT = (
    changes, csv, influx, json_logs, otlp, otlp_logs, prometheus, prometheus_json, spans_traces, telegraf_json, text_logs,
)  # fmt: skip
PAST_LIMIT = "past_limit"  # the outcome of a point whose series is one more than `limits.series`

Knows = Callable[[NDArray[np.uint64]], NDArray[np.bool_]]

# Before 2001-09-09 in milliseconds a number is a clock that was never set, or seconds taken for milliseconds.
EARLIEST = 1_000_000_000_000


class Decode:
    """Decodes every source of a configuration into blocks for `partitions` partitions of anomaly.points.

    `knows` tells of canonical hashes, shape (n,), which the receiver knows.
    """

    def __init__(
        self,
        settings: Settings,
        partitions: int,
        knows: Knows | None = None,
        encodings: Mapping[str, Encoding] | None = None,
    ) -> None:
        self.limits, self._logs, self._knows = settings.limits, settings.logs, knows
        identity = Identity(settings.identity, settings.identity.seed)
        self.catalog = Catalog(identity, settings.limits.series, partitions, keeps=knows is None)
        self.overflow = 0
        # A list: traces are put together elsewhere.
        self.passed: list[spans_traces.Passed | spans_wire.PassedLines] | None = None
        self.steps: Steps | None = Steps(settings.limits.traced_events)  # None: traces are put together elsewhere
        self._encodings: dict[str, Encoding] = dict(encodings or {})
        self._heard: dict[tuple[str, int], int] = {}
        self._told: dict[tuple[str, int], int] = {}  # sources of lines -> how far all were told that they were heard

    def blocks(self, source: SourceSettings, records: Records) -> tuple[list[tuple[int, Block]], list[DeadLetter]]:
        """Blocks by partition, a tick where a partition has no point; and what was set aside, once per record."""
        self.catalog.recycle(max(self._heard.values(), default=0))
        held, large = self._of_bearable_size(records)
        due: list[Due] | None = None
        while True:
            decoded = self._encoding(source).decode(held, self.catalog)
            points, unusable = self._of_bearable_time(decoded, held)
            due = self._due(source, held, decoded, points) if due is None else due
            points = self._with_steps(points, due, decoded)
            parts, new, beats = split(points, self.catalog, self.catalog.giants.beaten(records.source, records.partition))
            if not self._forgot(new):
                break
        self.overflow += decoded.overflow
        heard = self._hear(records, points if decoded.tells_time else Points.empty())
        if self.passed is not None:
            self._pass(records, decoded, heard)
        announced = self._announced(new)
        if beats:
            announced = [Announced.joined([beats.announced, new]) for new in announced]
        return self._made(source, records, heard, parts, announced), large + decoded.dead + unusable

    def _pass(self, records: Records, decoded: Decoded, heard: int) -> None:
        """Lines of traces go where spans go; so does, now and then, how far a source of such lines was heard."""
        assert self.passed is not None
        if self.passed and isinstance(last := self.passed[-1], spans_traces.Passed) and last.block.records is records:
            last.heard = heard
        place = records.source, records.partition
        for events in decoded.events:
            told = self._told.get(place)
            beat = told is not None and heard >= told + TURN
            if events.type == LINE and (beat or events.key.any()):
                self._told[place] = heard if beat or told is None else told
                self.passed.append(spans_wire.PassedLines(events, *place, heard, beat))

    def _due(self, source: SourceSettings, records: Records, decoded: Decoded, points: Points) -> list[Due]:
        """The traces that are over by now."""
        if self.steps is None:
            return []
        if not decoded.events:
            return list(self.steps.hear(int(points.time.max()))) if len(points) else []
        self.steps.bear(source.lateness)
        found: list[Due] = []
        for events in decoded.events:
            place = events.place or (records.source, records.partition)
            found += self.steps.take((("spans", "lines")[events.type], *place), events)
        return found

    def _with_steps(self, points: Points, due: list[Due], decoded: Decoded) -> Points:
        """What these traces tell as well, each behind the points of its record."""
        if self.steps is None or not due:
            return points
        more, lost = points_of(due, self.steps.names, self.catalog)
        decoded.overflow += lost
        points = Points.joined([points, more])
        return points.take(np.argsort(points.record, kind="stable"))

    def withdraw(self, blocks: Iterable[Block]) -> None:
        """These blocks will not be sent: what they announce is announced again."""
        for block in blocks:
            rows = self.catalog.rows_of(block.series.hash)
            self.catalog.columns["until"][rows[rows != MISSING]] = 0

    def drop(self, source: str, partition: int) -> None:
        """Another worker reads this input partition; if we do so again, it may be from further back."""
        self.catalog.giants.forget(source, partition)
        for traces in self._traces():
            traces.drop(source, partition)
        if self.steps is not None:
            self.steps.drop(source, partition)

    @property
    def counts(self) -> Counter[str]:
        """Points of series past the limit, spans that came twice, and what the limits of spans took; since the start."""
        own = Counter({PAST_LIMIT: self.overflow}) + (self.steps.counts if self.steps else Counter())
        return sum((traces.counts for traces in self._traces()), own)

    def counted(self, before: Counter[str]) -> dict[str, int]:
        """What `counts` grew by."""
        return {name: n - before[name] for name, n in self.counts.items()}

    def _traces(self) -> list[spans_traces.Traces]:
        return [each for each in self._encodings.values() if isinstance(each, spans_traces.Traces)]

    def _forgot(self, due: NDArray[np.int32]) -> bool:
        """Whether a series was forgotten because the receiver has let it go: the block is to be decoded once more.

        So a series that comes back is announced with its first point, as it is to a receiver that was asked nothing.
        """
        if self._knows is None or not (old := self.catalog.given(due)).size:
            return False
        lost = old[~self._knows(self.catalog.hash[old])]
        if lost.size:
            self.catalog.columns["until"][due] = 0
            self.catalog.forget(lost)
        return lost.size > 0

    def _encoding(self, source: SourceSettings) -> Encoding:
        name = f"{source.encoding} {source.session_key}".strip()
        if name not in self._encodings:
            made = self._encodings[name] = ENCODINGS[source.encoding]()
            if isinstance(made, spans_traces.Traces):
                made.limits, made.passes = self.limits, self.passed
            elif isinstance(made, Lines):
                made.configure(self._logs)
                made.future = int(self.limits.future * 1000)
                made.session = Session(source.session_key) if source.session_key else None
                if source.encoding in k8s_events.PARSERS:
                    self._encodings[name] = k8s_events.Events(made, source.encoding)
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

    def _made(
        self,
        source: SourceSettings,
        records: Records,
        heard: int,
        parts: Sequence[Points],
        announced: Sequence[Announced],
    ) -> list[tuple[int, Block]]:
        place = records.source, records.partition, records.first_offset, records.next_offset
        lateness, offset = int(source.lateness * 1000), since_first(records)
        blocks = []
        for p, (points, new) in enumerate(zip(parts, announced, strict=True)):
            points.record = offset[points.record]
            blocks.append((p, Block(*place, heard, lateness, points, new, records.epoch)))
        return blocks

    def _announced(self, rows: NDArray[np.int32]) -> list[Announced]:
        """The series in these rows, by partition."""
        if self.catalog.partitions == 1:
            return [self.catalog.announced(rows)]
        where = self.catalog.columns["partition"][rows]
        return [
            self.catalog.announced(rows[where == p]) if rows.size else Announced() for p in range(self.catalog.partitions)
        ]


def since_first(records: Records) -> NDArray[np.int32]:
    """Offset of each record since the first of the range; at most two billion, past which all are taken for the last."""
    return np.minimum(records.offset - records.first_offset, np.iinfo(np.int32).max).astype(np.int32)


def _dead(records: Records, points: Points, bad: NDArray[np.bool_], reason: str) -> list[DeadLetter]:
    """One dead letter per record that holds a bad point; its other points go on."""
    count = Counter(points.record[bad].tolist())
    return [records.dead(i, BadRecord(reason, f"{n} of its points"), n) for i, n in sorted(count.items())]
