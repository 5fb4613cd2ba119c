"""Instances compared with their peers: the arithmetic against numpy, and what a fleet says over time."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import Feed, P, ms, series
from tests.detect.test_keep import again, gathered

from anomaly.config.models import Direction, Errors, Match, Model, ModelSpec, Peers, Signal, Sum
from anomaly.decode.points import Kind
from anomaly.detect import medians
from anomaly.detect.anomaly import AMONG, Anomaly, Event
from anomaly.state import Snapshot

SPEC = ModelSpec(
    name="load", match=(Match(metric=("load",)),), signal=Signal.SATURATION, direction=Direction.ABOVE, members=False,
    min_relative=0.5, min_deviation=0.05, peers=Peers.WARNING,
)  # fmt: skip
RATIO = ModelSpec(
    name="errors", match=(Match(metric=("asked",)),), signal=Signal.ERRORS, model=Model.RATIO, direction=Direction.ABOVE,
    sum=Sum.GROUP, errors=Errors(("code",), ("5??",)), min_events=5, peers=Peers.WARNING,
)  # fmt: skip
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=40)


@settings(deadline=None)  # kernels compile
@given(VALUES, st.data())
def test_middle_and_deviation_are_numpys_medians_of_the_others(values: list[float], data: st.DataObject):
    """Of all but one, or of all."""
    y = np.sort(values)
    left_out = data.draw(st.integers(-1, y.size - 1))
    others = np.delete(y, left_out) if left_out >= 0 else y
    centre = float(np.median(others))

    assert medians.middle(y, y.size, left_out) == pytest.approx(centre)
    told = medians.deviation(y, y.size, left_out, centre)
    assert told == pytest.approx(float(np.median(np.abs(others - centre))), abs=1e-9)


@settings(deadline=None)
@given(VALUES)
def test_values_are_sorted_and_what_goes_along_stays_with_them(values: list[float]):
    y, along = np.array(values), np.arange(len(values))
    medians.sort(y, along, y.size)
    np.testing.assert_array_equal(y, np.sort(values))
    np.testing.assert_array_equal(np.array(values)[along], y)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_the_scale_is_a_logarithm_and_goes_back(x: float, c: float):
    """Far from zero a factor of ten is one."""
    y = medians.on_scale(x, c)
    assert y == pytest.approx(np.sign(x) * np.log10(1.0 + abs(x) / c), abs=1e-9)
    assert medians.off_scale(y, c) == pytest.approx(x, rel=1e-6, abs=1e-6 * c)


def test_the_spread_of_gaussians_is_about_their_standard_deviation_however_few():
    """Its small-sample factors, by ten thousand draws: without prior, and with one that is right."""
    rng = np.random.default_rng(1)
    for n in (5, 8, 20, 100):
        draws = np.sort(rng.normal(0.0, 0.065, (4000, n)), axis=1)
        told = [medians.spread(y, n, -1, medians.middle(y, n, -1), medians.PRIOR_SPREAD) for y in draws]
        assert np.sqrt(np.mean(np.square(told))) == pytest.approx(0.065, rel=0.2)


def fleet(n: int) -> list[P]:
    """The first point of each of n instances."""
    return [P(series("load", Kind.GAUGE, "1", k8s__pod__name=f"pod-{i}"), 0.1 * i, 0.0) for i in range(n)]


def story(n: int, seconds: int, value: object, every: int = 10) -> list[P]:
    """Points of n instances; `value` of (second, instance)."""
    return [
        p._replace(at=p.at + second, value=value(second, i))  # type: ignore[operator]
        for second in range(0, seconds, every)
        for i, p in enumerate(fleet(n))
    ]


def told(feed: Feed) -> list[tuple[str, Event]]:
    """What was said of whom among peers."""
    return [(dict(a.instance)["k8s.pod.name"], a.event) for a in feed.said if a.quantity.endswith(AMONG)]


NOISE = np.random.default_rng(7).normal(0.0, 0.08, (10_000, 40))


def odd(second: int, i: int) -> float:
    """The third instance is four times as loaded for ten minutes, from the fifth on."""
    return float(0.2 * np.exp(NOISE[second // 10, i]) * (4.0 if i == 2 and 300 <= second < 900 else 1.0))


def test_one_that_is_odd_for_a_while_is_told_and_its_end_too():
    feed = Feed([SPEC])
    feed.play(story(8, 2400, odd), 30)

    assert {who for who, _ in told(feed)} == {"pod-2"}
    assert [event for _, event in told(feed) if event is not Event.RECORD] == [Event.OPEN, Event.CLOSE]
    last = next(a for a in feed.said if a.peers and a.event is Event.CLOSE)
    assert last.peers == 7
    assert last.middle == pytest.approx(0.2, rel=0.2)
    assert last.observed == pytest.approx(0.8, rel=0.2)
    assert not last.pages


def test_five_instances_are_too_few_to_tell():
    feed = Feed([SPEC])
    feed.play(story(5, 1200, odd), 30)
    assert told(feed) == []


def test_what_all_do_is_nobodys_oddness():
    """Three times the load for all of them."""
    feed = Feed([SPEC])
    feed.play(
        story(8, 1800, lambda second, i: odd(0, 5) * (3.0 if second > 900 else 1.0) * np.exp(NOISE[second // 10, i])), 30
    )
    assert told(feed) == []


def test_one_that_stays_odd_is_told_once():
    """Past the time after which it is the new normal, and for as long again."""
    spec = msgspec.structs.replace(SPEC, new_normal_after=1800.0)
    feed = Feed([spec])
    feed.play(story(8, 6000, lambda second, i: odd(0, i) * (5.0 if i == 1 else 1.0) * np.exp(NOISE[second // 10, i])), 60)
    assert [event for _, event in told(feed) if event is not Event.RECORD] == [Event.OPEN, Event.CLOSE]
    assert next(a for a in feed.said if a.event is Event.CLOSE and a.peers).reason == "new normal"


def test_one_that_fails_more_often_is_found_by_k_of_n():
    """One in ten of its requests fails, elsewhere one in five hundred."""
    rng, feed = np.random.default_rng(3), Feed([RATIO])
    seen = np.zeros((8, 2))
    pairs = [
        [series("asked", Kind.COUNTER, "", code=code, k8s__pod__name=f"pod-{i}") for code in ("200", "500")]
        for i in range(8)
    ]
    points = list[P]()
    for second in range(0, 1200, 10):
        n = rng.poisson(50.0, 8)
        bad = rng.binomial(n, [0.1 if i == 6 and second > 600 else 0.002 for i in range(8)])
        seen += np.stack([n - bad, bad], axis=1)
        points += [P(pairs[i][k], second + 0.1 * i, seen[i, k], start=0.0) for i in range(8) for k in (0, 1)]
    feed.play(points, 30)

    assert {who for who, _ in told(feed)} == {"pod-6"}
    one = next(a for a in feed.said if a.peers)
    assert one.quantity == "error ratio" + AMONG
    assert 0.03 < one.observed < 0.15


def test_the_evidence_of_k_of_n_is_what_was_counted_and_not_a_sample_that_stands_for_the_rest():
    """A burst within one export of three is that many failures, whenever instances are compared."""
    feed, burst = Feed([RATIO]), 10.0
    asked, failed = (
        [series("asked", Kind.COUNTER, "", code=code, k8s__pod__name=f"pod-{i}") for i in range(8)]
        for code in ("200", "500")
    )
    most = 0.0
    for second in range(0, 600, 10):
        bad = [burst if second >= 300 + 10 * i else 0.0 for i in range(8)]
        good = [P(s, second, 5.0 * second, start=0.0) for s in asked]
        feed.send(*good, *[P(s, second, k, start=0.0) for s, k in zip(failed, bad, strict=True)])
        most = max(most, feed.detector.register.tables.peers["peer"]["b"].max(initial=0.0))
    assert 0.9 * burst < most <= burst


def test_an_instance_that_ends_while_odd_is_over_once_its_group_was_heard_for_long_without_it():
    feed = Feed([msgspec.structs.replace(SPEC, absence=True)])  # then ends are looked for
    points = story(8, 2400, lambda second, i: odd(min(second, 600), i))
    feed.play([p for p in points if not ("pod-2" in str(p.series.instance) and p.at > 900)], 30)
    assert told(feed)[-1] == ("pod-2", Event.CLOSE)
    over = [a for a in feed.said if a.peers][-1]
    assert over.reason == "series ended"
    assert over.time <= ms(900 + 270)  # an incident is over half a minute later: within five minutes


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(1, 1439), min_size=1, max_size=5))
def test_neither_where_blocks_are_cut_nor_a_restart_between_them_changes_anything(cuts: list[int]):
    """One detector takes the story by the half-minute, another in other pieces, with a restart at each."""
    points = story(8, 1800, odd)
    one = Feed([SPEC])
    one.send(*points[:8])
    one.send(*points[8:])
    other = Feed([SPEC])
    other.send(*points[:8])
    said, generations = list[Anomaly](other.said), list[tuple[Snapshot, str]]()
    for a, b in pairwise([8, *sorted(set(cuts) - set(range(9))), len(points)]):
        said += other.send(*points[a:b])
        generations.append(gathered(other, len(generations) + 1))
        held = other.heard, other._announced
        other = again(other, generations)
        other.heard, other._announced = held

    assert [a for a in said if a.peers] == [a for a in one.said if a.peers] != []
    assert other.detector.digest() == one.detector.digest()
