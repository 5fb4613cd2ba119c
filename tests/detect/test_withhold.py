"""After a loss of state: what begins anew in a group that is ill waits until the group is well."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import DEFAULT, Feed, P, series
from tests.detect.test_keep import again, gathered

from anomaly.config.models import Match, ModelSpec, Signal
from anomaly.config.settings import Limits
from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.state import Snapshot

TRAFFIC = ModelSpec(
    name="traffic", match=(Match(kind=("counter",)),), signal=Signal.TRAFFIC, absence=True, min_deviation=1e9
)
SPECS = (TRAFFIC, DEFAULT)
QUEUE, BACKLOG, OTHER = series("queue"), series("backlog"), series("queue", service="other")
REQUESTS = series("requests", kind=Kind.COUNTER, service="other")
ILL, LOSS, WELL = 600, 660, 900  # seconds


def story(begin: int, end: int) -> Iterator[P]:
    """The shop's queue is too long before the loss, its backlog from the loss on, both until the shop is well."""
    for t in range(begin, end, 5):
        noise = t * 7919 % 100 / 50
        yield P(QUEUE, t, 10 + noise + 500 * (ILL <= t < WELL))
        yield P(BACKLOG, t, 30 + noise + 400 * (LOSS <= t < WELL))
        yield P(OTHER, t, 20 + noise)
        yield P(REQUESTS, t, 100 * t)


def told_before() -> list[Anomaly]:
    """What was open at the loss."""
    feed = Feed(SPECS)
    feed.play(story(0, LOSS))
    assert {a.metric for a in feed.said} == {"queue"}
    return feed.said


def restored(limits: Limits | None = None) -> Feed:
    """A detector that knows what was open, and nothing else."""
    feed = Feed(SPECS, limits=limits)
    feed.detector.restore(told_before())
    return feed


def test_the_end_of_a_failure_that_began_with_the_state_is_no_anomaly():
    """All that is said is the end of what was open; the backlog at its height is not taken for usual."""
    feed = restored()
    feed.play(story(LOSS, 1500))
    assert [(a.metric, a.event, a.reason) for a in feed.said] == [("queue", Event.CLOSE, "back to normal")]


def test_what_was_withheld_is_learned_when_the_group_is_well():
    """Its next deviation is told."""
    feed = restored()
    feed.play(story(LOSS, 1500))
    feed.said.clear()
    feed.play(P(BACKLOG, t, 430.0) for t in range(1500, 1560, 5))
    assert {(a.metric, a.event) for a in feed.said} >= {("backlog", Event.OPEN)}


def test_other_groups_learn_at_once():
    """They are not ill."""
    feed = restored()
    feed.play(story(LOSS, WELL))
    assert {m for m, _, _, _, score in feed.judged if score == score and m != "requests"} == {"queue"}
    other = [r for r, s in enumerate(feed.detector.register.subjects) if s.group == "other"]
    assert not feed.detector.withhold.are(np.array(other, np.int32)).any()


@pytest.mark.parametrize("announced", [True, False], ids=["heard", "not heard again"])
def test_an_anomaly_whose_series_does_not_come_back_withholds_for_ten_minutes(announced: bool):
    """A group must not be out of sight for ever for a series that is no more."""
    feed = restored()
    feed.play(p for p in story(LOSS, 1800) if announced or p.series is not QUEUE)
    assert not feed.detector.withhold.any


def test_an_anomaly_whose_series_does_not_come_back_ends_when_the_series_would_be_forgotten():
    """Its incident must not wait for ever for a series that is no more."""
    feed = restored(Limits(idle=1200))
    feed.play(p for p in story(LOSS, LOSS + 1100) if p.series is not QUEUE)
    assert feed.said == []
    feed.play(p for p in story(LOSS + 1100, LOSS + 1500) if p.series is not QUEUE)
    assert [(a.metric, a.event, a.reason) for a in feed.said] == [("queue", Event.CLOSE, "series ended")]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 150 * 4 - 1), min_size=1, max_size=5))
def test_where_blocks_and_checkpoints_are_cut_changes_nothing(cuts: list[int]):
    """The same state, to the bit, and the same is said."""
    whole, feed, points = restored(), restored(), list(story(LOSS, LOSS + 150 * 5))
    whole.send(*points)
    said, generations = list[Anomaly](), list[tuple[Snapshot, str]]()
    for begin, end in pairwise([0, *sorted(set(cuts)), len(points)]):
        said += feed.send(*points[begin:end])
        generations.append(gathered(feed, len(generations) + 1))
        feed = after(feed, generations)
    assert (said, feed.detector.digest()) == (whole.said, whole.detector.digest())


def after(feed: Feed, generations: list[tuple[Snapshot, str]]) -> Feed:
    """Another process that goes on from a checkpoint."""
    other = again(feed, generations)
    other.heard, other._announced = feed.heard, feed._announced
    return other
