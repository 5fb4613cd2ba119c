"""Instances among their peers, common shifts, and golden signals judged together: from telemetry to what is said.

A timeline is what the pods of some services do: how slow, failing and loaded each is, and how many requests the service
gets. Every pod exports a request histogram by status code and a processor gauge. Expected are the alerts.
"""

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.detect.feed import T0, series

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.points import Kind, Points
from anomaly.detect.anomaly import AMONG, GOLDEN, Anomaly, Event
from anomaly.detect.moment import Moments
from anomaly.dispatch.alert import Alert, Severity
from anomaly.engine import Engine
from anomaly.host.explain_words import explained
from anomaly.state import Snapshot
from anomaly.table import Layout

HOUR, DAY = 3_600, 86_400
BOUNDS = np.array([0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5])
MIDDLE = np.array([0.007, *np.sqrt(BOUNDS[:-1] * BOUNDS[1:]), 3.0])


class Cluster:
    """Services of some pods. `slow`, `failing`, `load` (services, pods) and `rate` (services,) a second may be changed."""

    def __init__(
        self, services: int, pods: int, every: int, rate: float = 20.0, spread: float = 0.05, seed: int = 5
    ) -> None:
        self.rng, self.every, self.at = np.random.default_rng(seed), every, 0
        self.slow = 0.05 * np.exp(self.rng.normal(0.0, spread, (services, pods)))
        self.failing = np.full((services, pods), 0.001)
        self.load = 0.3 * np.exp(self.rng.normal(0.0, spread, (services, pods)))
        self.rate, self.swing = np.full(services, rate), 0.0
        self.engine, self.alerts, self.said = Engine(Settings(), load_specs([])), list[Alert](), list[Anomaly]()
        self._all = [
            (
                *(
                    series("http.server.request.duration", Kind.HISTOGRAM, "s", tuple(BOUNDS.tolist()), service=f"s{s}",
                           k8s__pod__name=f"pod-{s}-{p}", http__response__status_code=code)
                    for code in ("200", "500")
                ),
                series("process.cpu.utilization", Kind.GAUGE, "1", service=f"s{s}", k8s__pod__name=f"pod-{s}-{p}"),
            )
            for s in range(services)
            for p in range(pods)
        ]  # fmt: skip
        self._hashes = np.array([[one.hash for one in pod] for pod in self._all], np.uint64)
        self._counts = np.zeros((services * pods, 2, BOUNDS.size + 1))
        self._new = Announced.of([one for pod in self._all for one in pod])

    def live(self, seconds: int, before: Callable[[int], None] = lambda second: None) -> "Cluster":
        """Go on; `before` is told at each export how many seconds have gone by since this call."""
        begin, parts = self.at, list[Points]()
        while self.at < begin + seconds:
            before(self.at - begin)
            self.at += self.every
            parts.append(self._export())
            if len(parts) == 20 or self.at >= begin + seconds:
                self._take(Points.joined(parts))
                parts = []
        return self

    def told(self) -> list[str]:
        """Titles of what was triggered."""
        return [a.title for a in self.alerts if a.event.value == "trigger"]

    def paged(self) -> list[str]:
        """Titles of what calls somebody."""
        return [a.title for a in self.alerts if a.event.value != "resolve" and a.severity is Severity.CRITICAL]

    def _export(self) -> Points:
        n, pods = len(self._all), self.slow.shape[1]
        day = 1.0 + self.swing * np.cos(self.at / DAY * 2.0 * np.pi)
        rate = np.repeat(self.rate * day, pods) / pods * self.every
        below = (BOUNDS / self.slow.ravel()[:, None]) ** 4.0
        edges = np.concatenate([np.zeros((n, 1)), below / (1.0 + below), np.ones((n, 1))], axis=1)
        failing = self.failing.ravel()
        share = np.stack([1.0 - failing, failing], axis=1)
        self._counts += self.rng.poisson(rate[:, None, None] * share[:, :, None] * np.diff(edges)[:, None, :])
        load = np.clip(self.load.ravel() * day * np.exp(self.rng.normal(0.0, 0.08, n)), 0.0, 1.0)
        return self._columns(load)

    def _columns(self, load: NDArray[np.float64]) -> Points:
        n, width = len(self._all), BOUNDS.size + 1
        points = Points.empty(3 * n, 2 * n * width)
        points.series[:] = self._hashes.ravel()
        points.time[:] = T0 + self.at * 1000 + np.repeat(np.arange(n), 3) % 20 * 10
        points.kind[:] = np.tile([int(Kind.HISTOGRAM), int(Kind.HISTOGRAM), int(Kind.GAUGE)], n)
        histogram = points.kind == int(Kind.HISTOGRAM)
        points.start[histogram] = T0
        points.value[histogram], points.count[histogram] = (self._counts @ MIDDLE).ravel(), self._counts.sum(axis=2).ravel()
        points.value[~histogram] = load
        points.buckets[:] = self._counts.ravel()
        points.bucket_len[histogram] = width
        points.bucket_at[histogram] = np.arange(2 * n) * width
        return points

    def _take(self, points: Points) -> None:
        block = Block("metrics", 0, 0, 0, int(points.time.max()), 10_000, points, self._new)
        events = self.engine.detect(0, block)
        self.said += [e for e in events if isinstance(e, Anomaly)]
        self.alerts += [alert for _, alert in self.engine.correlate(0, events) if alert]


def test_a_bad_version_on_a_tenth_of_the_instances_is_found_and_the_instances_named():
    """Two of twenty pods fail one request in eight, which is 1 % of all: the alert says whose they are."""
    shop = Cluster(1, 20, 10, rate=100.0).live(HOUR)
    assert shop.told() == []
    shop.failing[0, [3, 11]] = 0.12
    shop.live(1200)

    odd = {dict(a.instance)["k8s.pod.name"] for a in shop.said if a.peers and a.event is Event.OPEN}
    assert odd == {"pod-0-3", "pod-0-11"}
    evidence = [e.text for a in shop.alerts for e in a.evidence if "its 19 peers" in e.text]
    assert evidence
    assert all("pod-0-3," in text or "pod-0-11," in text for text in evidence)
    assert len(shop.told()) == 1


def test_an_instance_that_is_slower_from_the_day_it_began_is_told_once():
    """It always was like that, so its own past knows nothing of it; a day later nobody has heard of it again."""
    shop = Cluster(1, 12, 30)
    shop.slow[0, 4] *= 5.0
    shop.live(DAY)

    named = [a for a in shop.said if a.peers and a.event is Event.OPEN]
    assert [dict(a.instance)["k8s.pod.name"] for a in named] == ["pod-0-4"]
    assert len(shop.told()) == 1
    times = re.search(r"([\d.]+) times its 11 peers", shop.alerts[0].text)
    assert times
    assert 4.5 < float(times[1]) < 6.0
    assert "pod-0-4" in shop.told()[0]
    assert shop.paged() == []


def test_one_that_is_as_far_off_as_others_are_is_nothing():
    """A tenth more in a fleet that is spread by a fifth."""
    shop = Cluster(1, 12, 30, spread=0.2)
    shop.slow[0, 4] = 1.1 * np.median(shop.slow)
    shop.load[0, 4] = 1.1 * np.median(shop.load)
    shop.live(6 * HOUR)

    assert shop.said == []


def test_a_load_balancer_that_gives_less_to_one_is_no_fault_of_traffic():
    """Peers are not compared by what they are asked."""
    shop = Cluster(1, 12, 30).live(HOUR)
    weights = np.ones(12)
    weights[2] = 0.2
    assert not any(a.signal.value == "traffic" for a in shop.live(HOUR).said)


def test_a_common_shift_is_one_anomaly_of_the_group_and_says_how_many_move():
    """All pods need twice the processor at once: nobody is told of thirty pods."""
    shop = Cluster(1, 30, 10).live(2 * HOUR)
    shop.load *= 2.2
    shop.live(900)

    opened = [a for a in shop.said if a.event is Event.OPEN and a.signal.value != "errors"]
    assert [(a.metric, a.aggregate) for a in opened] == [("process.cpu.utilization", True)]
    moved, of = [a for a in shop.said if a.breadth][-1].breadth or (0, 0)
    assert of == 30
    assert moved >= 27
    assert len(shop.told()) == 1


@cache
def lived() -> tuple[Cluster, Snapshot, dict[str, Layout]]:
    """A service whose latency follows its load, after a day of it, and all that was learned."""
    shop = Cluster(1, 2, 30, rate=30.0)
    wander = np.random.default_rng(2).normal(0.0, 0.15, DAY // 300 + 1)

    def vary(second: int) -> None:
        busy = np.exp(wander[second // 300])
        shop.rate[:], shop.slow[:] = 30.0 * busy, 0.05 * busy

    detector = shop.live(DAY, vary).engine.detector(0)
    return shop, detector.gather(1), dict(detector.layouts())


def learned() -> Cluster:
    """One that goes on from there."""
    before, snapshot, layouts = lived()
    shop = Cluster(1, 2, 30)
    shop.at, shop._counts = before.at, before._counts.copy()
    shop.engine.detector(0).put(1, snapshot.parts, layouts)
    shop.engine.detector(0).settle(snapshot.rest)
    return shop


@pytest.mark.parametrize(("times", "pages"), [(3.0, False), (1.0, True)], ids=["with traffic", "without"])
def test_a_latency_that_the_traffic_explains_is_not_paged(times: float, pages: bool):
    """Three times as slow: with three times the traffic it is what always was so, without it is a fault."""
    shop = learned()
    shop.rate[:], shop.slow[:] = 30.0 * times, 0.15
    shop.live(1500)

    paged = shop.paged()
    assert bool(paged) is pages, paged
    reduced = [a for a in shop.said if a.reduced_by]
    assert bool(reduced) is not pages
    assert len({a.dedup_key for a in shop.alerts}) <= 1


def test_latency_up_while_traffic_falls_is_found_though_neither_is_a_fault_alone():
    """Half the requests, 1.7 times as slow: no signal has the evidence of an alert, together they have."""
    shop = learned()
    shop.rate[:], shop.slow[:] = 15.0, 0.085
    shop.live(1500)

    assert max(a.score for a in shop.said if a.quantity != GOLDEN) < 6.0
    assert len(shop.paged()) == len(shop.alerts) == 1
    joint = next(a for a in shop.said if a.quantity == GOLDEN)
    assert [name for name, _ in joint.parts][:2] == ["latency", "traffic"]
    assert "latency is up" in shop.alerts[0].text
    assert "while traffic is down" in shop.alerts[0].text


def test_when_the_traffic_goes_and_the_latency_stays_the_page_comes():
    """What explained it is gone."""
    shop = learned()
    shop.rate[:], shop.slow[:] = 90.0, 0.15
    assert shop.live(600).paged() == []
    shop.rate[:] = 30.0

    assert any("http.server.request.duration" in title for title in shop.live(900).paged())


def test_a_healthy_week_of_a_fleet_gives_nothing():
    """Twenty services of six pods each, with a day of their own each."""
    fleet = Cluster(20, 6, 120, rate=12.0, spread=0.1)
    fleet.swing = 0.5
    fleet.live(7 * DAY)

    assert fleet.told() == []
    assert [a for a in fleet.said if a.quantity.endswith(AMONG) or a.quantity == GOLDEN] == []


def test_an_explanation_of_the_service_says_which_instance_is_odd():
    """Two hours in, of the mean latency of the whole service."""
    shop = Cluster(1, 12, 30)
    shop.slow[0, 4] *= 5.0
    moments = Moments(lambda s: s.quantity == "mean" and not s.labels, T0 + 2 * HOUR * 1000)
    moments.follow(shop.engine.detector(0))
    shop.live(2 * HOUR + 300)

    ((subject, moment),) = moments.found()
    told = explained(subject, moment, shop.engine.specs[subject.spec], 6.0)
    assert any(p.what == "peers" and "pod-0-4" in p.text and "times its 11 peers" in p.text for p in told.contributed)
