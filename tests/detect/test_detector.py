"""Blocks in, anomalies and ticks out."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import DEFAULT, T0, Feed, P, columns, ms, series

from anomaly.config.models import Errors, Match, Model, ModelSpec, Signal, Sum
from anomaly.decode.block import Block
from anomaly.decode.points import Flag, Kind, Points
from anomaly.detect.anomaly import Anomaly, Event, Tick
from anomaly.detect.recent import KEPT

BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LATENCY = ModelSpec(
    name="latency", match=(Match(metric=("d",)),), signal=Signal.LATENCY, sum=Sum.GROUP, members=False, min_relative=0.5
)
TRAFFIC = ModelSpec(
    name="traffic", match=(Match(metric=("d",)),), signal=Signal.TRAFFIC, sum=Sum.GROUP, members=False, min_relative=0.5,
    absence=True,
)  # fmt: skip
ERRORS = ModelSpec(
    name="errors", match=(Match(metric=("d",)),), signal=Signal.ERRORS, model=Model.RATIO, sum=Sum.GROUP, min_events=10,
    errors=Errors(label=("code",), value=("5*",)), bad=0.05, min_deviation=0.005,
)  # fmt: skip
IGNORE = ModelSpec(name="ignore", match=(Match(metric=("*_info",)),), model=Model.IGNORE)
SPECS = (LATENCY, TRAFFIC, ERRORS, IGNORE, DEFAULT)


def story(seconds: int = 260) -> list[P]:
    """Two services and a host for some minutes: one service turns slow and failing, a gauge jumps, one service dies."""
    rng = np.random.default_rng(11)
    good, bad = (series("d", Kind.HISTOGRAM, "s", BOUNDS, code=c, service__instance__id="1") for c in ("200", "500"))
    other = series("d", Kind.HISTOGRAM, "s", BOUNDS, service="other")
    gauges = [series("load", host=h, service="hosts", instance=h) for h in "xyz"]
    state = {s: (np.zeros(len(BOUNDS) + 1), 0.0) for s in (good, bad, other)}
    points = []
    for t in range(seconds):
        faulty = 150 <= t < 190
        for s in (good, bad, other):
            share = {good: 0.6 if faulty else 1.0, bad: 0.4 if faulty else 0.0, other: 1.0}[s]
            slow = 8.0 if faulty and s is not other else 1.0
            samples = rng.lognormal(-3.5, 0.3, round(50 * share)) * slow
            buckets, total = state[s]
            state[s] = buckets + np.histogram(samples, [0.0, *BOUNDS, np.inf])[0], total + samples.sum()
            if s is not other or t < 200:
                counts = tuple(state[s][0].tolist())
                points.append(P(s, t + 0.1, state[s][1], start=-100, observations=sum(counts), buckets=counts))
        for i, g in enumerate(gauges):
            points.append(P(g, t + 0.2 + 0.1 * i, float(rng.normal(40.0 if i == 0 and 160 <= t < 180 else 10.0, 1.0))))
    return points


STORY = story()


def told(feed: Feed) -> list[bytes]:
    """Everything said, as bytes, in an order of its own."""
    return sorted(msgspec.json.encode(a) for a in feed.said)


@pytest.fixture(scope="module")
def whole() -> Feed:
    """The story, a second at a time."""
    feed = Feed(SPECS)
    feed.play(STORY)
    return feed


def test_the_story_is_told(whole: Feed):
    """Slow, failing, the host's jump and the silence are opened after they began, and only for whom they concern."""
    sure = [a for a in whole.said if a.score > 6 and a.event is not Event.CLOSE]
    first = {(a.group, a.quantity): a for a in reversed(sure)}

    assert {("shop", "mean"), ("shop", "error ratio"), ("hosts", "value"), ("other", "heard")} <= set(first)
    assert {group for group, _ in first} == {"shop", "hosts", "other"}
    assert dict(first["hosts", "value"].labels) == {"host": "x"}
    for key in (("shop", "mean"), ("shop", "error ratio")):
        assert 149 <= (first[key].started - T0) / 1000 <= 160
        assert 150 < (first[key].time - T0) / 1000 <= 160
    closed = {(a.group, a.quantity) for a in whole.said if a.event is Event.CLOSE}
    assert {("shop", "mean"), ("shop", "error ratio"), ("hosts", "value")} <= closed


def test_the_same_blocks_say_the_same_in_the_same_order(whole: Feed):
    """To the byte."""
    again = Feed(SPECS)
    again.play(STORY)

    assert msgspec.json.encode(again.said) == msgspec.json.encode(whole.said)
    assert again.ticks == whole.ticks


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, len(STORY) - 1), max_size=12))
def test_block_borders_do_not_matter(cuts: list[int]):
    """Split anywhere, or not at all, the same anomalies are told with the same evidence."""
    edges = [0, *sorted(cuts), len(STORY)]
    feed = Feed(SPECS)
    for a, b in pairwise(edges):
        feed.send(*STORY[a:b])
    one = Feed(SPECS)
    one.play(STORY)

    assert told(feed) == told(one)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.integers(0, 60),
            st.sampled_from([0.0, 1.0, 5.0, float("nan"), float("inf"), -1.0, 1e300]),
            st.sampled_from([Flag.NONE, Flag.NONE, Flag.NONE, Flag.STALE]),
        ),
        max_size=60,
    ),
    st.integers(0, 5),
)
def test_every_point_has_exactly_one_outcome(points: list[tuple[int, int, float, Flag]], waiting: int):
    """Scored, warming, converted, ignored, duplicate, late, not finite, stale, waiting, or of a series never announced."""
    kinds = [
        series("a"), series("b", Kind.COUNTER), series("c", Kind.DELTA), series("x_info"),
        series("d", Kind.HISTOGRAM, "s", (0.1,), code="200"), series("e", Kind.HISTOGRAM_DELTA), series("f"),
    ]  # fmt: skip
    feed = Feed(SPECS, waiting=waiting)
    for i, at, value, flags in points:
        histogram = kinds[i].metric == "d"
        p = P(kinds[i], at, value, observations=abs(value), buckets=(value, 0.0) if histogram else (), flags=flags)
        feed.send(p, announce=kinds[i].metric != "f")

    assert sum(feed.detector.counts.values()) == len(points)
    assert feed.detector.counts["waiting"] <= waiting


def test_points_wait_for_their_labels_and_are_then_judged_as_if_they_had_come_with_them():
    """A receiver that lost its labels is blind for a series until the next announcement, and then catches up."""
    gauge, known = series("a"), Feed()
    known.play(P(gauge, t, 10.0 + t % 3) for t in range(60))
    feed = Feed()
    for t in range(60):
        feed.send(P(gauge, t, 10.0 + t % 3), announce=t == 40)

    assert feed.values("a") == known.values("a")
    assert feed.detector.counts["waiting"] == 0


def test_a_restart_goes_on_with_what_was_open():
    """No second opening; the frozen band decides the end, while the model is still warming."""
    gauge, before = series("load", host="x"), Feed()
    before.play(P(gauge, t, 10.0 + t % 3) for t in range(200))
    before.play(P(gauge, t, 100.0) for t in range(200, 260))
    opened = [a for a in before.said if a.event is not Event.CLOSE][-1]
    feed = Feed()
    feed.detector.restore([opened])
    feed.play(P(gauge, t, 100.0) for t in range(260, 300))
    assert feed.said == []

    feed.play(P(gauge, t, 10.0 + t % 3) for t in range(300, 400))
    (closed,) = feed.said
    assert (closed.id, closed.event, closed.started) == (opened.id, Event.CLOSE, opened.started)
    assert closed.ended is not None
    assert (closed.ended - T0) / 1000 >= 300


def test_after_a_restart_points_from_before_the_fault_do_not_end_it():
    """What is redelivered was normal then; what is open was told later."""
    gauge, before = series("load", host="x"), Feed()
    healthy, ill = [P(gauge, t, 10.0 + t % 3) for t in range(200)], [P(gauge, t, 100.0) for t in range(200, 260)]
    before.play([*healthy, *ill])
    opened = [a for a in before.said if a.event is not Event.CLOSE][-1]
    feed = Feed()
    feed.detector.restore([opened])
    feed.play([*healthy, *ill])
    assert feed.said == []


def test_an_id_is_the_same_whatever_the_seed_and_the_order_of_arrival():
    """Rows and hashes are ours; the labels are the user's."""
    gauge = series("load", host="x")

    def opened(first: list[P]) -> str:
        feed = Feed()
        feed.play([*first, *(P(gauge, t, 10.0 + t % 3 if t < 200 else 90.0) for t in range(210))])
        return next(a.id for a in feed.said if a.score > 6)

    assert opened([]) == opened([P(series("another"), 0, 1.0)])


def test_an_anomaly_carries_the_last_points_as_evidence():
    """As they were sent, with their times, up to the point that opened it and no further."""
    gauge, feed = series("load"), Feed()
    feed.play(P(gauge, t, 10.0 + t % 3) for t in range(200))
    feed.send(*(P(gauge, t, 90.0 + t) for t in range(200, 230)))
    a = next(a for a in feed.said if a.score > 6)

    at = (a.time - T0) // 1000
    assert a.current == 90.0 + at
    assert a.points == tuple((ms(t), 90.0 + t if t >= 200 else 10.0 + t % 3) for t in range(at - KEPT + 1, at + 1))


def test_the_anomaly_of_an_instance_that_is_gone_ends():
    """Its group is heard on: the series ended, it did not recover."""
    a, b = (series("load", service__instance__id=i) for i in "ab")
    watched = ModelSpec(name="watched", match=(Match(metric=("load",)),), absence=True)
    feed = Feed((watched,))
    feed.play(P(s, t, 10.0 + t % 3) for t in range(200) for s in (a, b))
    feed.play(P(s, t, 90.0 if s is a else 10.0) for t in range(200, 260) for s in (a, b))
    feed.send(P(a, 260, 0, flags=Flag.STALE))
    feed.play(P(b, t, 10.0 + t % 3) for t in range(260, 400))

    ended = [x for x in feed.said if x.event is Event.CLOSE and x.reason == "series ended"]
    assert [x.instance for x in ended] == [a.instance]


def test_time_that_goes_on_without_a_word_is_told_once_a_second():
    """The next stage's time moves by our events."""
    gauge, feed = series("load"), Feed()
    for t in (0.0, 0.4, 0.8, 1.2, 5.0):
        feed.send(P(gauge, t, 1.0))

    assert feed.ticks == [Tick(partition=0, time=ms(t)) for t in (0.0, 1.2, 5.0)]


def test_a_new_instance_starts_from_what_its_siblings_know():
    """Every deployment renames pods: the new one is judged within a dozen points, not after minutes."""
    old, new = (series("load", pod=p) for p in ("old", "new"))
    feed = Feed()
    feed.play(P(old, t, 10.0 + t % 3) for t in range(300))
    feed.play(P(s, t, 10.0 + t % 3) for t in range(300, 320) for s in (old, new))
    row = next(i for i, s in enumerate(feed.detector.register.subjects) if dict(s.instance or ()).get("pod") == "new")
    lone = Feed()
    lone.play(P(new, t, 10.0 + t % 3) for t in range(300, 320))

    first = next(t for m, q, t, v, score in feed.judged if t >= 300 and not np.isnan(score) and row)
    assert first < next(t for m, q, t, v, score in lone.judged if not np.isnan(score))


def test_an_empty_block_is_a_tick():
    """It says only how far the source was heard."""
    feed = Feed()
    block = Block("metrics", 0, 0, 0, ms(30), 10_000, Points.empty())

    assert feed.detector.detect(block) == [Tick(partition=0, time=ms(30))]
    assert feed.detector.detect(block) == []


def test_histograms_that_change_their_buckets_are_taken_with_room():
    """More buckets than announced give count and sum; nothing is written where it does not belong."""
    s = series("d", Kind.HISTOGRAM, "s", (0.1, 0.2))
    feed = Feed(SPECS)
    feed.play(P(s, t, float(t), observations=10.0 * t, buckets=(10.0 * t, 0.0, 0.0)) for t in range(30))
    feed.play(P(s, t, float(t), observations=10.0 * t, buckets=(1.0 * t,) * 10) for t in range(30, 60))

    assert feed.values("d", "mean")[55.0] == pytest.approx(0.1)


def test_the_columns_of_the_feed_are_what_it_was_given():
    """The oracle's own check: buckets stay with their point."""
    s = series("d", Kind.HISTOGRAM, "s", (0.1,))
    points = columns(
        [P(s, 0, 1.0, observations=3.0, buckets=(1.0, 2.0)), P(s, 1, 2.0, observations=7.0, buckets=(3.0, 4.0))]
    )

    assert points.buckets[points.bucket_at[1] : points.bucket_at[1] + points.bucket_len[1]].tolist() == [3.0, 4.0]


def test_anomalies_survive_their_journey_as_json():
    """Every number is finite where the schema wants one."""
    feed = Feed(SPECS)
    feed.play(STORY)

    for a in feed.said:
        assert msgspec.json.decode(msgspec.json.encode(a), type=Anomaly) == a
        assert np.isfinite([a.score, a.observed, a.current, *a.expected]).all()


def test_numbers_too_large_for_a_rate_reach_no_model():
    """The rise of a counter by 1e308 within a second is infinite per millisecond; nothing of it is judged or told."""
    s, feed = series("b", Kind.COUNTER), Feed(SPECS)
    feed.play(P(s, t, 10.0 * t if t < 60 else 1.7e308) for t in range(62))

    assert any(np.isinf(value) for *_, value, _ in feed.judged)
    assert all(np.isnan(score) for *_, value, score in feed.judged if not np.isfinite(value))
    assert np.isfinite(feed.detector.judge.bank.state["anchor"]).all()
    assert all(np.isfinite([v for _, v in a.points]).all() for a in feed.said)


def test_every_series_can_be_listed_with_what_is_known_of_it():
    """Labels, last point, how long it was learned, and whether an anomaly lasts."""
    feed = Feed(SPECS)
    feed.play([*(P(series("load", host="x"), t, 10.0 + t % 3 if t < 200 else 90.0) for t in range(230)),
               *(P(s, 230, 7.0) for s in (series("load", host="y"), series("build_info")))])  # fmt: skip
    old, young, ignored = feed.detector.listing()

    assert dict(old.series.labels) == {"host": "x"}
    assert (old.last, old.value, old.is_warm, old.is_open, old.is_ignored) == (ms(229), 90.0, True, True, False)
    assert old.learned == pytest.approx(229.0, abs=1.0)
    assert (young.last, young.value, young.is_warm, young.is_open) == (ms(230), 7.0, False, False)
    assert ignored.is_ignored
