"""Pods come and go, from telemetry to pages: what a deployment does is no fault, and hides none.

A timeline is a service's pods over time, each with its own counters or histogram, exported every ten seconds; expected are
the pages, as (second, what the title is about). Another service on the same topic is always heard.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pytest
from tests.detect.feed import P, columns, series

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind
from anomaly.dispatch.alert import Severity
from anomaly.engine import Engine

EVERY = 10
HOUR = 3_600
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
ORIGIN = 1_700_000_100_000  # ms, of the feed's seconds


@dataclass
class Pod:
    """One instance: `failing` share of its requests, `slow` times the usual latency, `weight` of the requests."""

    name: str
    born: float
    failing: float = 0.001
    slow: float = 1.0
    weight: float = 1.0
    warm_up: float = 0.0  # s for which it is three times as slow
    seen: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)


class Histograms:
    """OpenTelemetry: a histogram by status code, which says since when it counts."""

    def series(self, pod: str, code: str) -> Series:
        labels = {"service": "shop", "k8s__pod__name": pod, "http__response__status_code": code}
        return series("http.server.request.duration", Kind.HISTOGRAM, "s", BOUNDS, **labels)

    def points(self, pod: Pod, at: float) -> Iterator[P]:
        for code, (buckets, total) in pod.seen.items():
            held = {"start": pod.born, "observations": float(buckets.sum()), "buckets": tuple(buckets.tolist())}
            yield P(self.series(pod.name, code), at, total, **held)  # type: ignore[arg-type]


class Counters:
    """Prometheus: counters that do not say since when they count."""

    def series(self, pod: str, code: str) -> Series:
        return series("http_requests_total", Kind.COUNTER, "", service="shop", instance=pod, code=code)

    def points(self, pod: Pod, at: float) -> Iterator[P]:
        for code, (buckets, _) in pod.seen.items():
            yield P(self.series(pod.name, code), at, float(buckets.sum()))


OTHER = series("http_requests_total", Kind.COUNTER, "", service="other", code="200", instance="x")


class Shop:
    """A service at 60 requests a second. `before` is called at each second of an export, and may change the pods."""

    def __init__(self, pods: int = 4, form: Histograms | Counters | None = None, rate: float = 60.0) -> None:
        self.engine, self.form, self.rng = Engine(Settings(), load_specs([])), form or Histograms(), np.random.default_rng(8)
        self.pods, self.rate, self.at, self.number = list[Pod](), rate, 0, 0
        self.pages, self.warnings, self._known = list[tuple[int, str]](), list[tuple[int, str]](), set[int]()
        self._told = set[tuple[str, Severity]]()  # an incident's first word of each severity counts
        self.start(pods)

    def start(self, n: int, **how: float) -> None:
        """More pods."""
        for _ in range(n):
            self.number += 1
            pod = Pod(f"shop-{self.number:04d}", float(self.at))
            for name, value in how.items():
                setattr(pod, name, value)
            self.pods.append(pod)

    def replace_oldest(self, **how: float) -> None:
        """One step of a rollout."""
        self.pods.pop(0)
        self.start(1, **how)

    def live(self, seconds: int, before: Callable[[int], None] = lambda second: None) -> "Shop":
        """Go on; `before` is told the seconds that have gone by since this call."""
        begin, points = self.at, list[P]()
        while self.at < begin + seconds:
            before(self.at - begin)
            self.at += EVERY
            self._serve()
            for i, pod in enumerate(self.pods):
                points += self.form.points(pod, self.at + 0.05 * (i % 20))
            points.append(P(OTHER, self.at + 1.5, 100.0 * self.at))
            if self.at % 60 == 0:
                self._take(points)
                points = []
        if points:
            self._take(points)
        return self

    def _serve(self) -> None:
        whole = sum(pod.weight for pod in self.pods)
        for pod in self.pods:
            n = self.rng.poisson(self.rate * EVERY * pod.weight / whole)
            bad = self.rng.binomial(n, pod.failing)
            slow = pod.slow * (3.0 if self.at - pod.born <= pod.warm_up else 1.0)
            for code, count in (("200", n - bad), ("500", bad)):
                if count or code == "200" or code in pod.seen:
                    took = self.rng.lognormal(np.log(0.06), 0.4, count) * slow
                    buckets, total = pod.seen.get(code, (np.zeros(len(BOUNDS) + 1), 0.0))
                    pod.seen[code] = buckets + np.histogram(took, [0.0, *BOUNDS, np.inf])[0], total + float(took.sum())

    def _take(self, points: list[P]) -> None:
        new = {p.series.hash: p.series for p in points if p.series.hash not in self._known}
        self._known |= set(new)
        heard = ORIGIN + self.at * 1000 + 1500
        block = Block("metrics", 0, 0, 0, heard, 10_000, columns(points), Announced.of(new.values()))
        for _, alert in self.engine.judge([(0, block)]):
            if alert and alert.event.value != "resolve" and (key := (alert.dedup_key, alert.severity)) not in self._told:
                self._told.add(key)
                said = round(datetime.fromisoformat(alert.time).timestamp() - ORIGIN / 1000), f"{alert.group}: {alert.title}"
                (self.pages if alert.severity is Severity.CRITICAL else self.warnings).append(said)


@pytest.fixture(scope="module", params=["histograms", "counters"])
def form(request: pytest.FixtureRequest) -> Histograms | Counters:
    return Histograms() if request.param == "histograms" else Counters()


def test_a_good_rollout_pages_nobody_though_each_new_pod_is_slow_for_ninety_seconds(form: Histograms | Counters):
    """One pod after the other, every 30 s, three times over; then all of them have other names."""
    shop = Shop(8, form).live(2 * HOUR)
    for _ in range(3):
        shop.live(300, lambda s: shop.replace_oldest(warm_up=90.0) if s % 30 == 0 and s < 240 else None).live(1200)

    assert shop.pages == []


def test_blue_green_in_ten_seconds_pages_nobody(form: Histograms | Counters):
    """All pods at once, none of the old ones says goodbye."""
    shop = Shop(6, form).live(2 * HOUR)
    for _ in range(3):
        shop.pods = []
        shop.start(6, warm_up=90.0)
        shop.live(1800)

    assert shop.pages == []


def test_autoscaling_from_two_to_twenty_and_back_pages_nobody(form: Histograms | Counters):
    """The load is what it was, and each of the two gets a tenth of it: totals are judged, not halves."""
    shop = Shop(2, form).live(2 * HOUR)
    for _ in range(3):
        shop.start(18, warm_up=90.0)
        shop.live(900)
        shop.pods = shop.pods[:2]
        shop.live(900)

    assert shop.pages == []


def test_traffic_that_stops_while_pods_are_replaced_is_found_all_the_same(form: Histograms | Counters):
    """A rollout that goes wrong at the load balancer: nobody asks any pod anything."""
    shop = Shop(8, form).live(2 * HOUR)

    def broken(s: int) -> None:
        if s % 30 == 0 and s < 240:
            shop.replace_oldest()
        shop.rate = 0.0 if s >= 60 else 60.0

    began = shop.at + 60
    shop.live(600, broken)
    assert [("traffic" in title, at <= began + 60) for at, title in shop.pages] == [(True, True)]


def test_a_bad_version_on_a_tenth_of_the_pods_is_found():
    """Two of twenty fail a third of their requests: what is known of their group does not hide it."""
    shop = Shop(20).live(2 * HOUR)
    began = shop.at
    shop.pods = shop.pods[2:]
    shop.start(2, failing=0.33, warm_up=90.0)
    shop.live(600)

    assert shop.pages
    assert "of requests fail" in shop.pages[0][1]
    assert began < shop.pages[0][0] <= began + 120


def test_a_version_that_stays_slow_is_found_when_its_warm_up_is_over():
    """Every new pod is three times as slow, and not for ninety seconds."""
    shop = Shop(8).live(2 * HOUR)
    began = shop.at
    shop.live(900, lambda s: shop.replace_oldest(slow=3.0) if s % 30 == 0 and s < 240 else None)

    assert shop.pages
    assert "duration" in shop.pages[0][1]
    assert began + 90 < shop.pages[0][0] <= began + 400


def night(shop: Shop, hours: float = 1.0, idle: int = 300) -> None:
    """Nobody asks anything for a while, the pods are scaled to zero, and come back with the first request."""
    usual = shop.rate
    shop.rate = 0.0
    shop.live(idle)
    shop.pods = []
    shop.live(int(hours * HOUR))
    shop.rate = usual
    shop.start(2)
    shop.live(HOUR)


def silences(shop: Shop) -> list[int]:
    """When somebody was paged for silence."""
    return [at for at, title in shop.pages if "silent" in title]


def test_scaling_to_zero_is_no_absence_where_it_is_usual():
    """After two such silences the third pages nobody; one of more than twice the length does."""
    shop = Shop(2, rate=2.0).live(HOUR)
    night(shop)
    night(shop)
    usual = len(silences(shop))
    night(shop)
    assert len(silences(shop)) == usual

    began = shop.at + 300
    night(shop, hours=3.0)
    assert len(silences(shop)) == usual + 1
    assert began + 2 * HOUR < silences(shop)[-1] < began + 3 * HOUR


def test_a_service_that_dies_under_load_pages_on_the_fifth_night_as_on_the_first():
    """Whatever was usual: it was asked, and did not answer any more."""
    shop = Shop(2).live(HOUR)
    for _ in range(5):
        shop.pods = []
        shop.live(HOUR)
        shop.start(2)
        shop.live(HOUR)

    assert len(silences(shop)) == 5


def test_a_sleeper_that_dies_under_load_is_missed():
    """That it may be scaled to zero excuses only what was idle."""
    shop = Shop(2, rate=2.0).live(HOUR)
    night(shop)
    night(shop)
    before = len(silences(shop))
    shop.pods = []
    shop.live(600)

    assert len(silences(shop)) == before + 1
