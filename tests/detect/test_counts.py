"""k of n against what was usual."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from tests.detect.feed import Feed, P, series

from anomaly.config.models import Errors, Match, Model, ModelSpec, Signal, Sum
from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Event
from anomaly.detect.counts import PRIOR_ERRORS, PRIOR_TOTAL, RATIO, band, judge_point, loss, surprise

ERRORS = ModelSpec(
    name="errors", match=(Match(),), signal=Signal.ERRORS, model=Model.RATIO, sum=Sum.GROUP,
    errors=Errors(label=("code",), value=("5*",)), min_events=10, min_deviation=0.005, bad=0.05, pages=True,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0.5, 500), st.floats(0.5, 5000))
def test_the_score_is_the_beta_binomial_tail(n: int, share: float, a: float, b: float):
    """As scipy has it, wherever scipy is exact enough to say."""
    k = round(share * n)
    tail = stats.betabinom.sf(k - 1, n, a, b)
    expected = 0.0 if k <= n * a / (a + b) else -np.log10(tail) if tail > 1e-9 else None
    if expected is not None:
        assert surprise(float(k), float(n), a, b) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "a", "b"), [(400, 20.0, 1980.0), (200, 0.6, 1999.0), (12, 3.0, 40.0), (20_000, 100.0, 1900.0)]
)
def test_the_band_holds_nearly_all_of_what_is_usual(n: int, a: float, b: float):
    """Of cells drawn from the same beta-binomial, a few in a thousand at most lie beyond either edge."""
    ratios = stats.betabinom.rvs(n, a, b, size=20_000, random_state=1) / n
    low, high = band(float(n), a, b)

    assert np.mean(ratios > high) < 0.005
    assert np.mean(ratios < low) < 0.005
    assert high < a / (a + b) + 8 * np.std(ratios) + 1 / n


def run(
    cells: Sequence[tuple[float, float, float]], fewest: float = 10.0, bad: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Judge (second, k, n) cells of one row: the verdicts, and the state."""
    state = np.zeros(1, RATIO)
    out = [
        judge_point(state, 0, 1_000_000 + int(t * 1000), float(k), float(n), False, fewest, bad, 20.0) for t, k, n in cells
    ]
    return np.array(out, float), state


def test_the_first_cell_is_judged_by_the_prior_alone():
    """4 errors of 75 where one in two hundred was assumed."""
    out, _ = run([(0, 4, 75)])

    tail = stats.betabinom.sf(3, 75, PRIOR_ERRORS, PRIOR_TOTAL - PRIOR_ERRORS)
    assert out[0, 1] == pytest.approx(-np.log10(tail), rel=1e-4)
    assert out[0, 1] < 3.0


def test_low_traffic_is_no_alarm_and_high_traffic_is():
    """One error of two requests says little; thirty of a hundred say everything."""
    usual = [(5.0 * i, 0, 100) for i in range(60)]
    assert run([*usual, (300, 1, 2), (305, 0, 8)])[0][-1, 1] < 3.0
    assert run([(5.0 * i, 0, 10_000) for i in range(600)] + [(3000, 1, 10)])[0][-1, 1] < 3.0
    assert run([*usual, (300, 30, 100)])[0][-1, 1] > 8.0


def test_too_few_events_wait_for_more():
    """Three of four are judged together with the next seven."""
    out, _ = run([(0, 0, 100), (5, 3, 4), (10, 0, 7)])

    assert np.isnan(out[1, 0])
    assert out[2, 0] == pytest.approx(3 / 11)


def test_an_error_ratio_that_is_usual_is_no_anomaly():
    """A service that fails 2 % of its requests all day does so today."""
    rng = np.random.default_rng(5)
    out, _ = run([(5.0 * i, float(rng.binomial(200, 0.02)), 200) for i in range(2000)])

    assert np.nanmax(out[50:, 1]) < 6.0


def test_bad_needs_enough_events():
    """Half of four requests is no fault yet, half of forty is."""
    assert not run([(0, 2, 4)], fewest=1)[0][0, 5]
    assert run([(0, 20, 40)])[0][0, 5]


@pytest.mark.parametrize(("errors", "total", "proven"), [(2, 33, False), (5, 20, True), (8, 100, False), (80, 1000, True)])
def test_bad_needs_a_share_that_the_requests_prove(errors: int, total: int, proven: bool):
    """A true share of just under 5 % shows so many errors in less than one cell of a hundred; scipy's binomial agrees."""
    assert run([(0, errors, total)])[0][0, 5] == proven
    assert (stats.binom.sf(errors - 1, total, 0.05) < 0.01) == proven


def test_a_redelivered_cell_teaches_nothing():
    """The state is as it was, to the bit."""
    cells = [(0, 1, 100), (5, 2, 100), (10, 0, 90)]
    assert run(cells)[1].tobytes() == run([*cells, *cells[1:]])[1].tobytes()


def test_errors_of_a_total_open_an_anomaly_with_its_events_and_close_it():
    """30 % of 40 requests a second fail from second 120 to 180; members are counted by their label."""
    feed = Feed((ERRORS,))
    good, bad = (series("requests", Kind.COUNTER, "{request}", code=c) for c in ("200", "503"))
    g = b = 0.0
    for t in range(300):
        failing = 12.0 if 120 <= t < 180 else 0.0
        g, b = g + 40.0 - failing, b + failing
        feed.send(P(good, t, g), P(bad, t, b))

    opened, closed = feed.said[0], feed.said[-1]
    assert (opened.event, opened.quantity, opened.signal) == (Event.OPEN, "error ratio", Signal.ERRORS)
    assert min((a.time - opened.started) / 1000 for a in feed.said if a.bad) <= 10
    assert 120 <= (opened.time - feed.said[0].started) / 1000 + 120 <= 135
    assert opened.events is not None
    assert opened.events[0] / opened.events[1] == pytest.approx(opened.observed)
    assert opened.expected[1] < 0.05
    assert closed.event is Event.CLOSE
    assert closed.events is not None
    assert closed.events[0] == pytest.approx(12.0 * 60, abs=12 * 6)
    assert closed.events[1] == pytest.approx(40.0 * 60, rel=0.8)
    assert {a.id for a in feed.said} == {opened.id}


@pytest.mark.parametrize(
    ("k", "expected", "spread"), [(0, 75.0, 9.0), (3, 75.0, 20.0), (0, 40.0, 30.0), (50, 1000.0, 200.0)]
)
def test_the_evidence_of_lost_traffic_is_the_negative_binomial_tail(k: int, expected: float, spread: float):
    """As scipy has it, with the same mean and variance."""
    p = expected / max(spread**2, 1.000001 * expected)
    tail = stats.nbinom.logcdf(k, expected * p / (1 - p), p) / np.log(10)

    assert loss(float(k), expected, spread) == pytest.approx(min(-tail, 30.0), rel=1e-3)


def test_half_the_traffic_or_little_traffic_is_not_lost():
    """The first is the model's to judge; of the second there was too little to miss."""
    assert loss(40.0, 75.0, 9.0) == 0.0
    assert loss(0.0, 12.0, 3.0) == 0.0
