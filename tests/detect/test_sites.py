"""Checks made from several sites: each is missed by itself, and who is heard is counted. Timelines, to the anomaly."""

import math

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.feed import DEFAULT, Feed, P, ms, series
from tests.detect.test_keep import again, gathered

from anomaly.config.models import Direction, Match, ModelSpec, Signal, Sum
from anomaly.decode.points import Flag
from anomaly.detect.anomaly import MISSED, Anomaly, Event
from anomaly.detect.handover import hand_over

CHECKS = ModelSpec(
    name="checks", match=(Match(metric=("probe_success",)),), signal=Signal.ERRORS, direction=Direction.BELOW, sum=Sum.NONE,
    sites=("region",), season=False, bad=0.5, min_deviation=0.5, min_duration=10.0,
)  # fmt: skip
SPECS = (CHECKS, DEFAULT)
EU, US, ASIA = (series("probe_success", probe="front", region=name) for name in ("eu", "us", "asia"))
OTHER = series("load", service="other")
EVERY, SILENT, BACK, END = 15, 400, 700, 900


def result(site: object, at: float) -> list[P]:
    """Europe is not heard from SILENT to BACK, America fails for two minutes meanwhile."""
    if site is EU and SILENT <= at < BACK:
        return []
    return [P(site, at, 0.0 if site is US and 500 <= at < 620 else 1.0)]  # type: ignore[arg-type]


STORY = [p for t in range(0, END, EVERY) for s in (EU, US, ASIA) for p in result(s, t)]
STORY = sorted([*STORY, *(P(OTHER, t + 0.5, 1.0) for t in range(0, END, 5))], key=lambda p: p.at)


def told(said: list[Anomaly]) -> list[tuple[str, str, Event, tuple[int, int] | None]]:
    """By group and quantity what began and ended, and how many sites say so."""
    return [(a.group, a.quantity, a.event, a.breadth) for a in said if a.event is not Event.RECORD]


def played(points: list[P], every: float = 1.0) -> Feed:
    feed = Feed(SPECS)
    feed.play(points, every)
    return feed


def test_a_site_is_missed_by_itself_and_counts_among_those_that_look_while_it_is_heard():
    """It is no silence of the service, and of a check that two look at one is not two of three."""
    said = played(STORY).said
    assert told(said) == [
        ("probes from eu", MISSED, Event.OPEN, None),
        ("shop", "value", Event.OPEN, (1, 2)),
        ("shop", "value", Event.CLOSE, (1, 2)),
        ("probes from eu", MISSED, Event.CLOSE, None),
    ]
    missed, back = said[0], said[-1]
    assert (missed.started, missed.metric, dict(missed.labels)["service.name"]) == (ms(390), "probe_success", "shop")
    assert 390 + 5 * EVERY <= (missed.time - ms(0)) / 1000 <= 390 + 5 * EVERY + 10
    assert (back.id, back.reason, back.ended) == (missed.id, "heard again", ms(BACK + 5))


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_a_check_that_ended_by_a_stale_marker_was_taken_out(value: float):
    before = [p for p in STORY if p.at < SILENT]
    marker = P(EU, SILENT, value, flags=Flag.STALE)
    after = [p for p in STORY if p.at >= SILENT and p.series is not EU]
    assert [a for a in played([*before, marker, *after]).said if a.quantity == MISSED] == []


@pytest.mark.parametrize("every", [0.1, 7.0, 60.0])
def test_where_blocks_are_cut_changes_nothing(every: float):
    assert played(STORY, every).said == played(STORY).said
    assert played(STORY, every).detector.digest() == played(STORY).detector.digest()


@pytest.mark.parametrize("cut", [200, 480, 560, 690, 720])
def test_another_process_goes_on_with_the_state(cut: int):
    whole, before = played(STORY), played([p for p in STORY if p.at < cut])
    other = again(before, [gathered(before, 1)])
    assert other.detector.digest() == before.detector.digest()
    other.play(p for p in STORY if p.at >= cut)
    assert before.said + other.said == whole.said
    assert other.detector.digest() == whole.detector.digest()


@pytest.mark.parametrize("specs", [(replace(CHECKS, close_after=31.0), DEFAULT), (CHECKS,)], ids=["changed", "fewer"])
@pytest.mark.parametrize("cut", [480, 560, 690])
def test_what_is_missed_is_missed_under_specs_that_have_changed(cut: int, specs: tuple[ModelSpec, ...]):
    """Neither told again nor forgotten, whatever number a spec has now."""
    before = played([p for p in STORY if p.at < cut])
    other = Feed((ModelSpec(name="mine", match=(Match(metric=("x",)),)), *specs))
    snapshot, layouts = gathered(before, 1)
    loaded = again(replace_specs(before, other), [(snapshot, layouts)])
    loaded.play(p for p in STORY if p.at >= cut)
    assert told(before.said + loaded.said) == told(played(STORY).said)
    assert loaded.said[-1].id == before.said[0].id


def replace_specs(feed: Feed, other: Feed) -> Feed:
    """Who has the specs of another, for `again`."""
    feed.specs = other.specs
    return feed


def test_what_was_missed_before_the_state_was_lost_is_over_when_it_is_heard():
    """It is known from its anomaly alone, and told neither twice nor for ever."""
    before = played([p for p in STORY if p.at < 480])
    other = Feed(SPECS)
    other.detector.restore([before.said[0]])
    other.play(p for p in STORY if p.at >= 480)
    assert [(a.id, a.event) for a in other.said if a.quantity == MISSED] == [(before.said[0].id, Event.CLOSE)]


@pytest.mark.parametrize("cut", [300, 480, 690])
def test_a_group_that_moves_to_another_partition_is_missed_there(cut: int):
    before, after = played([p for p in STORY if p.at < cut]), Feed(SPECS)
    for t in range(0, cut, 5):
        after.send(P(series("load", service="there"), t, 1.0), partition=7)
    hand_over(before.detector, after.detector, np.array([EU.group_hash], np.uint64), "metrics", 7)
    for p in (p for p in STORY if p.at >= cut):
        after.send(p if p.series is not OTHER else P(series("load", service="there"), p.at, 1.0), partition=7)
    assert told(before.said + after.said) == told(played(STORY).said)
    assert [a.id for a in before.said + after.said] == [a.id for a in played(STORY).said]


def test_a_series_that_is_forgotten_gives_its_place_to_another_that_has_a_history_of_its_own():
    """The new check has no history: it is not missed for what the old one was."""
    feed = Feed(SPECS)
    feed.play(p for p in STORY if p.at < 300)
    row = feed.detector.register.find(np.array([EU.hash], np.uint64))
    feed.detector._release(row)
    new = series("probe_success", probe="back", region="eu")
    feed.play([P(new, 301.0, 1.0), *(p for p in STORY if 301 < p.at < 700 and p.series is not EU)])
    assert feed.detector.register.find(np.array([new.hash], np.uint64)) == row
    assert [a for a in feed.said if a.quantity == MISSED] == []


ENDS = ModelSpec(
    name="ends", match=(Match(metric=("ends",)),), direction=Direction.BELOW, sum=Sum.NONE, season=False, until=True,
    warn=3600.0, min_deviation=1e9,
)  # fmt: skip


def test_a_point_in_time_keeps_its_episode_where_specs_get_other_numbers():
    """The end is 50 minutes away when a spec is put before it: nothing begins anew, and nothing is over."""
    ends = series("ends")
    before = Feed((ENDS, DEFAULT))
    before.play(P(s, t, ms(0) / 1000 + 6600 if s is ends else 1.0) for t in range(0, 3600, 60) for s in (ends, OTHER))
    (opened,) = [a for a in before.said if a.event is Event.OPEN]
    assert (opened.quantity, opened.unit, opened.warned, opened.bad) == ("time left", "s", True, False)
    assert opened.observed == pytest.approx(3600.0 - 60.0)
    mine = ModelSpec(name="mine", match=(Match(metric=("x",)),))
    snapshot, layouts = gathered(before, 1)
    before.specs = (mine, ENDS, DEFAULT)
    other = again(before, [(snapshot, layouts)])
    other.play(P(s, t, ms(0) / 1000 + 6600 if s is ends else 1.0) for t in range(3600, 6000, 60) for s in (ends, OTHER))
    assert [a for a in other.said if a.event is not Event.RECORD] == []
    assert [a.id for a in other.detector.report.open.values()] == [opened.id]
