"""What traces tell of a partition's groups: points of steps and durations (`decode.steps_series`) -> anomalies.

They get no rows of the standard models: counted by cells of CELL ms in `sequences` and `slow`, and judged there when time
has gone WAIT cells and the source's lateness past the end of a cell, so long does the join take; learned AHEAD cells later,
so that what comes later than that is late. Time is that of the slowest of the sources which bring such points (spans, lines:
whichever closes a trace), of each its slowest input, less its lateness; who is IDLE behind holds nobody back.
A cell in which as many lines as are usual would be LOST and none is heard is one in which no lines are heard at all.
"""

import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import ModelSpec, specs_for
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced
from anomaly.decode.identity import Series, unpack
from anomaly.decode.index import MISSING
from anomaly.decode.points import Points
from anomaly.decode.spans_series import BOUNDS, BUCKETS
from anomaly.decode.steps_series import CELL, METRICS, STEP, STEPS, WORDS
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.logs import Said
from anomaly.detect.odd import Episodes, nothing
from anomaly.detect.sequences import Sequences
from anomaly.detect.slow import Slow
from anomaly.detect.trace_rows import AHEAD, RING, hash_of
from anomaly.table import Table

OURS = b"trace."
WAIT = 2  # cells
IDLE = 60_000  # ms
LATEST = 40_000  # ms; a greater lateness is cut
DURATIONS = 10  # of so many rows one is of a duration
LOST = 20.0  # lines
MEMORY = 0.99  # of a cell, what is kept of how many lines are usual
MOST = 1e9  # traces that a point can stand for
_BASE = 1 << 28  # places of durations begin here


class Heard(NamedTuple):
    """A source, how late its points may be, and how far the slowest of its other inputs was heard, ms."""

    source: str
    lateness: int
    others: int


class Traced:
    """Sequences and durations of a partition."""

    def __init__(self, specs: tuple[ModelSpec, ...], settings: Settings) -> None:
        self.specs, self.seed = specs, settings.identity.seed
        self.time = self.closed = 0  # ms; number of the last judged cell
        self.sources: dict[str, int] = {}  # how far each was heard, less its lateness, ms
        most, told_at = settings.limits.steps, settings.threshold.alert
        self.sequences, self.slow = Sequences(self.seed, most), Slow(self.seed, max(most // DURATIONS, 64))
        self.parts: tuple[Sequences | Slow, ...] = self.sequences, self.slow
        self.episodes = tuple(Episodes(part, self._spec, told_at) for part in self.parts)
        self.filled, self.lines = np.zeros(RING), np.zeros(RING)  # traces at steps, and at lines, by cell
        self.usual = 0.0, 0.0  # the same of a usual cell
        self._specs: dict[str, ModelSpec] = {}
        self._ended: list[Anomaly] = []

    def __bool__(self) -> bool:
        return len(self.sequences.rows) + len(self.slow.rows) > 0

    def _spec(self, series: Series) -> ModelSpec:
        if series.metric not in self._specs:
            fitting = specs_for(series, self.specs)
            self._specs[series.metric] = fitting[0] if fitting else ModelSpec(name=series.metric, match=())
        return self._specs[series.metric]

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The place of each series, MISSING where it is none of ours."""
        place = self.sequences.rows.find(series)
        missing = np.flatnonzero(place == MISSING)
        if missing.size and len(self.slow.rows):
            row = self.slow.rows.find(series[missing])
            place[missing] = np.where(row == MISSING, MISSING, row + _BASE)
        return place

    def announced(self, new: Announced) -> Announced:
        """Take of these series those that are ours; returns the others."""
        if not new.holding(OURS):
            return new
        known = self.find(new.hash) != MISSING
        others = [i for i in np.flatnonzero(~known).tolist() if not self._learn(unpack(int(new.hash[i]), new.text[i]))]
        return Announced(new.hash[others], [new.text[i] for i in others])

    def _learn(self, series: Series) -> bool:
        """A row for a series, if it is ours and well-formed."""
        labels, which = dict(series.labels), int(series.metric != STEPS)
        if series.metric not in METRICS or (series.bounds != BOUNDS if which else STEP not in labels):
            return False
        part = self.parts[which]
        if part.rows.one(series.hash) != MISSING:  # a context that its successor has made known
            return True
        if part.rows.is_full(2):
            self._forget(which, part.rows.victims())
        for row in part.learn_of(series, self.time // CELL):
            self._meet(which, row)
        return True

    def _meet(self, which: int, row: int) -> None:
        """A row is new: what was open of it before a restart goes on, or of successors that it does not have yet."""
        if not self.episodes[which].known:
            return
        series = self.parts[which].rows.series(row)
        for more in self.episodes[which].meet(row, series) if which == 0 else ():
            hashed = hash_of(self.seed, more)
            if self.sequences.rows.one(hashed) == MISSING:
                for new in self.sequences.learn_of(replace(more, hash=hashed), self.time // CELL):
                    self._meet(which, new)

    def _forget(self, which: int, rows: NDArray[np.int32]) -> None:
        if rows.size:
            self._ended += self.episodes[which].released(rows, self.closed)
            self.parts[which].rows.release(rows)

    def take(self, points: Points, place: NDArray[np.int32], heard: Heard) -> Said:
        """Count the points at `place` >= 0, in arrival order, and judge what is complete on the way."""
        said = Said()
        index = np.flatnonzero(place != MISSING)
        if not index.size:
            return said
        cell = points.start[index] // CELL
        self.closed = self.closed or int(cell[0]) - AHEAD
        late = min(heard.lateness, LATEST)
        self.sources.setdefault(heard.source, 0)
        others = slowest([t for source, t in self.sources.items() if source != heard.source])
        time = np.maximum.accumulate(points.time[index]) - late
        time = np.maximum(np.minimum(time, min(heard.others - late, others or sys.maxsize)), self.time)
        upto = np.maximum(time // CELL - 1 - WAIT, self.closed)
        begins = np.flatnonzero(np.diff(upto, prepend=self.closed)).tolist()
        for begin, end in zip([0, *begins], [*begins, index.size], strict=True):
            if begin in begins:
                self._close(int(upto[begin]), said)
            said.late += self._count(points, index[begin:end], place[index[begin:end]], cell[begin:end])
        self.time = int(time[-1])
        return said

    def hear(self, source: str, time: int, lateness: int) -> Said:
        """A source was heard to this time by its slowest input."""
        said = Said()
        if source in self.sources:
            self.sources[source] = max(self.sources[source], time - min(lateness, LATEST))
            self.time = max(self.time, slowest(list(self.sources.values())))
            self._close(self.time // CELL - 1 - WAIT, said)
        said.anomalies, self._ended = self._ended + said.anomalies, []
        return said

    def _count(self, points: Points, index: NDArray[np.intp], place: NDArray[np.int32], cell: NDArray[np.int64]) -> int:
        """Count the points at `index`; returns how many are too late, or make no sense."""
        slow, length, value = place >= _BASE, points.bucket_len[index], points.value[index]
        good = (cell > self.closed - AHEAD) & (cell <= self.closed - AHEAD + RING)
        first = np.where(slow, BUCKETS, 0)
        good &= (length >= first) & ((length - first) % WORDS == 0) & (value >= 0) & (value < MOST)
        for which, mine in enumerate((good & ~slow, good & slow)):
            if mine.any():
                at = np.flatnonzero(mine)
                row = place[at] - np.int32(which * _BASE)
                self.parts[which].take(points, index[at], row, cell[at])
                if which == 0:
                    slot, traces = cell[at] % RING, value[at]
                    self.filled += np.bincount(slot, traces, RING)
                    self.lines += np.bincount(slot, traces * self.sequences.lines(row), RING)
        return int(np.count_nonzero(~good))

    def _close(self, upto: int, said: Said) -> None:
        """Judge the cells up to this one, and learn those before."""
        if not self.closed:
            return
        last = min(upto, self.closed + RING)
        for cell in range(self.closed + 1, last + 1):
            self._judge(cell, said)
        if upto > last:  # all that was held is learned
            self._forget_idle(upto)
        self.closed = max(self.closed, upto)

    def _judge(self, cell: int, said: Said) -> None:
        if any(self._is_deaf(c) for c in (cell - 1, cell, cell + 1)):
            self.sequences.deafen(cell)
        for part, episodes in zip(self.parts, self.episodes, strict=True):
            if part.rows.has(cell):
                said.anomalies += episodes.look(cell, part.judge(cell))
            elif episodes.open:
                said.anomalies += episodes.look(cell, nothing(len(part.rows.groups)))
            if part.rows.has(cell - AHEAD):
                part.learn(cell - AHEAD)
                part.rows.clear(cell - AHEAD)
            said.anomalies += episodes.give_up(cell) if episodes.known else []
        at = (cell - AHEAD) % RING
        if self.lines[at] or not self._is_deaf(cell - AHEAD):
            self.usual = tuple(MEMORY * u + float(x[at]) for u, x in zip(self.usual, (self.filled, self.lines), strict=True))  # type: ignore[assignment]
        self.filled[at] = self.lines[at] = 0.0
        if cell % 360 == 0:
            self._forget_idle(cell)

    def _is_deaf(self, cell: int) -> bool:
        """Whether lines would be there, and none is."""
        at = cell % RING
        steps, lines = self.usual
        return bool(self.lines[at] == 0 and self.filled[at] * lines >= LOST * max(steps, 1.0))

    def _forget_idle(self, cell: int) -> None:
        """Forget what was not seen for a day."""
        for which, part in enumerate(self.parts):
            self._forget(which, part.rows.idle(cell - 8_640))

    def restore(self, anomalies: list[Anomaly]) -> list[Anomaly]:
        """Take over what was open of ours before a restart; returns the others."""
        ours = [a for a in anomalies if a.metric in METRICS]
        for a in ours:
            self.episodes[int(a.metric != STEPS)].known[a.key] = a
        for which, (part, episodes) in enumerate(zip(self.parts, self.episodes, strict=True)):
            for row in np.flatnonzero(part.rows.row["key"]).tolist() if episodes.known else ():
                self._meet(which, row)
        return [a for a in anomalies if a.metric not in METRICS]

    def overflow(self) -> list[tuple[str, str, int]]:
        """(environment, metric and group, rows that made room), the worst first."""
        found = []
        for part, name in zip(self.parts, (STEPS, "trace durations"), strict=True):
            for number, n in part.rows.over.items():
                one = part.rows.groups[number]
                found.append((one.environment, f"{name} of {one.group}", n))
        return sorted(found, key=lambda f: -f[2])

    @property
    def tables(self) -> tuple[Table, ...]:
        """What is kept as rows."""
        return tuple(part.rows.table for part in self.parts)


def slowest(times: list[int]) -> int:
    """The least of them that is not IDLE behind, 0: none."""
    newest = max(times, default=0)
    return min((t for t in times if t >= newest - IDLE), default=0)
