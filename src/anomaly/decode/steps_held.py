"""The events of traces that are open, as rows in the order in which they came, and when a trace is over.

A trace is over when QUIET ms have gone since its last event, or LONGEST since its first.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.steps_events import EVENT, Events, in_words
from anomaly.decode.steps_numbers import Numbers, numbered
from anomaly.decode.steps_walk import take_out, times

QUIET, LONGEST = 10_000, 60_000  # ms
GONE = np.dtype([("key", "u8"), ("time", "i8")])


class Traced(NamedTuple):
    """The traces of rows by number: when the first event and the last one ended, and when it began, int64 ms."""

    number: Numbers
    key: NDArray[np.uint64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    begin: NDArray[np.int64]

    @classmethod
    def of_rows(cls, rows: NDArray[Any]) -> "Traced":
        """Those that are here."""
        number = numbered(rows["key"])
        n, never = number.first.size, np.iinfo(np.int64).max
        first, last, begin = np.full(n, never), np.zeros(n, np.int64), np.full(n, never)
        times(rows, number.of, first, last, begin)
        return cls(number, rows["key"][number.first], first, last, begin)

    def over(self, now: int) -> NDArray[np.bool_]:
        """Which are over by now."""
        return (self.last + QUIET <= now) | (self.first + LONGEST <= now)


class Held:
    """Rows of EVENT, in room that grows by doubling."""

    def __init__(self, rows: NDArray[Any] | None = None) -> None:
        self._room: NDArray[Any] = np.zeros(0, EVENT) if rows is None else rows
        self.size = self._room.size  # the first rows of the room

    @property
    def rows(self) -> NDArray[Any]:
        """The events that are held."""
        return self._room[: self.size]

    def add(self, place: int, events: Events, index: NDArray[np.intp]) -> None:
        """Hold those at an index as well, which came from a place."""
        if self._room.size < (needed := self.size + index.size):
            room = np.zeros(2 * needed, EVENT)
            room[: self.size] = self.rows
            self._room = room
        rows = self._room[self.size : needed]
        rows[:] = events.rows(index)
        rows["key"], rows["place"], rows["type"] = events.key[index], place, events.type
        self.size = needed

    def keep(self, wanted: NDArray[np.bool_]) -> int:
        """Hold no more than these rows; returns how many went."""
        kept, before = self.rows[wanted], self.size
        self._room[: kept.size], self.size = kept, kept.size
        return before - kept.size

    def taken_out(self, traces: Traced, over: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """The rows of what is over, held no more, and the number of the trace of each."""
        n = int(np.count_nonzero(over[traces.number.of]))
        ended, of = np.empty(n, EVENT), np.empty(n, np.int32)
        take_out(in_words(self.rows), traces.number.of, over, in_words(ended), of)
        self.size -= n
        return ended, of


class Gone:
    """Traces that were closed lately, as GONE: what comes of them is late."""

    def __init__(self, rows: NDArray[Any] | None = None) -> None:
        self.rows: NDArray[Any] = np.zeros(0, GONE) if rows is None else rows
        self._known = numbered(self.rows["key"])

    def remember(self, key: NDArray[np.uint64], now: int) -> None:
        """That these traces were closed."""
        gone = np.zeros(key.size, GONE)
        gone["key"], gone["time"] = key, now
        self.rows = np.concatenate([self.rows[self.rows["time"] > now - LONGEST], gone])
        self._known = numbered(self.rows["key"])

    def has(self, key: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these were closed."""
        found: NDArray[np.bool_] = self._known.find(key) >= 0
        return found
