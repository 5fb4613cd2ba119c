"""Slow changes against weeks ago: series of ten weeks, each day known beforehand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import P, columns, series
from tests.detect.test_clock import DAY, restored

from anomaly.command.command import Plan
from anomaly.config.models import Direction, Match, ModelSpec, Signal, Sum
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.detect.anomaly import REGRESSION, Anomaly, Event
from anomaly.detect.detector import Detector
from anomaly.detect.frozen import DAYS

EVERY = 1_800
BEGIN = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())  # a Monday
ORIGIN = 1_700_000_100.0  # of the feed's seconds
SPEC = ModelSpec(
    name="load", match=(Match(),), signal=Signal.LATENCY, direction=Direction.ABOVE, sum=Sum.NONE, frozen=True,
    min_relative=0.2, min_deviation=10.0, close_after=3_600.0,
)  # fmt: skip
LOAD = series("load")
SHAPE = np.where((np.arange(48) >= 16) & (np.arange(48) < 40), 1.3, 0.7)  # of a day


def values(levels: np.ndarray, seed: int = 0, noise: float = 0.02) -> np.ndarray:
    """Half-hourly values of days with these levels; at weekends half as much."""
    rng = np.random.default_rng(seed)
    week = np.where(np.arange(levels.size) % 7 >= 5, 0.5, 1.0)
    own = levels * week * (1.0 + rng.normal(0.0, noise, levels.size))
    return (own[:, None] * SHAPE * (1.0 + rng.normal(0.0, 0.05, (levels.size, 48)))).ravel()


def block(value: np.ndarray, first: int) -> Block:
    """Points from the so-manieth on."""
    points = [P(LOAD, BEGIN - ORIGIN + (first + i) * EVERY, float(v)) for i, v in enumerate(value)]
    return Block("m", 0, 0, 0, (BEGIN + (first + value.size) * EVERY) * 1000, 10_000, columns(points), Announced.of([LOAD]))


def slow(events: Sequence[object]) -> list[Anomaly]:
    """The regressions among what was said."""
    return [e for e in events if isinstance(e, Anomaly) and e.kind == REGRESSION]


def told(value: np.ndarray, spec: ModelSpec = SPEC, per: int = 48) -> list[tuple[Event, int, str]]:
    """What is said of slow changes: what, on which day, and why."""
    detector = Detector(0, (spec,), Settings())
    found = [a for i in range(0, value.size, per) for a in slow(detector.detect(block(value[i : i + per], i)))]
    return [(a.event, (a.time // 1000 - BEGIN) // DAY, a.reason) for a in found]


CREEP = 300.0 * np.concatenate([np.ones(42), np.linspace(1.0, 1.5, 35), np.full(14, 1.5)])


def test_what_crept_up_within_five_weeks_is_one_anomaly_while_it_still_creeps_and_is_normal_four_weeks_later():
    opened, closed = told(values(CREEP))
    assert opened[0] is Event.OPEN
    assert 42 + 14 <= opened[1] <= 42 + 28  # it matters from a fifth more on: after two weeks
    assert closed == (Event.CLOSE, opened[1] + 28, "new normal")


def test_it_says_what_is_now_and_what_was_four_weeks_ago():
    detector, value = Detector(0, (SPEC,), Settings()), values(CREEP)
    (said,) = [a for d in range(80) for a in slow(detector.detect(block(value[48 * d : 48 * d + 48], 48 * d)))]
    day = (said.started // 1000 - BEGIN) // DAY
    levels = CREEP * np.where(np.arange(91) % 7 >= 5, 0.5, 1.0)
    now, then = (np.median(levels[day - 7 - ago : day - ago]) for ago in (0, 28))
    (before, was), (at, is_) = said.points
    assert at - before == 28 * DAY * 1000

    assert is_ / was == pytest.approx(now / then, rel=0.05)
    assert (said.signal, said.direction, said.bad) == (Signal.LATENCY, Direction.ABOVE, False)
    assert not said.expected[0] <= said.observed <= said.expected[1]


@pytest.mark.parametrize("seed", range(8))
def test_what_only_wanders_from_day_to_day_is_none(seed: int):
    level = 300.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.01, 84)))
    assert told(values(level, seed, noise=0.1)) == []


@pytest.mark.parametrize("weekly", [1.01, 1.05, 0.95])
def test_growth_that_is_usual_is_none_however_far_it_goes(weekly: float):
    """Five percent a week are a fifth more in four weeks, and in ten weeks two thirds."""
    either = ModelSpec(
        name="load", match=(Match(),), sum=Sum.NONE, frozen=True, min_relative=0.1, min_deviation=10.0, signal=Signal.TRAFFIC
    )
    assert told(values(300.0 * weekly ** (np.arange(84) / 7.0)), either) == []


def test_growth_that_quickens_is_one():
    days = np.arange(84)
    assert told(values(300.0 * np.where(days < 49, 1.01 ** (days / 7.0), 1.01**7 * 1.12 ** ((days - 49) / 7.0))))


def test_what_is_back_ends_and_is_not_told_as_a_fall():
    either = ModelSpec(name="load", match=(Match(),), sum=Sum.NONE, frozen=True, min_relative=0.2, min_deviation=10.0)
    level = 300.0 * np.concatenate([np.ones(42), np.linspace(1.0, 1.5, 28), np.ones(42)])
    opened, closed = told(values(level), either)
    assert (opened[0], closed[0], closed[2]) == (Event.OPEN, Event.CLOSE, "back to normal")
    assert 70 < closed[1] <= 74


def test_what_stays_is_the_new_normal_after_four_weeks():
    level = 300.0 * np.concatenate([np.ones(42), np.full(49, 1.5)])
    opened, closed = told(values(level))
    assert (closed[0], closed[1] - opened[1], closed[2]) == (Event.CLOSE, 28, "new normal")


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 91 * 48 - 1), max_size=12), st.integers(0, 12))
def test_neither_where_blocks_end_nor_a_checkpoint_between_changes_what_is_said(cuts: list[int], kept: int):
    level = 300.0 * np.concatenate([np.ones(42), np.linspace(1.0, 1.5, 21), np.ones(28)])
    value, edges = values(level), [0, *sorted(set(cuts)), 91 * 48]
    whole = Detector(0, (SPEC,), Settings())
    cut, found = Detector(0, (SPEC,), Settings()), []
    for i, (a, b) in enumerate(pairwise(edges)):
        found += slow(cut.detect(block(value[a:b], a)))
        if i == kept:
            cut = restored(cut, Detector(0, (SPEC,), Settings()))
    assert found == slow(whole.detect(block(value, 0)))
    assert len(found) == 2
    tables = (d.register.tables.frozen["frozen"][:1] for d in (whole, cut))
    assert len({t.tobytes() for t in tables}) == 1


def test_days_of_which_too_little_is_known_are_no_days():
    """Three hours of data a day are no day: nothing is compared, and nothing is said."""
    value = values(CREEP).reshape(-1, 48)
    value[:, 6:] = np.nan
    detector = Detector(0, (SPEC,), Settings())
    found = []
    for day, own in enumerate(value):
        found += slow(detector.detect(block(own[:6], 48 * day)))
    assert found == []
    assert np.isnan(detector.register.tables.frozen["frozen"]["days"][0]).sum() == 2 * DAYS


def test_a_spec_that_does_not_page_has_no_frozen_baseline_unless_it_says_so():
    plain = ModelSpec(name="load", match=(Match(),), sum=Sum.NONE)
    detector = Detector(0, (plain,), Settings())
    detector.detect(block(values(CREEP)[:480], 0))
    assert detector.register.tables.frozen.used == 0


def test_a_regression_whose_state_was_lost_is_let_go():
    detector, value = Detector(0, (SPEC,), Settings()), values(CREEP)
    (said,) = [a for d in range(80) for a in slow(detector.detect(block(value[48 * d : 48 * d + 48], 48 * d)))]
    anew = Detector(0, (SPEC,), Settings())
    anew.restore([said])
    (over,) = slow(anew.detect(block(value[80 * 48 : 81 * 48], 80 * 48)))
    assert (over.id, over.event, over.reason) == (said.id, Event.CLOSE, "new normal")


def test_a_regression_of_a_spec_that_has_no_frozen_baseline_any_more_ends():
    level = 300.0 * np.concatenate([np.ones(42), np.linspace(1.0, 1.5, 35)])
    begun = Detector(0, (SPEC,), Settings())
    (opened,) = slow(begun.detect(block(values(level), 0)))
    after = restored(begun, Detector(0, (msgspec.structs.replace(SPEC, frozen=False),), Settings()))
    (ended,) = slow(after.detect(block(values(level[-1:]), level.size * 48)))
    assert (ended.id, ended.event, ended.reason) == (opened.id, Event.CLOSE, "series ended")


def test_a_planned_event_is_no_regression_and_nothing_to_compare_with():
    """Three times as much for ten days, as planned: neither then nor weeks after it is something told."""
    level = np.full(90, 300.0)
    level[45:55] *= 3.0
    began, days = datetime.fromtimestamp(BEGIN + 45 * DAY, UTC), timedelta(days=10)
    plan = Plan(id="sale", time=began, matchers=("signal=latency",), starts_at=began, ends_at=began + days, factor=4.0)
    detector = Detector(0, (SPEC,), Settings())
    found = slow(detector.detect(block(values(level)[: 44 * 48], 0)))
    detector.command(plan)
    assert found + slow(detector.detect(block(values(level)[44 * 48 :], 44 * 48))) == []
