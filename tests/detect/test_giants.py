"""One partition's part of a giant: what is put together is there whole, and it is silent only if the whole group is."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import Feed, P, series

from anomaly.config.load import load_specs
from anomaly.config.models import Match, ModelSpec, Signal, Sum
from anomaly.decode.identity import BEAT, root
from anomaly.decode.points import Flag, Kind
from anomaly.detect.anomaly import Event
from anomaly.detect.judge import Judge
from anomaly.detect.register import Register

TRAFFIC = ModelSpec(
    name="traffic", match=(Match(),), signal=Signal.TRAFFIC, sum=Sum.GROUP, members=False, absence=True, min_relative=1e9
)
SHOP, OTHER, BEATS = series(kind=Kind.COUNTER), series(kind=Kind.COUNTER, service="other"), series(BEAT)


def play(feed: Feed, begin: int, end: int, own: bool, beats: bool) -> None:
    """A point a second of the other group; of the shop where it has its `own` ones; a beat of the shop every 5 s."""
    for t in range(begin, end):
        points = [P(OTHER, t, 10.0 * t)]
        points += [P(SHOP, t, 10.0 * t)] if own else []
        points += [P(BEATS, t, 1.0, flags=Flag.BEAT)] if beats and t % 5 == 0 else []
        feed.send(*points)


def silences(feed: Feed) -> list[Event]:
    return [a.event for a in feed.said if a.quantity == "heard"]


def test_a_part_of_a_giant_whose_metrics_end_is_not_silent_while_the_giant_is_heard():
    feed = Feed((TRAFFIC,), giants=("shop",))
    play(feed, 0, 200, own=True, beats=True)
    play(feed, 200, 400, own=False, beats=True)
    assert silences(feed) == []

    play(feed, 400, 500, own=False, beats=False)
    assert silences(feed) == [Event.OPEN]
    play(feed, 500, 510, own=False, beats=True)
    assert silences(feed) == [Event.OPEN, Event.CLOSE]


def test_a_giant_that_ended_by_stale_markers_was_removed_though_its_beats_are_no_more():
    feed = Feed((TRAFFIC,), giants=("shop",))
    play(feed, 0, 200, own=True, beats=True)
    feed.send(P(SHOP, 200, 0.0, flags=Flag.STALE))
    play(feed, 201, 400, own=False, beats=False)
    assert silences(feed) == []


def test_a_part_that_a_former_giant_has_left_is_not_silent():
    """It is no giant by the configuration of now; its series are whole on another partition."""
    feed = Feed((TRAFFIC,))
    play(feed, 0, 200, own=True, beats=True)
    play(feed, 200, 400, own=False, beats=False)
    assert silences(feed) == []


def test_a_former_giant_is_missed_where_it_is_whole_again():
    feed = Feed((TRAFFIC,))
    play(feed, 0, 200, own=True, beats=True)
    play(feed, 200, 300, own=True, beats=False)
    play(feed, 300, 400, own=False, beats=False)
    assert silences(feed) == [Event.OPEN]


def test_beats_are_counted_and_never_judged():
    """Even by a spec that takes everything."""
    feed = Feed()
    for t in range(300):
        feed.send(P(BEATS, t, 1.0 if t < 200 else 1e9, flags=Flag.BEAT))
    assert (feed.judged, feed.said, feed.detector.counts["ignored"]) == ([], [], 300)


bases = st.sampled_from(["a", "a_count", "http_requests", "http_request_duration_seconds", "http.server.request.duration"])
suffixes = st.sampled_from(["", "_bucket", "_count", "_sum", "_total"])
names = st.builds("{}{}".format, bases, suffixes)
kinds = st.sampled_from([Kind.GAUGE, Kind.COUNTER, Kind.DELTA, Kind.HISTOGRAM])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, kinds, st.sampled_from(["", "s", "ms"])), min_size=1, max_size=20, unique=True))
def test_what_is_put_together_has_one_root_and_so_one_partition(made: list[tuple[str, Kind, str]]):
    """Whatever the shipped specs sum, divide or take for a histogram: giants are spread by the root of the metric."""
    specs = load_specs([])
    register = Register(specs, Judge(specs))
    bounds = {Kind.HISTOGRAM: (0.1, 1.0)}
    new = [
        series(metric, kind, unit, bounds.get(kind, ()), instance=i, le=le, code=code)
        for metric, kind, unit in made
        for i, le, code in (("1", "0.1", "200"), ("2", "+Inf", "500"))
    ]
    for one in new:
        register.add(one, 0, 0, fresh=True)
    tables = register.tables
    roots: dict[int, set[str]] = {}
    for m in tables.members["member"][: tables.members.used]:
        roots.setdefault(int(m["agg"]), set()).add(root(register.subjects.series(int(m["row"])).metric))
    assert all(len(of_one) == 1 for of_one in roots.values())
