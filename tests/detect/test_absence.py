"""Silence of a group, while its source is heard."""

import pytest
from tests.detect.feed import Feed, P, ms, series

from anomaly.config.models import Match, ModelSpec, Signal, Sum
from anomaly.decode.points import Flag, Kind
from anomaly.detect.absence import Inputs
from anomaly.detect.anomaly import Event

TRAFFIC = ModelSpec(
    name="traffic", match=(Match(),), signal=Signal.TRAFFIC, sum=Sum.GROUP, members=False, absence=True, min_relative=1e9
)
SHOP, OTHER = series(kind=Kind.COUNTER), series(kind=Kind.COUNTER, service="other")


def heard(until: int, of: object = SHOP, begin: int = 0) -> list[P]:
    """A point a second."""
    return [P(of, t, 10.0 * t) for t in range(begin, until)]  # type: ignore[arg-type]


def both(feed: Feed, begin: int, end: int) -> None:
    """Both groups are heard."""
    feed.play(P(s, t, 10.0 * t) for t in range(begin, end) for s in (SHOP, OTHER))


def silences(feed: Feed) -> list[tuple[Event, str, float]]:
    """(event, group, seconds since T0) of what was said about silence."""
    return [(a.event, a.group, (a.time - ms(0)) / 1000) for a in feed.said if a.quantity == "heard"]


def test_a_group_that_falls_silent_while_others_are_heard_is_missed_until_it_is_heard_again():
    """From 45 s on, and it is said since when."""
    feed = Feed((TRAFFIC,))
    both(feed, 0, 200)
    feed.play(heard(300, OTHER, 200))
    both(feed, 300, 320)

    (opened, group, at), (closed, _, back) = silences(feed)
    assert (opened, group, closed, back) == (Event.OPEN, "shop", Event.CLOSE, 300.0)
    assert 199 + 45 <= at <= 199 + 60
    a = feed.said[0]
    assert (a.started, a.unit, a.expected[0], a.pages) == (ms(199), "s", 0.0, True)
    assert a.expected[1] == pytest.approx(1.0, rel=0.1)
    assert a.observed == pytest.approx(at - 199)
    assert feed.said[-1].reason == "heard again"


def test_a_gap_of_the_whole_source_is_nobodys_silence():
    """The pipeline stopped for ten minutes: we were deaf. The first to be heard again accuses nobody."""
    feed = Feed((TRAFFIC,))
    both(feed, 0, 200)
    feed.play(heard(810, OTHER, 800))
    both(feed, 810, 830)

    assert silences(feed) == []


def test_a_group_without_a_history_is_not_missed():
    """Ten points in ten seconds may have been a job."""
    feed = Feed((TRAFFIC,))
    both(feed, 0, 20)
    feed.play(heard(300, OTHER, 20))

    assert silences(feed) == []


def test_a_group_that_ended_by_stale_markers_was_removed():
    """Removal is said by the sender; nothing is missing."""
    feed = Feed((TRAFFIC,))
    both(feed, 0, 200)
    feed.send(P(SHOP, 200, 0, flags=Flag.STALE))
    feed.play(heard(400, OTHER, 201))

    assert silences(feed) == []


def test_a_group_heard_once_a_minute_may_be_silent_for_minutes():
    """What is usual is learned from the group itself."""
    feed = Feed((TRAFFIC,))
    feed.play(P(s, t, t) for t in range(1500) for s in (SHOP, OTHER) if s is OTHER or t % 60 == 0)
    feed.play(heard(1700, OTHER, 1500))
    assert silences(feed) == []

    feed.play(heard(1900, OTHER, 1700))
    assert [s[:2] for s in silences(feed)] == [(Event.OPEN, "shop")]


def test_other_sources_say_nothing_about_a_group():
    """Its own topic stands still: that is blindness, which is judged elsewhere."""
    feed = Feed((TRAFFIC,))
    both(feed, 0, 200)
    other = series(kind=Kind.COUNTER, service="third")
    for p in heard(400, other, 200):
        feed.send(p, source="another")

    assert silences(feed) == []


def test_a_silence_known_from_before_a_restart_is_neither_opened_twice_nor_closed_too_early():
    """It ends when the group is heard again."""
    before = Feed((TRAFFIC,))
    both(before, 0, 200)
    before.play(heard(300, OTHER, 200))
    feed = Feed((TRAFFIC,))
    feed.detector.restore(before.said)
    feed.play(heard(400, OTHER, 300))
    assert silences(feed) == []

    both(feed, 400, 420)
    assert [(a.id, a.event, a.ended) for a in feed.said] == [(before.said[0].id, Event.CLOSE, ms(400))]


def test_after_a_restart_what_was_heard_before_the_silence_does_not_end_it():
    """Redelivered points come first; the end is told at the time when the group came back, not at theirs."""
    before = Feed((TRAFFIC,))
    both(before, 0, 200)
    before.play(heard(300, OTHER, 200))
    feed = Feed((TRAFFIC,))
    feed.detector.restore(before.said)
    both(feed, 0, 200)
    feed.play(heard(300, OTHER, 200))
    assert silences(feed) == []

    both(feed, 400, 420)
    assert [(a.id, a.event, a.ended) for a in feed.said] == [(before.said[0].id, Event.CLOSE, ms(400))]


def test_of_a_backlog_who_is_not_read_yet_is_not_silent():
    """The shop's partition is read long after the other's, as after an outage of ours; then it is silent in earnest."""
    feed = Feed((TRAFFIC,))
    for t in range(200):
        feed.send(P(SHOP, t, 10.0 * t), partition=0)
        feed.send(P(OTHER, t, 10.0 * t), partition=1)
    for t in range(200, 900):
        feed.send(P(OTHER, t, 10.0 * t), partition=1)
    for t in range(200, 900):
        feed.send(P(SHOP, t, 10.0 * t), partition=0)
    assert silences(feed) == []

    for t in range(900, 1000):
        feed.send(P(OTHER, t, 10.0 * t), partition=t % 2)
    assert [s[:2] for s in silences(feed)] == [(Event.OPEN, "shop")]


def test_time_is_that_of_the_slowest_input_that_is_not_idle():
    """An input more than a minute behind the others no longer holds time back, and time never goes back."""
    inputs = Inputs()
    inputs.hear("a", 0, 100_000)
    assert inputs.time == 100_000
    inputs.hear("a", 1, 130_000)
    assert inputs.time == 100_000
    inputs.hear("a", 0, 120_000)
    inputs.hear("b", 0, 90_000)
    assert (inputs.time, inputs.of("a"), inputs.of("b")) == (120_000, 120_000, 90_000)
    inputs.hear("a", 1, 200_000)
    assert (inputs.time, inputs.of("a")) == (200_000, 200_000)
