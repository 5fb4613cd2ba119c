"""Dates that are like another day, and hours whose results nobody wants, on timelines in Berlin."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.detect.test_clock import DAY, EVERY, HOUR, judge_by, judged, offsets, told

from anomaly.config.models import Errors, Match, Model, ModelSpec
from anomaly.config.settings import CalendarSettings, Ignored, Weekday
from anomaly.detect.clock import SEASONLESS, Clocks
from anomaly.detect.episodes import OPENED
from anomaly.detect.judge import Batch, Judge

MONDAY = datetime(2025, 11, 3, tzinfo=UTC)  # seven weeks and three days before Christmas, which is a Thursday
CHRISTMAS = datetime(2025, 12, 25)
HOLIDAYS = CalendarSettings(name="holidays", dates=("12-25",), like=Weekday.SUNDAY)
BATCH = CalendarSettings(name="batch", hours=("sat 02:00-04:00",), ignore=Ignored.RESULTS)
ZONE = "Europe/Berlin"


def shop(days: int = 56) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, local hours since MONDAY 00:00, and a load from eight to six that stays away on Sundays."""
    seconds = np.arange(int(MONDAY.timestamp()), int(MONDAY.timestamp()) + days * DAY, EVERY)
    hours = (seconds - seconds[0] + offsets(ZONE, seconds)) / HOUR
    noise = np.random.default_rng(0).normal(0.0, 2.0, seconds.size)
    is_open = (hours % 24 >= 8) & (hours % 24 < 18) & (hours // 24 % 7 != 6)
    return seconds, hours, np.where(is_open, 100.0, 10.0) + noise


def after(weeks: int) -> float:
    """Seconds of a Monday."""
    return (MONDAY + timedelta(weeks=weeks)).timestamp()


def test_christmas_like_a_sunday_is_no_anomaly_and_is_one_where_nobody_said_so():
    seconds, hours, value = shop()
    christmas = hours // 24 == (CHRISTMAS - MONDAY.replace(tzinfo=None)).days
    value[christmas] = 10.0 + np.random.default_rng(1).normal(0.0, 2.0, int(christmas.sum()))
    assert told(judged(judge_by(ZONE, [HOLIDAYS]), seconds, value), after(5)) == []
    assert [t.date() for t in told(judged(judge_by(ZONE), seconds, value), after(5))] == [CHRISTMAS.date()]


def test_a_date_that_is_like_a_sunday_teaches_the_sunday_and_its_own_weekday_nothing():
    seconds, _, value = shop(40)
    day = slice(38 * 288 - 12, 39 * 288 - 12)  # the Thursday before last, in Berlin
    value[day] = np.random.default_rng(1).normal(16.0, 2.0, 288)
    one = CalendarSettings(name="once", dates=("2025-12-11",), like=Weekday.SUNDAY)
    for calendars, taught, spared in (([one], 6, 3), ([], 3, 6)):
        judge = judge_by(ZONE, calendars)
        judged(judge, seconds[: day.start], value[: day.start])
        before = week(judge)
        judged(judge, seconds[day.start : day.stop + 288], value[day.start : day.stop + 288])
        moved = np.abs(week(judge) - before)
        assert moved[taught].max() > 1.0
        assert moved[spared].max() < 0.01


def week(judge: Judge) -> np.ndarray:
    """What each four hours of each day of the week expect, shape (7, 6)."""
    row = judge.bank.state[0]
    return np.asarray(row["profile"][48:] * float(row["scale"]) + row["anchor"]).reshape(7, 6)


def test_results_within_ignored_hours_are_not_told_and_others_are():
    seconds, hours, value = shop()
    odd = (hours >= 5 * 168 + 5 * 24 + 2.25) & (hours < 5 * 168 + 5 * 24 + 3.75)  # Saturday, from a quarter past two
    value[odd | ((hours >= 7 * 168 + 2 * 24 + 2.25) & (hours < 7 * 168 + 2 * 24 + 3.75))] += 300.0  # and a later Wednesday
    silent, loud = judged(judge_by(ZONE, [BATCH]), seconds, value), judged(judge_by(ZONE), seconds, value)
    assert {t.weekday() for t in told(loud, after(5))} == {2, 5}
    assert {t.weekday() for t in told(silent, after(5))} == {2}
    assert not [e for e in silent.events if e.event == OPENED and odd[e.index]]


def test_what_is_ignored_is_learned_as_if_nothing_were_odd():
    """A level that comes within the hours and stays is usual sooner than where an episode keeps it from being learned."""
    seconds, hours, value = shop(47)
    value[hours >= 5 * 24 + 2.5 + 35 * 24] += 60.0
    until = int(np.searchsorted(hours, 5 * 24 + 4 + 35 * 24))
    ignored, watched = judge_by(ZONE, [BATCH]), judge_by(ZONE)
    for each in (ignored, watched):
        judged(each, seconds[:until], value[:until])
    rows = [each.bank.state[0] for each in (watched, ignored)]
    assert rows[0]["n"] == rows[1]["n"] == until
    moved = [row["day"] + row["anchor"] for row in rows]
    assert moved[1] > moved[0] + 1.0


def test_what_lasts_beyond_the_ignored_hours_is_told_when_they_end():
    seconds, hours, value = shop(42)
    held = (hours >= 35 * 24 + 5 * 24 + 3.75) & (hours < 35 * 24 + 5 * 24 + 6)
    value[held] += 300.0
    (when,) = told(judged(judge_by(ZONE, [BATCH]), seconds, value), after(5))
    assert when == datetime(2025, 12, 13, 3, 0, tzinfo=UTC)  # four o'clock in Berlin


@pytest.mark.parametrize("ignoring", [True, False])
def test_errors_at_a_bad_level_are_not_told_within_ignored_hours(ignoring: bool):
    """Of a row that has no season, and counts k of n."""
    spec = ModelSpec(
        name="errors", match=(Match(),), model=Model.RATIO, errors=Errors(("code",), ("5*",)), bad=0.05, season=False
    )
    judge = Judge([spec], clocks=Clocks({"default": ZONE}, [BATCH]))
    row = judge.add(0, True)
    judge.table["season"][row] = SEASONLESS + (judge.clocks.of("prod", "shop") if ignoring else 0)
    seconds = int((MONDAY + timedelta(days=5)).timestamp()) + np.arange(0, 2 * HOUR, 60)  # one to three o'clock in Berlin
    fails = np.where(seconds >= seconds[0] + 1.25 * HOUR, 50.0, 0.0)
    n = seconds.size
    found = judge.judge(
        Batch(np.arange(n), np.full(n, row, np.int32), seconds * 1000, fails, np.full(n, 100.0), np.full(n, -1))
    )
    assert bool([e for e in found.events if e.event == OPENED]) is not ignoring
    assert found.bad.any()
