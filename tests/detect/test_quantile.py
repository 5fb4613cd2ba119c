"""Histograms say how many, how long on average, and how long at worst, where their buckets can tell."""

import numpy as np
import pytest
from tests.detect.feed import Feed, P, series

from anomaly.config.models import Match, ModelSpec, Signal, Sum
from anomaly.decode.points import Kind
from anomaly.detect.quantile import quantile

BOUNDS = tuple(np.geomspace(0.005, 10.0, 20).tolist())
SPECS = tuple(
    ModelSpec(name=str(signal), match=(Match(),), signal=signal, sum=Sum.GROUP, members=False)
    for signal in (Signal.LATENCY, Signal.TRAFFIC)
)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
def test_a_quantile_is_within_one_bucket_of_the_samples_own(q: float):
    """numpy knows the samples, we only their counts per bucket."""
    samples = np.random.default_rng(7).lognormal(-2.0, 0.8, 5000)
    counts, _ = np.histogram(samples, [0.0, *BOUNDS, np.inf])
    true = np.quantile(samples, q)
    at = np.searchsorted(BOUNDS, true)

    assert BOUNDS[at - 1] <= quantile(q, counts.astype(float), np.array(BOUNDS)) <= BOUNDS[at]


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        ([1000.0, 0, 0, 0], [5.0, 10.0, 25.0]),  # durations in seconds in the default bounds of the SDKs
        ([0.0, 0, 0, 1000], [5.0, 10.0, 25.0]),  # over the last bound
        ([0.0, 1000, 0], [1.0, 10.0]),  # a decade wide
        ([0.0, 3, 0, 0], [5.0, 10.0, 25.0]),  # three observations have no 99th percentile
        ([0.0, 0, 0, 0], [5.0, 10.0, 25.0]),
        ([5000.0], []),
    ],
)
def test_a_quantile_that_the_buckets_cannot_tell_is_not_known(counts: list[float], bounds: list[float]):
    """An artefact is no evidence."""
    assert np.isnan(quantile(0.99, np.array(counts), np.array(bounds)))


def exports(seconds: int, per_second: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples by second, and the cumulative bucket counts after each."""
    samples = np.random.default_rng(3).lognormal(-2.0, 0.8, (seconds, per_second))
    counts = np.array([np.histogram(s, [0.0, *BOUNDS, np.inf])[0] for s in samples]).cumsum(axis=0)
    return samples, counts


def check(feed: Feed, metric: str, samples: np.ndarray, per_second: int) -> None:
    """Rate and mean of each cell are those of its samples; p95 is near theirs."""
    rate, mean = feed.values(metric, "rate"), feed.values(metric, "mean")
    assert len(rate) >= 5
    np.testing.assert_allclose(list(rate.values()), per_second)
    for end, found in mean.items():
        cell = samples[int(end) - 4 : int(end) + 1]  # exported at the second's end
        assert found == pytest.approx(cell.mean(), rel=1e-6)
        assert feed.values(metric, "p95")[end] == pytest.approx(np.quantile(cell, 0.95), rel=0.5)


def test_an_otlp_histogram_gives_rate_mean_and_quantiles_of_each_cell():
    """From cumulative counts, over two instances."""
    samples, counts = exports(60, 200)
    feed = Feed(SPECS)
    parts = [series("d", Kind.HISTOGRAM, "s", BOUNDS, service__instance__id=i) for i in "ab"]
    total = samples.sum(axis=1).cumsum()
    feed.play(P(s, t, total[t], observations=200.0 * (t + 1), buckets=tuple(counts[t])) for t in range(60) for s in parts)

    check(feed, "d", samples, 400)


def test_a_classic_histogram_in_parts_gives_the_same_as_a_whole_one():
    """Prometheus sends one counter per bucket, cumulated over the buckets, and the order of series says nothing."""
    samples, counts = exports(60, 200)
    feed = Feed(SPECS)
    cumulated, total = counts.cumsum(axis=1), samples.sum(axis=1).cumsum()
    bounds = [*(str(b) for b in BOUNDS), "+Inf"]
    buckets = [(series("d_bucket", Kind.COUNTER, "s", le=le), j) for j, le in enumerate(bounds)][::-1]
    count, whole = series("d_count", Kind.COUNTER, "s"), series("d_sum", Kind.COUNTER, "s")
    for t in range(60):
        feed.send(
            *(P(s, t, float(cumulated[t, j])) for s, j in buckets[:9]),
            P(count, t, 200.0 * (t + 1)),
            *(P(s, t, float(cumulated[t, j])) for s, j in buckets[9:]),
            P(whole, t, total[t]),
        )

    check(feed, "d", samples, 200)
    assert {s.metric for s in feed.detector.register.subjects} == {"d"}
    assert {s.unit for s in feed.detector.register.subjects if s.quantity == "mean"} == {"s"}


def test_without_observations_there_is_a_rate_and_no_mean():
    """Nobody asked, so nothing was slow."""
    feed, s = Feed(SPECS), series("d", Kind.HISTOGRAM, "s", BOUNDS)
    empty = (0.0,) * (len(BOUNDS) + 1)
    feed.play(P(s, t, 0.0, observations=0.0, buckets=empty) for t in range(60))

    assert set(feed.values("d", "rate").values()) == {0.0}
    assert feed.values("d", "mean") == {}


def test_a_histogram_whose_buckets_shrink_was_reset_and_says_nothing_once():
    """Never a negative rate, never a mean of two lives."""
    feed, s = Feed(SPECS), series("d", Kind.HISTOGRAM, "s", (0.1, 0.2))
    points = [P(s, t, 10.0 * t, observations=100.0 * t, buckets=(50.0 * t, 50.0 * t, 0.0)) for t in range(40)]
    points += [P(s, 40 + t, 10.0 * t, observations=100.0 * t, buckets=(50.0 * t, 50.0 * t, 0.0)) for t in range(40)]
    feed.play(points)

    np.testing.assert_allclose(list(feed.values("d", "mean").values()), 0.1)
    assert min(feed.values("d", "rate").values()) >= 0.0
    assert max(feed.values("d", "rate").values()) == pytest.approx(100.0)
