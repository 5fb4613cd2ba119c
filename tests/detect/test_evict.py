"""Series that are no more lose their rows, and past a limit new ones are counted."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import Feed, P, ms, series
from tests.detect.test_keep import again, gathered

from anomaly.config.models import Errors, Match, Model, ModelSpec, Signal, Sum
from anomaly.config.settings import Limits
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Event

MINUTES = 60.0
SPECS = (
    ModelSpec(name="latency", match=(Match(metric=("d",)),), signal=Signal.LATENCY, sum=Sum.GROUP, absence=True),
    ModelSpec(
        name="errors", match=(Match(metric=("d",)),), signal=Signal.ERRORS, model=Model.RATIO, sum=Sum.GROUP,
        errors=Errors(label=("code",), value=("5*",)),
    ),
    ModelSpec(name="default", match=(Match(),)),
)  # fmt: skip
SHORT = Limits(idle=5 * MINUTES)


def gauges(pods: str, begin: int, end: int, metric: str = "load", every: int = 10) -> Iterator[P]:
    """A point of each pod every ten seconds."""
    for t in range(begin, end, every):
        for i, pod in enumerate(pods):
            yield P(series(metric, pod=pod), t, 10.0 + i + t % 30)


def others(begin: int, end: int) -> Iterator[P]:
    """A service with histograms, and a gauge, that live on."""
    for t in range(begin, end, 10):
        for i, code in enumerate(("200", "500")):
            s = series("d", Kind.HISTOGRAM, "s", (0.1, 0.2), code=code, service="shop")
            n = float(t * (3 - i))
            yield P(s, t + 0.1, 0.15 * n, observations=n, buckets=(n / 2, n / 2, 0.0))
        yield P(series("temperature", host="a", service="hosts"), t + 0.2, 20.0 + t % 70)


def merged(*streams: Iterator[P]) -> list[P]:
    """All points, in order of time."""
    return sorted((p for stream in streams for p in stream), key=lambda p: p.at)


def test_a_series_that_goes_leaves_the_others_unchanged_to_the_bit():
    """Every value judged after pods of the same group were forgotten is what it is where nobody is ever forgotten."""
    story = merged(gauges("abc", 0, 300), gauges("xy", 0, 1500), others(0, 1500))
    short, long = Feed(SPECS, limits=SHORT), Feed(SPECS, limits=Limits(idle=1e6))
    for feed in (short, long):
        feed.play(story, 60.0)

    assert short.detector.series == long.detector.series - 3
    np.testing.assert_array_equal(short.judged, long.judged)
    for p in story[-3:]:
        kept = [
            feed.detector.register.tables.rows["row"][feed.detector.register.find(key(p.series))[0]]
            for feed in (short, long)
        ]
        for field in ("last", "value", "interval", "intervals", "primed", "alive"):
            assert kept[0][field] == kept[1][field]


def key(s: Series) -> np.ndarray:
    """A series' key as a column."""
    return np.array([s.hash], np.uint64)


def test_rows_are_used_again():
    """Forty deployments, each with new pods: no table grows beyond what two of them need."""
    feed, used = Feed(SPECS, limits=SHORT), []
    for wave in range(40):
        feed.play(gauges(f"{wave:03d}"[-2:] + chr(65 + wave), wave * 600, wave * 600 + 300), 60.0)
        tables = feed.detector.register.tables
        used.append([t.used for t in (*tables.all(), feed.detector._keep.models)])

    assert used[-1] == used[8]
    assert feed.detector.series <= 8


def test_the_anomaly_of_a_series_that_is_forgotten_ends():
    """Nobody else would end it."""
    a, feed = series("load", pod="a"), Feed(limits=SHORT)
    feed.play(P(a, t, 10.0 + t % 3) for t in range(200))
    feed.play(P(a, t, 100.0) for t in range(200, 260))
    feed.play((P(series("load", service="other"), t, 1.0) for t in range(260, 900, 5)), 60.0)

    ended = [x for x in feed.said if x.event is Event.CLOSE]
    assert [(x.reason, x.metric, x.labels) for x in ended] == [("series ended", "load", a.labels)]


def test_who_comes_back_after_having_been_forgotten_is_new():
    """It has a row again, and its sum over instances is made anew."""
    feed = Feed(SPECS, limits=SHORT)
    feed.play(merged(gauges("ab", 0, 300), others(0, 1200)), 60.0)
    assert feed.detector.series == 3
    feed._announced.clear()
    feed.play(merged(gauges("ab", 1200, 1500), others(1200, 1500)), 60.0)

    assert feed.detector.series == 5
    whole = [t for m, q, t, v, _ in feed.judged if m == "load" and v > 20.0 and t > 1200]
    assert whole


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(["ab", "bc", "d", "aef", ""]), min_size=3, max_size=8), st.integers(0, 7))
def test_a_detector_that_forgets_can_be_restored_to_the_bit(waves: list[str], at: int):
    """Free rows included: both give the same rows to whoever comes next."""
    feed, generations = Feed(SPECS, limits=SHORT), []
    other: Feed | None = None
    for i, pods in enumerate(waves):
        feed._announced.clear()
        points = merged(gauges(pods, i * 400, i * 400 + 400), others(i * 400, i * 400 + 400))
        if other is not None:
            other._announced.clear()
            other.heard = dict(feed.heard)
            other.play(points, 60.0)
        feed.play(points, 60.0)
        generations.append(gathered(feed, i + 1))
        if i == min(at, len(waves) - 2):
            other = again(feed, generations, limits=SHORT)
            assert other.detector.digest() == feed.detector.digest()
    assert other is not None
    assert other.detector.digest() == feed.detector.digest()


def test_past_a_limit_new_series_are_counted_and_the_worst_are_named():
    """One metric of one environment may not take the room of all; every point still has one outcome."""
    feed = Feed(limits=Limits(series_per_metric=5, series=20))
    many = [series("exploded", user=str(i)) for i in range(40)]
    few = [series("load", host=str(i)) for i in range(4)]
    for t in range(3):
        feed.send(*(P(s, t, 1.0) for s in [*many, *few]))

    assert feed.detector.overflow() == [("default", "exploded", 35)]
    assert feed.detector.series == 9
    assert feed.detector.counts["past_limit"] == 3 * 35
    assert sum(feed.detector.counts.values()) == 3 * 44


def test_an_environment_at_its_limit_takes_nothing_from_another():
    """Counted by the environment where the metric is new too."""
    feed = Feed(limits=Limits(series_per_environment=3))
    feed.send(*(P(series(f"m{i}", env="dev"), 0, 1.0) for i in range(10)))
    feed.send(*(P(series(f"m{i}", env="prod"), 1, 1.0) for i in range(3)))

    assert feed.detector.overflow() == [("dev", "", 7)]
    assert feed.detector.series == 6


def test_who_is_idle_makes_room_first():
    """At a limit, series that were silent for long go; those that are heard stay."""
    feed = Feed(limits=Limits(series=4))
    feed.play(merged(gauges("ab", 0, 300), gauges("cd", 0, 1500)), 60.0)
    feed.play(gauges("cdef", 1500, 1800), 60.0)

    assert feed.detector.series == 4
    assert feed.detector.overflow() == []
    assert feed.detector.register.find(np.array([series("load", pod=p).hash for p in "cdef"], np.uint64)).min() >= 0


def test_what_is_ignored_and_heard_is_not_idle():
    """Otherwise it would be forgotten and announced for ever."""
    specs = (ModelSpec(name="ignore", match=(Match(metric=("*_info",)),), model=Model.IGNORE), *SPECS)
    feed = Feed(specs, limits=SHORT)
    feed.play(merged(gauges("a", 0, 1500, "build_info"), others(0, 1500)), 60.0)

    assert feed.detector.register.find(key(series("build_info", pod="a")))[0] >= 0
    assert feed.heard["metrics", 0] == ms(1490.2)
