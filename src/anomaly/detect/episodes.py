"""Episodes: what one row does beyond its usual, from its first violating point until it is usual again.

State is a small record per row (`episode.ROW`, 16 bytes) and, for rows that are not calm, a larger one (`episode.LIVE`)
whose place it holds; a place is given back when the row is calm again. `take` writes both without the place, so that equal
episodes are equal bytes wherever they lie. An episode opens at the record level `open_at`, which lies below what
an alert needs: dispatch decides what is worth telling. While it is open only a new record speaks, a score that comes to
`told_at`, which dispatch would tell of, and the second value of such a one.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import bare, kernel
from anomaly.config.models import Direction, Model, ModelSpec
from anomaly.detect.anomaly import BACK_TO_NORMAL, NEW_NORMAL, REMOVED
from anomaly.detect.episode import (
    CLOSED,
    EVER,
    LIVE,
    NO_FAULT,
    OPEN,
    OPENED,
    PARAMETERS,
    RECORD,
    ROW,
    leave,
    occupy,
    step_point,
)  # fmt: skip
from anomaly.detect.recent import KEPT
from anomaly.pool import grown

__all__ = ["CLOSED", "EVENT", "OPENED", "OPEN_AT", "REASONS", "RECORD", "Episodes", "Events"]

OPEN_AT = (
    2.5  # record level: about once in three hundred points by chance, before what a series does all the time is taken off
)
REASONS = ("", BACK_TO_NORMAL, NEW_NORMAL, REMOVED, "heard again")
SIDES = {Direction.ABOVE: 1.0, Direction.BELOW: -1.0, Direction.EITHER: 0.0}


# What happened to an episode at a point:
# index    position of the point in the batch; -1 for an event that no point caused
# row      whose episode
# event    OPENED, RECORD or CLOSED
# started  ms: the first violating point
# score, observed  greatest score so far and the value there
# low, high  the band frozen when the violation began, in the value's unit; NaN where `bad` opened it before one was known
# side     1 above, -1 below the band
# reason   of a close: index into REASONS
# tally_k, tally_n  of k of n: events of the cells since the first violating one, this one included; else 0
# second, value  the last values of the row, this one included, as in `recent.RING`; zeros where nobody keeps them
EVENT = np.dtype(
    [
        ("index", "i8"), ("started", "i8"), ("score", "f8"), ("observed", "f8"), ("low", "f8"), ("high", "f8"),
        ("tally_k", "f8"), ("tally_n", "f8"), ("row", "i4"), ("event", "i1"), ("side", "i1"), ("reason", "i1"),
        ("second", "u4", (KEPT,)), ("value", "f4", (KEPT,)),
    ]
)  # fmt: skip


Events = np.recarray[Any, np.dtype[np.void]]  # of EVENT: a column is read as an attribute, shape (m,)
NONE: Events = np.zeros(0, EVENT).view(np.recarray)


def first(events: NDArray[np.void], m: int) -> Events:
    """The first `m` of some EVENTs."""
    return events[:m].view(np.recarray) if m else NONE


@bare
def write(at, i, row, event, reason, e, k, n, out):  # type: ignore[no-untyped-def]
    """Put what happened at point `i` into place `at` of the events; its ring is the caller's."""
    one = out[at]
    one.index, one.row, one.event, one.reason = i, row, event, reason
    one.started, one.score, one.observed, one.low, one.high, one.side = e.started, e.score, e.observed, e.low, e.high, e.side
    one.tally_k, one.tally_n = k, n


@kernel
def step(row, time, value, score, low, high, spec, bad, parameters, open_at, episodes, out):  # type: ignore[no-untyped-def]
    """Take n judged points in arrival order; returns how many events were written to `out`."""
    m = 0
    for i in range(row.size):
        what = parameters[spec[i]]
        event, reason, at = step_point(episodes, row[i], time[i], value[i], score[i], low[i], high[i], what, bad[i], open_at)
        if event != 0:
            write(m, i, row[i], event, reason, episodes[1][at], 0.0, 0.0, out)
            m += 1
    return m


class Episodes:
    """Episodes by row. Rows are the caller's; `ensure` makes them exist."""

    def __init__(self, specs: Sequence[ModelSpec], threshold: float = OPEN_AT, told_at: float = math.inf) -> None:
        self.open_at = float(threshold)
        self.parameters = np.array([(*_compiled(s), told_at) for s in specs], np.float64).reshape(-1, PARAMETERS)
        self.table: NDArray[np.void] = np.zeros(0, ROW)
        self.live: NDArray[np.void] = np.zeros(64, LIVE)
        self.spare: NDArray[np.int32] = np.zeros(64, np.int32)
        self.places: NDArray[np.int64] = np.zeros(2, np.int64)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What the kernels change."""
        return self.table, self.live, self.spare, self.places

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rows exist, calm."""
        self.table = grown(self.table, rows)

    def reserve(self, more: int) -> None:
        """Make room for as many more episodes, for a kernel cannot."""
        needed = int(self.places[EVER]) + min(more, self.table.size)
        self.live, self.spare = grown(self.live, needed), grown(self.spare, needed)

    def make_room(self, places: int) -> None:
        """Make at least so many places exist."""
        self.live, self.spare = grown(self.live, places), grown(self.spare, places)

    def settle(self, places: int) -> None:
        """After rows and their live records were put back, in any order: which of the places are free again."""
        free = np.setdiff1d(np.arange(places), self.table["at"][self.table["at"] > 0] - 1)
        self.live[free] = np.zeros((), LIVE)
        self.spare[: free.size], self.places[:] = free, (places, free.size)

    def step(
        self,
        row: ArrayLike,
        time: ArrayLike,
        value: ArrayLike,
        score: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        spec: ArrayLike,
        bad: ArrayLike,
    ) -> Events:
        """Take judged points in arrival order; `spec` is each point's index in the specs, `bad` its spec's `bad` level."""
        rows, times, specs = np.asarray(row, np.int32), np.asarray(time, np.int64), np.asarray(spec, np.int16)
        numbers = tuple(np.asarray(c, np.float64) for c in (value, score, low, high))
        flags = np.asarray(bad, np.uint8)
        out = np.zeros(rows.size, EVENT)
        self.reserve(rows.size)
        m = step(rows, times, *numbers, specs, flags, self.parameters, self.open_at, self.arrays, out)
        return first(out, m)

    def open(self) -> NDArray[np.int32]:
        """Rows whose episode is open now."""
        return np.sort(self.live["row"][self.live["phase"] == OPEN])

    def restore(
        self,
        row: int,
        started: int,
        score: float,
        observed: float,
        low: float,
        high: float,
        direction: Direction,
        until: int = 0,
        bad: int = NO_FAULT,
    ) -> None:
        """Open an episode known from before a restart, told up to `until`; its frozen band decides its end, it is not opened
        again. `bad` is the worst level that it reached, as in its record."""
        self.ensure(row + 1)
        self.clear(row)
        side = -1 if direction is Direction.BELOW else 1
        seen = 2 if until > started else 1  # values; the second one is told once
        self._live(row)[()] = (started, until, score, score, observed, low, high, 0.0, 0.0, row, 0, OPEN, side, bad, seen)

    def close(self, row: int, reason: str) -> Events:
        """End a row's episode for a reason of REASONS; no event where none was open."""
        out, at = np.zeros(1, EVENT), int(self.table["at"][row]) - 1
        was_open = at >= 0 and self.live["phase"][at] == OPEN
        if was_open:
            write(0, -1, row, CLOSED, REASONS.index(reason), self.live[at], 0.0, 0.0, out)
        self.clear(row)
        return first(out, int(was_open))

    def clear(self, row: int) -> None:
        """Forget a row's episode without a word."""
        if self.table["at"][row]:
            leave(self.table[row], *self.arrays[1:])
        self.table[row] = np.zeros((), ROW)

    def take(self, rows: ArrayLike) -> bytes:
        """State of some rows, to be put back by `put`: their records, without places, then the live ones, in order."""
        own = self.table[np.asarray(rows, np.int64)]
        live = self.live[own["at"][own["at"] > 0] - 1]
        own["at"], live["row"] = own["at"] > 0, 0
        return bytes(own.tobytes() + live.tobytes())

    def put(self, rows: ArrayLike, data: bytes) -> None:
        """Put back what `take` gave, into as many rows."""
        at = np.asarray(rows, np.int64)
        self.ensure(int(at.max(initial=-1)) + 1)
        own = np.frombuffer(data, ROW, at.size)
        for row in at[self.table["at"][at] > 0]:
            self.clear(int(row))
        self.table[at] = own
        self.table["at"][at] = 0
        alive = at[own["at"] > 0]
        for row, e in zip(alive, np.frombuffer(data, LIVE, alive.size, own.nbytes), strict=True):
            self._live(int(row))[()] = e
            self.live["row"][self.table["at"][row] - 1] = row

    def _live(self, row: int) -> NDArray[np.void]:
        """A place for a calm row, as an array of no dimensions."""
        self.reserve(1)
        at = occupy(self.table[row], row, *self.arrays[1:])
        return self.live[at : at + 1].reshape(())


def _compiled(spec: ModelSpec) -> tuple[float, ...]:
    return (
        SIDES[spec.direction],
        spec.min_deviation,
        spec.min_relative,
        spec.min_duration,
        spec.close_after,
        spec.new_normal_after,
        float((spec.bad is not None or spec.warn is not None) and spec.model is not Model.RATIO),
    )
