"""What a local clock does, as a table: the times at which its distance from UTC changes, or what a calendar says.

since (n,) int64   ms since the epoch, rising; the first span is also of everything before it
shift (n,) int64   ms that local time is ahead of UTC, whole days included where dates are like another day of the week
offset (n,) int64  the same without those days
quiet (n,) uint8   1: results are ignored

Worked out at the start for 1990 to 2060 from the IANA database as Python has it, so that nobody asks for the hour while
points are judged; what lies further goes by the first and the last span.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly.config import calendar
from anomaly.config.settings import CalendarSettings

FIRST, LAST = 1990, 2060  # years
DAY_MS, WEEK = 86_400_000, timedelta(days=7)
NEVER = -(1 << 62)


class Spans(NamedTuple):
    """See above."""

    since: NDArray[np.int64]
    shift: NDArray[np.int64]
    offset: NDArray[np.int64]
    quiet: NDArray[np.uint8]


class Said(NamedTuple):
    """What calendars say of a date or a time."""

    days: int = 0  # that it is moved by, to be like another day of the week
    quiet: bool = False


@lru_cache(256)
def spans(zone: str, calendars: tuple[CalendarSettings, ...] = ()) -> Spans:
    """The table of a zone and of those calendars that are about somebody; the first calendar that names a date counts."""
    where, said = ZoneInfo(zone), _of_dates(calendars)
    hours = [calendar.hours(text) for c in calendars for text in c.hours]
    edges = sorted({NEVER, *_changes(where), *_dates(where, said), *_hours(where, hours)})
    rows = [(at, *_at(where, at, said, hours)) for at in edges]
    kept = [next(same) for _, same in groupby(rows, key=lambda row: row[1:])]
    since, offset, days, quiet = zip(*kept, strict=True)
    moved = np.array(offset, np.int64)
    return Spans(np.array(since, np.int64), moved + np.array(days, np.int64) * DAY_MS, moved, np.array(quiet, np.uint8))


def _of_dates(calendars: Sequence[CalendarSettings]) -> Callable[[date], Said]:
    held = [(c, [calendar.dates(text) for text in c.dates]) for c in calendars if c.dates]
    like = [(calendar.WEEKDAYS.index(c.like.value), fits) for c, fits in held if c.like]
    quiet = [fits for c, fits in held if c.ignore]

    def said(day: date) -> Said:
        target = next((weekday for weekday, fits in like if any(f(day) for f in fits)), day.weekday())
        return Said((target - day.weekday() + 3) % 7 - 3, any(f(day) for fits in quiet for f in fits))

    return said if held else lambda day: Said()


def _changes(zone: ZoneInfo) -> Iterator[int]:
    """The ms at which the zone's offset changes: looked for weekly, and then to the second."""

    def offset(second: int) -> float:
        return datetime.fromtimestamp(second, zone).utcoffset().total_seconds()  # type: ignore[union-attr]

    week, first = int(WEEK.total_seconds()), int(datetime(FIRST, 1, 1, tzinfo=UTC).timestamp())
    before = offset(first)
    for second in range(first, int(datetime(LAST, 1, 1, tzinfo=UTC).timestamp()), week):
        after = offset(second + week)
        if after != before:
            seconds = range(second, second + week + 1)
            yield seconds[bisect_left(seconds, True, key=lambda s: offset(s) != before)] * 1000
        before = after


def _dates(zone: ZoneInfo, said: Callable[[date], Said]) -> Iterator[int]:
    """The local midnights before which something else is said than after them."""
    before = Said()
    for day in _days():
        if (now := said(day)) != before:
            yield _ms(zone, day, 0)
        before = now


def _hours(zone: ZoneInfo, hours: Sequence[calendar.Hours]) -> Iterator[int]:
    """Where spans of the week begin and end."""
    for day in _days() if hours else ():
        for span in hours:
            for begin in span.begins:
                if begin // calendar.DAY == day.weekday():
                    minute = begin % calendar.DAY
                    yield from (_ms(zone, day, minute), _ms(zone, day, minute + span.length))


def _days() -> Iterator[date]:
    first = date(FIRST, 1, 1)
    return (first + timedelta(days=i) for i in range((date(LAST, 1, 1) - first).days))


def _ms(zone: ZoneInfo, day: date, minute: int) -> int:
    """A minute of a local day, as the clock on the wall shows it; ms since the epoch."""
    wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    return int(wall.replace(tzinfo=zone).timestamp()) * 1000


def _at(zone: ZoneInfo, at: int, said: Callable[[date], Said], hours: Sequence[calendar.Hours]) -> tuple[int, int, bool]:
    """(offset in ms, days, quiet) from a moment on."""
    first = int(datetime(FIRST, 1, 1, tzinfo=UTC).timestamp())
    local = datetime.fromtimestamp(max(at // 1000, first), zone)
    now = said(local.date())
    ahead = local.utcoffset() or timedelta()
    return int(ahead.total_seconds()) * 1000, now.days, now.quiet or any(span.holds(local) for span in hours)
