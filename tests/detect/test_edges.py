"""Deltas of many instances whose times are exactly on the edges of the grid's cells, or just off them."""

from collections.abc import Iterator

import numpy as np
import pytest
from tests.detect.feed import Feed, P, series

from anomaly.config.models import Match, ModelSpec, Signal, Sum
from anomaly.decode.points import Kind

RATE = ModelSpec(name="rate", match=(Match(),), sum=Sum.INSTANCES, members=False)
LATENCY = ModelSpec(name="latency", match=(Match(),), signal=Signal.LATENCY, sum=Sum.INSTANCES, members=False)
BOUNDS = (0.1, 1.0)
PODS, EVERY, UNTIL = 30, 5, 120
N = np.random.default_rng(3).integers(1, 20, (PODS, UNTIL // EVERY + 1))  # requests of each instance and export
TOOK = np.random.default_rng(4).uniform(0.1, 1.0, N.shape)  # seconds, all of them together


def exports(phase: np.ndarray, said: np.ndarray = N, kind: Kind = Kind.DELTA) -> Iterator[P]:
    """What every instance has `said` in order of time, instance after instance; nothing where that is negative."""
    bounds = BOUNDS if kind == Kind.HISTOGRAM_DELTA else ()
    pods = [series(kind=kind, bounds=bounds, service__instance__id=str(i)) for i in range(PODS)]
    at = np.arange(1, N.shape[1] + 1) * EVERY + phase[:, None]
    for t, i, k in sorted((at[i, k], i, k) for i in range(PODS) for k in range(N.shape[1])):
        n = float(said[i, k])
        if n < 0.0:
            continue
        if bounds:
            yield P(pods[i], t, TOOK[i, k], t - EVERY, n, (0.0, n, 0.0))
        else:
            yield P(pods[i], t, n, t - EVERY)


def play(spec: ModelSpec, points: list[P], size: int) -> Feed:
    """The points in records of `size`."""
    feed = Feed((spec,))
    for at in range(0, len(points), size):
        feed.send(*points[at : at + size])
    return feed


ON = np.zeros(PODS)


@pytest.mark.parametrize("size", [PODS, 7, 1])
def test_deltas_on_the_edges_of_cells_are_summed_over_all_instances(size: int):
    found = play(RATE, list(exports(ON)), size).values("m", "rate")
    assert max(found) == N.shape[1] * EVERY  # nobody is waited for
    assert len(found) >= N.shape[1] - 5
    for end, rate in found.items():
        assert rate == pytest.approx(N[:, round(end / EVERY) - 1].sum() / EVERY)


@pytest.mark.parametrize("size", [PODS, 7, 1])
def test_delta_histograms_on_the_edges_of_cells_have_the_mean_of_all_instances(size: int):
    feed = play(LATENCY, list(exports(ON, kind=Kind.HISTOGRAM_DELTA)), size)
    mean = feed.values("m", "mean")
    assert len(mean) >= N.shape[1] - 5
    for end in mean:
        k = round(end / EVERY) - 1
        assert mean[end] == pytest.approx(TOOK[:, k].sum() / N[:, k].sum())


def test_the_state_is_the_same_however_records_are_cut():
    points = list(exports(ON, kind=Kind.HISTOGRAM_DELTA))
    assert len({play(LATENCY, points, size).detector.digest() for size in (len(points), PODS, 7)}) == 1


def test_deltas_off_the_edges_are_in_time():
    """A cell is what was gained between its edges, as numpy interpolates between the exports."""
    phase = np.round(np.random.default_rng(5).uniform(0.0, EVERY, PODS), 3)
    found = play(RATE, list(exports(phase)), 1).values("m", "rate")
    at = np.arange(N.shape[1] + 1) * EVERY + phase[:, None]
    total = np.pad(N.cumsum(axis=1), ((0, 0), (1, 0)))
    assert len(found) >= N.shape[1] - 5
    for end, rate in found.items():
        gained = sum(np.diff(np.interp((end - EVERY, end), at[i], total[i]))[0] for i in range(PODS))
        assert rate == pytest.approx(gained / EVERY)


@pytest.mark.parametrize("phase", [0.0, 4.0])
def test_what_seldom_speaks_is_neither_lost_nor_waited_for_longer_than_a_cell(phase: float):
    """A sender of deltas leaves out what is zero: silence is that, and what comes after its cell goes to the next."""
    said = np.where(np.random.default_rng(6).random(N.shape) < 0.4, N, -1)
    said[:, :4], said[:, 4:6], said[:, -6:], said[0] = N[:, :4], -1.0, -1.0, 0.0
    feed = Feed((RATE,))
    for p in exports(np.linspace(0.0, phase, PODS).round(3), said):
        feed.send(p)
        found = feed.values("m", "rate")
        assert not found or p.at - max(found) <= 2 * EVERY
    assert sum(v for t, v in found.items() if t > 30.0) * EVERY == pytest.approx(said[:, 6:][said[:, 6:] > 0].sum())


def test_what_a_new_instance_says_in_deltas_while_it_is_cold_is_no_latency():
    """As of counters: for WARM_UP its requests take three times as long, and the group's mean is that of the others."""
    feed = Feed((LATENCY,))
    pods = [series(kind=Kind.HISTOGRAM_DELTA, bounds=BOUNDS, service__instance__id=str(i)) for i in range(4)]
    for t in range(EVERY, 300, EVERY):
        there = pods if t > 150 else pods[:3]
        feed.send(*[P(s, t, 6.0 if s is pods[3] else 2.0, t - EVERY, 10.0, (0.0, 10.0, 0.0)) for s in there])
    mean = feed.values("m", "mean")
    assert {round(v, 6) for t, v in mean.items() if t <= 240} == {0.2}
    assert {round(v, 6) for t, v in mean.items() if t > 255} == {0.3}
