"""Silences and plans in detect: what is judged and not learned, what is expected to be more, and what of it survives."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import DEFAULT, T0, Feed, P, series

from anomaly.command.command import Command, Expire, Plan, Silence, Stops, at
from anomaly.config.models import Errors, Match, Model, ModelSpec, Signal
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Event
from anomaly.detect.judge import JUDGED
from anomaly.table import Table

STEP = 10
ODD = 4.0  # a score that three hundred points of noise come to by chance once in thirty such series
A, B = series("queue", service="shop", pod="a"), series("queue", service="pay", pod="b")
GAUGE = ModelSpec(name="default", match=(Match(),), season=False)
REQUESTS = [series("requests", Kind.COUNTER, code=code) for code in ("200", "500")]
RATIO = ModelSpec(
    name="ratio", match=(Match(metric=("requests",)),), signal=Signal.ERRORS, model=Model.RATIO,
    errors=Errors(label=("code",), value=("5*",)), min_events=1,
)  # fmt: skip


def silence(*matchers: str, start: float, end: float, name: str = "s", stops: Stops = Stops.LEARNING) -> Silence:
    """Learning stops from one second since T0 to another."""
    times: dict[str, Any] = {"starts_at": at(T0 + round(start * 1000)), "ends_at": at(T0 + round(end * 1000))}
    return Silence(id=name, time=at(T0), matchers=matchers, stops=stops, **times)


def plan(*matchers: str, factor: float, start: float, end: float) -> Plan:
    """More is expected from one second since T0 to another."""
    times: dict[str, Any] = {"starts_at": at(T0 + round(start * 1000)), "ends_at": at(T0 + round(end * 1000))}
    return Plan(id="p", time=at(T0), matchers=matchers, factor=float(factor), **times)


def values(one: Series, begin: int, end: int, level: float = 10.0, seed: int = 1) -> list[P]:
    """A noisy gauge."""
    noise = np.random.default_rng([seed, begin]).normal(0.0, 1.0, (end - begin) // STEP)
    return [P(one, begin + STEP * i, level + float(noise[i])) for i in range(noise.size)]


def fed(points: Sequence[P], *commands: Command, cuts: Sequence[int] = (), specs: Sequence[ModelSpec] = (GAUGE,)) -> Feed:
    """A detector that was told the commands and took the points, in blocks that end at `cuts`."""
    feed = Feed(specs)
    for command in commands:
        feed.detector.command(command)
    for begin, end in pairwise([0, *sorted(cuts), len(points)]):
        feed.send(*points[begin:end])
    return feed


def model(feed: Feed, row: int = 0) -> bytes:
    """All that the model knows of a row."""
    return feed.detector.judge.bank.take([row])


def score(feed: Feed, one: Series, second: float, value: float) -> float:
    """What would be said of a value."""
    feed.send(P(one, second, value))
    return feed.judged[-1][4]


def test_within_a_window_a_series_is_judged_and_its_model_stays_as_it_is():
    """To the bit as if the hour had not been; the score of each value is that of the frozen model."""
    before, ill = values(A, 0, 3_000), values(A, 3_000, 6_000, level=50.0)
    calm = fed(before)
    silenced = fed([*before, *ill], silence("metric=queue", start=3_000, end=6_000))
    assert model(silenced) == model(calm)
    scores = [s for *_, s in silenced.judged[-len(ill) :]]
    assert min(scores) > ODD
    assert [a.started for a in silenced.said if a.event is Event.OPEN][-1] == T0 + 3_000_000


def test_a_window_begins_with_its_first_millisecond_and_ends_with_what_speaks_for_its_last():
    """Points are ten seconds apart: what comes ten seconds after the end is about the time since."""
    learned = []
    for second in (2_999.999, 3_000.0, 4_009.999, 4_010.0):
        feed = fed(values(A, 0, 2_000), silence("metric=queue", start=3_000, end=4_000))
        before = model(feed)
        feed.send(P(A, second, 10.0))
        learned.append(model(feed) != before)
    assert learned == [True, False, False, True]


def test_others_are_learned_as_ever():
    points = sorted([*values(A, 0, 4_000), *values(B, 0, 4_000)], key=lambda p: p.at)
    plain, silenced = fed(points), fed(points, silence('group="shop"', start=1_000, end=4_000))
    rows = {s.group: r for r, s in enumerate(plain.detector.register.subjects)}
    assert model(silenced, rows["pay"]) == model(plain, rows["pay"])
    assert model(silenced, rows["shop"]) != model(plain, rows["shop"])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 599), max_size=6), st.integers(0, 6))
def test_neither_cuts_nor_the_moment_of_the_command_change_what_is_learned(cuts: list[int], told_at: int):
    """As long as it comes before the window: the time of the data decides."""
    points = sorted([*values(A, 0, 3_000), *values(B, 0, 3_000)], key=lambda p: p.at)
    window = silence('group="shop"', start=1_500, end=2_000)
    whole, cut = fed(points, window), Feed((GAUGE,))
    edges = [0, *sorted(cuts), len(points)]
    for i, (begin, end) in enumerate(pairwise(edges)):
        if i == min(told_at, sum(edge <= 300 for edge in edges) - 1):
            cut.detector.command(window)
        cut.send(*points[begin:end])
    for row in (0, 1):
        assert model(cut, row) == model(whole, row)


def test_a_series_that_is_announced_during_a_window_gets_it():
    feed = fed(values(A, 0, 2_000), silence("metric=queue", start=0, end=9_000))
    feed.send(*values(B, 2_000, 3_000))
    rows = {s.group: r for r, s in enumerate(feed.detector.register.subjects)}
    assert feed.detector.judge.bank.state["n"][rows["pay"]] == 0.0


def test_a_window_that_is_ended_early_lets_learn_from_then_on():
    feed = fed(values(A, 0, 2_000), silence("metric=queue", start=0, end=9_000))
    assert feed.detector.judge.bank.state["n"][0] == 0.0
    feed.detector.command(Expire(id="s", time=at(T0 + 2_000_000)))
    feed.send(*values(A, 2_000, 3_000))
    assert feed.detector.judge.bank.state["n"][0] == 99.0


def test_what_stops_output_alone_is_learned():
    plain = fed(values(A, 0, 3_000))
    assert model(fed(values(A, 0, 3_000), silence("metric=queue", start=0, end=9_000, stops=Stops.OUTPUT))) == model(plain)


@pytest.mark.parametrize("matcher", ['pod="a"', "signal=other", "quantity=value", "environment=default", "group=~sh.*"])
def test_matchers_are_held_against_labels_and_names(matcher: str):
    feed = fed(sorted([*values(A, 0, 500), *values(B, 0, 500)], key=lambda p: p.at),
               silence(matcher, start=0, end=9_000))  # fmt: skip
    rows = {s.group: r for r, s in enumerate(feed.detector.register.subjects)}
    assert feed.detector.judge.bank.state["n"][rows["shop"]] == 0.0


def requests(begin: int, end: int, failing: int) -> list[P]:
    """A hundred requests each ten seconds, of which so many fail."""
    return [P(one, t, t / STEP * each) for t in range(begin, end, STEP)
            for one, each in zip(REQUESTS, (100 - failing, failing), strict=True)]  # fmt: skip


def test_errors_within_a_window_do_not_become_usual():
    """A ratio is judged, and what it learned stays; only what fades with time does."""
    healthy = requests(0, 3_000, 1)
    ill = [P(p.series, p.at, p.value + (30 if p.series is REQUESTS[1] else -30) * (p.at - 3_000) / STEP)
           for p in requests(3_000, 6_000, 1)]  # fmt: skip
    window = silence('group="shop"', start=3_005, end=6_100)
    plain, silenced = (fed([*healthy, *ill], *given, specs=(RATIO, DEFAULT)) for given in ([], [window]))
    usual = [float(f.detector.judge.ratios.state["errors"][0] / f.detector.judge.ratios.state["total"][0])
             for f in (fed(healthy, specs=(RATIO, DEFAULT)), plain, silenced)]  # fmt: skip
    assert usual[2] == pytest.approx(usual[0], rel=0.02)
    assert usual[1] > 1.2 * usual[0]
    assert [a.event.value for a in silenced.said if a.quantity == "error ratio"][:1] == ["open"]


def test_what_is_planned_is_expected_and_more_than_that_is_not():
    """On the way to eight times as much, at eight times, and when nobody comes: all of that may be; twenty times may not."""
    said = {}
    for value in (10.0, 40.0, 80.0, 200.0, -20.0):
        feed = fed(values(A, 0, 3_000), plan("metric=queue", factor=8, start=3_000, end=4_000))
        said[value] = score(feed, A, 3_000, value)
    assert max(said[10.0], said[40.0], said[80.0]) < 2.5
    assert min(said[200.0], said[-20.0]) > ODD


def test_a_plan_teaches_nothing_and_is_over_when_it_is_over():
    feed = fed(values(A, 0, 3_000), plan("metric=queue", factor=8, start=3_000, end=4_000))
    before = model(feed)
    feed.send(*values(A, 3_000, 4_000, level=80.0))
    assert model(feed) == before
    assert [a for a in feed.said if a.started >= T0 + 3_000_000] == []
    assert score(feed, A, 4_010, 80.0) > ODD


@pytest.mark.parametrize("cut", [100, 350, 450])
def test_windows_survive_a_restart(cut: int):
    """Before, within and after the window, equal to the bit to one that went on."""
    points = sorted([*values(A, 0, 3_000), *values(B, 0, 3_000)], key=lambda p: p.at)
    commands = silence('group="shop"', start=1_000, end=2_000), plan("pod=b", factor=3, start=1_500, end=2_500)
    whole, first, second = fed(points, *commands), fed(points[:cut], *commands), Feed((GAUGE,))
    kept = first.detector.gather(1)
    second.detector.put(1, kept.parts, first.detector.layouts())
    second.detector.settle(kept.rest)
    second.send(*points[cut:])
    assert second.detector.digest() == whole.detector.digest()


def test_a_state_from_before_there_were_windows_is_read():
    """Its rows have none; they are looked at when one comes."""
    first, second = fed(values(A, 0, 2_000)), Feed((GAUGE,))
    kept, layouts = first.detector.gather(1), dict(first.detector.layouts())
    models = next(part for part in kept.parts if part.table == "models")
    own = np.frombuffer(models.data[: models.rows.size * JUDGED.itemsize], JUDGED)
    older = np.zeros(own.size, np.dtype([("slot", "i4"), ("spec", "i2"), ("season", "u1"), ("traffic", "u1")]))
    for name in older.dtype.names or ():
        older[name] = own[name]
    data = older.tobytes() + bytes(models.data[own.nbytes :])
    table = Table("models", {"judged": (older.dtype, 0)}).layout()["columns"]["judged"]
    layouts["models"] = {**layouts["models"], "columns": layouts["models"]["columns"] | {"judged": table}}
    rest = {k: v for k, v in msgspec.msgpack.decode(kept.rest).items() if k != "windows"}

    second.detector.put(1, [p._replace(data=data) if p is models else p for p in kept.parts], layouts)
    second.detector.settle(msgspec.msgpack.encode(rest))
    assert second.detector.digest() == first.detector.digest()
    second.detector.command(silence("metric=queue", start=2_000, end=9_000))
    before = model(second)
    second.send(*values(A, 2_000, 3_000))
    assert model(second) == before


def test_windows_that_are_long_over_are_forgotten():
    """And the rows are as if there had been none."""
    feed = fed(values(A, 0, 2_000), silence("metric=queue", start=500, end=1_000))
    assert feed.detector.judge.table["window"][0] > 1
    feed.send(*[P(A, t, 10.0) for t in range(2_000, 95_000, 300)])
    assert len(feed.detector.windows) == 0
    assert feed.detector.judge.table["window"][0] == 0
