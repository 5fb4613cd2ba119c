"""Day and week in local time, against `zoneinfo` asked hour by hour."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import DEFAULT, P, columns, series

from anomaly.config.models import Match, ModelSpec
from anomaly.config.settings import CalendarSettings, Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.detect.clock import Clocks
from anomaly.detect.detector import Detector
from anomaly.detect.episodes import CLOSED
from anomaly.detect.judge import Batch, Judge, Verdicts
from anomaly.detect.season import EMPTY
from anomaly.detect.spans import spans

EVERY, HOUR, DAY = 300, 3_600, 86_400
ALERT = 6.0  # the score that an alert needs
SPEC = ModelSpec(name="value", match=(Match(),), min_duration=60.0)
MARCH, OCTOBER = datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 9, 6, tzinfo=UTC)  # seven weeks before the clocks change


def offsets(zone: str, seconds: np.ndarray) -> np.ndarray:
    """Seconds that local time is ahead, asked for each hour."""
    where = ZoneInfo(zone)
    by_hour = {h: datetime.fromtimestamp(h * HOUR, where).utcoffset() for h in np.unique(seconds // HOUR).tolist()}
    return np.array([by_hour[h].total_seconds() for h in (seconds // HOUR).tolist()])  # type: ignore[union-attr]


def office(begin: datetime, days: int = 63, zone: str = "Europe/Berlin") -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds, and a load that is high from eight to six by the local clock."""
    seconds = np.arange(int(begin.timestamp()), int(begin.timestamp()) + days * DAY, EVERY)
    hour = (seconds + offsets(zone, seconds)) / HOUR % 24
    noise = np.random.default_rng(0).normal(0.0, 1.0, seconds.size)
    return seconds, np.where((hour >= 8) & (hour < 18), 100.0, 10.0) + noise


def judge_by(zone: str, calendars: Sequence[CalendarSettings] = ()) -> Judge:
    """A judge of one row that goes by this clock."""
    judge = Judge([SPEC], clocks=Clocks({"default": zone}, calendars))
    row = judge.add(0, False)
    judge.table["season"][row] = judge.clocks.of("prod", "shop") + 1
    return judge


def judged(judge: Judge, seconds: np.ndarray, value: np.ndarray) -> Verdicts:
    """The row's points, in one batch."""
    n = seconds.size
    nothing = np.zeros(n), np.full(n, -1)
    return judge.judge(Batch(np.arange(n), np.zeros(n, np.int32), seconds * 1000, value, *nothing))


def told(verdicts: Verdicts, after: float) -> list[datetime]:
    """When the episodes began that are enough for an alert."""
    started = {int(e.started) for e in verdicts.events if e.event != CLOSED and e.score >= ALERT}
    return [datetime.fromtimestamp(t / 1000, UTC) for t in sorted(started) if t / 1000 > after]


@settings(deadline=None)  # the first of each zone works out its table
@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca"]),
    st.integers(int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2059, 12, 31, tzinfo=UTC).timestamp())),
)
def test_local_time_is_that_of_the_iana_database(zone: str, second: int):
    table = spans(zone)
    ahead = datetime.fromtimestamp(second, ZoneInfo(zone)).utcoffset()
    assert ahead is not None
    assert table.shift[np.searchsorted(table.since, second * 1000, "right") - 1] == ahead.total_seconds() * 1000


@pytest.mark.parametrize("begin", [MARCH, OCTOBER], ids=["March", "October"])
def test_office_hours_are_no_anomaly_when_the_clocks_change_and_are_one_by_a_clock_that_does_not(begin: datetime):
    seconds, value = office(begin)
    after = seconds[0] + 35 * DAY
    assert told(judged(judge_by("Europe/Berlin"), seconds, value), after) == []
    change = {datetime(2026, 3, 29), datetime(2026, 3, 30)}
    if begin is OCTOBER:
        change = {datetime(2026, 10, 25), datetime(2026, 10, 26)}
    days = {t.replace(hour=0, minute=0, tzinfo=None) for t in told(judged(judge_by("UTC"), seconds, value), after)}
    assert days == change


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 63 * DAY // EVERY - 1), max_size=4), st.sampled_from([MARCH, OCTOBER]))
def test_where_batches_end_changes_nothing_though_the_clocks_change(cuts: list[int], begin: datetime):
    seconds, value = office(begin)
    whole, cut = judge_by("Europe/Berlin"), judge_by("Europe/Berlin")
    judged(whole, seconds, value)
    edges = [0, *sorted(cuts), seconds.size]
    for a, b in pairwise(edges):
        judged(cut, seconds[a:b], value[a:b])
    assert cut.bank.to_bytes() == whole.bank.to_bytes()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Pacific/Chatham"])
def test_each_point_of_the_hour_that_a_clock_shows_twice_is_learned_and_stands_for_its_own_time(zone: str):
    """As many points and seconds as in UTC, where no hour comes twice."""
    seconds, value = office(OCTOBER)
    there, utc = judge_by(zone), judge_by("UTC")
    judged(there, seconds, value)
    judged(utc, seconds, value)
    for field in ("n", "learned", "interval"):
        assert there.bank.state[field][0] == utc.bank.state[field][0]
    ahead = offsets(zone, seconds[-1:])[0]
    assert there.bank.state["last"][0] == (seconds[-1] + ahead) * 1000


BERLIN, TOKYO = series(service="berlin"), series(service="tokyo")
ZONES = {"default": "UTC", "*/berlin": "Europe/Berlin", "*/tok?o": "Asia/Tokyo"}


def detector(zones: Mapping[str, str], calendars: Sequence[CalendarSettings] = (), spec: ModelSpec = DEFAULT) -> Detector:
    """One that knows nothing yet."""
    return Detector(0, (spec,), Settings(time_zone=dict(zones), calendars=list(calendars)))


def fed(one: Detector, begin: int, days: int, known: Sequence[Series] = (BERLIN, TOKYO)) -> Detector:
    """Both services say the local hour of the UTC clock, half-hourly, from a day on."""
    for day in range(begin, begin + days):
        points = [P(s, day * DAY + i * 1800.0, i / 2) for i in range(48) for s in known]
        heard = int(max(columns(points).time))
        one.detect(Block("metrics", 0, 0, 0, heard, 10_000, columns(points), Announced.of(known)))
    return one


def restored(of: Detector, other: Detector) -> Detector:
    """Another detector that goes on from a checkpoint."""
    snapshot, layouts = of.gather(1), json.loads(json.dumps(of.layouts()))
    other.put(1, snapshot.parts, layouts)
    other.settle(snapshot.rest)
    return other


def profiles(of: Detector) -> dict[str, np.ndarray]:
    """By service: which half-hours of the day were visited, and what they expect to the nearest."""
    state = of.judge.bank.state
    day = state["profile"][:, :48] * state["scale"][:, None] + state["anchor"][:, None]
    return {s.group: day[r] for r, s in enumerate(of.register.subjects)}


def test_each_group_has_the_day_of_the_zone_that_a_pattern_gives_it():
    """A half-hour of the local day expects the hour that the feed counted then."""
    one = fed(detector(ZONES), 0, 6)
    hours = np.arange(48) / 2
    for service, ahead in (("berlin", 1), ("tokyo", 9)):  # in November
        # The feed begins at 22:15 UTC and counts the hours from there.
        known = profiles(one)[service]
        off = (known - (hours - ahead - 22.0) + 12.0) % 24.0 - 12.0
        assert np.median(np.abs(off)) < 1.0


def test_a_checkpoint_goes_on_by_the_same_clocks_to_the_bit():
    begun = fed(detector(ZONES), 0, 4)
    again = fed(restored(begun, detector(ZONES)), 4, 2)
    assert again.migrated == []
    assert again.digest() == fed(begun, 4, 2).digest()


def test_another_zone_restarts_the_season_of_those_rows_alone_and_says_so():
    begun = fed(detector(ZONES), 0, 4)
    moved = restored(begun, detector({**ZONES, "*/berlin": "Europe/London"}))
    assert moved.migrated == ["1 judged rows have another time zone, or other dates of a weekday: their season begins anew"]
    rows = {s.group: r for r, s in enumerate(moved.register.subjects)}
    assert (moved.judge.bank.state["profile"][rows["berlin"]] == EMPTY).all()
    assert moved.judge.bank.take([rows["tokyo"]]) == begun.judge.bank.take([rows["tokyo"]])
    assert moved.judge.bank.state["spread"][rows["berlin"]] == begun.judge.bank.state["spread"][rows["berlin"]]
    before = moved.judge.bank.state["n"][rows["berlin"]]
    fed(moved, 4, 1)
    assert moved.judge.bank.state["n"][rows["berlin"]] == before + 48  # none of them was taken for an old one


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_row_without_a_season_goes_on_learning_in_another_zone(zone: str):
    """As one whose zone is the same: it knows no time of day."""
    spec = msgspec.structs.replace(DEFAULT, season=False)
    begun = fed(detector({"default": "UTC"}, spec=spec), 0, 2)
    moved = fed(restored(begun, detector({"default": zone}, spec=spec)), 2, 1)
    same = fed(begun, 2, 1)
    for what in ("n", "learned", "mean", "spread"):
        np.testing.assert_array_equal(moved.judge.bank.state[what], same.judge.bank.state[what])


def test_a_state_from_before_there_were_zones_is_one_of_utc():
    plain = fed(detector({"default": "UTC"}), 0, 4)
    snapshot, layouts = plain.gather(1), json.loads(json.dumps(plain.layouts()))
    rest = msgspec.msgpack.decode(snapshot.rest)
    del rest["local"], rest["seasons"]
    same, other = detector({"default": "UTC"}), detector(ZONES)
    for each in (same, other):
        each.put(1, snapshot.parts, layouts)
        each.settle(msgspec.msgpack.encode(rest))
    assert same.migrated == []
    assert len(other.migrated) == 1
    assert other.migrated[0].startswith("2 judged rows")
