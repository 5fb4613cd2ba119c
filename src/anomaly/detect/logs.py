"""Log lines of a partition: by signature from decode, by template and cell to the models.

Lines come as points of `log.records`, a series for each signature (`decode.log_lines`). Each has a template (`log_kinds`);
its lines are counted by cells of CELL ms, by template, over all instances of the group. A closed cell is a point of the
template's series: also one without lines, while the group logs and the template is not long forgotten. So rates of lines
are judged as any other rate. Lines may be late by the source's lateness; what comes later is counted as late, as other
points are. Time is that of the sources that bring lines. Of new templates there is more to say: `novelty`,
and of those that stay away: `vanished`.
State is in tables (`log_rows`) and a small rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import LogSettings
from anomaly.decode.block import Announced
from anomaly.decode.identity import Series, fingerprint
from anomaly.decode.log_lines import METRIC, SEVERITY, TEMPLATE
from anomaly.decode.points import Kind, Points
from anomaly.detect import log_blob, novelty, vanished
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.log_kinds import Kinds, level_of
from anomaly.detect.log_rows import RING, Name
from anomaly.detect.novelty import CELL, Novelty
from anomaly.detect.vanished import Vanished
from anomaly.state import refuse_newer
from anomaly.table import Table

LIVE = 360  # cells without a line after which a template has no more cells without lines
LATEST = (RING - 4) * CELL  # ms; a greater lateness is cut
VERSION = 2  # of the rest; 1 was all state as one


class Rest(msgspec.Struct, kw_only=True):
    """What is small, as MessagePack."""

    version: int = VERSION
    time: int
    closed: int
    looked: int
    sources: list[str]
    novelty: list[tuple[int, Anomaly]]
    vanished: list[tuple[int, Anomaly]] = []


@dataclass(slots=True)
class Said:
    """What lines gave: points of templates, the series they are of, and new templates; `late` points came too late."""

    points: list[Points] = field(default_factory=list)
    series: dict[int, Series] = field(default_factory=dict)
    anomalies: list[Anomaly] = field(default_factory=list)
    late: int = 0


class Logs:
    """Counts the lines of a partition. `closed` is the number of the last closed cell, `time` in ms."""

    def __init__(self, settings: LogSettings, seed: int) -> None:
        self.kinds, self.novelty, self.vanished = Kinds(settings, seed), Novelty(), Vanished()
        self.time = self.closed = 0
        self.sources = set[str]()

    def __bool__(self) -> bool:
        return self.kinds.rows.signatures.used > 0

    @property
    def tables(self) -> tuple[Table, ...]:
        """All that grows with the templates."""
        return self.kinds.rows.all()

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The place of each signature, MISSING for what is none, shape (n,)."""
        return self.kinds.find(series)

    def announced(self, new: Announced) -> Announced:
        """Learn the signatures among these series; returns the others."""
        return self.kinds.announced(new)

    def take(self, points: Points, place: NDArray[np.int32], lateness: int, source: str) -> Said:
        """Count the points at `place` >= 0, of signatures, in arrival order; all points of their source advance time."""
        said = Said()
        if source not in self.sources:
            if not (place >= 0).any():
                return said
            self.sources.add(source)
        time = np.maximum.accumulate(np.maximum(points.time, self.time)) if len(points) else points.time
        upto = (time - min(lateness, LATEST)) // CELL - 1
        begins = np.flatnonzero(upto != np.append(self.closed, upto[:-1])).tolist() if len(points) else []
        for begin, end in zip([0, *begins], [*begins, len(points)], strict=True):
            if begin in begins:
                self._close(int(upto[begin]), said)
            ours = np.flatnonzero(place[begin:end] >= 0) + begin
            if ours.size:
                said.late += self._count(place[ours], points.time[ours] // CELL, points.value[ours], time[ours])
        self._set_time(int(time[-1]) if len(points) else self.time)
        return said

    def hear(self, source: str, time: int, lateness: int) -> Said:
        """A source was heard to this time; of those that bring lines, that is time gone on."""
        said = Said()
        if source in self.sources and time > self.time:
            self._set_time(time)
            self._close((time - min(lateness, LATEST)) // CELL - 1, said)
        return said

    def _set_time(self, time: int) -> None:
        self.time, self.kinds.cell = time, time // CELL

    def _count(
        self, place: NDArray[np.int32], cell: NDArray[np.int64], lines: NDArray[np.float64], now: NDArray[np.int64]
    ) -> int:
        """Count lines of signatures; returns how many points came too late."""
        rows = self.kinds.rows
        rows.signature["seen"][place], rows.signatures.touched[place] = now, 1
        row = rows.signature["of"][place]
        self.closed = self.closed or int(cell.min()) - 1
        good = (cell > self.closed) & (cell <= self.closed + RING)
        row, cell, lines = row[good], cell[good], lines[good]
        np.add.at(rows.rings, (row, cell % RING), lines)
        one = rows.template
        np.maximum.at(one["last"], row, cell)
        fresh = one["born"][row] == 0
        for r, c in zip(row[fresh].tolist(), cell[fresh].tolist(), strict=True):
            one["born"][r] = min(c, one["born"][r] or c)
        rows.templates.touched[row] = 1
        return int(np.count_nonzero(~good))

    def _close(self, upto: int, said: Said) -> None:
        """Close the cells up to this one."""
        if not self.closed:
            return
        for cell in range(self.closed + 1, min(upto, self.closed + RING) + 1):
            self._emit(cell, said)
        self.closed = max(self.closed, upto)

    def _emit(self, cell: int, said: Said) -> None:
        """The points of a cell: of every live template of the groups that logged in it."""
        rows, one, group = self.kinds.rows, self.kinds.rows.template, self.kinds.rows.group
        lines = rows.rings[:, cell % RING].copy()
        counted = np.flatnonzero(lines)
        rows.rings[counted, cell % RING] = 0.0
        one["total"][counted] += lines[counted]
        rows.templates.touched[counted] = 1
        logged = np.zeros(len(group), np.bool_)
        logged[one["group"][counted]] = True
        group["first"][logged & (group["first"] == 0)] = cell
        rows.groups.touched[: len(group)][logged] = 1
        live = (one["key"] != 0) & (one["last"] > cell - LIVE) & (one["born"] <= cell) & (one["born"] > 0)
        held = np.flatnonzero(live & logged[one["group"]])
        said.anomalies += self.novelty.look(self.kinds, cell, held, lines[held], np.flatnonzero(logged))
        said.anomalies += self.vanished.look(self.kinds, cell, counted, np.flatnonzero(logged))
        if not held.size:
            return
        points = Points.empty(held.size)
        points.series, points.value, points.kind[:] = one["key"][held], lines[held], Kind.DELTA
        points.start[:], points.time[:] = cell * CELL, (cell + 1) * CELL
        said.points.append(points)
        said.series.update({int(one["key"][r]): self.kinds.series(r) for r in held.tolist()})

    def overflow(self) -> list[tuple[str, str, int]]:
        """(environment, metric and group, kinds of lines past the limit), the worst first."""
        return self.kinds.overflow()

    def shown(self, found: list[Anomaly]) -> list[Anomaly]:
        """Anomalies, those of lines with an example and a place in the program."""
        return [self._shown(a) if a.metric == METRIC else a for a in found]

    def _shown(self, anomaly: Anomaly) -> Anomaly:
        name = self._named(anomaly)
        return msgspec.structs.replace(anomaly, example=name.example, code=name.code) if name else anomaly

    def _named(self, anomaly: Anomaly) -> Name | None:
        """The template that an anomaly is about."""
        labels = dict(anomaly.labels)
        group = self.kinds.numbers.get(fingerprint(self.kinds.seed, anomaly.environment, anomaly.group))
        key = group, level_of(labels.get(SEVERITY, "")), labels.get(TEMPLATE, "")
        row = self.kinds.exact.get(key) if key[0] is not None else None  # type: ignore[arg-type]
        return self.kinds.name(row) if row is not None else None

    def restore(self, anomalies: Iterable[Anomaly]) -> list[Anomaly]:
        """Go on with new and vanished templates that were open before all state was lost; returns the other anomalies.

        They are known by that, are told no more, and end as they would have.
        """
        others, ours = [], {novelty.QUANTITY: self.novelty.open, vanished.QUANTITY: self.vanished.open}
        for a in anomalies:
            labels = dict(a.labels)
            if a.metric != METRIC or a.quantity not in ours or TEMPLATE not in labels:
                others.append(a)
                continue
            group = self.kinds.number(fingerprint(self.kinds.seed, a.environment, a.group), a.environment, a.group)
            level, text = level_of(labels.get(SEVERITY, "")), labels[TEMPLATE]
            if (group, level, text) in self.kinds.exact:
                continue
            row = self.kinds.new(group, level, Name(text, text, a.example, a.code))
            one = self.kinds.rows.template
            one["born"][row], one["last"][row], one["total"][row] = a.started // CELL, a.time // CELL - 1, a.observed
            ours[a.quantity][row] = a
        return others

    def calm(self) -> None:
        """Nothing is new, or away."""
        self.novelty.open.clear()
        self.vanished.open.clear()

    def dump(self) -> bytes:
        """What is small; empty where no line was met."""
        if not self.kinds.numbers:
            return b""
        rest = Rest(
            time=self.time, closed=self.closed, looked=self.kinds.looked, sources=sorted(self.sources),
            novelty=sorted(self.novelty.open.items()), vanished=sorted(self.vanished.open.items()),
        )  # fmt: skip
        return _to_rest(rest)

    def load(self, data: bytes, seed: int) -> None:
        """After the tables: what `dump` gave, under the seed of then; with another one signatures are announced anew."""
        if not data:
            return
        refuse_newer(data, VERSION, "log lines")
        if log_blob.is_one(data):
            self.time, self.closed, sources, opened = log_blob.read(data, self.kinds.rows)
        else:
            rest = _from_rest(data)
            self.time, self.closed, sources, opened = rest.time, rest.closed, rest.sources, rest.novelty
            self.kinds.looked, self.vanished.open = rest.looked, dict(rest.vanished)
        self.sources, self.novelty.open, self.kinds.cell = set(sources), dict(opened), self.time // CELL
        if seed != self.kinds.seed:
            self.kinds.forget_signatures()
        self.kinds.settle()


_to_rest = msgspec.msgpack.Encoder().encode
_from_rest = msgspec.msgpack.Decoder(Rest).decode
