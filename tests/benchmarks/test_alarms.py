"""How scores become alarms, and alarms are counted: by hand, and by a search that tries everything."""

import numpy as np
from benchmarks.alarms import QUIET_MS, alarms, lowest
from benchmarks.recall import Count, Labelled, counted
from hypothesis import given, settings
from hypothesis import strategies as st

MINUTE = 60_000


def test_an_alarm_begins_after_an_hour_without_one():
    """The quiet is counted from the last point that spoke, not from the alarm's beginning."""
    time = np.array([0, 30, 80, 141, 500]) * MINUTE
    score = np.array([5.0, 7.0, 5.0, 6.0, 4.0])
    assert alarms(time, score, 5.0, 0).tolist() == [0, 141 * MINUTE]
    assert alarms(time, score, 6.0, 0).tolist() == [30 * MINUTE, 141 * MINUTE]
    assert alarms(time, score, 5.0, 2).tolist() == [80 * MINUTE, 141 * MINUTE]


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 12))
def test_the_threshold_raises_no_more_than_asked(levels, most):
    """And where alarms stand apart, so that none merge, no lower one would do."""
    score = np.array(levels, np.float64)
    time = np.arange(score.size) * 2 * QUIET_MS

    def count(threshold):
        return alarms(time, score, threshold, 0).size

    found = lowest(count, [score], most)
    assert count(found) <= most
    assert all(count(lower) > most for lower in np.unique(score[score > 0]) if lower < found)


def test_alarms_are_found_false_or_unsure():
    """Two windows, one of them met twice; one alarm outside, and one where nobody knows."""
    at = np.array([0, 200, 400, 600, 800, 1000]) * MINUTE
    series = Labelled(
        "s", at, at * 0.0, [(150 * MINUTE, 450 * MINUTE), (900 * MINUTE, 950 * MINUTE)], [(600 * MINUTE, 700 * MINUTE)]
    )
    score = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    assert counted([series], [score], 1.0) == Count(found=1, false=1, raised=3)
