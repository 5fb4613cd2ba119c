"""Rows of what traces tell: who each is of, its counts in the cells that are not learned yet, and a few of its traces.

A row has a series; its columns, beside what its owner learns (`sequences`, `slow`):
row     TRACED (rows,)     see there
ring    (rows, RING * W)   counts of cells not learned yet, by the cell's number modulo RING; W a cell: 1, or buckets
recent  uint64 (rows, WORDS * KEPT)  the newest traces of it: their ids, high and low, and the ms of the step; 0: none
and the text of its series, with its example line, in a pool. Times in cells of 10 s since the epoch, but for `recent`.
Bounded: at `most` rows, of the group that has most of them an eighth goes, those not seen for longest first; how many is
counted by group.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from anomaly.compiled import bare
from anomaly.decode.identity import EXAMPLE, Labels, Series, fingerprint, pack, unpack
from anomaly.decode.index import MISSING, Index
from anomaly.decode.points import Points
from anomaly.decode.steps_series import CODE, EXEMPLARS, WORDS, hexadecimal
from anomaly.pool import Pool
from anomaly.table import Table

AHEAD = 6  # cells after which one is learned
RING = 20  # 7 that are judged, 3 of waiting, 6 by which one input may lag behind another, and 4 of lateness
KEPT = EXEMPLARS
TRACED = np.dtype(
    [
        ("key", "u8"),  # hash of its series, 0 of a free row
        ("of", "i4"),  # of a successor the row of its context, else the row itself
        ("group", "i4"),  # number in `groups`
        ("chain", "i4"),  # of a free row: the next one
        ("born", "i8"),  # the first cell with data, 0: none yet
        ("seen", "i8"),  # the newest cell with data; before the first, the one in which it was announced
        ("odd", "i8"),  # the newest cell in which it was judged to be no everyday thing
        ("at", "i8"),  # of `recent`: how many there were
        ("ended", "i8"),  # the cell in which its last episode ended
        ("episodes", "f4"),  # how many it had, those long ago counting less
        ("peak", "f4"),  # the greatest score of these, not discounted
        ("calm", "i2"),  # judged cells since an open episode was last surprising
        ("is_line", "u1"),  # it is there only where log lines are heard
        ("is_error", "u1"),  # the successor is a line of an error
        ("text_at", "i8"),
        ("text_len", "i4"),
    ],
    align=True,
)
OWN = {"key", "of", "group", "chain", "text_at", "text_len"}  # what a row has where it is


@bare
def note(index, row, cell, at, length, words, first, rows, recent, touched):  # type: ignore[no-untyped-def]
    """Note when rows have data, and the first KEPT traces of each point; of a row the newest stay."""
    for i in range(row.size):
        r, p = row[i], index[i]
        one = rows[r]
        one.seen, touched[r] = max(one.seen, cell[i]), 1
        if one.born == 0 or cell[i] < one.born:
            one.born = cell[i]
        for j in range(min((length[p] - first) // WORDS, KEPT)):
            place, begin = WORDS * (one.at % KEPT), at[p] + first + WORDS * j
            for w in range(WORDS):
                recent[r, place + w] = words[begin + w]
            one.at += 1


class Group(msgspec.Struct):
    """A group, and how often a context of it shows a successor that it never had (`sequences`)."""

    environment: str
    group: str
    hash: int
    births: float = 0.0
    chances: float = 0.0


class TraceRows:
    """Rows by series. `over` counts rows that made room, by group."""

    def __init__(
        self, name: str, seed: int, most: int, columns: Mapping[str, tuple[DTypeLike, int]], ring: DTypeLike, wide: int
    ) -> None:
        """`columns` are what the owner learns, `wide` the counts of a cell, of type `ring`."""
        own = {"row": (TRACED, 0), "ring": (ring, RING * wide), "recent": (np.uint64, WORDS * KEPT), **columns}
        self.text = Pool("text", "row", np.uint8)
        self.table = Table(name, own, [self.text], ("row", "chain"))
        self.seed, self.most, self.wide = seed, most, wide
        self.groups: list[Group] = []
        self.over: Counter[int] = Counter()
        self._numbers: dict[int, int] = {}
        self._filled: set[int] | None = set()  # cells with data; None: not known
        self._index = Index()

    def __len__(self) -> int:
        return int(self._index.count[0])

    @property
    def row(self) -> NDArray[np.void]:
        """TRACED of all rows that were ever in use."""
        return self.table["row"][: self.table.used]

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The row of each series, MISSING where it has none."""
        return self._index.find(series, self.table["row"]["key"])

    def one(self, hashed: int) -> int:
        """The row of a series, or MISSING."""
        return self._index.one(hashed, self.table["row"]["key"])

    def enter(self, series: Series, cell: int) -> int:
        """A row for a series that has none."""
        row, number = self.table.new(), self._number(series)
        r, text = self.table["row"], np.frombuffer(pack(series), np.uint8)
        at = self.table.place(self.text, text.size)
        self.text.array[at : at + text.size] = text
        r["key"][row], r["of"][row], r["group"][row], r["seen"][row] = series.hash or 1, row, number, cell
        r["text_at"][row], r["text_len"][row] = at, text.size
        self._index.enter(row, r["key"])
        return row

    def _number(self, series: Series) -> int:
        if series.group_hash not in self._numbers:
            self._numbers[series.group_hash] = len(self.groups)
            self.groups.append(Group(series.environment, series.group, series.group_hash))
        return self._numbers[series.group_hash]

    def is_full(self, more: int) -> bool:
        """Whether so many more rows are too many."""
        return len(self) + more > self.most

    def victims(self) -> NDArray[np.int32]:
        """Who makes room: an eighth of the rows of the group that has most, not seen for longest, and what hangs on them."""
        row = self.row
        used = np.flatnonzero(row["key"])
        group = int(np.bincount(row["group"][used]).argmax())
        theirs = used[row["group"][used] == group]
        order = np.argsort(row["seen"][theirs], kind="stable")
        found = self.with_successors(theirs[order[: max(theirs.size // 8, 1)]])
        self.over[group] += found.size
        return found

    def idle(self, before: int) -> NDArray[np.int32]:
        """Rows not seen since a cell."""
        row = self.row
        return self.with_successors(np.flatnonzero((row["key"] != 0) & (row["seen"] < before)))

    def with_successors(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """These and the successors of those that are contexts."""
        row, gone = self.row, np.zeros(self.table.used, np.bool_)
        gone[rows] = True
        return np.flatnonzero((gone | gone[row["of"]]) & (row["key"] != 0)).astype(np.int32)

    def release(self, rows: NDArray[np.int32]) -> None:
        """Forget these."""
        self.table.release(rows)
        self.settle()

    def settle(self) -> None:
        """Know the rows that are there."""
        self._index.build(self.table.used, self.table["row"]["key"])

    def series(self, row: int) -> Series:
        """Who a row is."""
        r = self.table["row"][row]
        at = int(r["text_at"])
        return unpack(int(r["key"]), self.text.array[at : at + int(r["text_len"])].tobytes())

    def note(
        self, points: Points, index: NDArray[np.intp], row: NDArray[np.int32], cell: NDArray[np.int64], first: int
    ) -> None:
        """There are data of these rows in these cells: points at `index`, whose traces stand behind their first buckets."""
        where, words = (points.bucket_at, points.bucket_len), points.buckets.view(np.uint64)
        if self._filled is not None:
            self._filled.update(np.unique(cell).tolist())
        note(index, row, cell, *where, words, first, self.table["row"], self.table["recent"], self.table.touched)

    def traces(self, row: int, since: int) -> list[tuple[str, int]]:
        """The traces kept of a row whose step is not before `since`, ms: id in hex, ms of the step; the first one first."""
        kept = self.table["recent"][row].reshape(KEPT, WORDS).tolist()
        return sorted(((hexadecimal(high, low), ms) for high, low, ms in kept if ms >= since), key=lambda t: (t[1], t[0]))

    def has(self, cell: int) -> bool:
        """Whether a cell may have data."""
        return len(self) > 0 and (self._filled is None or cell in self._filled)

    def clear(self, cell: int) -> None:
        """A cell is learned, and its place is another one's."""
        at = cell % RING * self.wide
        self.table["ring"][: self.table.used, at : at + self.wide] = 0
        if self._filled is not None:
            self._filled.discard(cell)

    def load(self, groups: list[Group], over: Counter[int], seed: int) -> None:
        """Go on with rows that were put back, written under the seed of then."""
        self.groups, self.over, self._filled = groups, over, None
        if seed != self.seed:
            self._rename()
        self._numbers = {one.hash: number for number, one in enumerate(groups)}
        self.settle()

    def _rename(self) -> None:
        """Hashes under the seed of now."""
        for one in self.groups:
            one.hash = fingerprint(self.seed, one.environment, one.group)
        for row in np.flatnonzero(self.row["key"]).tolist():
            self.table["row"]["key"][row] = hash_of(self.seed, self.series(row)) or 1
            self.table.touched[row] = 1

    def hand_over(self, to: "TraceRows", groups: NDArray[np.uint64], with_cells: bool) -> dict[int, int]:
        """Give another one the rows of these groups, hashes (n,): our rows -> theirs, of those that it has not."""
        wanted = [n for n, one in enumerate(self.groups) if one.hash in groups]
        at = np.flatnonzero((self.row["key"] != 0) & np.isin(self.row["group"], wanted)).tolist()
        to._filled = None
        rows = {r: to.enter(self.series(r), 0) for r in at if to.one(int(self.row["key"][r])) == MISSING}
        mine, theirs = np.array(list(rows), np.intp), np.array(list(rows.values()), np.intp)
        for name, column in self.table.columns().items():
            if name not in ("row", "ring") or (name == "ring" and with_cells):
                to.table[name][theirs] = column[mine]
        for name in set(TRACED.names or ()) - OWN:
            to.table["row"][name][theirs] = self.row[name][mine]
        to.table["row"]["of"][theirs] = [rows.get(int(of), to.one(int(self.row["key"][of]))) for of in self.row["of"][mine]]
        for one in (self.groups[n] for n in wanted):
            if one.hash in to._numbers:
                to.groups[to._numbers[one.hash]] = msgspec.structs.replace(one)
        return rows


def hash_of(seed: int, series: Series, without: Iterable[str] = ()) -> int:
    """The hash of a series, perhaps of the one without some labels; example and code are no part of who it is."""
    who = series.environment, series.group, series.metric, series.unit, shown(series.labels, without), series.instance
    return fingerprint(seed, *who)


def shown(labels: Labels, without: Iterable[str] = ()) -> Labels:
    """The labels that make a series what it is."""
    gone = {EXAMPLE, CODE, *without}
    return tuple(label for label in labels if label[0] not in gone)
