"""Episodes: what one row does beyond its usual, from its first violating point until it is usual again.

State is one record per row (`episode.ROW`, 80 bytes). An episode opens at the record level `open_at`, which lies below what
an alert needs: dispatch decides what is worth telling. While it is open only a new record speaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import kernel
from anomaly.config.models import Direction, ModelSpec
from anomaly.detect.episode import CLOSED, OPEN, OPENED, PARAMETERS, RECORD, ROW, step_point

__all__ = ["CLOSED", "OPENED", "OPEN_AT", "REASONS", "RECORD", "EpisodeEvents", "Episodes"]

OPEN_AT = (
    2.5  # record level: about once in three hundred points by chance, before what a series does all the time is taken off
)
REASONS = ("", "back to normal", "new normal", "series ended", "heard again")
SIDES = {Direction.ABOVE: 1.0, Direction.BELOW: -1.0, Direction.EITHER: 0.0}


@dataclass(frozen=True, slots=True)
class EpisodeEvents:
    """What happened to episodes at m points, in arrival order; shape (m,) each.

    index    position of the point in the batch; -1 for an event that no point caused
    row      whose episode
    event    OPENED, RECORD or CLOSED
    started  ms: the first violating point
    score, observed  greatest score so far and the value there
    low, high  the band frozen when the violation began, in the value's unit; NaN where `bad` opened it before one was known
    side     1 above, -1 below the band
    reason   of a close: index into REASONS
    """

    index: NDArray[np.int64]
    row: NDArray[np.int32]
    event: NDArray[np.int8]
    started: NDArray[np.int64]
    score: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    side: NDArray[np.int8]
    reason: NDArray[np.int8]

    def __len__(self) -> int:
        return int(self.row.size)

    @classmethod
    def of(cls, columns: Sequence[NDArray[Any]], n: int) -> "EpisodeEvents":
        """The first `n` places of the columns, given in the order above."""
        return cls(*(column[:n].copy() for column in columns))


EVENT_KINDS = (np.int64, np.int32, np.int8, np.int64, np.float64, np.float64, np.float64, np.float64, np.int8, np.int8)


def event_columns(n: int) -> tuple[NDArray[Any], ...]:
    """Room for the events of `n` points."""
    return tuple(np.empty(n, kind) for kind in EVENT_KINDS)


@kernel
def write(at, i, row, event, reason, e, out):  # type: ignore[no-untyped-def]
    """Put what happened at point `i` into place `at` of the columns."""
    index, rows, events, started, score, observed, low, high, side, reasons = out
    index[at], rows[at], events[at], reasons[at] = i, row, event, reason
    started[at], score[at], observed[at] = e.started, e.score, e.observed
    low[at], high[at], side[at] = e.low, e.high, e.side


@kernel
def step(row, time, value, score, low, high, spec, bad, parameters, open_at, table, is_open, out):  # type: ignore[no-untyped-def]
    """Take n judged points in arrival order; returns how many events were written to `out`."""
    m = 0
    for i in range(row.size):
        e = table[row[i]]
        what = parameters[spec[i]]
        event, reason = step_point(e, time[i], value[i], score[i], low[i], high[i], what, bad[i] != 0, open_at)
        is_open[row[i]] = e.phase == OPEN
        if event != 0:
            write(m, i, row[i], event, reason, e, out)
            m += 1
    return m


class Episodes:
    """Episodes by row. Rows are the caller's; `ensure` makes them exist."""

    def __init__(self, specs: Sequence[ModelSpec], threshold: float = OPEN_AT) -> None:
        self.open_at = float(threshold)
        self.parameters = np.array([_compiled(s) for s in specs], np.float64).reshape(-1, PARAMETERS)
        self.table: NDArray[np.void] = np.zeros(0, ROW)
        self.is_open: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rows exist, calm."""
        have = self.is_open.size
        if rows > have:
            more = max(rows, have + have // 2, 64) - have
            self.table = np.concatenate([self.table, np.zeros(more, ROW)])
            self.is_open = np.concatenate([self.is_open, np.zeros(more, np.uint8)])

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
    ) -> EpisodeEvents:
        """Take judged points in arrival order; `spec` is each point's index in the specs, `bad` its spec's `bad` level."""
        rows, times, specs = np.asarray(row, np.int32), np.asarray(time, np.int64), np.asarray(spec, np.int16)
        numbers = tuple(np.asarray(c, np.float64) for c in (value, score, low, high))
        flags = np.asarray(bad, np.uint8)
        out = event_columns(rows.size)
        fixed = self.parameters, self.open_at, self.table, self.is_open
        m = step(rows, times, *numbers, specs, flags, *fixed, out)
        return EpisodeEvents.of(out, m)

    def open(self) -> NDArray[np.int32]:
        """Rows whose episode is open now."""
        return np.flatnonzero(self.is_open).astype(np.int32)

    def restore(
        self, row: int, started: int, score: float, observed: float, low: float, high: float, direction: Direction
    ) -> None:
        """Open an episode known from before a restart; its frozen band decides its end, it is not opened again."""
        self.ensure(row + 1)
        side = -1 if direction is Direction.BELOW else 1
        self.table[row] = (started, 0, score, score, observed, low, high, 0.0, 0.0, 0.0, 0, OPEN, side)
        self.is_open[row] = 1

    def close(self, row: int, time: int, reason: str) -> EpisodeEvents:
        """End a row's episode for a reason of REASONS; no event where none was open."""
        was_open, out = bool(self.is_open[row]), event_columns(1)
        write(0, -1, row, CLOSED, REASONS.index(reason), self.table[row], out)
        self.clear(row)
        return EpisodeEvents.of(out, int(was_open))

    def clear(self, row: int) -> None:
        """Forget a row's episode without a word."""
        self.table[row], self.is_open[row] = np.zeros((), ROW), 0


def _compiled(spec: ModelSpec) -> tuple[float, ...]:
    return (
        SIDES[spec.direction],
        spec.min_deviation,
        spec.min_relative,
        spec.min_duration,
        spec.close_after,
        spec.new_normal_after,
    )
