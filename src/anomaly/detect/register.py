"""Which judged rows a series feeds: itself, the aggregate over its instances or its group, and the ratio of errors.

Announced series are entered by compiled code in the order in which they come (`enter`), by plans made once for each shape
(`plans`); Python helps with what feeds more than its own value (`combine`). From then on everything is rows (`rows`), and no
object is kept for a series: who it is stands in its text, which is read when somebody asks (`subject`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import ModelSpec
from anomaly.config.settings import Limits
from anomaly.decode.block import Announced
from anomaly.decode.identity import Series, unpack
from anomaly.decode.index import MISSING, Index
from anomaly.decode.texts import Strung
from anomaly.detect.book import DONE, DONORS, FULL, UNPLANNED, UNREADABLE, Book, Judges, New
from anomaly.detect.clocked import set_clocks
from anomaly.detect.combine import Combine
from anomaly.detect.enter import FED, LONG_LABELS, Ratios, enter
from anomaly.detect.jobs import Jobs
from anomaly.detect.judge import NEIGHBOUR, Judge
from anomaly.detect.plans import Plans, part_of, whole
from anomaly.detect.regression import Regressions
from anomaly.detect.rows import CELLS, LANES, UNTIL, VALUE, Tables
from anomaly.detect.sides import give_sides
from anomaly.detect.sites import Sites
from anomaly.detect.subject import Subjects
from anomaly.detect.text import PADDING, from_text
from anomaly.table import USED, Table

MOST_FED = 1_000_000  # ratios that are remembered to be fed
AT_ONCE = 4_096  # series entered in one go: room is made for what they may need at most


Free = Callable[[], None]


class Indexes(NamedTuple):
    """Rows by key."""

    rows: Index
    kin: Index
    aggregates: Index
    groups: Index
    families: Index
    scopes: Index
    refused: Index


class Register:
    """Rows of everything that was announced."""

    def __init__(self, specs: Sequence[ModelSpec], judge: Judge, seed: int = 0, limits: Limits | None = None) -> None:
        self.specs, self.judge, self.seed = tuple(specs), judge, seed
        held = limits or Limits()
        self.limits = np.array([held.series, held.series_per_environment, held.series_per_metric], np.int64)
        self.tables = Tables()
        self.index = Indexes(*(Index() for _ in range(7)))
        self.plans = Plans(self.specs, seed)
        self.subjects = Subjects(self.tables, judge)
        self.widest, self._refusing = LANES, False  # lanes of the aggregate that has most
        self.regressions = Regressions(self.tables, judge, self.subjects)
        self.jobs = Jobs(self.tables, judge, self.subjects)
        self.sites = Sites(self.tables, self.subjects, judge)
        self._combine = Combine(self.tables, self.index.aggregates, self.subjects, judge, seed)
        self._fed, self._feeds = Table("fed", {"fed": (FED, 0)}), Index()
        self._judges, self._until = _room(1), np.array([spec.until for spec in self.specs], np.bool_)
        self._parts = np.zeros(10, np.int64)

    @property
    def series(self) -> int:
        """Number of series that have a row."""
        return int(self.index.rows.count[0])

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each series, MISSING where it was not announced."""
        return self.index.rows.find(series, self.tables.rows["row"]["key"])

    def find_groups(self, groups: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each group by its hash, MISSING where none of its series was announced."""
        return self.index.groups.find(groups, self.tables.groups["group"]["key"])

    def add(self, series: Series, source: int, lateness: int, fresh: bool) -> int:
        """Give one series its row. `fresh`: no point of it can have been missed."""
        one = Announced.of([series])
        self.announce(one, source, lateness, np.array([fresh], np.uint8))
        return int(self.find(one.hash)[0])

    def announce(
        self, new: Announced, source: int, lateness: int, fresh: NDArray[np.uint8], free: Free = lambda: None
    ) -> None:
        """Give series their rows, those that have none, in the order in which they come.

        Where a limit is reached, `free` may make room, once; series past it are counted (`overflow`), and known to be so.
        """
        self._refusing = False
        texts = Strung.of(new.text)
        end, text = np.cumsum(texts.size), np.append(texts.raw, np.zeros(PADDING, np.uint8))
        for at in range(0, len(new), AT_ONCE):
            part = slice(at, at + AT_ONCE)
            some = New(new.hash[part], text, (end - texts.size)[part], end[part], fresh[part])
            self._announce(some, (source, lateness), free)
        self._measure()

    def is_refused(self, series: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Of which series there is no row because of a limit, as far as is remembered."""
        found: NDArray[np.bool_] = self.index.refused.find(series, self.tables.refused["key"]) != MISSING
        return found

    def overflow(self) -> list[tuple[str, str, int]]:
        """(environment, metric, series past a limit), the worst first; the metric is empty where it was new as well."""
        table, text = self.tables.scopes, self.tables.scope_text.array
        scopes = table["scope"][: table.used]

        def name(s: int) -> str:
            word: str = from_text(text[scopes["text_at"][s] : scopes["text_at"][s] + scopes["text_len"][s]].tobytes())
            return word

        found = []
        for s in np.flatnonzero(scopes["refused"]).tolist():
            above = int(scopes["above"][s])
            found.append((name(above if above >= 0 else s), name(s) if above >= 0 else "", int(scopes["refused"][s])))
        return sorted(found, key=lambda each: (-each[2], each))

    def reserve(self, rows: NDArray[np.int32], lengths: NDArray[np.int32]) -> None:
        """Make room for the last counts of histograms that come for the first time, or with more buckets than before."""
        give_sides(self.tables, rows, lengths)

    def settle(self) -> None:
        """Know all rows again by their keys."""
        t = self.tables
        self.index.rows.build(t.rows.used, t.rows["row"]["key"])
        self.index.kin.build(t.rows.used, t.labels["label"]["kin"], t.labels["label"]["sibling"])
        self.index.aggregates.build(t.aggregates.used, t.aggregates["aggregate"]["key"])
        self.index.groups.build(t.groups.used, t.groups["group"]["key"])
        self.index.families.build(t.families.used, t.families["family"]["key"])
        self.index.scopes.build(t.scopes.used, t.scopes["scope"]["key"])
        self.index.refused.build(t.refused.used, t.refused["key"])
        self.regressions.settle()
        self.jobs.settle()
        self.sites.settle()
        self._measure()

    def _measure(self) -> None:
        """Lanes of the aggregate that has most: room for its cells is made before they close."""
        width = self.tables.aggregates["aggregate"]["width"]
        self.widest = int(width[: self.tables.aggregates.used].max(initial=LANES))

    def _announce(self, new: New, when: tuple[int, int], free: Free) -> None:
        begin, room_for = 0, (new.key.size, int(new.end[-1] - new.at[0]))
        while True:
            self._make_room(*room_for)  # anew each time: whoever helped has used some of it
            begin = self._enter(begin, new, when)
            why = int(self._judges.used[1])
            self._adopt()
            if why == DONE:
                break
            if why == FULL:
                free()
                self._refusing = True
                continue
            series = unpack(int(new.key[begin]), new.text[new.at[begin] : new.end[begin]].tobytes())
            if why == UNREADABLE:
                raise ValueError(f"the text of series {series} is not what pack writes")
            if why == UNPLANNED:
                self.plans.make(int(self._parts[0]) & (1 << 64) - 1, series)
                continue
            self._help(series, when[1])
            begin += 1

    def _make_room(self, n: int, size: int) -> None:
        """Whatever so many series with texts of that size may need at most; three judged rows each, and four memberships."""
        t = self.tables
        for table in (t.rows, t.labels, t.groups, t.families, t.refused):
            table.reserve(table.used + n)
        t.aggregates.reserve(t.aggregates.used + 2 * n)
        t.subjects.reserve(t.subjects.used + 3 * n)
        t.members.reserve(t.members.used + 4 * n)
        t.scopes.reserve(t.scopes.used + 2 * n)
        if t.refused.used + n > max(int(self.limits[0]), 2 * AT_ONCE):  # remembered no longer: they are counted anew
            t.refused.count[USED] = 0
            self.index.refused.build(0, t.refused["key"])
        for table, pool in ((t.labels, t.label_text), (t.groups, t.group_text), (t.scopes, t.scope_text)):
            room(table, pool, size)
        room(t.aggregates, t.aggregate_text, 2 * size + LONG_LABELS.size * n)
        room(t.aggregates, t.lanes, 2 * CELLS * LANES * n)
        keys = (t.rows["row"]["key"], t.labels["label"]["kin"], t.aggregates["aggregate"]["key"], t.groups["group"]["key"],
                t.families["family"]["key"], t.scopes["scope"]["key"], t.refused["key"])  # fmt: skip
        for index, column in zip(self.index, keys, strict=True):
            index.reserve(2 * n if index in (self.index.scopes, self.index.aggregates) else n, column)
        if self._judges.row.size < 3 * n:
            self._judges = _room(3 * n)

    def _enter(self, begin: int, new: New, when: tuple[int, int]) -> int:
        self._judges.used[:] = 0
        plans, index = self.plans.table["plan"], self.plans.index
        ratios = Ratios(self._fed["fed"], self._feeds.slots, self.plans.told_by)
        fixed = np.uint64(self.seed), self.plans.names, plans, index.slots, ratios
        state, book = self.tables.state(), self._book()
        limited = self.limits, self._refusing
        return int(enter(begin, new, *when, *limited, *fixed, state, book, self._judges, self._parts))

    def _book(self) -> Book:
        t = self.tables
        counted = t.rows, t.members, t.aggregates, t.groups, t.families, t.subjects, t.scopes, t.refused
        pools = t.label_text, t.group_text, t.aggregate_text
        columns = t.labels["label"], t.aggregates["judged"], t.subjects["subject"], *(pool.array for pool in pools)
        columns = *columns, t.scopes["scope"], t.scope_text.array, t.refused["key"]
        marks = t.labels.touched, t.subjects.touched, t.scopes.touched, t.refused.touched
        counts = tuple(table.count for table in counted), tuple(pool.count for pool in (*pools, t.scope_text, t.lanes))
        indexes = tuple(index.slots for index in self.index), tuple(index.count for index in self.index)
        return Book._make([*columns, *marks, *counts, *indexes])

    def _adopt(self) -> None:
        """Give new judged rows their models, started from what a sibling knows: the newest that knows something."""
        n = int(self._judges.used[0])
        if not n:
            return
        rows = self._judges.row[:n]
        self.judge.adopt(rows, self._judges.spec[:n], self._judges.traffic[:n])
        set_clocks(self.tables, self.judge, rows)
        quantity = self.tables.subjects["subject"]["quantity"]
        times = rows[self._until[self._judges.spec[:n]]]
        quantity[times[quantity[times] == VALUE]] = UNTIL
        self.sites.meet(rows, self._judges.spec[:n])
        long = self._judges.donors[:n, 0] <= NEIGHBOUR
        self.judge.table["slot"][rows[long]] = self._judges.donors[:n, 0][long]
        asked = np.flatnonzero(self._judges.donors[:n, 0] >= 0)
        for i in asked.tolist():
            donors = self._judges.donors[i][self._judges.donors[i] >= 0]
            knows = self.judge.bank.warm(donors)
            if knows.any():
                self.judge.bank.prime(int(rows[i]), int(donors[int(np.argmax(knows))]))

    def _help(self, own: Series, lateness: int) -> None:
        """Let the series behind which the kernel stopped feed its distributions and ratios."""
        row, plan, fed = int(self._parts[0]), int(self._parts[1]), int(self._parts[2]) & (1 << 64) - 1
        part = part_of(own)
        seen = whole(own, part)
        for spec in self.plans.fitting[plan]:
            self._combine.feed(row, seen, part, own, spec, self.plans.place(spec), lateness)
        if self.plans.table["plan"]["ratio"][plan]:
            self._note_fed(fed, row)

    def _note_fed(self, key: int, row: int) -> None:
        """The ratio that this row was the first to feed: others need no help."""
        if self._fed.used >= MOST_FED:
            self._fed, self._feeds = Table("fed", {"fed": (FED, 0)}), Index()
        t, at = self.tables, self._feeds.one(key, self._fed["fed"]["key"])
        at = at if at >= 0 else self._fed.new()
        a = int(t.members["member"]["agg"][t.rows["row"]["members"][row]])
        self._fed["fed"][at] = key, t.aggregates["aggregate"]["key"][a], a
        self._feeds.enter(at, self._fed["fed"]["key"])


def room(table: object, pool: object, n: int) -> None:
    """Have so many more places of a pool, but use none."""
    at = table.place(pool, n)  # type: ignore[attr-defined]
    pool.count[0] = at  # type: ignore[attr-defined]


def _room(n: int) -> Judges:
    """Room for so many new judged rows."""
    return Judges(
        np.zeros(n, np.int32),
        np.zeros(n, np.int16),
        np.zeros(n, np.uint8),
        np.full((n, DONORS), -1, np.int32),
        np.zeros(2, np.int64),
    )
