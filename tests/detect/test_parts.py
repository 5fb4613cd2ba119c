"""Deltas that come in parts: what several records say of one cell adds up, in whatever order it comes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import Feed, P, series

from anomaly.config.models import Errors, Match, Model, ModelSpec, Signal, Sum
from anomaly.decode.points import Flag, Kind

CELL = 5.0
RATE = ModelSpec(name="rate", match=(Match(),), sum=Sum.INSTANCES, members=False)
LATENCY = ModelSpec(name="latency", match=(Match(),), signal=Signal.LATENCY, sum=Sum.INSTANCES, members=False)
ERRORS = ModelSpec(
    name="errors", match=(Match(),), signal=Signal.ERRORS, model=Model.RATIO, sum=Sum.INSTANCES, members=False,
    errors=Errors(label=("status",), value=("bad",)), min_events=1,
)  # fmt: skip
CALLS = series("calls", Kind.DELTA)


def part(at: float, n: float = 1.0, of=CALLS, **more) -> P:
    """A part of what happened in the cell that `at` lies in."""
    return P(of, at, n, start=(at - 0.001) // CELL * CELL, flags=Flag.PART, **more)


def steady(until: int, of=CALLS, **more) -> list[P]:
    """A part a second."""
    return [part(t + 0.5, of=of, **more) for t in range(until)]


def test_parts_of_one_cell_add_up_whoever_sends_them_and_when():
    feed = Feed([RATE])
    feed.play(steady(20))
    before = feed.detector.counts["late"]  # of the cell in which the grid began
    feed.send(part(24.0, 5.0), part(24.0, 5.0), part(21.0, 10.0), part(22.5, 5.0))
    feed.play([part(t + 0.5) for t in range(25, 50)])
    assert feed.values("calls", "rate")[25.0] == pytest.approx(25.0 / CELL)
    assert (feed.detector.counts["late"], feed.detector.counts["duplicate"]) == (before, 0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(20.1, 34.9), st.integers(1, 9)), min_size=1, max_size=12), st.randoms())
def test_the_order_of_parts_within_the_lateness_changes_no_sum(parts: list[tuple[float, int]], random) -> None:
    mixed = list(parts)
    random.shuffle(mixed)
    found = []
    for order in (sorted(parts), mixed):
        feed = Feed([RATE])
        feed.play(steady(20))
        feed.send(*[part(round(at, 3), n) for at, n in order])
        feed.play([part(t + 0.5) for t in range(45, 80)])
        found.append({t: v for t, v in feed.values("calls", "rate").items() if 20 < t <= 35})
    assert found[0] == pytest.approx(found[1])
    total = sum(n for _, n in parts)
    assert sum(found[0].values()) * CELL == pytest.approx(total)


def test_a_part_that_comes_after_its_cell_was_closed_is_counted_as_late():
    feed = Feed([RATE], lateness=10_000)
    feed.play(steady(60))
    before = feed.detector.counts["late"]
    feed.send(part(31.0, 100.0))
    feed.play([part(t + 0.5) for t in range(60, 90)])
    assert feed.detector.counts["late"] == before + 1
    assert max(v for t, v in feed.values("calls", "rate").items()) < 2


def test_a_part_is_never_judged_for_itself():
    """It is a share of what happened, of which nobody knows how large."""
    feed = Feed([ModelSpec(name="default", match=(Match(),))])
    feed.play(steady(60))
    assert feed.values("calls", "rate") == {}


def test_parts_of_histograms_have_the_mean_and_the_quantiles_of_all_of_them():
    bounds = (0.1, 0.2, 0.4)
    times = series("times", Kind.HISTOGRAM_DELTA, "s", bounds)
    feed = Feed([LATENCY])
    slow = {"observations": 100.0, "buckets": (0.0, 0.0, 100.0, 0.0)}
    fast = {"observations": 300.0, "buckets": (0.0, 300.0, 0.0, 0.0)}
    for second in range(60):
        both = [part(second + 0.5, 30.0, times, **slow), part(second + 0.5, 45.0, times, **fast)]
        feed.send(*(both if second % 2 else both[::-1]))
    means, p95 = feed.values("times", "mean"), feed.values("times", "p95")
    assert np.allclose(list(means.values()), 75.0 / 400.0)
    assert np.allclose(list(p95.values()), 0.2 + 0.2 * (0.95 * 400 - 300) / 100)
    assert len(means) >= 5


def test_failures_of_parts_are_k_of_n():
    good, bad = (series("calls", Kind.DELTA, status=status) for status in ("good", "bad"))
    feed = Feed([ERRORS])
    for second in range(60):
        feed.send(part(second + 0.5, 7.0, good), part(second + 0.25, 3.0, bad), part(second + 0.25, 2.0, good))
    shares = list(feed.values("calls", "error ratio").values())
    assert len(shares) >= 5
    assert np.allclose(shares[2:], 3.0 / 12.0)
