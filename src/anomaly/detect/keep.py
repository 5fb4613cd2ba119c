"""The whole state of a detector as tables and a small rest, so that another process can go on with it, to the bit.

Tables hold everything that grows with the series; the rest, MessagePack, what is small: inputs, clocks, waiting points, open
anomalies. Indexes and counts that follow from the rows are made anew when all rows are there.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import ModelSpec
from anomaly.detect.absence import Absence, Clock, Inputs
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.episode import EVER
from anomaly.detect.judge import Judge
from anomaly.detect.register import Register
from anomaly.detect.report import Report
from anomaly.detect.together import Memory, Together
from anomaly.detect.waiting import Waiting
from anomaly.state import ahead, gather, refuse_newer
from anomaly.table import USED, Borrowed, Part, Table

VERSION = 2  # 1: log lines were one blob, which is still read
REPEATED = "repeated"  # points that were taken before: how many come again is no state


class Rest(msgspec.Struct, kw_only=True):
    """What is small and written whole. Places are (source, partition)."""

    seed: int
    specs: list[tuple[str, str]]  # name and hash, in the order of their numbers
    tables: dict[str, list[int]]
    heard: list[tuple[str, int, int]]
    next: list[tuple[str, int, int]]
    numbers: list[tuple[str, int]]
    time: int
    clocks: list[tuple[int, int, float, float]]
    sources: list[str]
    said: int
    swept: int
    freed: int
    counts: dict[str, int]
    waiting: list[bytes]
    lost: bool
    open: list[tuple[int, Anomaly]]
    silent: list[Anomaly]
    known: list[Anomaly]
    epochs: list[tuple[str, int, list[int]]] = []
    together: Memory = Memory()
    beside: str = ""  # the key of what is kept beside
    logs: bytes = b""  # what is small of `detect.logs`
    calls: bytes = b""  # `detect.calls`
    context: bytes = b""  # `detect.context`
    traced: bytes = b""  # `detect.traced`, what is no row of it
    fed: bytes = b""  # what is small of what is kept beside
    aliases: dict[str, str] = {}  # under which the labels have their names
    local: list[tuple[str, tuple[str, ...]]] = []  # zone and calendars of each clock, by number
    seasons: list[str] = []  # what each makes of day and week, as `Clocks.seasons` says
    windows: bytes = b""  # of a version of their own
    version: int = VERSION


_to_rest, _from_rest = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Rest).decode


def spec_hash(spec: ModelSpec) -> str:
    """Which spec it is, to the letter."""
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()[:16]


class Beside(Protocol):
    """What goes along with a detector's state, though it is none of it: the memory of who feeds it, a table and a rest.

    What was kept under another key is forgotten, and the digest does not see it.
    """

    @property
    def table(self) -> Table:
        """Its rows."""

    @property
    def key(self) -> str:
        """What they depend on."""

    def settle(self) -> None:
        """Go on with the rows that were put into the table."""

    def clear(self) -> None:
        """Know nothing."""

    def dump(self) -> bytes:
        """What is small."""

    def load(self, data: bytes) -> None:
        """Go on with that; empty where none was written."""


class Keep:
    """The tables of a register and its judge, with their marks, and what is kept beside."""

    def __init__(self, register: Register, judge: Judge, beside: Beside | None = None, more: Sequence[Table] = ()) -> None:
        """`more` are tables of others."""
        self.register, self.judge, self.beside, self.more = register, judge, beside, tuple(more)
        self.models = Borrowed("models", judge.columns, judge.ensure, lambda: judge.touched)
        self.models.count = register.tables.subjects.count  # the same rows
        self.ratios = Borrowed("ratios", lambda: {"ratio": judge.ratios.state}, judge.ratios.ensure)
        self.live = Borrowed("live", lambda: {"live": judge.episodes.live}, judge.episodes.make_room)

    @property
    def tables(self) -> dict[str, Table]:
        """All tables by name."""
        beside = (self.beside.table,) if self.beside else ()
        return {t.name: t for t in (*self._own, *beside)}

    @property
    def _own(self) -> tuple[Table, ...]:
        self.ratios.count[USED], self.live.count[USED] = self.judge.slots, self.judge.episodes.places[EVER]
        judged = self.models, self.ratios, self.live, self.judge.rivers.table
        return *self.register.tables.all(), *judged, *self.more

    def ahead(self, generation: int) -> Iterator[Part]:
        """As `Stateful.ahead`."""
        self._mark()
        for part in ahead(self.tables.values(), generation):
            if part.table == self.models.name:  # its mark is gone, and was that of what it reaches too
                self._mark(part.rows.astype(np.intp))
            yield part

    def gather(self, generation: int) -> tuple[list[Part], int]:
        """As `state.gather`."""
        self._mark()
        return gather(self.tables.values(), generation)

    def _mark(self, rows: NDArray[np.intp] | None = None) -> None:
        """Mark what is reached from these judged rows, or from all that are marked: a row carries the mark for all."""
        held = np.flatnonzero(self.judge.touched[: self.judge.size]) if rows is None else rows
        tables, reached = self.tables, {"ratios": self._ratios(held), "live": self._live(held)}
        for name, places in reached.items():
            table = tables[name]
            table.reserve(table.used)
            table.touched[places] = 1

    def settle(self, rests: Mapping[str, Sequence[int]], beside: str) -> None:
        """Take over what `Table.rest` gave, and make what follows from the rows; `beside` is the key of then."""
        for table in self._own:
            if table.name in rests:  # else it is newer than the state
                table.settle(list(rests[table.name]))
        if self.beside and beside == self.beside.key:
            self.beside.table.settle(list(rests[self.beside.table.name]))
            self.beside.settle()
        elif self.beside:
            self.beside.clear()
        judge, used = self.judge, self.register.tables.subjects.used
        judge.ensure(used)
        judge.settle(int(self.ratios.count[USED]))
        judge.episodes.settle(int(self.live.count[USED]))
        judge.rivers.settle()
        self.register.settle()

    def digest(self) -> int:
        """CRC-32 of all rows; the places of ratios and live episodes are no state."""
        found, rows = 0, np.arange(self.judge.size)
        for table in self._own:
            places = {"ratios": self._ratios(rows), "live": self._live(rows)}.get(table.name)
            found = table.digest(found, places)
        return found

    def _ratios(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        slots: NDArray[np.int32] = self.judge.table["slot"][rows]
        return slots[slots >= 0]

    def _live(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        at: NDArray[np.int32] = self.judge.episodes.table["at"][rows]
        return at[at > 0] - 1


@dataclass(slots=True)
class Parts:
    """The parts of a detector that the rest is about."""

    inputs: Inputs
    absence: Absence
    waiting: Waiting
    report: Report
    together: Together
    sources: dict[str, int]
    counts: Counter[str]
    said: int
    swept: int
    freed: int


def rest_of(p: Parts, seed: int, specs: Sequence[ModelSpec], kept: Keep) -> Rest:
    """The rest as it is now."""
    return Rest(
        seed=seed,
        specs=[(spec.name, spec_hash(spec)) for spec in specs],
        tables={name: table.rest() for name, table in kept.tables.items()},
        beside=kept.beside.key if kept.beside else "",
        heard=[(*place, time) for place, time in p.inputs.heard.items()],
        next=[(*place, offset) for place, offset in p.inputs.next.items()],
        epochs=[(*place, known) for place, known in p.inputs.epochs.items()],
        numbers=list(p.inputs.numbers),
        time=p.inputs.time,
        clocks=[(source, c.last, c.active, c.usual) for source, c in p.absence.clocks.items()],
        sources=list(p.sources),
        said=p.said,
        swept=p.swept,
        freed=p.freed,
        counts={name: n for name, n in sorted(p.counts.items()) if n and name != REPEATED},
        waiting=p.waiting.take(),
        lost=p.waiting.lost,
        open=sorted(p.report.open.items()),
        silent=[p.report.silent[key] for key in sorted(p.report.silent)],
        known=p.report.known(),
        together=p.together.memory(),
    )


def take_over(p: Parts, rest: Rest) -> None:
    """Make the parts what the rest says; `said` is the caller's."""
    p.inputs.heard.update({(source, partition): time for source, partition, time in rest.heard})
    p.inputs.next.update({(source, partition): offset for source, partition, offset in rest.next})
    p.inputs.epochs.update({(source, partition): known for source, partition, known in rest.epochs})
    p.inputs.numbers.update({place: i for i, place in enumerate(rest.numbers)})
    p.inputs.time = rest.time
    p.absence.clocks.update({source: Clock(last, active, usual) for source, last, active, usual in rest.clocks})
    p.sources.update({source: i for i, source in enumerate(rest.sources)})
    p.counts.update(rest.counts)
    p.waiting.restore(rest.waiting, rest.lost)
    p.report.take_over(dict(rest.open), rest.silent, rest.known)


def write(rest: Rest) -> bytes:
    """As MessagePack."""
    return _to_rest(rest)


def read(data: bytes) -> Rest:
    """What `write` wrote; raises Newer for what a later version did, msgspec.DecodeError for what none of ours did."""
    refuse_newer(data, VERSION, "a detector's state")
    return _from_rest(data)


def digest(rest: Rest, kept: Keep) -> int:
    """CRC-32 of the rest and of all rows; cursors are no state, nor is what is kept beside."""
    beside = kept.beside.table.name if kept.beside else ""
    tables = {name: numbers[:2] for name, numbers in rest.tables.items() if name != beside}
    return zlib.crc32(write(msgspec.structs.replace(rest, tables=tables, beside="", fed=b"")), kept.digest())
