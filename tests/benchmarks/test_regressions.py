"""What is put into a series is what its name says, and nothing else."""

import numpy as np
import pytest
from benchmarks.fleets import Stretch
from benchmarks.regressions import KINDS, injected, real


@pytest.fixture(scope="module")
def series():
    """Twenty days of a daily wave with noise of spread 2."""
    rng = np.random.default_rng(5)
    day = np.arange(288 * 10) / 288
    return real(Stretch("wave", 300, 50.0 + 10.0 * np.sin(2 * np.pi * day) + rng.normal(0, 2.0, day.size)))


def test_the_spread_is_that_of_the_noise_and_the_day_is_seen(series):
    assert series.spread == pytest.approx(2.0, rel=0.15)
    assert series.seasonal


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_before_the_regression_begins(series, kind):
    case = injected(series, 0, kind, 7)
    at = int(np.searchsorted(case.time, case.begin))
    np.testing.assert_array_equal(case.value[:at], series.value[:at])
    assert (case.value[at:] != series.value[at : case.value.size]).any()


def test_each_kind_is_what_it_is_called(series):
    """Means, spreads and order statistics of what was changed, by numpy."""
    cases = {kind: injected(series, 0, kind, 7) for kind in KINDS}
    a, b = np.searchsorted(series.time, [cases["period"].begin, cases["period"].end])
    before = series.value[a:b]
    after = {kind: case.value[a:] for kind, case in cases.items()}
    assert np.mean(after["level 2"] - before) == pytest.approx(2 * series.spread)
    assert (after["leak 4"] - before)[[0, -1]] == pytest.approx([0.0, 4 * series.spread])
    assert np.std(after["variance 3"] - series.profile[a:b]) == pytest.approx(3 * np.std(before - series.profile[a:b]))
    np.testing.assert_array_equal(np.sort(after["period"]), np.sort(before))
