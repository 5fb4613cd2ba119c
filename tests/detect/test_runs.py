"""Jobs by the clock: who is judged, and who is not. Timelines of what people are told are in acceptance."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]
from tests.detect.feed import Feed, P, series
from tests.detect.test_keep import again, gathered
from tests.detect.test_migrate import moved

from anomaly.config.models import Match, ModelSpec
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.detect.jobs import QUANTITIES
from anomaly.detect.runs import surprise

JOB, STEP = series("jobs"), 15.0
DEFAULT = ModelSpec(name="default", match=(Match(),), min_duration=30.0)


def busy(begin: NDArray[np.float64], length: NDArray[np.float64], hours: float) -> NDArray[np.float64]:
    """A gauge every STEP seconds that is 1 while a run lasts."""
    at = np.arange(0.0, hours * 3600.0, STEP)
    run = np.searchsorted(begin, at, "right") - 1
    return np.where((run >= 0) & (at < begin[run] + length[run]), 1.0, 0.0)


def points(values: NDArray[np.float64], begin: int = 0) -> list[P]:
    """From a place on."""
    return [P(JOB, STEP * i, float(v)) for i, v in enumerate(values) if i >= begin]


def of_runs(feed: Feed) -> list[Anomaly]:
    """What was said of runs."""
    return [a for a in feed.said if a.quantity in QUANTITIES]


def told(values: NDArray[np.float64]) -> list[tuple[str, str, float]]:
    """What is said of runs: quantity, event, seconds since the beginning."""
    feed = Feed([DEFAULT])
    feed.play(points(values), 300.0)
    return [(a.quantity, a.event.value, (a.time - feed.detector.inputs.time) / 1000 + STEP * (values.size - 1))
            for a in of_runs(feed)]  # fmt: skip


def quarterly(hours: float, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every 15 minutes for about two: begins and lengths."""
    n = int(hours * 4)
    return 900.0 * np.arange(n, dtype=np.float64), np.random.default_rng(seed).normal(120.0, 8.0, n)


@pytest.mark.parametrize("t", [2.5, 4.0, 8.0, 20.0])
@pytest.mark.parametrize("freedom", [7.0, 15.0])
def test_the_score_is_the_tail_of_student(t: float, freedom: float):
    """As scipy has it, to half a decade in ten."""
    assert surprise(t, freedom) == pytest.approx(-np.log10(stats.t.sf(t, freedom)), rel=0.06, abs=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", ["random", "log-normal", "regular, of log-normal length", "two rhythms"])
def test_healthy_bursts_are_no_anomaly_of_runs(kind: str, seed: int):
    """Two days of bursts that nobody planned, and of a job whose runs take now a minute and now five."""
    rng, n, hours = np.random.default_rng(seed), 250, 48.0
    apart = {"random": rng.exponential(700.0, n), "log-normal": 700.0 * rng.lognormal(0.0, 0.7, n),
             "regular, of log-normal length": np.full(n, 900.0),
             "two rhythms": np.tile([600.0, 1200.0], n // 2)}[kind]  # fmt: skip
    length = np.minimum(120.0 * rng.lognormal(0.0, 0.5, n), apart - 45.0)
    assert told(busy(np.cumsum(apart), length, hours)) == []


def test_a_missed_run_is_told_before_the_next_is_due_and_is_over_with_it():
    """Of 15 minutes, within four."""
    begin, length = quarterly(12)
    keep = np.arange(begin.size) != 40
    (quantity, event, at), *_, last = told(busy(begin[keep], length[keep], 12))
    assert (quantity, event) == ("between runs", "open")
    assert 36_000.0 < at <= 36_000.0 + 240.0
    assert last == ("between runs", "close", 36_900.0)


def test_an_overlong_run_is_told_while_it_lasts_and_a_doubled_one_when_it_begins():
    """And nothing else is said of them."""
    begin, length = quarterly(12)
    length[40] = 800.0
    said = told(busy(begin, length, 12))
    assert {q for q, _, _ in said} == {"run duration"}
    assert 36_120.0 < said[0][2] < 36_400.0
    assert said[-1][1] == "close"
    begin, length = quarterly(12)
    said = told(busy(np.sort(np.r_[begin, 36_450.0]), np.r_[length, 120.0], 12))
    assert [s[:2] for s in said] == [("between runs", "open"), ("between runs", "close")]
    assert said[0][2] == 36_450.0


def test_a_job_with_another_rhythm_is_told_a_few_times_and_known_then():
    """From every 15 minutes to every 30: three starts at most are too late."""
    begin, length = quarterly(12)
    later = np.r_[begin[:24], begin[23] + 1800.0 * np.arange(1, 30)]
    said = told(busy(later, np.resize(length, later.size), 18))
    assert sum(event == "open" for _, event, _ in said) <= 3
    assert all(at < 21_600.0 + 3 * 1800.0 for _, _, at in said)


def test_a_job_that_never_runs_again_is_the_new_normal():
    """It ends by itself, after `new_normal_after`."""
    begin, length = quarterly(6)
    feed = Feed([DEFAULT])
    feed.play(points(busy(begin, length, 14)), 300.0)
    last = of_runs(feed)[-1]
    assert (last.event, last.reason) == (Event.CLOSE, "new normal")


def test_a_gap_in_the_data_is_no_missed_run():
    """Nobody knows whether it ran."""
    begin, length = quarterly(12)
    values = busy(begin, length, 12)
    feed = Feed([DEFAULT])
    feed.play([p for p in points(values) if not 35_000.0 < p.at < 38_000.0], 300.0)
    assert of_runs(feed) == []


def test_another_process_and_other_specs_go_on_with_what_was_known():
    """To the bit; under a new spec the job is still missed."""
    begin, length = quarterly(12)
    keep = np.arange(begin.size) != 40
    values, cut = busy(begin[keep], length[keep], 12), int(36_300.0 / STEP)
    feed, same = Feed([DEFAULT]), Feed([DEFAULT])
    for each in (feed, same):
        each.play(points(values[:cut]), 300.0)
    longer = ModelSpec(name="default", match=(Match(),), min_duration=90.0)
    others = again(feed, [gathered(feed, 1)]), moved(same, [longer])
    for other in (feed, *others):
        other.__dict__["_announced"] = {JOB.hash}
        other.said.clear()
        other.play(points(values, cut), 300.0)
    assert of_runs(others[0]) == of_runs(feed)
    assert others[0].detector.digest() == feed.detector.digest()
    assert [a.event for a in of_runs(others[1])][-1] is Event.CLOSE


def test_where_blocks_end_changes_nothing():
    """Neither what is said, nor the state."""
    begin, length = quarterly(6)
    keep = np.arange(begin.size) != 20
    values = busy(begin[keep], length[keep], 6)
    feeds = Feed([DEFAULT]), Feed([DEFAULT])
    for feed, every in zip(feeds, (40.0, 7_000.0), strict=True):
        feed.play(points(values), every)
    assert of_runs(feeds[0]) == of_runs(feeds[1])
    tables = [feed.detector.register.tables.runs["run"][:1].tobytes() for feed in feeds]
    assert tables[0] == tables[1]
