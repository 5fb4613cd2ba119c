"""Series that are no more lose their rows: those that were idle for long, by the time of the data.

A series leaves its aggregates, and with its last member an aggregate goes too; every other series stays as it is, to the
bit. Rows are used again in the order in which they stood. Compiled code finds what hangs on a series and unlinks it; then
whole columns are cleared at once. It is done between two blocks, so where blocks are cut may decide whether a series that
comes back in this very moment is the old one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.detect.grid import recount
from anomaly.detect.judge import Judge
from anomaly.detect.register import Register

LEAST_IDLE, INTERVALS = 600_000, 10.0  # ms, and usual intervals, that a series must be silent to make room at a limit

End = Callable[[int], None]  # what is to be said of a judged row that goes


class Gone(NamedTuple):
    """Rows to be set free, each array with room for all there are; `n` int64 (7,): how many, in this order."""

    members: NDArray[np.int32]
    aggregates: NDArray[np.int32]
    histograms: NDArray[np.int32]
    families: NDArray[np.int32]
    groups: NDArray[np.int32]
    scopes: NDArray[np.int32]
    subjects: NDArray[np.int32]
    n: NDArray[np.int64]


MEMBERS, AGGREGATES, HISTOGRAMS, FAMILIES, GROUPS, SCOPES, SUBJECTS = range(7)


@bare
def add(column, n, which, row):  # type: ignore[no-untyped-def]
    """Note a row to be set free."""
    column[n[which]] = row
    n[which] += 1


@bare
def leave_aggregate(a, state, judged, gone):  # type: ignore[no-untyped-def]
    """Take the members that are marked (row -1) out of an aggregate's chain."""
    agg, before = state.aggregates[a], -1
    m = agg.head
    while m >= 0:
        after = state.members[m].next_of_agg
        if state.members[m].row >= 0:
            before = m
        else:
            if before < 0:
                agg.head = after
            else:
                state.members[before].next_of_agg = after
                state.touched_members[before] = 1
            state.members[m].row = -2
            add(gone.members, gone.n, MEMBERS, m)
        m = after
    state.touched_aggregates[a] = 1
    if agg.head >= 0:
        if agg.step > 0:
            recount(state, a)
        return
    for q in range(4):
        if judged[a, q] >= 0:
            add(gone.subjects, gone.n, SUBJECTS, judged[a, q])
    add(gone.aggregates, gone.n, AGGREGATES, a)


@bare
def leave_siblings(head, marked, labels, touched):  # type: ignore[no-untyped-def]
    """Take the rows that are marked out of a chain of siblings."""
    before, r = -1, head
    while r >= 0:
        after = labels[r].sibling
        if marked[r] == 0:
            before = r
        else:
            labels[r].kin = 0
            if before >= 0:
                labels[before].sibling = after
                touched[before] = 1
        r = after


@bare
def leave_scope(s, scopes, touched, gone):  # type: ignore[no-untyped-def]
    """Count a series no longer."""
    while s >= 0:
        above = scopes[s].above
        scopes[s].rows -= 1
        touched[s] = 1
        if scopes[s].rows == 0:
            add(gone.scopes, gone.n, SCOPES, s)
        s = above


@bare
def leave(rows, marked, heads, state, labels, touched_labels, scopes, touched_scopes, judged, gone):  # type: ignore[no-untyped-def]
    """Unlink rows, which are `marked`, from everything; `heads` are the newest of their siblings, -1: none."""
    for i in range(rows.size):
        row, m = state.rows[rows[i]], state.rows[rows[i]].members
        while m >= 0:
            state.members[m].row = -1
            m = state.members[m].next_of_row
        if labels[rows[i]].kin != 0:
            leave_siblings(heads[i], marked, labels, touched_labels)
        leave_scope(labels[rows[i]].scope, scopes, touched_scopes, gone)
        if row.judged >= 0:
            add(gone.subjects, gone.n, SUBJECTS, row.judged)
        if row.histogram >= 0:
            add(gone.histograms, gone.n, HISTOGRAMS, row.histogram)
        if row.family >= 0:
            state.families[row.family].rows -= 1
            state.touched_families[row.family] = 1
            if state.families[row.family].rows == 0:
                add(gone.families, gone.n, FAMILIES, row.family)
        group = state.groups[row.group]
        group.rows -= 1
        group.alive -= row.alive
        state.touched_groups[row.group] = 1
        if group.rows == 0 and group.open == 0:
            add(gone.groups, gone.n, GROUPS, row.group)
    for r in rows:
        m = state.rows[r].members
        while m >= 0:
            a = state.members[m].agg
            if state.members[m].row == -1:  # not taken out yet along with another one
                leave_aggregate(a, state, judged, gone)
            m = state.members[m].next_of_row


class Evict:
    """Sets series free."""

    def __init__(self, register: Register, judge: Judge) -> None:
        self.register, self.judge = register, judge

    def idle(self, now: int, least: int) -> NDArray[np.int32]:
        """Series that have had no point for `least` ms at `now`."""
        return self._silent(now, np.float64(least))

    def idlest(self, now: int) -> NDArray[np.int32]:
        """Series silent for far longer than usual: who goes first where a limit is reached."""
        rows = self.register.tables.rows["row"][: self.register.tables.rows.used]
        return self._silent(now, np.maximum(INTERVALS * rows["interval"].astype(np.float64), LEAST_IDLE))

    def _silent(self, now: int, patience: Any) -> NDArray[np.int32]:
        table = self.register.tables.rows
        rows = table["row"][: table.used]
        begun = np.flatnonzero((rows["last"] == 0) & (rows["start"] == 0) & (rows["key"] != 0))
        rows["start"][begun], table.touched[begun] = now, 1  # announced before any time was known
        since = np.where(rows["last"] > 0, rows["last"], rows["start"])
        return np.flatnonzero((rows["key"] != 0) & (now - since >= patience)).astype(np.int32)

    def release(self, rows: NDArray[np.int32], end: End) -> None:
        """Set series free, and what is left without any; `end` is told of each judged row that goes."""
        if not rows.size:
            return
        t, gone = self.register.tables, self._unlink(rows)
        subjects = np.sort(gone.subjects[: gone.n[SUBJECTS]])
        for row in subjects.tolist():
            end(row)
        self.register.regressions.release(subjects)
        self.register.jobs.release(subjects)
        self.register.sites.release(rows)
        self.judge.release(subjects)
        tables = t.members, t.aggregates, t.histograms, t.families, t.groups, t.scopes, t.subjects
        for which, table in enumerate(tables):
            table.release(np.sort(gone[which][: gone.n[which]]))
        t.labels["label"][rows], t.labels.touched[rows] = np.zeros((), t.labels["label"].dtype), 1
        t.rows.release(rows)
        self.register.settle()

    def _unlink(self, rows: NDArray[np.int32]) -> Gone:
        t = self.register.tables
        tables = t.members, t.aggregates, t.histograms, t.families, t.groups, t.scopes, t.subjects
        gone = Gone._make([*(np.zeros(table.used, np.int32) for table in tables), np.zeros(7, np.int64)])
        marked = np.zeros(t.rows.used, np.uint8)
        marked[rows] = 1
        kin = t.labels["label"]["kin"]
        heads = self.register.index.kin.find(kin[rows], kin)
        columns = t.labels["label"], t.labels.touched, t.scopes["scope"], t.scopes.touched, t.aggregates["judged"]
        leave(rows, marked, heads, t.state(), *columns, gone)
        return gone
