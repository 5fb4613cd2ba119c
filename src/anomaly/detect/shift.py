"""A common shift is one anomaly of the group, not of every member.

A series that feeds a sum over instances, and is judged by itself too, does not speak at once: the sum is asked first, which
is a cell or two behind. Where the sum does not move, the series speaks for itself. Where it has an episode to the same side
and half of its members have one, theirs are folded into it: they say nothing, and it says how many of how many. Where the
sum moved and few members did, they speak too, for then somebody should know which ones.
What is folded and outlasts the sum's episode speaks then. All of it in arrival order, by the time of the data.
State: `held` and `folded` anomalies of judged rows, and how many each sum has folded; small, and written whole.
Weak where the members move one after the other, in more than the time they wait: the first ones speak for themselves.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from anomaly.config.models import Direction, ModelSpec
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.detect.episodes import OPEN_AT
from anomaly.detect.judge import HIGH, LOW, SCORE, Batch, Verdicts
from anomaly.detect.register import Register
from anomaly.detect.report import Report
from anomaly.detect.rows import MEAN, SUM

FEWEST = 3  # members of a sum that have anything in common
CELLS = 3  # of the sum that a member waits, beside the time for which an episode has to last
GONE = 600_000  # ms of silence after which a series is no member any more

Said = tuple[int, Anomaly]  # point of the batch, anomaly
OfSum = tuple[int, Anomaly]  # judged row of the sum, a member's anomaly


class Memory(Struct, frozen=True):
    """All of it: (row, its sum's row, anomaly) held and folded, (the sum's row, folded, of these told)."""

    held: list[tuple[int, int, Anomaly]] = []
    folded: list[tuple[int, int, Anomaly]] = []
    moved: list[tuple[int, int, int]] = []


class Moved(NamedTuple):
    """How many members a sum has folded, and how many of these were told."""

    folded: int = 0
    told: int = 0


class Shift:
    """Folds the anomalies of members into those of their sums."""

    def __init__(self, specs: Sequence[ModelSpec], register: Register, report: Report) -> None:
        self.specs, self.register, self.report = tuple(specs), register, report
        self.held: dict[int, OfSum] = {}
        self.folded: dict[int, OfSum] = {}
        self.moved: dict[int, Moved] = {}
        self._sums: dict[int, Anomaly] = {}  # what lasts of sums
        self._sizes: dict[int, int] = {}  # of sums, while a batch is taken

    def take(self, batch: Batch, verdicts: Verdicts, said: Sequence[Anomaly]) -> list[Said]:
        """What is said of single series and sums, at which point."""
        if not said and not self.held:
            return []
        self._sizes.clear()
        rows, events = self.register.tables.subjects["subject"], list(zip(verdicts.events.index.tolist(), said, strict=True))
        found = list[Said]()
        for at, anomaly in self._in_order(batch, events):
            row = int(batch.row[at])
            if anomaly is None:
                told = self._asked(row, int(batch.time[at]), side(verdicts, at))
            elif rows["whole"][row]:
                told = self._sum(row, anomaly)
            else:
                told = self._member(row, anomaly)
            found += [(int(batch.point[at]), a) for a in told]
        return found

    def ended(self, row: int, time: int) -> list[Anomaly]:
        """The series of an open anomaly is no more: what there is to say of that."""
        over = self.report.ended(row, time)
        if self.held.pop(row, None) or self.folded.pop(row, None):
            return []
        return self._sum(row, over) if row in self._sums else [over]

    def memory(self) -> Memory:
        """All of it."""
        held = [(row, *each) for row, each in sorted(self.held.items())]
        folded = [(row, *each) for row, each in sorted(self.folded.items())]
        return Memory(held, folded, [(row, *each) for row, each in sorted(self.moved.items())])

    def settle(self, memory: Memory) -> None:
        """Go on with what was written, once the report has its own."""
        self.held = {row: (whole, a) for row, whole, a in memory.held}
        self.folded = {row: (whole, a) for row, whole, a in memory.folded}
        self.moved = {row: Moved(folded, told) for row, folded, told in memory.moved}
        self.follow()

    def take_over(self, old: "Shift", rows: dict[int, int]) -> None:
        """Go on with what another one knows of rows that are others here."""
        for ours, theirs in ((self.held, old.held), (self.folded, old.folded)):
            ours |= {rows[r]: (rows[whole], a) for r, (whole, a) in theirs.items() if r in rows and whole in rows}
        self.moved |= {rows[whole]: moved for whole, moved in old.moved.items() if whole in rows}
        self.follow()

    def follow(self) -> None:
        """Know the sums of which something lasts."""
        rows = self.register.tables.subjects["subject"]
        self._sums = {row: a for row, a in self.report.open.items() if rows["whole"][row]}

    def _in_order(self, batch: Batch, events: list[tuple[int, Anomaly]]) -> Iterator[tuple[int, Anomaly | None]]:
        """What is said, and the cells of sums (None) that somebody waits for, by their places in the batch."""
        opened = [int(batch.row[at]) for at, a in events if a.event is Event.OPEN]
        sums = {whole for whole, _ in self.held.values()} | {self._sum_of(row) for row in opened}
        cells = np.flatnonzero((batch.mark < 0) & np.isin(batch.row, sorted(sums))).tolist() if sums - {-1} else []
        yield from sorted([*events, *((at, None) for at in cells)], key=lambda each: (each[0], each[1] is None))

    def _member(self, row: int, a: Anomaly) -> list[Anomaly]:
        """What a series says that may be a member of a sum."""
        for kept in (self.held, self.folded):
            if row in kept:
                whole, opened = kept[row]
                if a.event is not Event.CLOSE:
                    kept[row] = whole, msgspec.structs.replace(a, event=Event.OPEN)
                    return []
                del kept[row]
                return [opened, a] if kept is self.held else []
        whole = self._sum_of(row) if a.event is Event.OPEN else -1
        if whole < 0 or self._size(whole, a.time) < FEWEST:
            return [a]
        self.held[row] = whole, a
        return self._fold(whole, a.time)

    def _sum(self, row: int, a: Anomaly) -> list[Anomaly]:
        """What a sum says, and those whom its end sets free."""
        if row in self.moved:
            a = msgspec.structs.replace(a, breadth=(self.moved[row].folded, self._size(row, a.time)))
        if a.event is not Event.CLOSE:
            self._sums[row] = a
            return [a, *self._fold(row, a.time)]
        self._sums.pop(row, None)
        self.moved.pop(row, None)
        free = sorted(r for r, (whole, _) in self.folded.items() if whole == row)
        return [a, *(spoken(self.folded.pop(r)[1], a.time) for r in free)]

    def _asked(self, row: int, time: int, moves: Direction | None) -> list[Anomaly]:
        """A cell of a sum is judged: who waits for it speaks, waits on, or is folded."""
        told, step = list[Anomaly](), self._step(row)
        for r in sorted(r for r, (whole, _) in self.held.items() if whole == row):
            a = self.held[r][1]
            same = moves is a.direction or (row in self._sums and self._sums[row].direction is a.direction)
            is_due = time - step >= a.started if not same else time - a.time > self._patience(row)
            if is_due:
                told.append(spoken(self.held.pop(r)[1], time))
        return [*told, *self._fold(row, time)]

    def _fold(self, row: int, time: int) -> list[Anomaly]:
        """Fold those who wait for a sum that moves as they do, if they are many; it says how many, when that doubles."""
        lasts = self._sums.get(row)
        if lasts is None:
            return []
        moved, size = self.moved.get(row, Moved()), self._size(row, time)
        same = [r for r, (whole, a) in self.held.items() if whole == row and a.direction is lasts.direction]
        if not same or 2 * (moved.folded + len(same)) < size:
            return []
        for r in same:
            self.folded[r] = self.held.pop(r)
        folded = moved.folded + len(same)
        is_news = folded >= 2 * moved.told
        self.moved[row] = Moved(folded, folded if is_news else moved.told)
        self._sums[row] = a = msgspec.structs.replace(lasts, event=Event.RECORD, time=time, breadth=(folded, size))
        if row in self.report.open:
            self.report.open[row] = msgspec.structs.replace(self.report.open[row], breadth=a.breadth)
        return [a] if is_news else []

    def _sum_of(self, row: int) -> int:
        """The judged row of the sum that a row's series is a member of, -1: of none."""
        t = self.register.tables
        one = t.subjects["subject"][row]
        m = -1 if one["whole"] else int(t.rows["row"]["members"][one["of"]])
        while m >= 0:
            a = int(t.members["member"]["agg"][m])
            agg, judged = t.aggregates["aggregate"][a], int(t.aggregates["judged"][a, 0])
            if agg["reading"] in (SUM, MEAN) and not agg["least"] and judged >= 0:
                return judged
            m = int(t.members["member"]["next_of_row"][m])
        return -1

    def _size(self, row: int, time: int) -> int:
        """Members of a sum that are still heard."""
        if row not in self._sizes:
            t = self.register.tables
            m, n = int(t.aggregates["aggregate"]["head"][t.subjects["subject"]["of"][row]]), 0
            while m >= 0:
                one = t.rows["row"][t.members["member"]["row"][m]]
                n += one["last"] > time - GONE and not one["stale"]
                m = int(t.members["member"]["next_of_agg"][m])
            self._sizes[row] = n
        return self._sizes[row]

    def _step(self, row: int) -> int:
        t = self.register.tables
        return int(t.aggregates["aggregate"]["step"][t.subjects["subject"]["of"][row]])

    def _patience(self, row: int) -> int:
        """Milliseconds for which a member waits for a sum that moves."""
        spec = self.specs[int(self.report.judge.table["spec"][row])]
        return int(spec.min_duration * 1000) + CELLS * self._step(row)


def spoken(a: Anomaly, time: int) -> Anomaly:
    """An anomaly that is said only now."""
    return msgspec.structs.replace(a, time=max(a.time, time))


def side(verdicts: Verdicts, at: int) -> Direction | None:
    """To which side a value is odd, None: it is not."""
    score, low, high = (float(verdicts.judged[at, column]) for column in (SCORE, LOW, HIGH))
    if not score >= OPEN_AT:
        return None
    return Direction.ABOVE if verdicts.value[at] > 0.5 * (low + high) else Direction.BELOW
