"""Points as they were sent become values that can be judged."""

import numpy as np
import pytest
from tests.detect.feed import Feed, P, series

from anomaly.decode.points import Flag, Kind


def rates(*points: P) -> dict[float, float]:
    """The rates that one counter gives, by seconds."""
    feed = Feed()
    feed.play(points)
    return feed.values("m", "rate")


COUNTER = series(kind=Kind.COUNTER)


def test_a_counter_becomes_what_it_rose_by_over_the_time_between():
    """Uneven arrival included, as numpy.diff has it."""
    time, value = np.array([0.0, 10.0, 20.5, 29.0, 41.0]), np.array([100.0, 150.0, 150.0, 172.0, 400.0])
    found = rates(*(P(COUNTER, t, v) for t, v in zip(time, value, strict=True)))

    assert list(found) == list(time[1:])
    np.testing.assert_allclose(list(found.values()), np.diff(value) / np.diff(time))


def test_a_reset_without_a_start_skips_one_point_and_is_never_negative():
    """Nobody knows when the counter began again."""
    found = rates(*(P(COUNTER, 10.0 * i, v) for i, v in enumerate([100, 110, 120, 5, 15])))

    assert found == {10.0: 1.0, 20.0: 1.0, 40.0: 1.0}


def test_a_reset_with_a_new_start_counts_from_that_start():
    """15 in the 5 seconds since the restart are 3 per second, though the old value was smaller."""
    found = rates(P(COUNTER, 0, 10, start=-1000), P(COUNTER, 10, 12, start=-1000), P(COUNTER, 20, 15, start=15))

    assert found == {10.0: 0.2, 20.0: 3.0}


def test_a_counter_first_seen_long_after_its_start_only_primes():
    """What it counted before anybody listened is spread over nobody knows what."""
    assert rates(P(COUNTER, 0, 1_000_000, start=-50_000), P(COUNTER, 10, 1_000_010, start=-50_000)) == {10.0: 1.0}


def test_the_first_error_of_a_code_never_seen_counts_from_zero():
    """Its siblings were exported a second before without it, so its 3 events are of that second."""
    feed = Feed()
    good, bad = series(kind=Kind.COUNTER, code="200"), series(kind=Kind.COUNTER, code="500")
    feed.play(P(good, t, 10.0 * t, start=-9000) for t in range(5))
    feed.send(P(good, 5, 50, start=-9000), P(bad, 5, 3, start=-9000))

    assert [v for _, q, t, v, _ in feed.judged if (q, t) == ("rate", 5.0)] == [10.0, 3.0]


def test_a_series_that_was_known_elsewhere_does_not_count_from_zero():
    """Its points waited for its labels: it is old, only we are new."""
    feed = Feed()
    good, old = series(kind=Kind.COUNTER, code="200"), series(kind=Kind.COUNTER, code="500")
    feed.play(P(good, t, 10.0 * t) for t in range(5))
    feed.send(P(old, 5, 1e9), announce=False)
    feed.send(P(good, 6, 60), P(old, 6, 1e9 + 2))

    assert max(feed.values("m", "rate").values()) == 10.0
    assert feed.values("m", "rate")[6.0] in (2.0, 10.0)


def test_a_delta_is_divided_by_its_own_span_or_by_the_time_since_the_last():
    """Both forms occur on one topic."""
    delta = series(kind=Kind.DELTA)
    found = rates(P(delta, 0, 5, start=-10), P(delta, 10, 20, start=0), P(delta, 14, 8))

    assert found == {0.0: 0.5, 10.0: 2.0, 14.0: 2.0}


def test_redelivered_and_late_points_are_counted_and_change_nothing():
    """A sender repeats itself, a queue reorders: neither is a reset."""
    found = rates(P(COUNTER, 0, 0), P(COUNTER, 10, 10), P(COUNTER, 10, 10), P(COUNTER, 5, 5), P(COUNTER, 20, 20))

    assert found == {10.0: 1.0, 20.0: 1.0}


def test_two_exports_almost_at_once_are_taken_as_one():
    """A flush at shutdown comes milliseconds after the regular export; its rate would be noise."""
    found = rates(*(P(COUNTER, t, v) for t, v in [(0, 0), (10, 10), (20, 20), (20.005, 21), (30, 31)]))

    assert found == {10.0: 1.0, 20.0: 1.0, 30.0: pytest.approx(1.1)}


def test_after_a_stale_marker_a_counter_primes_again():
    """What happened while it was away is not a rate."""
    stale = P(COUNTER, 20, float("nan"), flags=Flag.STALE)
    found = rates(P(COUNTER, 0, 0), P(COUNTER, 10, 10), stale, P(COUNTER, 300, 5000), P(COUNTER, 310, 5010))

    assert found == {10.0: 1.0, 310.0: 1.0}


def test_what_is_not_finite_never_reaches_a_model():
    """Nor does it move the series on: the next good point is converted as if nothing had come."""
    gauge, feed = series(), Feed()
    feed.play([P(gauge, 0, 1.0), P(gauge, 1, float("nan")), P(gauge, 2, float("inf")), P(gauge, 3, 2.0)])

    assert feed.values() == {0.0: 1.0, 3.0: 2.0}
    assert feed.detector.counts["not_finite"] == 2
