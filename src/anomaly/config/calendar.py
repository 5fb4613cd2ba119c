"""Dates and hours of the week as people write them; all are local.

A date is `2026-04-06`, or `12-25` for every year; two of them with `..` between are a range, both included, and one of
yearly dates may go over the turn of the year. Hours are days of the week, or `daily`, and a span of the day; one that ends
before it begins ends on the next day.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import NamedTuple

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY, WEEK = 1_440, 10_080  # minutes
LEAP = 2024  # a year in which every yearly date exists
DATE = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")
HOURS = re.compile(r"([a-z,]+) (\d{2}):(\d{2})-(\d{2}):(\d{2})")
DATE_REMEDY = "write 2026-04-06, 12-25 for every year, or a range as 12-24..12-26"
HOURS_REMEDY = "write days and a span, as sat 02:00-04:00, mon,fri 22:00-06:00 or daily 03:00-03:30"

Dates = Callable[[date], bool]


class Hours(NamedTuple):
    """A span of each of some days of the week, in minutes."""

    begins: tuple[int, ...]  # of the week
    length: int

    def holds(self, local: datetime) -> bool:
        """Whether a local time lies in it."""
        minute = local.weekday() * DAY + local.hour * 60 + local.minute
        return any((minute - begin) % WEEK < self.length for begin in self.begins)


def dates(text: str) -> Dates:
    """Which days are meant; ValueError, with the remedy, for what is no date or range."""
    first, _, last = text.partition("..")
    begin, end = _date(first), _date(last or first)
    if (begin[0] is None) != (end[0] is None):
        raise ValueError(f"mixes a date of one year with one of every year; {DATE_REMEDY}")
    if begin[0] is None:
        yearly = begin[1:], end[1:]
        return lambda day: _between(yearly[0], (day.month, day.day), yearly[1])
    single = date(*begin), date(*end)  # type: ignore[arg-type]
    if single[1] < single[0]:
        raise ValueError(f"ends before it begins; {DATE_REMEDY}")
    return lambda day: single[0] <= day <= single[1]


def hours(text: str) -> Hours:
    """Which hours of the week are meant; ValueError, with the remedy, for what says none."""
    fits = HOURS.fullmatch(" ".join(text.lower().split()))
    if fits is None:
        raise ValueError(f"is no span of the week; {HOURS_REMEDY}")
    names = DAYS if fits[1] == "daily" else tuple(fits[1].split(","))
    begin, end = int(fits[2]) * 60 + int(fits[3]), int(fits[4]) * 60 + int(fits[5])
    if not set(names) <= set(DAYS) or max(begin, end) > DAY or int(fits[3]) > 59 or int(fits[5]) > 59 or begin == DAY:
        raise ValueError(f"is no span of the week; {HOURS_REMEDY}")
    if begin == end:
        raise ValueError(f"is no time at all, or a whole day; write 00:00-24:00 for that; {HOURS_REMEDY}")
    return Hours(tuple(DAYS.index(name) * DAY + begin for name in names), (end - begin) % DAY or DAY)


def _date(text: str) -> tuple[int | None, int, int]:
    fits = DATE.fullmatch(text.strip())
    if fits is None:
        raise ValueError(f"is no date; {DATE_REMEDY}")
    year, month, day = (int(part) if part else None for part in fits.groups())
    try:
        date(year or LEAP, month or 0, day or 0)
    except ValueError:
        raise ValueError(f"is a day that does not exist; {DATE_REMEDY}") from None
    return year, month or 0, day or 0


def _between(begin: tuple[int, ...], day: tuple[int, int], end: tuple[int, ...]) -> bool:
    """Whether a day of the year lies in a range that may go over the turn of the year."""
    return begin <= day <= end if begin <= end else day >= begin or day <= end
