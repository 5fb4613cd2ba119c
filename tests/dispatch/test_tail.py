"""The fleet's tail: thresholds from counts, against distributions whose tail is known."""

import math

import numpy as np
import pytest

from anomaly.dispatch.tail import ENOUGH, LEVELS, LOWEST, START_WEEKS, WIDTH, Tail

WEEKS = 3.0


def tail(surprises: np.ndarray, weeks: float = WEEKS) -> Tail:
    made = Tail()
    for s in surprises.tolist():
        made.reach(s, 0)
    made.weeks = weeks - START_WEEKS
    return made


def exponential(n: int, scale: float = 0.2) -> np.ndarray:
    """As evenly spread as a sample of so many can be."""
    return -scale * np.log((np.arange(n) + 0.5) / n)


@pytest.mark.parametrize("budget", [1.0, 10.0, 100.0])
def test_of_an_exponential_tail_the_ceiling_is_the_quantile(budget: float):
    """n incidents of scale b in w weeks: n / w exp(-s / b) = B."""
    made = tail(exponential(3000))
    expected = 0.2 * math.log(3000 / WEEKS / budget)
    assert made.ceiling(budget) == pytest.approx(expected, abs=0.12)


def test_outliers_raise_the_ceiling_where_they_are_more_than_it_and_not_elsewhere():
    calm, ill = tail(exponential(3000)), tail(np.r_[exponential(3000), np.full(20, 4.0)])
    assert ill.ceiling(1.0) > calm.ceiling(1.0) + 0.5
    assert ill.ceiling(100.0) == pytest.approx(calm.ceiling(100.0), abs=0.1)


def test_where_few_come_nothing_is_too_common():
    made = tail(exponential(5))
    assert made.counts[0] < ENOUGH
    assert made.ceiling(10.0) == -math.inf


def test_an_incident_counts_once_at_each_level_however_it_grows():
    grown, at_once = Tail(), Tail()
    reached = 0
    for s in (0.0, 0.5, 0.3, 1.7):
        reached = grown.reach(s, reached)
    at_once.reach(1.7, 0)
    assert grown.counts == at_once.counts
    grown.withdraw(reached)
    assert grown.counts == [0.0] * LEVELS


def test_a_surprise_beyond_the_grid_is_at_its_end():
    made = Tail()
    assert made.reach(1e9, 0) == LEVELS
    assert made.reach(-1e9, 0) == 0


def test_after_a_half_life_half_is_left_and_the_rate_is_what_it_was():
    made = tail(exponential(3000), 3.0)
    for _ in range(400 * 24):
        made.fade(1)
    for s in exponential(100).tolist():
        made.reach(s, 0)
    assert made.rate(LOWEST + WIDTH / 2) == pytest.approx(100 / (made.weeks + START_WEEKS), rel=0.01)
    assert made.weeks == pytest.approx(336 / math.log(2) / 168, rel=0.01)
