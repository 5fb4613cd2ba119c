"""The token bucket of the alert budget."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.rate import per_week
from anomaly.dispatch.bucket import WEEK_MS, Bucket
from anomaly.dispatch.forget import HALF_LIFE, KEPT, faded_weeks, kept_after


def spent(per_week: float, times: list[int]) -> list[int]:
    """When pages went out, of those that wanted to."""
    bucket, out = Bucket(), []
    for time in times:
        bucket.refill(per_week, time)
        if bucket.has_one:
            bucket.take()
            out.append(time)
    return out


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([1.0, 2.5, 10.0, 100.0]), st.lists(st.integers(0, 6 * WEEK_MS), max_size=400))
def test_any_seven_days_see_at_most_twice_the_budget(budget: float, times: list[int]):
    out = spent(budget, sorted(times))
    for first in out:
        assert sum(first <= time < first + WEEK_MS for time in out) <= 2 * budget + 1e-6


@pytest.mark.parametrize("budget", [1.0, 10.0, 100.0])
def test_in_the_long_run_the_budget_goes_out_and_no_more(budget: float):
    """Something wants to page every ten minutes for a year."""
    out = spent(budget, list(range(0, 52 * WEEK_MS, 600_000)))
    assert len(out) == pytest.approx(52 * budget, rel=0.02, abs=1)


def test_less_than_one_a_week_is_one_now_and_then():
    """One a month, for a year."""
    assert 12 <= len(spent(per_week("1 per month"), list(range(0, 52 * WEEK_MS, 600_000)))) <= 13


def test_time_that_goes_back_gives_nothing_and_takes_nothing():
    bucket = Bucket()
    bucket.refill(10.0, WEEK_MS)
    before = bucket.left
    bucket.refill(10.0, 0)
    bucket.refill(10.0, WEEK_MS)
    assert bucket.left == before


def test_counts_fade_with_the_half_life_that_is_named():
    assert kept_after(HALF_LIFE) == pytest.approx(0.5, rel=1e-12)
    assert kept_after(1000) == pytest.approx(KEPT**1000, rel=1e-12)
    assert kept_after(10**9) == 0.0
    hours = [KEPT**i / 168 for i in range(24 * 90)]
    assert faded_weeks(90 / 7) == pytest.approx(sum(hours), rel=2e-3)
