"""A giant group spread over the partitions by metric: people are told what they would be told if it were whole."""

import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from anomaly.config.load import load_specs
from anomaly.config.settings import IdentitySettings, Settings, SourceSettings
from anomaly.decode.identity import BEAT
from anomaly.decode.records import Records
from anomaly.detect.anomaly import HEARD, Anomaly
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine
from anomaly.host.statelog import Found, Generation, Manifest, pack, put

SOURCE = SourceSettings(topic="metrics", encoding="prometheus_json")
SPREAD, WHOLE = (Settings(identity=IdentitySettings(giants=giants)) for giants in (("checkout",), ()))
POINTS, INPUTS = 4, 2  # partitions of anomaly.points and of the source
BEGIN, EVERY = 1_767_225_600, 5  # seconds since the epoch; between steps
LEARNED, ILL, END = 120, 30, 200  # steps: until something happens, for so long, and in all
INSTANCES = 3
BOUNDS = (0.05, 0.1, 0.5, 1.0, 5.0)

Step = Callable[[int], bool]  # whether something is so at a step


def never(step: int) -> bool:
    return False


def ill(step: int) -> bool:
    return LEARNED <= step < LEARNED + ILL


@dataclass
class Shop:
    """Four services; of the giant among them an instance's queue fills, requests fail, requests are slow, or points end.

    `ended` is a metric that the giant has no more; durations come some seconds `later` than all else.
    """

    queue: Step = never
    errors: Step = never
    slow: Step = never
    gone: Step = never
    ended: str = ""
    later: int = 0
    totals: dict[tuple[str, ...], float] = field(default_factory=dict)

    def step(self, step: int) -> Iterator[bytes]:
        """What all instances have to say."""
        for service in ("checkout", "cart", "search", "users"):
            giant = service == "checkout"
            if giant and self.gone(step):
                continue
            for i in range(INSTANCES):
                for metric, labels, value in self._instance(step, service, i, giant):
                    second = EVERY * step + self.later * ("duration" in metric)
                    if not (giant and metric == self.ended and step >= LEARNED):
                        yield record(second, metric, value, {"job": service, "instance": f"10.0.0.{i}:1"} | labels)

    def _instance(self, step: int, service: str, i: int, giant: bool) -> Iterator[tuple[str, dict[str, str], float]]:
        noise = zlib.crc32(f"{step} {service} {i}".encode()) % 100
        full = giant and i == 1 and self.queue(step)
        yield "queue_depth", {"queue": "orders"}, noise / 10 + 500.0 * full
        for k in range(8):  # whatever else a large service has: metrics enough for every partition
            yield f"gauge_{k}", {}, 50.0 + noise / 25
        failed = 40 if giant and self.errors(step) else 0
        for code, n in (("200", 100 - failed + noise // 10), ("500", failed)):
            yield "http_requests_total", {"code": code}, self._add(n, service, str(i), code)
        took, n = (2.0 if giant and self.slow(step) else 0.08), 60 + noise // 20
        for bound in (*BOUNDS, "+Inf"):
            below = n if bound == "+Inf" or took <= float(bound) else 0
            yield (
                "http_request_duration_seconds_bucket",
                {"le": str(bound)},
                self._add(below, service, str(i), f"le {bound}"),
            )
        yield "http_request_duration_seconds_sum", {}, self._add(took * n, service, str(i), "sum")
        yield "http_request_duration_seconds_count", {}, self._add(n, service, str(i), "count")

    def _add(self, more: float, *counter: str) -> float:
        self.totals[counter] = self.totals.get(counter, 0.0) + more
        return self.totals[counter]


def record(second: int, metric: str, value: float, labels: dict[str, str]) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN + second))
    labels = {"__name__": metric} | labels
    return json.dumps({"timestamp": stamp, "value": str(value), "name": metric, "labels": labels}).encode()


class World:
    """A source, and one worker with all stages."""

    def __init__(self, settings: Settings, shop: Shop) -> None:
        self.engine, self.shop = Engine(settings, load_specs(), POINTS), shop
        self.ends = [0] * INPUTS
        self.told: list[Alert] = []
        self.silences: set[str] = set()  # ids

    def play(self, steps: Iterable[int]) -> "World":
        for step in steps:
            said = list(self.shop.step(step))
            for partition in range(INPUTS):
                values = said[(partition + step) % INPUTS :: INPUTS]  # unkeyed: every series is on both by and by
                records = Records.of(values, SOURCE.topic, partition, self.ends[partition])
                self.ends[partition] += len(values)
                blocks, dead = self.engine.decode(SOURCE, records)
                assert not dead
                events = [event for p, block in blocks for event in self.engine.detect(p, block)]
                self.silences |= {a.id for a in events if isinstance(a, Anomaly) and a.quantity == HEARD}
                self.told += [alert for _, alert in self.engine.correlate(0, events) if alert]
        return self

    def reconfigured(self, settings: Settings) -> "World":
        """Another process goes on with the state of this one, and its decoder knows nobody."""
        other = Engine(settings, load_specs(), POINTS)
        for p in range(POINTS):
            kept = self.engine.detector(p)
            body = pack(kept.gather(1), kept.layouts())
            own = Generation(1, 0, zlib.crc32(body), len(body))
            put(Found(Manifest(generation=1, next_offset=0, live=(own,)), [(1, body)]), other.detector(p))
        other.correlator(0).remember(self.engine.correlator(0).memory())
        self.engine = other
        return self

    def metrics(self, partition: int) -> set[str]:
        """Those of the giant that a partition holds."""
        listed = (line.series for line in self.engine.detector(partition).listing())
        return {s.metric for s in listed if s.group == "checkout" and s.metric != BEAT}

    @property
    def said(self) -> list[tuple[str, str, str]]:
        """What each alert is, how severe, and whose it is."""
        return [(a.event, a.severity, a.group) for a in self.told]


FAULTS = {
    "an instance's queue fills": lambda: Shop(queue=ill),
    "requests fail": lambda: Shop(errors=ill),
    "requests are slow": lambda: Shop(slow=ill),
    "all at once": lambda: Shop(queue=ill, errors=ill, slow=ill),
    "the whole giant is silent": lambda: Shop(gone=ill),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_giant_is_told_as_if_it_were_whole(fault: str):
    """The oracle is the same shop without giants: the same alerts, to the letter."""
    whole, spread = (World(settings, FAULTS[fault]()).play(range(END)) for settings in (WHOLE, SPREAD))
    assert spread.told == whole.told
    assert [(event, group) for event, _, group in spread.said] == [("trigger", "checkout"), ("resolve", "checkout")]
    assert all(spread.metrics(p) for p in range(POINTS))
    assert sum(bool(whole.metrics(p)) for p in range(POINTS)) == 1


def test_a_metric_of_a_giant_that_ends_tells_nothing():
    """The only one that is on its partition, and requests, whose absence is judged."""
    world = World(SPREAD, Shop(ended="http_requests_total")).play(range(END))
    assert {"http_requests_total"} in [world.metrics(p) for p in range(POINTS)]
    assert world.told == []


def test_two_parts_that_miss_the_whole_giant_are_one_incident():
    """Each says since when by its own last point, so there are two silences; people hear of one."""
    world = World(SPREAD, Shop(gone=ill, later=2)).play(range(END))
    assert len(world.silences) == 2
    assert world.said == [("trigger", "critical", "checkout"), ("resolve", "critical", "checkout")]


CHANGES = {"a group becomes a giant": (WHOLE, SPREAD), "a giant becomes a group": (SPREAD, WHOLE)}


@pytest.mark.parametrize("change", CHANGES)
def test_the_parts_that_series_have_left_miss_nobody_and_a_fault_after_it_is_found(change: str):
    """What was learned stays where it was: the fault comes when the others know enough again."""
    before, after = CHANGES[change]
    world = World(before, Shop(errors=lambda step: 300 <= step < 330)).play(range(LEARNED))
    world.reconfigured(after).play(range(LEARNED, 380))
    assert world.silences == set()
    assert world.said == [("trigger", "critical", "checkout"), ("resolve", "critical", "checkout")]


def test_a_giant_that_is_silent_after_the_change_is_missed():
    for change in CHANGES.values():
        world = World(change[0], Shop(gone=lambda step: 300 <= step < 330)).play(range(LEARNED))
        world.reconfigured(change[1]).play(range(LEARNED, 380))
        assert world.said == [("trigger", "critical", "checkout"), ("resolve", "critical", "checkout")]
