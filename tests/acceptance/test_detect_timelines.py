"""Timelines of a shop through the detector with the shipped specs: what is said, when, about whom, and what is not."""

import numpy as np
import pytest
from tests.detect.feed import T0, Feed, P, series

from anomaly.config.load import load_specs
from anomaly.config.models import ModelSpec, Signal
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Anomaly, Event

ALERT = 6.0  # the default threshold of dispatch
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
FAULT = 120, 180  # seconds


@pytest.fixture(scope="module")
def specs() -> tuple[ModelSpec, ...]:
    """The shipped ones."""
    return load_specs([])


class Requests:
    """A service's request histogram by status code, cumulative, exported every 1.027 s by each of its instances."""

    def __init__(self, service: str, instances: int = 1) -> None:
        self.seen: dict[Series, tuple[np.ndarray, float]] = {}
        self.service, self.instances, self.first = service, instances, 0

    def export(self, at: float, rng: np.random.Generator, rate: float, failing: float, slower: float) -> list[P]:
        """One export of every instance."""
        for i in range(self.instances):
            n = rng.poisson(rate / self.instances * 1.027)
            bad = rng.binomial(n, failing)
            for code, count in (("200", n - bad), ("500", bad)):
                key = self._series(code, self.first + i)
                buckets, total = self.seen.get(key, (np.zeros(len(BOUNDS) + 1), 0.0))
                if count or key in self.seen:
                    took = rng.lognormal(np.log(0.03), 0.4, count) * slower
                    self.seen[key] = buckets + np.histogram(took, [0.0, *BOUNDS, np.inf])[0], total + took.sum()
        return [
            P(s, at, total, start=-3600.0, observations=float(buckets.sum()), buckets=tuple(buckets.tolist()))
            for s, (buckets, total) in self.seen.items()
        ]

    def _series(self, code: str, instance: int) -> Series:
        labels = {"service": self.service, "http__response__status_code": code, "http__route": "/pay"}
        return series(
            "http.server.request.duration", Kind.HISTOGRAM, "s", BOUNDS, service__instance__id=str(instance), **labels
        )


def play(
    specs: tuple[ModelSpec, ...],
    failing: float = 0.0,
    slower: float = 1.0,
    rate: float = 15.0,
    instances: int = 1,
    learned: float = FAULT[0],
) -> Feed:
    """Four services for some minutes; `payment` has the fault for a minute, after `learned` seconds without."""
    rng = np.random.default_rng(21)
    shop = [Requests(name, instances) for name in ("frontend", "cart", "payment", "catalog")]
    feed = Feed(specs)
    for i in range(int((learned + 240) / 1.027)):
        at = 1.027 * i
        ill = learned <= at < learned + FAULT[1] - FAULT[0]
        points = []
        for service in shop:
            has = ill and service.service == "payment"
            now = (rate, failing, slower) if has else (15.0, 0.002, 1.0)
            points += service.export(at, rng, *now)
        feed.send(*points)
    return feed


def alerts(feed: Feed, after: float = 60.0) -> list[Anomaly]:
    """What would be worth an alert: the first word above the threshold of each episode that pages."""
    first: dict[str, Anomaly] = {}
    for a in feed.said:
        if a.score >= ALERT and a.event is not Event.CLOSE and a.pages and (a.time - T0) / 1000 > after:
            first.setdefault(a.id, a)
    return list(first.values())


def test_a_service_that_turns_slow_and_failing_is_named_within_fifteen_seconds_and_nobody_else(specs: tuple[ModelSpec, ...]):
    """30 % errors and ten times the latency, on one of four services; both are found, and both end."""
    feed = play(specs, failing=0.3, slower=10.0)
    found = alerts(feed)

    assert {a.group for a in found} == {"payment"}
    assert {Signal.ERRORS, Signal.LATENCY} <= {a.signal for a in found}
    assert min(a.time for a in found) - T0 <= (FAULT[0] + 15) * 1000
    for a in found:
        closed = [x for x in feed.said if x.id == a.id and x.event is Event.CLOSE]
        assert len(closed) == 1
        assert closed[0].ended is not None
        assert FAULT[1] <= (closed[0].ended - T0) / 1000 <= FAULT[1] + 60


def test_errors_say_how_many_of_how_many(specs: tuple[ModelSpec, ...]):
    """The first errors of a status code that was rarely seen count from zero, not from their second export."""
    feed = play(specs, failing=0.3)
    found = [a for a in alerts(feed) if a.signal is Signal.ERRORS]

    assert found
    assert any(a.bad for a in feed.said if a.id == found[0].id and a.time - T0 <= (FAULT[0] + 15) * 1000)
    assert found[0].events is not None
    errors, requests = found[0].events
    assert errors / requests == pytest.approx(0.3, abs=0.15)


def test_a_quiet_shop_pages_nobody(specs: tuple[ModelSpec, ...]):
    """Six minutes from a cold start: no page, on one instance or on three."""
    assert alerts(play(specs)) == []
    assert alerts(play(specs, instances=3)) == []


def test_traffic_that_stops_is_found_on_the_group(specs: tuple[ModelSpec, ...]):
    """The service still exports, but nobody asks it anything."""
    found = alerts(play(specs, rate=0.0, instances=2, learned=900))

    assert {(a.group, a.signal) for a in found} == {("payment", Signal.TRAFFIC)}
    assert found[0].aggregate
    assert (found[0].time - T0) / 1000 <= 900 + 45


def test_a_rolling_restart_is_no_fault(specs: tuple[ModelSpec, ...]):
    """Instances are replaced one after the other; the sums stay, and no counter begins below zero."""
    rng = np.random.default_rng(22)
    feed, old, new = Feed(specs), Requests("payment", 3), Requests("payment", 3)
    new.first = 3
    for i in range(350):
        at = 1.027 * i
        share = min(max((at - 150.0) / 60.0, 0.0), 1.0)
        points = old.export(at, rng, 45.0 * (1.0 - share), 0.002, 1.0) if share < 1.0 else []
        points += new.export(at, rng, 45.0 * share, 0.002, 1.0) if share > 0.0 else []
        feed.send(*points)

    assert alerts(feed) == []
