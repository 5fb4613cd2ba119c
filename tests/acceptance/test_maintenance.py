"""Maintenance that comes every night, and a planned event, from telemetry to pages: hours and days of one service.

A timeline is the latency and the requests of each five minutes; expected are pages, by the hour since the story began.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from tests.detect.feed import P, columns, series

from anomaly.command.command import Command, Plan, Silence, Stops, at
from anomaly.config.load import load_specs
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.points import Kind
from anomaly.dispatch.alert import Severity
from anomaly.engine import Engine

BEGIN = 1_767_571_200.0  # a Monday, 00:00 UTC, seconds since the epoch
ORIGIN = 1_700_000_100.0  # of the feed's seconds
STEP, HOUR, DAY = 300, 3_600, 86_400
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0)
WEB = series("http.server.request.duration", Kind.HISTOGRAM, "s", BOUNDS, service="web", service__instance__id="a")
REQUESTS, NIGHT = 900, (2 * HOUR, 4 * HOUR)
Usual = Callable[[int], tuple[float, float]]  # second since BEGIN -> times the usual latency, and requests


def second_of(hours: float) -> float:
    """Hours of the story as seconds since the epoch."""
    return BEGIN + hours * HOUR


def in_maintenance(second: int) -> bool:
    """Two hours each night."""
    return NIGHT[0] < second % DAY <= NIGHT[1]


class Service:
    """An engine fed each five minutes."""

    def __init__(self, *commands: Command) -> None:
        self.engine, self.second, self.pages = Engine(Settings(), load_specs([])), 0, list[tuple[float, str]]()
        self.counts, self.noise = np.zeros(len(BOUNDS) + 1), np.random.default_rng(5)
        for command in commands:
            self.engine.command(command)

    def live(self, hours: float, usual: Usual) -> "Service":
        """Go on to an hour of the story."""
        points = []
        while self.second < hours * HOUR:
            self.second += STEP
            slower, requests = usual(self.second)
            self.counts += self.served(slower, requests)
            total = float(self.counts.sum())
            at_ = BEGIN - ORIGIN + self.second
            points.append(P(WEB, at_, total * 0.06, 0.0, total, tuple(self.counts)))
            if len(points) == 60 or self.second >= hours * HOUR:
                self._take(points)
                points = []
        return self

    def served(self, slower: float, requests: float) -> np.ndarray:
        """Requests of five minutes by their latency: a log-normal of 60 ms."""
        n = self.noise.poisson(requests)
        taken = 0.06 * slower * np.exp(self.noise.normal(0.0, 0.3, n))
        return np.histogram(taken, [0.0, *BOUNDS, np.inf])[0]

    def _take(self, points: list[P]) -> None:
        heard = int((BEGIN + self.second) * 1000)
        block = Block("metrics", 0, 0, 0, heard, 10_000, columns(points), Announced.of([WEB]))
        for _, alert in self.engine.judge([(0, block)]):
            if alert and alert.severity is Severity.CRITICAL and alert.event.value != "resolve":
                hours = (datetime.fromisoformat(alert.time).timestamp() - BEGIN) / HOUR
                self.pages.append((hours, alert.title))


def nightly(second: int) -> tuple[float, float]:
    """Five times the latency, each night from the second on."""
    return (5.0 if second > DAY and in_maintenance(second) else 1.0), REQUESTS


def night(day: int, stops: Stops = Stops.BOTH) -> Silence:
    """The silence of a night, announced the day before."""
    begin, end = (at(round(1000 * second_of(24 * day + edge / HOUR))) for edge in NIGHT)
    matchers = ('group="web"',)
    return Silence(id=f"night-{day}", time=begin, matchers=matchers, starts_at=begin, ends_at=end, stops=stops)


@cache
def lived(stops: Stops | None) -> list[tuple[float, str]]:
    """The pages of eight days, of which six nights were silenced so, and the last one was not."""
    silences = [night(day, stops) for day in range(1, 7)] if stops else []
    return Service(*silences).live(24 * 7 + 4, nightly).pages


def test_silenced_maintenance_of_every_night_pages_nobody_and_does_not_become_normal():
    """The seventh night, when nobody announced it, five times the latency pages as in the first."""
    pages = lived(Stops.BOTH)
    assert pages
    assert 24 * 7 + 2 <= pages[0][0] <= 24 * 7 + 2.5
    assert "of http.server.request.duration is" in pages[0][1]


def test_without_a_silence_it_pages_and_becomes_normal():
    """What the silence is for: else nights are paged, until they are what is usual at that hour."""
    hours = [hour for hour, _ in lived(None)]
    assert hours
    assert hours[0] < 24 * 2
    assert not [hour for hour in hours if hour > 24 * 7]


def planned(factor: float) -> Plan:
    """From 20 to 22 o'clock on the third day."""
    times: dict[str, Any] = {"starts_at": at(round(1000 * second_of(68))), "ends_at": at(round(1000 * second_of(70)))}
    return Plan(id="game", time=at(round(1000 * BEGIN)), matchers=('signal="traffic"',), factor=factor, **times)


def sale(second: int) -> tuple[float, float]:
    """Eight times the requests, from ten past eight; at nine for half an hour hardly any."""
    hour = second / HOUR
    if not 68 + 1 / 6 < hour <= 70:
        return 1.0, REQUESTS
    return 1.0, (2 if 69 < hour <= 69.5 else 8 * REQUESTS)


def test_a_planned_event_mutes_nothing_that_is_wrong():
    """Nobody is told of eight times the traffic, and somebody is when nearly all of it is gone."""
    service = Service(planned(8.0)).live(69, sale)
    assert service.pages == []
    service.live(69.75, sale)
    assert [69 <= hour <= 69.5 for hour, _ in service.pages] == [True]
    assert "traffic" in service.pages[0][1]
