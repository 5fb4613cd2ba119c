"""Aggregates are what their members gained, on a grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import Feed, P, series

from anomaly.config.models import Match, ModelSpec, Sum
from anomaly.decode.points import Flag, Kind

GROUP = ModelSpec(name="group", match=(Match(),), sum=Sum.GROUP, members=False)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.3, 3.0), st.integers(0, 50)), min_size=40, max_size=80), st.floats(0.0, 5.0))
def test_a_cell_of_a_counter_is_what_it_gained_between_the_edges(steps: list[tuple[float, int]], first: float):
    """However unevenly it was exported: as numpy interpolates the counter at the cell's edges."""
    time = np.round(first + np.cumsum([dt for dt, _ in steps]), 3)
    value = np.cumsum([float(v) for _, v in steps])
    feed, one = Feed((GROUP,)), series(kind=Kind.COUNTER)
    feed.play(P(one, t, v) for t, v in zip(time, value, strict=True))

    found = feed.values("m", "rate")
    assert found
    for end, rate in found.items():
        gained = np.interp(end, time, value) - np.interp(end - 5.0, time, value)
        assert rate == pytest.approx(gained / 5.0, abs=1e-6)


def test_members_are_summed_whatever_their_phase_and_order():
    """Three instances, exported at different moments of the second, at 10, 20 and 30 per second."""
    feed = Feed((GROUP,))
    members = [(series(kind=Kind.COUNTER, service__instance__id=str(i)), 10.0 * (i + 1), 0.3 * i) for i in range(3)]
    feed.play(P(s, t + phase, rate * (t + phase)) for t in range(60) for s, rate, phase in members)

    found = feed.values("m", "rate")
    assert len(found) >= 9
    np.testing.assert_allclose(list(found.values()), 60.0, rtol=1e-9)


def test_a_cell_closes_as_soon_as_every_member_has_passed_it():
    """Detection waits for no lateness where nobody is late."""
    feed = Feed((GROUP,))
    members = [series(kind=Kind.COUNTER, service__instance__id=str(i)) for i in range(3)]
    feed.play(P(s, t, 5.0 * t) for t in range(41) for s in members)

    assert max(feed.values("m", "rate")) == 40.0


def test_a_member_that_is_late_is_filled_and_a_dead_one_is_dropped():
    """The sum neither halves because one sender is slow nor counts the dead for ever."""
    feed = Feed((GROUP,))
    a, b = (series(kind=Kind.COUNTER, service__instance__id=i) for i in "ab")
    feed.play(P(s, t, 10.0 * t) for t in range(60) for s in (a, b))
    feed.play(P(a, t, 10.0 * t) for t in range(60, 180))

    found = feed.values("m", "rate")
    np.testing.assert_allclose([v for t, v in found.items() if t <= 70], 20.0)
    assert found[175.0] == pytest.approx(10.0)


def test_a_member_that_ends_by_a_stale_marker_is_not_waited_for():
    """Removal is said, so it takes effect at once."""
    feed = Feed((GROUP,))
    a, b = (series(kind=Kind.COUNTER, service__instance__id=i) for i in "ab")
    feed.play(P(s, t, 10.0 * t) for t in range(60) for s in (a, b))
    feed.send(P(b, 60, 0, flags=Flag.STALE))
    feed.play(P(a, t, 10.0 * t) for t in range(60, 71))

    assert max(feed.values("m", "rate")) == 70.0


def test_gauges_are_summed_but_utilizations_are_averaged():
    """Two queues of 3 hold 6; two processors at 30 % are at 30 %."""
    sums = ModelSpec(name="sums", match=(Match(),), sum=Sum.GROUP, members=False)
    feed = Feed((sums,))
    queues = [series("queue", service__instance__id=i) for i in "ab"]
    loads = [series("cpu.utilization", unit="1", service__instance__id=i) for i in "ab"]
    feed.play(P(s, t, v) for t in range(60) for kind, v in ((queues, 3.0), (loads, 0.3)) for s in kind)

    np.testing.assert_allclose(list(feed.values("queue").values()), 6.0)
    np.testing.assert_allclose(list(feed.values("cpu.utilization").values()), 0.3)


def test_the_grid_follows_the_members_interval():
    """Members every 60 s are put into cells of 60 s, not into cells that are empty eleven times of twelve."""
    feed, one = Feed((GROUP,)), series(kind=Kind.COUNTER)
    feed.play(P(one, 60.02 * i + 7, 120.04 * i) for i in range(12))

    times = sorted(feed.values("m", "rate"))
    assert set(np.diff(times)) == {60.0}
    np.testing.assert_allclose(list(feed.values("m", "rate").values()), 2.0, rtol=1e-6)


def test_a_single_instance_is_not_judged_twice_and_a_second_one_makes_a_sum():
    """Until then the aggregate would say the same as its only member."""
    feed = Feed()
    a, b = (series(kind=Kind.COUNTER, service__instance__id=i) for i in "ab")
    feed.play(P(a, t, 10.0 * t) for t in range(60))
    assert len(feed.detector.register.subjects) == 1

    feed.play(P(s, t, 10.0 * t) for t in range(60, 120) for s in (a, b))
    assert [s.instance is None for s in feed.detector.register.subjects] == [False, False, True]
    assert 20.0 in [pytest.approx(v) for *_, v, _ in feed.judged]


def test_a_long_gap_closes_what_was_open_and_goes_on():
    """Ten days of silence are no million empty cells."""
    feed, one = Feed((GROUP,)), series(kind=Kind.COUNTER)
    feed.play(P(one, t, 10.0 * t) for t in range(60))
    feed.play(P(one, 864_000 + t, 10.0 * t + 5000) for t in range(60))

    late = {t: v for t, v in feed.values("m", "rate").items() if t > 864_020}
    assert len(late) >= 7
    np.testing.assert_allclose(list(late.values()), 10.0)
