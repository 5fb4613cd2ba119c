"""Of several senders of one series one is listened to, and who takes its place is no reset."""

import numpy as np
import pytest
from tests.detect.feed import Feed, P, series
from tests.detect.test_keep import again, gathered

from anomaly.decode.points import Flag, Kind

COUNTER, GAUGE = series(kind=Kind.COUNTER), series()
A, B = 11, 22


def both(until: float, step: float = 10.0) -> list[P]:
    """Two senders, half an interval apart: one counts 1 a second from 0, the other 2 a second from a million."""
    times = np.arange(0.0, until, step)
    a = [P(COUNTER, t, t, writer=A) for t in times]
    b = [P(COUNTER, t + step / 2, 1e6 + 2 * t, writer=B) for t in times]
    return sorted(a + b, key=lambda p: p.at)


def test_interleaved_counters_are_no_resets():
    """Every rate is that of the first sender, at its own times; each point of the other is counted as such."""
    feed = Feed()
    feed.play(both(300.0))

    assert feed.values("m", "rate") == dict.fromkeys(np.arange(10.0, 300.0, 10.0), 1.0)
    assert feed.detector.counts["other_writer"] == 30
    assert feed.detector.shared() == (1, COUNTER)


def test_state_is_that_of_the_elected_sender_alone():
    """What the other sends leaves its row as it was, to the bit."""
    two, one = Feed(), Feed()
    two.play(both(300.0))
    one.play([p for p in both(300.0) if p.writer == A])

    rows = two.detector.register.tables.rows["row"][:1], one.detector.register.tables.rows["row"][:1]
    assert rows[0].tobytes() == rows[1].tobytes()
    assert two.detector.judge.bank.take([0]) == one.detector.judge.bank.take([0])


def test_after_three_intervals_of_silence_the_other_is_elected_and_its_first_point_primes():
    """The first sender stops at 300 s; no rate is that of a million counted by somebody else, and none is negative."""
    feed = Feed()
    feed.play([p for p in both(600.0) if p.writer == B or p.at < 300.0])
    found = feed.values("m", "rate")

    assert {v for t, v in found.items() if t < 300.0} == {1.0}
    assert {v for t, v in found.items() if t > 300.0} == {2.0}
    assert min(t for t in found if t > 300.0) == 335.0  # elected at 325, 35 s after the last point of the first
    assert [a for a in feed.said if a.observed > 2.0] == []


def test_who_comes_back_waits_until_the_elected_one_is_gone():
    """An election is not taken back: it would be another break of the counter."""
    feed = Feed()
    feed.play([p for p in both(900.0) if p.writer == B or not 300.0 <= p.at < 600.0])

    assert {v for t, v in feed.values("m", "rate").items() if t > 300.0} == {2.0}


def test_a_stale_marker_of_the_elected_one_lets_the_other_in_at_once():
    """That of the other is nothing to the series."""
    feed = Feed()
    feed.play(both(100.0))
    feed.send(P(COUNTER, 99, float("nan"), flags=Flag.STALE, writer=B))
    feed.send(P(COUNTER, 100, 100.0, writer=A))
    feed.send(P(COUNTER, 110, float("nan"), flags=Flag.STALE, writer=A))
    feed.play([P(COUNTER, t, 1e6 + 2 * t, writer=B) for t in (115, 125)])

    found = feed.values("m", "rate")
    assert (found[100.0], found[125.0]) == (1.0, 2.0)
    assert 115.0 not in found


def test_two_senders_without_names_are_told_apart_by_their_starts():
    """The one that began later is elected; the older comes back when that one is gone: the group goes on, no alert."""
    feed, times = Feed(), np.arange(0.0, 600.0, 10.0)
    older = [P(COUNTER, t, 1e6 + t, start=-9_000) for t in times]
    newer = [P(COUNTER, t + 5, t, start=-1_000) for t in times if t < 300.0]
    feed.play(sorted(older + newer, key=lambda p: p.at))
    found = feed.values("m", "rate")

    assert {v for t, v in found.items() if t > 20.0} == {1.0}
    assert [t for t in found if t > 300.0][:2] == [340.0, 350.0]
    assert feed.said == []


@pytest.mark.parametrize("writer", [A, 0])
def test_a_sender_that_gets_a_name_stays_who_it_was(writer: int):
    """A state from before writers were kept, or a label given to the only sender: nothing is skipped."""
    feed = Feed()
    feed.play([P(COUNTER, t, t, writer=0 if t < 50 else writer) for t in range(0, 100, 10)])

    assert len(feed.values("m", "rate")) == 9


def test_the_group_of_an_unelected_sender_is_heard():
    """Its points say that the group is there, so that nobody misses it before the election."""
    feed = Feed()
    feed.play(both(300.0))
    feed.send(P(COUNTER, 305.0, 1e6 + 610, writer=B))

    assert feed.detector.register.tables.groups["group"]["last"][0] == feed.heard["metrics", 0]


def test_the_elected_one_survives_a_restart():
    """The next process listens to the same sender."""
    feed = Feed()
    feed.play(both(100.0))
    other = again(feed, [gathered(feed, 1)])
    other.play([P(COUNTER, 100, 100.0, writer=A), P(COUNTER, 105, 1e6, writer=B)])

    assert other.values("m", "rate") == {100.0: 1.0}


def test_an_older_state_without_writers_is_taken_over():
    """Fields are found by their names: one that is missing is zero, not named."""
    feed = Feed()
    feed.play([P(COUNTER, t, t) for t in range(0, 100, 10)])
    snapshot, layouts = gathered(feed, 1)
    other = again(feed, [(snapshot, layouts.replace('"writer"', '"spare"'))])
    other.play([P(COUNTER, 100, 100.0, writer=A), P(COUNTER, 105, 1e6, writer=B)])

    assert other.values("m", "rate") == {100.0: 1.0}


def test_gauges_of_two_senders_are_those_of_one():
    """Two probes of one thing need not agree."""
    feed = Feed()
    feed.play([P(GAUGE, t, 5.0 if t % 10 == 0 else 9.0, writer=A if t % 10 == 0 else B) for t in range(0, 200, 5)])

    assert set(feed.values().values()) == {5.0}
