"""Mistakes of time zones and calendars: what names no zone, no date, or says two things at once."""

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from anomaly.config import calendar
from anomaly.config.check import Found, doubles
from anomaly.config.mistake import one_of, shown
from anomaly.config.settings import CalendarSettings, Settings

MOST = 50  # calendars: who has more means rules, not days


def found(settings: Settings) -> Iterator[Found]:
    """Every mistake of them."""
    for name, zone in settings.time_zone.items():
        if not is_zone(zone):
            hint = one_of(zone, sorted(available_timezones()))
            remedy = "write an IANA name, as Europe/Berlin or UTC" if hint.startswith("known") else hint
            path = "time_zone" if name == "default" else f"time_zone.{name}"
            yield Found(path, f"{shown(zone)} is no time zone; {remedy}")
    if len(settings.calendars) > MOST:
        yield Found("calendars", f"are {len(settings.calendars)}, and {MOST} are read; put dates of one kind into one")
    yield from doubles("calendars[{}].name", [c.name for c in settings.calendars], "each calendar has a name of its own")
    for i, one in enumerate(settings.calendars):
        yield from (Found(f"calendars[{i}]{path}", text) for path, text in mistakes(one))


def mistakes(one: CalendarSettings) -> Iterator[tuple[str, str]]:
    """Of one calendar."""
    if not one.name:
        yield ".name", "is empty; what it changes is explained by it"
    if not one.match:
        yield ".match", 'is empty; name environments or groups, as ["prod/shop-eu/*"]'
    if (one.like is None) == (one.ignore is None):
        yield "", "says both or none of two things; write either like: sunday or ignore: results"
    if bool(one.dates) == bool(one.hours):
        yield "", "has both or none of dates and hours; make a calendar of each"
    if one.like is not None and one.hours:
        yield ".hours", f"cannot be like {one.like.value}, which is a whole day; write dates"
    yield from unread(".dates", one.dates, calendar.dates)
    yield from unread(".hours", one.hours, calendar.hours)


def unread(path: str, texts: tuple[str, ...], read: Callable[[str], object]) -> Iterator[tuple[str, str]]:
    """Those of some texts that cannot be read."""
    for i, text in enumerate(texts):
        try:
            read(text)
        except ValueError as error:
            yield f"{path}[{i}]", f"{shown(text)} {error}"


def is_zone(name: str) -> bool:
    """Whether the machine, or the package tzdata, knows this zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
