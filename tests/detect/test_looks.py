"""Looks for silence that can find nothing are noted in one go: nobody can tell by what is said, or by the state."""

from collections.abc import Iterable
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import DEFAULT, Feed, P, series

from anomaly.config.models import Match, ModelSpec
from anomaly.decode.identity import Series
from anomaly.decode.points import Flag
from anomaly.detect import detector, looks
from anomaly.detect.anomaly import Anomaly

WATCHED = ModelSpec(name="watched", match=(Match(metric=("requests",)),), absence=True)
NAMES = [series("m", service=f"s{i}") for i in range(4)]
SECOND, REQUESTS = series("other", service="s0"), series("requests", service="s1")


def told(points: Iterable[list[P]], idle: bool) -> tuple[list[Anomaly], int, int]:
    """What is said, the digest of the state, and how often looks were noted in one go (`idle`: where they can be)."""
    taken = 0

    def asked(*given: object) -> bool:
        nonlocal taken
        found = idle and looks.are_idle(*given)  # type: ignore[arg-type]
        taken += found
        return found

    with mock.patch.object(detector, "are_idle", asked):
        feed = Feed((WATCHED, DEFAULT))
        for i, block in enumerate(points):
            feed.send(*block, partition=i % 2)
        return feed.said, feed.detector.digest(), taken


def sparse(n: int, odd: int = -1) -> list[P]:
    """Points of four services, each by itself, a few seconds to minutes apart; from `odd` on the first is ill."""
    return [P(NAMES[i % 4], 7.0 * i, 90.0 * (i % 4 == 0 and i >= odd >= 0) + i % 3) for i in range(n)]


def cut(points: list[P], size: int) -> list[list[P]]:
    return [points[i : i + size] for i in range(0, len(points), size)]


def test_sparse_points_of_groups_that_nobody_watches_are_judged_as_one_piece():
    """A trouble is told as it is one look at a time, and the state is the same to the bit."""
    points = cut(sparse(2000, odd=1700), 250)
    said, state, taken = told(points, True)
    assert (said, state) == told(points, False)[:2]
    assert said
    assert taken == 8


@pytest.mark.parametrize("other", [SECOND, REQUESTS])
def test_where_a_look_may_find_something_it_is_taken(other: Series):
    """A second series of a group, that the group may outlive; a group that is missed."""
    points = sparse(1000)
    points[100] = points[100]._replace(series=other)
    assert told(cut(points, 250), True)[2] == 0


MOMENT = st.tuples(
    st.sampled_from([*NAMES] * 6 + [SECOND, REQUESTS]), st.integers(-20, 400), st.sampled_from([0.0, 1.0, 2.0, 500.0]),
    st.sampled_from([Flag.NONE] * 30 + [Flag.STALE]), st.sampled_from([0.0] * 30 + [float("nan")]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(MOMENT, min_size=40, max_size=200), st.integers(17, 80))
def test_whatever_comes_nobody_can_tell(moments: list[tuple[object, int, float, Flag, float]], size: int):
    """Late points, stale markers, unknown values, other series and groups, two inputs."""
    at, points = 0.0, []
    for who, apart, value, flags, add in moments:
        at += apart
        points.append(P(who, at, value + add, flags=flags))  # type: ignore[arg-type]
    assert told(cut(points, size), True)[:2] == told(cut(points, size), False)[:2]
