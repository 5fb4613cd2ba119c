"""Dates and hours of the week, against lists of days and minutes written out."""

from datetime import date, datetime, timedelta

import pytest

from anomaly.config.calendar import dates, hours

YEARS = [date(2025, 12, 1) + timedelta(days=i) for i in range(400)]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("12-25", [date(2025, 12, 25), date(2026, 12, 25)]),
        ("2026-04-06", [date(2026, 4, 6)]),
        ("2026-12-24..2026-12-26", [date(2026, 12, 24), date(2026, 12, 25), date(2026, 12, 26)]),
        ("12-31..01-01", [date(2025, 12, 31), date(2026, 1, 1), date(2026, 12, 31), date(2027, 1, 1)]),
        ("02-29", []),
    ],
)
def test_a_date_means_these_days_of_thirteen_months(text: str, meant: list[date]):
    assert [day for day in YEARS if dates(text)(day)] == meant


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("sat 02:00-04:00", [(5, 120, 240)]),
        ("mon,fri 22:00-06:00", [(0, 1320, 1440), (1, 0, 360), (4, 1320, 1440), (5, 0, 360)]),
        ("sun 23:00-01:00", [(6, 1380, 1440), (0, 0, 60)]),
        ("Daily 03:00-03:30", [(day, 180, 210) for day in range(7)]),
        ("wed 00:00-24:00", [(2, 0, 1440)]),
    ],
)
def test_hours_are_these_minutes_of_the_week(text: str, spans: list[tuple[int, int, int]]):
    monday = datetime(2026, 3, 2)
    week = [monday + timedelta(minutes=i) for i in range(7 * 1440)]
    meant = {monday + timedelta(days=d, minutes=m) for d, begin, end in spans for m in range(begin, end)}
    assert {minute for minute in week if hours(text).holds(minute)} == meant
