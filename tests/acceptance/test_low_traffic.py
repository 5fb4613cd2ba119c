"""A service with little traffic, from telemetry to pages: 6 requests an hour at night, 200 an hour by day.

A timeline is a count of requests and of errors per minute; expected are pages, by the second of the alert's time.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache

import numpy as np
import pytest
from tests.detect.feed import P, columns, series

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.points import Kind
from anomaly.detect.explain import Parts, recombined, recombined_ratio, with_loss
from anomaly.detect.judge import LOW, SCORE, Batch, Judge, Verdicts
from anomaly.detect.moment import Moment, family, moment
from anomaly.detect.watch import watch
from anomaly.dispatch.alert import Severity
from anomaly.engine import Engine
from anomaly.state import Snapshot
from anomaly.table import Layout, Part

BEGIN = 1_767_571_200.0  # a Monday, 00:00 UTC, seconds since the epoch
ORIGIN = 1_700_000_100.0  # of the feed's seconds
MINUTE, HOUR, DAY = 60, 3_600, 86_400
LEARNED = 4 * DAY
GOOD, BAD, BUSY = (
    series("http_requests_total", Kind.COUNTER, "", service=s, code=c, service__instance__id="a")
    for s, c in (("tool", "200"), ("tool", "500"), ("other", "200"))
)
Minute = Callable[[int], tuple[int, int]]  # second since BEGIN -> requests that succeed, and that fail, in the minute before


def is_day(second: int) -> bool:
    """From 8 to 20 o'clock."""
    return 8 * HOUR <= second % DAY < 20 * HOUR


@cache
def usual() -> np.ndarray:
    """Requests a minute of five days."""
    rate = [200 / 60 if is_day(m * MINUTE) else 6 / 60 for m in range(5 * DAY // MINUTE)]
    return np.random.default_rng(3).poisson(rate)


def ordinary(second: int) -> tuple[int, int]:
    """As ever: one request in five hundred fails."""
    minute = second // MINUTE - 1
    n = int(usual()[minute])
    failed = int(n > 0 and minute % 500 == 7)
    return n - failed, failed


class Service:
    """An engine fed by the minute. Another service on the same topic is always heard."""

    def __init__(self) -> None:
        self.engine, self.good, self.bad, self.other = Engine(Settings(), load_specs([])), 0.0, 0.0, 0.0
        self.second, self.pages = 0, list[tuple[int, str]]()

    def live(self, until: int, minute: Minute) -> None:
        """Go on to a second since BEGIN."""
        while self.second < until:
            points: list[P] = []
            for _ in range(60):
                self.second += MINUTE
                good, bad = minute(self.second)
                self.good, self.bad, self.other = self.good + good, self.bad + bad, self.other + 600.0
                at = BEGIN - ORIGIN + self.second
                points += [P(GOOD, at, self.good), P(BAD, at, self.bad), P(BUSY, at + 0.5, self.other)]
                if self.second >= until:
                    break
            self._take(points)

    def _take(self, points: list[P]) -> None:
        heard = int((BEGIN + self.second) * 1000)
        block = Block("metrics", 0, 0, 0, heard, 10_000, columns(points), Announced.of([GOOD, BAD, BUSY]))
        for _, alert in self.engine.judge([(0, block)]):
            if alert and alert.severity is Severity.CRITICAL and alert.event.value != "resolve":
                self.pages.append((round(datetime.fromisoformat(alert.time).timestamp() - BEGIN), alert.title))

    def on(self, day: str) -> "Service":
        """One that has lived four ordinary days."""
        assert day == "fifth"
        self.engine.detector(0).put(1, *learned()[:2])
        self.engine.detector(0).settle(learned()[2])
        self.good, self.bad, self.other = learned()[3]
        self.second = LEARNED
        return self


@cache
def learned() -> tuple[list[Part], dict[str, Layout], bytes, tuple[float, float, float]]:
    """The state after four ordinary days, in which nobody is paged."""
    service = Service()
    service.live(LEARNED, ordinary)
    assert service.pages == []
    detector = service.engine.detector(0)
    whole: Snapshot = detector.gather(1)
    return whole.parts, dict(detector.layouts()), whole.rest, (service.good, service.bad, service.other)


def night(errors: dict[int, int]) -> Minute:
    """Six requests between 2 and 3 o'clock, every ten minutes, of which those of some minutes fail; else as ever."""

    def minute(second: int) -> tuple[int, int]:
        at = second % DAY
        if second < LEARNED or not 2 * HOUR < at <= 3 * HOUR:
            return ordinary(second)
        return (0, 1) if at in errors else (1, 0) if at % 600 == 0 else (0, 0)

    return minute


def silent(begin: int, end: int) -> Minute:
    """No request at all for some hours of the fifth day."""
    return lambda second: (0, 0) if LEARNED + begin < second <= LEARNED + end else ordinary(second)


AT = [2 * HOUR + 600 * i for i in range(1, 7)]


@pytest.mark.parametrize("failed", [1, 2])
def test_one_or_two_errors_of_a_night_page_nobody(failed: int):
    """One of five, two of six: that happens."""
    service = Service().on("fifth")
    service.live(LEARNED + 8 * HOUR, night(dict.fromkeys(AT[1 : 1 + failed], 1)))
    assert service.pages == []


@pytest.mark.parametrize("spared", range(6))
def test_five_errors_of_six_requests_page_by_the_minute_that_brings_the_fifth(spared: int):
    """Whichever of the six it is that succeeds."""
    failed = [at for i, at in enumerate(AT) if i != spared]
    service = Service().on("fifth")
    service.live(LEARNED + 4 * HOUR, night(dict.fromkeys(failed, 1)))

    assert service.pages
    assert service.pages[0][0] <= LEARNED + failed[4]
    assert "of requests fail" in service.pages[0][1]


def test_a_silent_night_pages_nobody():
    """Nobody asks anything from 22:00 to 06:00: with six an hour, that is odd, and no trouble of the service."""
    service = Service().on("fifth")
    service.live(LEARNED + 8 * HOUR, silent(0, 7 * HOUR))
    assert service.pages == []


def test_silence_by_day_pages_within_half_an_hour():
    """No request from 9:00 to 9:30, where a hundred are usual."""
    service = Service().on("fifth")
    service.live(LEARNED + 9 * HOUR + 1800, silent(9 * HOUR, 9 * HOUR + 1800))

    assert service.pages
    assert LEARNED + 9 * HOUR < service.pages[0][0] <= LEARNED + 9 * HOUR + 1800
    assert "traffic 0" in service.pages[0][1]


def test_an_ordinary_day_pages_nobody():
    service = Service().on("fifth")
    service.live(LEARNED + DAY, ordinary)
    assert service.pages == []


def moments_of(judge: Judge, since: int) -> list[tuple[Moment, float, Verdicts, int]]:
    """What an explanation makes of each cell from a second on, as they come: with its row's fewest events, and beside what
    the judge says of the very point."""
    found: list[tuple[Moment, float, Verdicts, int]] = []
    told: list[tuple[Moment, int]] = []

    def before(batch: Batch) -> None:
        told.clear()
        for i in np.flatnonzero((batch.time >= (BEGIN + since) * 1000) & np.isfinite(batch.value)).tolist():
            row = int(batch.row[i])
            near = np.isin(batch.row, family(judge, row))
            own = Batch._make(column[near] for column in batch)
            told.append((moment(judge, row, own, int(near[:i].sum())), i))

    def after(batch: Batch, verdicts: Verdicts) -> None:
        found.extend((m, judge.specs[judge.table["spec"][batch.row[i]]].min_events, verdicts, i) for m, i in told)

    watch(judge, before, after)
    return found


@pytest.mark.parametrize(
    ("minute", "begin", "end", "part"),
    [
        (silent(9 * HOUR, 9 * HOUR + 1800), 9 * HOUR, 9 * HOUR + 1800, "gone"),
        (night(dict.fromkeys(AT[:5], 1)), 2 * HOUR + 1800, 3 * HOUR, "hours"),
    ],
    ids=["silence by day", "errors by night"],
)
def test_the_parts_of_an_explanation_make_the_score_of_little_traffic(minute: Minute, begin: int, end: int, part: str):
    """To the bit, of each cell of each row: of the long cells that miss what always comes, and the hour's k of n."""
    service = Service().on("fifth")
    service.live(LEARNED + begin, minute)
    found = moments_of(service.engine.detector(0).judge, LEARNED + begin)
    service.live(LEARNED + end, minute)

    decisive = 0
    for m, fewest, verdicts, i in found:
        said = verdicts.judged[i]
        np.testing.assert_array_equal([m.score, m.low], said[[SCORE, LOW]])
        if isinstance(m.parts, Parts):
            score, low, high = with_loss(m.parts, m.loss) if m.loss else (recombined(m.parts), m.low, m.high)
            np.testing.assert_array_equal([score, low, high], [m.score, m.low, m.high])
            decisive += part == "gone" and m.loss is not None and m.loss.gone == m.score > 4.0
        else:
            np.testing.assert_array_equal(recombined_ratio(m.parts, fewest), m.score)
            decisive += part == "hours" and m.parts.hours == 1.0 and m.score > 4.0
    assert decisive > 0
