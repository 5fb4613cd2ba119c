"""The bank against what it says of itself, and its parts against two-line references."""

import math

import numpy as np
import pytest
from river import stats

from anomaly.detect.bank import Bank
from anomaly.detect.gain import gain
from anomaly.detect.season import DAY, day_bucket, week_bucket
from anomaly.detect.tail import SHARE, capped, learn, surprise

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z, a Thursday
LEAST = (0.01, 0.01)


def test_a_young_average_is_the_running_mean_and_an_old_one_is_rivers():
    """Equal weights at first, then exponential forgetting with the half-life."""
    values = np.random.default_rng(1).normal(5.0, 1.0, 2000)
    young = old = 0.0
    for n, x in enumerate(values):
        young += gain(1.0, 1e9, n) * (x - young)
        old += gain(1.0, 50.0, 1e9) * (x - old) if n else x
    river = stats.EWMean(1.0 - 0.5 ** (1.0 / 50.0))
    for x in values:
        river.update(float(x))
    assert young == pytest.approx(values.mean(), rel=1e-12)
    assert old == pytest.approx(river.get(), rel=1e-9)


def test_the_tail_finds_the_quantile_of_what_it_saw():
    """As numpy does of the same values, within what stochastic approximation can."""
    v = np.random.default_rng(2).exponential(1.0, 60_000)
    u, b = 2.9, 0.8
    for n, x in enumerate(v):
        u, b = learn(x, 1.0 / (n + 36.0), u, b, LEAST)
    quantile = np.quantile(v, 1.0 - SHARE)
    assert u == pytest.approx(quantile, rel=0.03)
    assert b == pytest.approx((v[v > quantile] - quantile).mean(), rel=0.15)
    assert surprise(u, u, b, LEAST) == pytest.approx(-np.log10(SHARE))


def test_no_more_is_claimed_than_the_looks_allow():
    """One more than the cap at most, and still in order."""
    claims = [capped(s, 99.0, 2.0) for s in (1.0, 4.0, 8.0, 80.0, 8000.0)]
    assert claims[:2] == [1.0, 4.0]
    assert claims == sorted(claims)
    assert claims[-1] < 5.0


def test_buckets_are_half_hours_of_the_utc_day_and_four_hours_of_the_week():
    """Weeks begin on Monday."""
    hour = 3_600_000
    assert [day_bucket(T0 + h * hour) for h in (0, 1, 23, 24)] == [0, 2, 46, 0]
    monday = T0 + 4 * 24 * hour
    assert [week_bucket(monday + h * hour) - DAY for h in (-1, 0, 4, 167)] == [41, 0, 1, 41]


def test_the_band_is_finite_holds_the_usual_and_leaves_out_a_fault():
    """And is not below zero for what never was."""
    bank, rng = Bank(), np.random.default_rng(3)
    bank.ensure(1)
    value, n = np.abs(rng.normal(1.0, 0.5, 1000)), np.ones(1000)
    judged = bank.judge(0 * n, T0 + 1000 * np.arange(1000), value, n, 0 * n)
    known = ~np.isnan(judged.score)
    inside = (judged.low <= value) & (value <= judged.high)
    assert inside[known].mean() > 0.97
    assert np.isfinite(judged.high[known]).all()
    assert (judged.low[known] >= 0.0).all()
    assert (judged.high[300:] < 5.0).all()


def test_a_primed_row_speaks_at_once_and_keeps_its_own_level():
    """An instance joins a group of noisy ones: half the level, the same noise; its tenth point far off is noticed."""
    bank, rng = Bank(), np.random.default_rng(4)
    bank.ensure(2)
    one = np.ones(600)
    bank.judge(0 * one, T0 + 1000 * np.arange(600), rng.normal(100.0, 1.0, 600), one, 0 * one)
    bank.prime(1, 0)
    value = np.r_[rng.normal(50.0, 1.0, 9), 70.0]
    judged = bank.judge(np.ones(10), T0 + 600_000 + 1000 * np.arange(10), value, one[:10], 0 * one[:10])
    assert np.nanmax(judged.score[:9]) < 2.0
    assert judged.score[9] > 2.0
    assert 40.0 < judged.low[9] < judged.high[9] < 65.0


def weeks_then(*last: float, moved: float = 0.0) -> np.ndarray:
    """Scores of `last`, in spreads, after three weeks of Gaussian noise every ten minutes that moved for good halfway;
    the median of 50 series at each."""
    rows, n = 50, 3024
    value = np.random.default_rng(5).normal(0.0, 1.0, (n + len(last), rows))
    value[n // 2 :] += moved
    value[n:] = moved + np.array(last)[:, None]
    bank, row = Bank(), np.tile(np.arange(rows), n + len(last))
    bank.ensure(rows)
    time = np.repeat(T0 + 600_000 * np.arange(n + len(last)), rows)
    score = bank.judge(row, time, 100.0 + value.ravel(), 0 * row + 1, 0 * row).score
    return np.asarray(np.median(score.reshape(-1, rows)[n:], axis=1))


def test_a_score_is_about_the_gaussian_tail_probability_and_far_out_well_above_an_alerts():
    """Of an old series, within 1.5 decades at four and five spreads."""
    four, five, twenty = (float(weeks_then(off)[0]) for off in (4.0, 5.0, 20.0))
    assert four == pytest.approx(-np.log10(math.erfc(4.0 / math.sqrt(2.0))), abs=1.5)
    assert five == pytest.approx(-np.log10(math.erfc(5.0 / math.sqrt(2.0))), abs=1.5)
    assert twenty > 8.0


def test_a_series_that_moved_for_good_is_not_blind_to_the_next_leap():
    """Ten spreads up a week and a half ago; ten more now."""
    assert weeks_then(10.0, moved=10.0)[0] >= 5.0


def test_a_sudden_fall_of_a_smooth_series_that_wanders_is_noticed():
    """A damped walk over many spreads of its steps, whose day says little of the next; then half of it in one step.

    The band that is shown for it does not hold it, though the series was there often before.
    """
    rng, n = np.random.default_rng(6), 4000
    walk = np.zeros(n)
    for i in range(1, n):
        walk[i] = 0.998 * walk[i - 1] + rng.normal(0.0, 0.5)
    walk[-1] -= 10.0
    bank, zeros = Bank(), np.zeros(n, int)
    bank.ensure(1)
    judged = bank.judge(zeros, T0 + 300_000 * np.arange(n), 85.0 + walk, zeros + 1, zeros)
    assert judged.score[-1] >= 5.0
    assert judged.score[-1] > np.nanmax(judged.score[:-1])
    assert 85.0 + walk[-1] < judged.low[-1] < 85.0 + walk[-2] < judged.high[-1]
