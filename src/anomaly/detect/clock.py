"""Local time of a judged row: by which clock it goes, and what that adds to a point's time before the model sees it.

The model knows neither clock nor zone: day and week are those of the time that it is handed. A row's code holds its clock,
of at most MOST, and whether it has a season at all. Number 0 is UTC without calendars, and costs nothing. Of each clock the
span in which time is now lies ready in `now`, int64 (n_clocks, SPAN): since, until, shift, quiet; the others are searched.

`last` of a model's row is local too. When the clock is set forward or back between two points, the row is set as well: the
half-hour that was going on ends, and the elapsed time stays what it was. By how much the last point was moved is found from
the point itself; where two answers fit, as in the hour that a clock shows twice, it is the nearer one.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, inlined, kernel
from anomaly.config.settings import CalendarSettings
from anomaly.detect import season
from anomaly.detect.spans import NEVER, Spans, spans

DEFAULT, UTC = "default", "UTC"
MOST = 100  # clocks; who comes past them goes by UTC
SEASONLESS = 128  # added to the code of a row that has no season
SINCE, UNTIL, SHIFT, QUIET, SPAN = range(5)
EVER = 1 << 62

Key = tuple[str, tuple[str, ...]]  # zone, names of calendars
UTC_ALONE: Key = (UTC, ())


@inlined
def number(code):  # type: ignore[no-untyped-def]
    """Which clock a row goes by; old states say 1 for a season, 0 for none, and UTC for both."""
    return code - SEASONLESS if code >= SEASONLESS else max(code - 1, 0)


@inlined
def is_seasonal(code):  # type: ignore[no-untyped-def]
    """Whether a row has a season."""
    return 0 < code < SEASONLESS


def code_of(seasonal: NDArray[np.bool_], clock: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """The code of rows, by whether they have a season and by the number of their clock."""
    return np.where(seasonal, clock + 1, clock + SEASONLESS).astype(np.uint8)


@bare
def span_of(since, first, end, time):  # type: ignore[no-untyped-def]
    """The last of some spans that begins no later than a time, by bisection; the first one begins before all time."""
    while end - first > 1:
        middle = (first + end) // 2
        if since[middle] <= time:
            first = middle
        else:
            end = middle
    return first


@bare
def turn_to(clocks, c, time):  # type: ignore[no-untyped-def]
    """Have the span of this time ready."""
    since, shift, quiet, ends, now = clocks
    k = span_of(since, ends[c], ends[c + 1], time)
    now[c, SINCE], now[c, SHIFT], now[c, QUIET] = since[k], shift[k], quiet[k]
    now[c, UNTIL] = since[k + 1] if k + 1 < ends[c + 1] else EVER


@bare
def set_before(clocks, c, last, time):  # type: ignore[no-untyped-def]
    """By how much the clock was set between a point whose local time is `last` and `time`, if they lie in two spans."""
    since, shift, _, ends, now = clocks
    k = span_of(since, ends[c], ends[c + 1], time) - 1
    while k >= ends[c]:
        if since[k] <= last - shift[k] < since[k + 1]:
            return now[c, SHIFT] - shift[k]
        k -= 1
    return np.int64(0)


@inlined
def local(s, clocks, c, time):  # type: ignore[no-untyped-def]
    """The local time of a point of row `s`, which is set to the clock of now; and whether results are ignored."""
    if c == 0:
        return time, False
    now = clocks[4]
    if not now[c, SINCE] <= time < now[c, UNTIL]:
        turn_to(clocks, c, time)
    shift = now[c, SHIFT]
    if s.last != 0 and (s.last - shift < now[c, SINCE] or s.last > time + shift):
        ahead = set_before(clocks, c, s.last, time)
        if ahead != 0:
            season.set_clock(s, ahead)
    return time + shift, now[c, QUIET] != 0


@inlined
def is_quiet(clocks, c, time):  # type: ignore[no-untyped-def]
    """Whether results are ignored at a time, of a row without a model of values."""
    if c == 0:
        return False
    now = clocks[4]
    if not now[c, SINCE] <= time < now[c, UNTIL]:
        turn_to(clocks, c, time)
    return now[c, QUIET] != 0


@kernel
def local_of(state, row, clocks, code, time):  # type: ignore[no-untyped-def]
    """`local`, for Python: the local time of a point of a row, which is set to it."""
    return local(state[row], clocks, number(code), time)[0]


class Clocks:
    """The clocks that somebody goes by, numbered as they are met."""

    def __init__(self, zones: Mapping[str, str] | None = None, calendars: Sequence[CalendarSettings] = ()) -> None:
        """`zones` by patterns of an environment or of `environment/group`; the first that fits counts."""
        self._zones, self._calendars = {DEFAULT: UTC, **(zones or {})}, {c.name: c for c in calendars}
        self.is_plain = set(self._zones.values()) == {UTC} and not calendars
        self.keys: list[Key] = []
        self._tables: list[Spans] = []
        self.add(UTC_ALONE)

    def of(self, environment: str, group: str) -> int:
        """The number of a group's clock."""
        return self.add(self.key_of(environment, group))

    def key_of(self, environment: str, group: str) -> Key:
        """By what a group's clock is told from others."""
        whole = f"{environment}/{group}"

        def fits(pattern: str) -> bool:
            return fnmatchcase(environment, pattern) or fnmatchcase(whole, pattern)

        zone = next((z for pattern, z in self._zones.items() if pattern != DEFAULT and fits(pattern)), self._zones[DEFAULT])
        return zone, tuple(name for name, c in self._calendars.items() if any(map(fits, c.match)))

    def add(self, key: Key) -> int:
        """The number of a clock."""
        if key in self.keys:
            return self.keys.index(key)
        if len(self.keys) >= MOST:
            return 0
        self.keys.append(key)
        self._tables.append(spans(key[0], tuple(self._calendars[name] for name in key[1])))
        columns = zip(*((t.since, t.shift, t.quiet) for t in self._tables), strict=True)
        since, shift, quiet = (np.concatenate(column) for column in columns)
        ends = np.cumsum([0, *(t.since.size for t in self._tables)])
        now = np.full((len(self.keys), SPAN), NEVER, np.int64)  # of no time: looked up at first use
        self.arrays = since, shift, quiet, ends, now
        return len(self.keys) - 1

    def renumber(self, keys: Sequence[Key]) -> None:
        """Give clocks the numbers that they had, as far as all of them are configured still."""
        if all(zone in {UTC, *self._zones.values()} and set(names) <= set(self._calendars) for zone, names in keys):
            for key in keys:
                self.add(key)

    def seasons(self, key: Key) -> str:
        """What of a clock makes a season: its zone, and the dates that are like another day."""
        like = [self._calendars[name] for name in key[1] if name in self._calendars and self._calendars[name].like]
        return msgspec.json.encode([key[0], *like]).decode()

    def zoned(self, code: NDArray[np.uint8], time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Local ms of points by the zones of their rows alone, as no calendar changes the date; shape (n,)."""
        if self.is_plain:
            return time
        whose = code.astype(np.int64)
        whose, local = np.where(whose >= SEASONLESS, whose - SEASONLESS, np.maximum(whose - 1, 0)), time.copy()
        for c in np.unique(whose).tolist():
            own, table = whose == c, self._tables[c]
            local[own] += table.offset[np.maximum(np.searchsorted(table.since, time[own], "right") - 1, 0)]
        return local

    def at(self, c: int, time: int) -> tuple[int, int]:
        """Local ms of a time by a clock, calendars included, and by its zone alone."""
        table = self._tables[c]
        k = max(int(np.searchsorted(table.since, time, "right")) - 1, 0)
        return time + int(table.shift[k]), time + int(table.offset[k])
