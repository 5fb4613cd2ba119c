"""Golden signals judged together: the arithmetic against numpy's, and what it says of a group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.detect import joint
from anomaly.detect.golden import score_of, unexplained
from anomaly.detect.joint import BESIDE, SHRUNK
from anomaly.detect.rows import GOLDEN, PAIRS, SIGNALS

PARTS = st.lists(st.floats(-8.0, 8.0), min_size=SIGNALS, max_size=SIGNALS)
ALONG = st.lists(st.floats(-0.45, 0.45), min_size=PAIRS, max_size=PAIRS)
UPPER = [(i, j) for i in range(SIGNALS) for j in range(i + 1, SIGNALS)]


def known(along: list[float]) -> NDArray[np.void]:
    """A group with these correlations, of so long that nothing is shrunk any more; parts have their usual size."""
    g = np.zeros(1, GOLDEN)
    g["scale"], g["along"], g["seen"] = 1.0, along, 1e12
    return g


def matrix(along: list[float]) -> NDArray[np.float64]:
    """The same as a matrix."""
    r = np.eye(SIGNALS)
    for (i, j), each in zip(UPPER, np.array(along, np.float32), strict=True):
        r[i, j] = r[j, i] = each
    return r


def positive(along: list[float]) -> bool:
    """Whether there can be such correlations, none of them nearly 1."""
    return bool(np.linalg.eigvalsh(matrix(along)).min() > 0.2)


@settings(deadline=None)
@given(PARTS, ALONG, st.permutations(range(SIGNALS)), st.integers(1, SIGNALS), st.data())
def test_the_distance_is_that_of_mahalanobis(parts, along, order, n, data):
    """Of the signals in question, less that of the given ones alone."""
    if not positive(along):
        return
    given_ones, u, r = data.draw(st.integers(0, n)), np.array(parts), matrix(along)

    def square(which: list[int]) -> float:
        return float(u[which] @ np.linalg.solve(r[np.ix_(which, which)], u[which])) if which else 0.0

    work = np.zeros((SIGNALS, SIGNALS + 1))
    told = joint.distance(known(along)[0], u, np.array(order), n, given_ones, work)
    assert told == pytest.approx(square(list(order[:n])) - square(list(order[:given_ones])), rel=1e-4, abs=1e-4)


@settings(deadline=None)
@given(PARTS, ALONG, st.data())
def test_what_a_signal_adds_is_the_distance_less_that_without_it(parts, along, data):
    if not positive(along):
        return
    order, u, g, work = np.arange(SIGNALS), np.array(parts), known(along)[0], np.zeros((SIGNALS, SIGNALS + 1))
    place = data.draw(st.integers(0, SIGNALS - 1))
    whole = joint.distance(g, u, order, SIGNALS, 0, work)
    told = joint.adds(g, u, order, SIGNALS, 0, place, whole, work)

    left = np.delete(np.arange(SIGNALS), place)
    without = float(u[left] @ np.linalg.solve(matrix(along)[np.ix_(left, left)], u[left]))
    assert told == pytest.approx(whole - without, rel=1e-3, abs=1e-3)
    np.testing.assert_array_equal(order, np.arange(SIGNALS))


def test_what_does_no_harm_comes_first_and_what_it_explains_too():
    """Latency up by no more than so much traffic usually brings: nothing is odd. With the traffic down both are."""
    g, order, work = known([0.9, 0.0, 0.0, 0.0, 0.0, 0.0])[0], np.zeros(SIGNALS, np.int64), np.zeros((SIGNALS, SIGNALS + 1))
    assert joint.arrange(g, np.array([3.0, 5.0, np.nan, np.nan]), order, work) == (2, 2)
    assert joint.arrange(g, np.array([3.0, 1.0, np.nan, np.nan]), order, work) == (2, 1)
    assert joint.arrange(g, np.array([3.0, -3.0, np.nan, np.nan]), order, work) == (2, 0)


def test_latency_up_while_traffic_falls_is_further_than_both_by_themselves():
    """Where they usually go together."""
    g, order, work = known([0.6, 0.0, 0.0, 0.0, 0.0, 0.0])[0], np.array([0, 1, 2, 3]), np.zeros((SIGNALS, SIGNALS + 1))
    opposed = joint.distance(g, np.array([3.0, -3.0, 0.0, 0.0]), order, 2, 0, work)
    along = joint.distance(g, np.array([3.0, 3.0, 0.0, 0.0]), order, 2, 0, work)
    assert opposed == pytest.approx(18.0 / 0.4, rel=1e-4)
    assert along == pytest.approx(18.0 / 1.6, rel=1e-4)


def test_a_correlation_is_learned_from_the_past_and_believed_the_more_the_longer_it_was_seen():
    """Two days of minutes with a correlation of 0.8: numpy's, less what SHRUNK takes."""
    rng = np.random.default_rng(4)
    z = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]], 2 * 1440)
    g = np.zeros(1, GOLDEN)
    g["scale"] = 1.0
    assert joint.correlation(g[0], 0, 1) == 0.0
    for a, b in z:
        first, second = (float(np.sqrt(g["scale"][0, i])) for i in (0, 1))
        joint.learn(g[0], np.array([a / first, b / second, np.nan, np.nan]), 1.0)
    seen = float(g["seen"][0])

    assert seen == 2 * 86_400
    numpys = float(np.asarray(np.corrcoef(z.T))[0, 1])
    assert joint.correlation(g[0], 0, 1) == pytest.approx(numpys * seen / (seen + SHRUNK), abs=0.05)
    assert joint.correlation(g[0], 0, 2) == 0.0


def standing(u: float, r: float) -> np.void:
    """How a latency stands to its traffic."""
    one = np.zeros(1, BESIDE)
    one["u"], one["r"], one["size"], one["latency"] = u, r, 1.0, np.nan
    return one[0]  # type: ignore[no-any-return]


@settings(deadline=None)
@given(st.floats(0.0, 30.0), st.floats(-10.0, 30.0), st.floats(-0.95, 0.95))
def test_traffic_never_makes_a_latency_worse_and_only_a_rise_that_goes_with_it_explains(score: float, u: float, r: float):
    left = unexplained(score, standing(u, r))
    assert 0.0 <= left <= score
    if u <= 0.0 or r <= 0.0:
        assert left == score


@settings(deadline=None)
@given(st.floats(0.0, 30.0))
def test_scores_and_deviations_go_both_ways(score: float):
    assert score_of(joint.deviations(score)) == pytest.approx(score)
