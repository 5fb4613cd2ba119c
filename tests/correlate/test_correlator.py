"""Anomalies to incidents, as timelines."""

import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.dispatch.story import at, closed, grown, opened, tick

from anomaly.config.settings import Correlation
from anomaly.correlate.correlator import Correlator
from anomaly.correlate.ends import REMOVED_WAIT
from anomaly.correlate.incident import KEPT, Incident, State
from anomaly.detect.anomaly import Anomaly, Tick

AFTER = 30.0  # seconds, Correlation's default


def correlator() -> Correlator:
    return Correlator(Correlation(resolve_after=AFTER))


def strong_hold() -> Correlator:
    """Only anomalies of score 6 keep an incident open."""
    return Correlator(Correlation(resolve_after=AFTER), lambda a: a.score >= 6.0)


def said(changed: list[Incident]) -> list[tuple[str, str, int]]:
    """Group, state and number of anomalies of each change."""
    return [(i.group, i.state.value, len(i.anomalies)) for i in changed]


def test_anomalies_of_a_group_that_overlap_are_one_incident():
    a, b = opened("a", 0), opened("b", 10)
    changed = correlator().update([a, b, closed(a, 20), closed(b, 40), tick(100)])
    assert said(changed) == [("checkout", "open", n) for n in (1, 2, 2, 2)] + [("checkout", "resolved", 2)]
    assert len({i.dedup_key for i in changed}) == 1


def test_groups_and_environments_have_incidents_of_their_own():
    a, b = opened("a", 0), opened("b", 0, group="cart")
    c = structs.replace(opened("c", 0), environment="test")
    assert len({i.dedup_key for i in correlator().update([a, b, c])}) == 3


def test_it_resolves_when_the_last_one_has_been_quiet_for_long_enough_and_says_when():
    a = opened("a", 0)
    c = correlator()
    c.update([a, closed(a, 10)])
    assert c.update([tick(39.999)]) == []
    (over,) = c.update([tick(500)])
    assert (over.state, over.time, over.quiet_since) == (State.RESOLVED, at(10 + AFTER), at(10))
    assert c.update([tick(1000)]) == []


def test_an_anomaly_that_returns_before_that_belongs_to_the_same_incident():
    a, b = opened("a", 0), opened("b", 35)
    changed = correlator().update([a, closed(a, 10), tick(34), b, tick(300), closed(b, 301), tick(400)])
    assert [i.state for i in changed] == [State.OPEN] * 4 + [State.RESOLVED]
    assert len({i.dedup_key for i in changed}) == 1
    assert changed[2].quiet_since is None


def test_one_that_returns_later_is_another_incident_though_no_tick_came_between():
    """A block of a replay spans hours and ends with its only tick."""
    a, b = opened("a", 0), opened("b", 41)
    changed = correlator().update([a, closed(a, 10), b])
    assert [i.state for i in changed] == [State.OPEN, State.OPEN, State.RESOLVED, State.OPEN]
    assert changed[2].time == at(40)
    assert changed[3].dedup_key != changed[0].dedup_key


@pytest.mark.parametrize(("interval", "wait"), [(1, 30), (10, 30), (60, 120), (300, 600), (86_400, 3600)])
def test_a_series_that_speaks_seldom_has_time_to_speak(interval: int, wait: int):
    """One that was ill every other minute, at a point a minute, would be an alert every two minutes."""
    points = tuple((at(i * interval), 1.0) for i in (-9, -3, -2, -1, 0))
    a = opened("a", 0, points=points)
    (*_, over) = correlator().update([a, closed(a, 10), tick(100_000)])
    assert over.time == at(10 + wait)


def test_missing_data_resolves_nothing():
    c = correlator()
    c.update([opened("a", 0)])
    assert c.update([tick(t) for t in range(1, 100_000, 1000)]) == []
    assert [i.group for i in c.open_incidents] == ["checkout"]


def test_a_snapshot_stays_as_it_was():
    a = opened("a", 0)
    first, second = correlator().update([a, grown(a, 5, score=20.0)])
    assert first.anomalies["a"].score == a.score
    assert second.anomalies["a"].score == 20.0


def test_a_redelivery_changes_nothing_while_the_incident_lasts_and_after():
    a, b = opened("a", 0), opened("b", 1)
    events: list[Anomaly | Tick] = [a, b, grown(a, 3, score=12.0), closed(a, 10), closed(b, 12), tick(60)]
    c = correlator()
    for i in range(len(events)):
        c.update(events[i : i + 1])
        assert c.update([e for e in events[: i + 1] if isinstance(e, Anomaly)]) == []
    assert c.open_incidents == []


def test_a_redelivery_after_a_restart_changes_nothing():
    """The incidents are written to the topic and read back; the events since the last commit come again."""
    a, b = opened("a", 0), opened("b", 0, group="cart")
    events: list[Anomaly | Tick] = [a, b, closed(a, 10), tick(60), grown(b, 61, score=20.0)]
    c = correlator()
    latest = {i.dedup_key: i for i in c.update(events)}
    restarted = correlator()
    restarted.restore(msgspec.json.decode(msgspec.json.encode(list(latest.values())), type=list[Incident]))
    assert restarted.update(events) == []
    assert restarted.open_incidents == c.open_incidents
    (over,) = [i for i in restarted.update([closed(b, 70), tick(200)]) if i.state is State.RESOLVED]
    assert over.dedup_key == c.open_incidents[0].dedup_key


def test_time_is_that_of_the_slowest_partition_that_keeps_up():
    a = opened("a", 0)
    c = correlator()
    c.update([tick(0, 0), tick(0, 1), a, closed(a, 10)])
    assert c.update([tick(60, 0)]) == []
    assert said(c.update([tick(40, 1)])) == [("checkout", "resolved", 1)]


def test_a_partition_that_stands_still_holds_nobody_back_for_ever():
    a = opened("a", 0)
    c = correlator()
    c.update([tick(0, 0), tick(0, 1), a, closed(a, 10)])
    assert said(c.update([tick(t, 0) for t in (50, 60.001)])) == [("checkout", "resolved", 1)]


def test_a_removed_series_leaves_the_incident_to_the_others():
    a, b = opened("a", 0), opened("b", 0)
    c = correlator()
    c.update([a, b, closed(a, 5, "series ended")])
    assert c.update([tick(1000)]) == []
    (_, over) = c.update([closed(b, 1001), tick(1031)])
    assert over.time == at(1001 + AFTER)


def test_where_only_removed_series_are_left_it_waits_for_what_took_their_place():
    a = opened("a", 0)
    c = correlator()
    c.update([a, closed(a, 5, "series ended")])
    assert c.update([tick(100)]) == []
    b = opened("b", 120)
    assert said(c.update([b])) == [("checkout", "open", 2)]
    c.update([closed(b, 130, "series ended")])
    (over,) = c.update([tick(1000)])
    assert over.time == at(130) + REMOVED_WAIT


def test_a_weak_anomaly_does_not_keep_a_problem_open_and_may_start_another():
    weak, strong, later = opened("w", 0, score=3.0), opened("s", 10), opened("s2", 200)
    c = strong_hold()
    changed = c.update([weak, strong, closed(strong, 20), tick(60)])
    assert changed[-1].state is State.RESOLVED
    again = c.update([later, closed(later, 210), tick(300), grown(weak, 400, score=9.0)])
    assert [i.state for i in again] == [State.OPEN, State.OPEN, State.RESOLVED, State.OPEN]
    keys = [changed[0].dedup_key, again[0].dedup_key, again[-1].dedup_key]
    assert len(set(keys)) == 3, "a key is never used twice, though one anomaly has been first twice"


def test_an_incident_of_weak_anomalies_alone_lasts_as_long_as_they_do():
    a, b = opened("a", 0, score=3.0), opened("b", 5, score=3.0)
    c = strong_hold()
    c.update([a, b, closed(a, 10)])
    assert c.update([tick(100)]) == []
    assert c.update([closed(b, 101), tick(131)])[-1].state is State.RESOLVED


def test_the_strongest_are_kept_the_rest_is_counted_and_still_waited_for():
    anomalies = [opened(f"a{i:03}", i / 100, score=6.0 + i) for i in range(KEPT + 40)]
    random.Random(7).shuffle(anomalies)
    c = correlator()
    last = c.update(anomalies)[-1]
    assert sorted(a.score for a in last.anomalies.values()) == [6.0 + i for i in range(40, KEPT + 40)]
    assert last.more == 40
    c.update([closed(a, 10) for a in anomalies if a.score >= 7.0])
    assert c.update([tick(100)]) == [], "the weakest is still open"
    weakest = min(anomalies, key=lambda a: a.score)
    changed = c.update([closed(weakest, 110), tick(139.9), tick(140)])
    assert (changed[-1].state, changed[-1].time, changed[-1].more) == (State.RESOLVED, at(140), 40)


def test_an_anomaly_closes_only_once():
    a = opened("a", 0)
    c = correlator()
    c.update([a, closed(a, 10)])
    assert c.update([grown(a, 12)]) == []


def test_the_end_of_something_unknown_is_no_incident():
    assert correlator().update([closed(opened("a", 0), 10), tick(100)]) == []


@st.composite
def episodes(draw: st.DrawFn) -> list[Anomaly]:
    """Events of some episodes of two groups, in event order."""
    events: list[Anomaly] = []
    for i in range(draw(st.integers(1, 8))):
        start, length = draw(st.integers(0, 400)), draw(st.integers(1, 120))
        a = opened(f"e{i}", start, group=draw(st.sampled_from(["a", "b"])))
        events += [a, closed(a, start + length)]
    return sorted(events, key=lambda e: (e.time, e.id))


@settings(max_examples=60, deadline=None)
@given(episodes())
def test_incidents_are_the_intervals_that_touch_within_the_wait(events: list[Anomaly]):
    """Against the two-line formula: sort the episodes of a group, join where the gap is below the wait."""
    changed = correlator().update([*events, tick(10_000)])
    ends = [e for e in events if e.ended is not None]
    for group in ("a", "b"):
        spans = sorted((e.started, e.ended or 0) for e in ends if e.group == group)
        starts = [spans[0][0]] if spans else []
        latest = spans[0][1] if spans else 0
        for _, (start, end) in pairwise(spans):
            if start >= latest + AFTER * 1000:
                starts.append(start)
            latest = max(latest, end)
        over = [i for i in changed if i.group == group and i.state is State.RESOLVED]
        assert [i.started for i in over] == starts


@settings(max_examples=40, deadline=None)
@given(episodes(), st.data())
def test_where_a_batch_ends_does_not_matter(events: list[Anomaly], data: st.DataObject):
    whole = correlator().update([*events, tick(10_000)])
    c, parts, at_ = correlator(), [], 0
    while at_ < len(events):
        size = data.draw(st.integers(1, 4))
        parts += c.update(events[at_ : at_ + size])
        at_ += size
    assert [*parts, *c.update([tick(10_000)])] == whole


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a" * 10_000, ""])
def test_any_text_can_name_a_group(text: str):
    (incident,) = correlator().update([opened("a", 0, group=text)])
    assert len(incident.dedup_key) == 64
