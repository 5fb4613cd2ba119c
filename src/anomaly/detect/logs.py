"""Log lines of a partition: by signature from decode, by template and cell to the models.

Lines come as points of `log.records`, a series for each signature (`decode.log_lines`). Here a signature is given its
template (`templates`), once; its lines are counted by cells of CELL ms, by template, over all instances of the group. A
closed cell is a point of the template's series: also one without lines, while the group logs and the template is not long
forgotten. So rates of lines are judged as any other rate. Lines may be late by the source's lateness; what comes later is
counted as late, as other points are. Time is that of the sources that bring lines.
Of new templates there is more to say: `novelty`.

rings float64 (rows, RING)  lines by template and cell, the cell's number modulo RING
hash uint64, level uint8, group int32, last int64, born int64, total float64 (rows,)  of a template: its series (0: a free
                            row), its place in LEVELS, its group's number, the last cell with lines, and the first; its
                            lines in closed cells
Bounded: `templates` of a group and MOST of a partition, `signatures` of a partition. Lines of more templates are counted
together, as of OTHERS, and it is said whose they are; signatures not seen for longest are let go, and announced anew.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import LogSettings
from anomaly.decode.block import Announced
from anomaly.decode.identity import EXAMPLE, Series, fingerprint, unpack
from anomaly.decode.index import MISSING, Index
from anomaly.decode.log_lines import LEVELS, METRIC, OTHERS, SEVERITY, TEMPLATE
from anomaly.decode.points import Kind, Points
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.novelty import CELL, News, Novelty
from anomaly.detect.templates import Templates
from anomaly.pool import grown

RING = 16  # cells that may be open at once; a lateness of more than two minutes is cut
LIVE = 360  # cells without a line after which a template has no more cells without lines
IDLE = 8_640  # cells without a line after which a template makes room where there is none
MOST = 20_000
OUR_TEXT = METRIC.encode()
COLUMNS = {"rings": "f8", "hash": "u8", "level": "u1", "group": "i4", "last": "i8", "born": "i8", "total": "f8"}


class Group(msgspec.Struct):
    """A group: who it is, the cell in which it first logged, and what news it has."""

    environment: str
    group: str
    hash: int
    first: int
    news: News = msgspec.field(default_factory=News)


class Kept(msgspec.Struct):
    """The state, as MessagePack; columns as bytes."""

    time: int
    closed: int
    sources: list[str]
    groups: list[Group]
    names: dict[int, tuple[str, str]]  # of templates by row: text and example
    trees: list[tuple[int, tuple[str, int, str], list[str]]]
    columns: dict[str, bytes]
    signatures: dict[str, bytes]
    over: dict[str, int]
    novelty: list[tuple[int, Anomaly]]
    free: list[int]


@dataclass(slots=True)
class Said:
    """What lines gave: points of templates, the series they are of, and new templates; `late` points came too late."""

    points: list[Points] = field(default_factory=list)
    series: dict[int, Series] = field(default_factory=dict)
    anomalies: list[Anomaly] = field(default_factory=list)
    late: int = 0


class Logs:
    """Counts the lines of a partition."""

    def __init__(self, settings: LogSettings, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.time = self.closed = 0  # ms; number of the last closed cell
        self.sources = set[str]()
        self.groups: list[Group] = []
        self.names: dict[int, tuple[str, str]] = {}
        self.over: Counter[str] = Counter()
        self.novelty = Novelty()
        self._trees: list[Templates] = []
        self._numbers: dict[int, int] = {}  # of groups by hash
        self._exact: dict[tuple[int, int, str], int] = {}  # (group, level, text) of names -> row
        self._free: list[int] = []
        self._columns(0)
        self._signatures(np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, np.int64))

    def _columns(self, rows: int) -> None:
        self.rings = np.zeros((rows, RING))
        self.hash, self.level = np.zeros(rows, np.uint64), np.zeros(rows, np.uint8)
        self.group, self.last, self.born = np.zeros(rows, np.int32), np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self.total = np.zeros(rows)

    def _signatures(self, keys: NDArray[np.uint64], of: NDArray[np.int32], seen: NDArray[np.int64]) -> None:
        self._key, self._of, self._seen, self._used = keys, of, seen, keys.size
        self._index = Index()
        self._index.build(keys.size, keys)

    def __bool__(self) -> bool:
        return self._used > 0

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The place of each signature, MISSING for what is none, shape (n,)."""
        return self._index.find(series, self._key)

    def announced(self, new: Announced) -> Announced:
        """Learn the signatures among these series; returns the others."""
        if not len(new) or not any(OUR_TEXT in text for text in new.text):
            return new
        others, fresh = [], self.find(new.hash) == MISSING
        for i, (hashed, text) in enumerate(zip(new.hash.tolist(), new.text, strict=True)):
            series = unpack(hashed, text) if OUR_TEXT in text else None
            if series is None or series.metric != METRIC or TEMPLATE not in dict(series.labels):
                others.append(i)
            elif fresh[i]:
                self._learn(series)
        return Announced(new.hash[others], [new.text[i] for i in others])

    def _learn(self, series: Series) -> None:
        labels = dict(series.labels)
        level = LEVELS.index(labels.get(SEVERITY, LEVELS[-1])) if labels.get(SEVERITY) in LEVELS else len(LEVELS) - 1
        row = self._row(self._number(series), level, labels[TEMPLATE], labels.get(EXAMPLE, ""))
        if self._used >= self.settings.signatures:
            self._let_go()
        n = self._used
        self._key, self._of, self._seen = grown(self._key, n + 1), grown(self._of, n + 1), grown(self._seen, n + 1)
        self._key[n], self._of[n], self._seen[n], self._used = series.hash or 1, row, 0, n + 1
        self._index.enter(n, self._key)

    def _let_go(self) -> None:
        """Of the signatures, keep the half that was seen last."""
        seen = np.where(self._seen[: self._used] == 0, np.iinfo(np.int64).max, self._seen[: self._used])  # 0: just announced
        order = np.sort(np.argsort(-seen, kind="stable")[: self._used // 2])
        self._signatures(self._key[order], self._of[order], self._seen[order])

    def _number(self, series: Series) -> int:
        if series.group_hash not in self._numbers:
            self._numbers[series.group_hash] = len(self.groups)
            self.groups.append(Group(series.environment, series.group, series.group_hash, 0))
            self._trees.append(Templates())
        return self._numbers[series.group_hash]

    def _row(self, group: int, level: int, text: str, example: str) -> int:
        """The template of a signature: one that is known, or a new one, or OTHERS."""
        known = self._exact.get((group, level, text))
        if known is not None:
            return known
        tree, named = self._trees[group], LEVELS[level]
        if text == OTHERS:
            return self._new(group, level, OTHERS, "")
        found = tree.match(named, text)
        if found is not None:
            return found
        if len(tree) >= self.settings.templates or len(self.names) >= MOST + len(self.groups):
            self._make_room(group)
        if len(tree) >= self.settings.templates or len(self.names) >= MOST + len(self.groups):
            self.over[self.groups[group].group] += 1
            others = self._exact.get((group, level, OTHERS))
            return self._new(group, level, OTHERS, "") if others is None else others
        row = self._free[-1] if self._free else len(self.names)
        return self._new(group, level, tree.born(row, named, text), example)

    def _new(self, group: int, level: int, text: str, example: str) -> int:
        row = self._free.pop() if self._free else len(self.names)
        if row >= self.hash.size:
            self._grow(max(2 * row, 64))
        self.names[row] = text, example
        self._exact.setdefault((group, level, text), row)
        self.hash[row], self.level[row], self.group[row] = self._hash(group, level, text), level, group
        self.last[row] = self.born[row] = self.total[row] = 0
        self.rings[row] = 0.0
        return row

    def _grow(self, rows: int) -> None:
        for name in COLUMNS:
            setattr(self, name, grown(getattr(self, name), rows))

    def _hash(self, group: int, level: int, text: str) -> int:
        one = self.groups[group]
        return fingerprint(self.seed, one.environment, one.group, *self._what(level, text)) or 1

    def _what(self, level: int, text: str) -> tuple[str, str, tuple[tuple[str, str], ...], tuple[()]]:
        return METRIC, "1", ((TEMPLATE, text), (SEVERITY, LEVELS[level])), ()

    def series(self, row: int) -> Series:
        """The series of a template."""
        one, who = self.groups[int(self.group[row])], self._what(int(self.level[row]), self.names[row][0])
        return Series(int(self.hash[row]), one.hash, one.environment, one.group, *who, Kind.DELTA)

    def _make_room(self, group: int) -> None:
        """Forget the templates of a group that are idle for long."""
        now, tree = self.time // CELL, self._trees[group]
        gone = [n for n in tree.tokens if 0 < self.last[n] < now - IDLE and n not in self.novelty.open]
        for row in gone:
            tree.drop(row)
            text = self.names.pop(row)[0]
            self._exact.pop((group, int(self.level[row]), text), None)
            self.hash[row] = 0
            self._free.append(row)
        if gone:
            kept = np.flatnonzero(~np.isin(self._of[: self._used], np.array(gone, np.int32)))
            self._signatures(self._key[kept], self._of[kept], self._seen[kept])

    def take(self, points: Points, place: NDArray[np.int32], lateness: int, source: str) -> Said:
        """Count the points at `place` >= 0, of signatures, in arrival order; all points of their source advance time."""
        said = Said()
        if source not in self.sources:
            if not (place >= 0).any():
                return said
            self.sources.add(source)
        late = min(lateness, (RING - 4) * CELL)
        time = np.maximum.accumulate(np.maximum(points.time, self.time)) if len(points) else points.time
        upto = (time - late) // CELL - 1
        begins = np.flatnonzero(np.diff(upto, prepend=self.closed))
        for begin, end in zip([0, *begins.tolist()], [*begins.tolist(), len(points)], strict=True):
            if begin in begins:
                self._close(int(upto[begin]), said)
            ours = np.flatnonzero(place[begin:end] >= 0) + begin
            if ours.size:
                said.late += self._count(self._of[place[ours]], points.time[ours] // CELL, points.value[ours])
                self._seen[place[ours]] = time[ours]
        self.time = int(time[-1]) if len(points) else self.time
        return said

    def hear(self, source: str, time: int, lateness: int) -> Said:
        """A source was heard to this time; of those that bring lines, that is time gone on."""
        said = Said()
        if source in self.sources and time > self.time:
            self.time = time
            self._close((time - min(lateness, (RING - 4) * CELL)) // CELL - 1, said)
        return said

    def _count(self, row: NDArray[np.int32], cell: NDArray[np.int64], lines: NDArray[np.float64]) -> int:
        """Count lines; returns how many points came too late."""
        self.closed = self.closed or int(cell.min()) - 1
        good = (cell > self.closed) & (cell <= self.closed + RING)
        row, cell, lines = row[good], cell[good], lines[good]
        np.add.at(self.rings, (row, cell % RING), lines)
        np.maximum.at(self.last, row, cell)
        fresh = row[self.born[row] == 0]
        for r, c in zip(fresh.tolist(), cell[self.born[row] == 0].tolist(), strict=True):
            self.born[r] = min(c, self.born[r] or c)
        return int(np.count_nonzero(~good))

    def _close(self, upto: int, said: Said) -> None:
        """Close the cells up to this one."""
        if not self.closed:
            return
        for cell in range(self.closed + 1, min(upto, self.closed + RING) + 1):
            self._emit(cell, said)
            self.rings[:, cell % RING] = 0.0
        self.closed = max(self.closed, upto)

    def _emit(self, cell: int, said: Said) -> None:
        """The points of a cell: of every live template of the groups that logged in it."""
        n = len(self.hash)
        lines, rows = self.rings[:, cell % RING], np.flatnonzero(self.hash[:n])
        logged = np.bincount(self.group[rows], lines[rows], len(self.groups)) > 0
        live = (self.last[rows] > cell - LIVE) & (self.born[rows] <= cell) & (self.born[rows] > 0)
        rows = rows[logged[self.group[rows]] & live]
        for g in np.flatnonzero(logged).tolist():
            self.groups[g].first = self.groups[g].first or cell
        self.total[rows] += lines[rows]
        said.anomalies += self.novelty.look(self, cell, rows, lines[rows], np.flatnonzero(logged))
        if not rows.size:
            return
        points = Points.empty(rows.size)
        points.series, points.value, points.kind[:] = self.hash[rows], lines[rows], Kind.DELTA
        points.start[:], points.time[:] = cell * CELL, (cell + 1) * CELL
        said.points.append(points)
        said.series.update({int(self.hash[r]): self.series(r) for r in rows.tolist()})

    def overflow(self) -> list[tuple[str, str, int]]:
        """(environment, metric and group, kinds of lines past the limit), the worst first."""
        where = {one.group: one.environment for one in self.groups}
        return [(where.get(group, ""), f"{METRIC} of {group}", n) for group, n in self.over.most_common()]

    def shown(self, found: list[Anomaly]) -> list[Anomaly]:
        """Anomalies, those of lines with an example."""
        return [msgspec.structs.replace(a, example=self.example(a)) if a.metric == METRIC else a for a in found]

    def example(self, anomaly: Anomaly) -> str:
        """A line of the template that an anomaly is about."""
        labels = dict(anomaly.labels)
        for number, one in enumerate(self.groups) if anomaly.metric == METRIC else ():
            if (one.environment, one.group) == (anomaly.environment, anomaly.group) and labels.get(SEVERITY) in LEVELS:
                row = self._exact.get((number, LEVELS.index(labels[SEVERITY]), labels.get(TEMPLATE, "")))
                return self.names[row][1] if row is not None else ""
        return ""

    def dump(self) -> bytes:
        """All state; empty where no line was met."""
        if not self.groups:
            return b""
        trees = [(n, tree.of[n], tokens) for tree in self._trees for n, tokens in tree.tokens.items()]
        signatures: dict[str, NDArray[Any]] = {"key": self._key, "of": self._of, "seen": self._seen}
        data: bytes = _to_kept(
            Kept(
                self.time, self.closed, sorted(self.sources), self.groups, self.names, trees,
                {name: np.ascontiguousarray(getattr(self, name)).tobytes() for name in COLUMNS},
                {name: column[: self._used].tobytes() for name, column in signatures.items()}, dict(self.over),
                sorted(self.novelty.open.items()), self._free,
            )
        )  # fmt: skip
        return data

    def load(self, data: bytes, seed: int) -> None:
        """What `dump` gave, under the seed of then; with another one signatures are announced anew."""
        if not data:
            return
        kept = _from_kept(data)
        self.time, self.closed, self.sources = kept.time, kept.closed, set(kept.sources)
        self.groups, self.names, self.over, self._free = kept.groups, kept.names, Counter(kept.over), kept.free
        for name, kind in COLUMNS.items():
            column = np.frombuffer(kept.columns[name], kind).copy()
            setattr(self, name, column.reshape(-1, RING) if name == "rings" else column)
        self._trees = [Templates() for _ in self.groups]
        for row, where, tokens in kept.trees:
            self._trees[int(self.group[row])].put(row, where, tokens)
        self._exact = {}
        for row, (text, _) in sorted(self.names.items()):
            self._exact.setdefault((int(self.group[row]), int(self.level[row]), text), row)
        self.novelty.open = dict(kept.novelty)
        if seed == self.seed:
            self._numbers = {one.hash: number for number, one in enumerate(self.groups)}
            key, of, seen = (
                np.frombuffer(kept.signatures[n], k).copy() for n, k in (("key", "u8"), ("of", "i4"), ("seen", "i8"))
            )
            self._signatures(key, of, seen)
            return
        for one in self.groups:
            one.hash = fingerprint(self.seed, one.environment, one.group)
        self._numbers = {one.hash: number for number, one in enumerate(self.groups)}
        for row, (text, _) in self.names.items():
            self.hash[row] = self._hash(int(self.group[row]), int(self.level[row]), text)


_to_kept: Any = msgspec.msgpack.Encoder().encode
_from_kept: Any = msgspec.msgpack.Decoder(Kept).decode
