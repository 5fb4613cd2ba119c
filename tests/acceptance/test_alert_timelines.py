"""What people are told, as timelines: anomalies as they come, and the alerts that are due.

A step is the second at which events come, and the events; the expectation is a list of (second of the alert's time, event,
severity, what the title is about).
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import pytest
from msgspec import structs
from tests.dispatch.story import ERRORS, LOSS, OTHER, QUEUE, SILENCE, START, closed, grown, opened, tick

from anomaly.config.settings import Correlation, Settings, Threshold
from anomaly.correlate.correlator import Correlator
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.dispatch.alert import Alert
from anomaly.dispatch.budgets import Budgets
from anomaly.dispatch.decide import Dispatcher

Step = tuple[float, list[Anomaly | Tick]]
Due = tuple[float, str, str, str]


@dataclass
class Timeline:
    """A story and what people should hear of it."""

    steps: list[Step]
    due: list[Due]


def step(second: float, *events: Anomaly | Tick) -> Step:
    """A step of a story."""
    return second, list(events)


def told(steps: list[Step]) -> list[Alert]:
    """All alerts, with a tick at the end of each step, as detect writes it."""
    settings = Settings(threshold=Threshold(alert=6.0))
    dispatcher, budgets = Dispatcher(settings), Budgets(settings.alert_budget)
    correlator = Correlator(Correlation(resolve_after=30.0), dispatcher.matters)
    found = []
    for second, events in steps:
        changed = correlator.update([*events, tick(second)])
        found += [alert for incident in changed if (alert := dispatcher.decide(incident, budgets))]
    return found


def due(alert: Alert) -> Due:
    subjects = {"requests fail": "errors", "silent": "silence", "traffic": "traffic", "queue": "queue", "cache": "cache"}
    about = next((name for part, name in subjects.items() if part in alert.title), "latency")
    second = datetime.fromisoformat(alert.time).timestamp() - START / 1000
    return second, alert.event.value, alert.severity.value, about


BAD_ERRORS = ERRORS | {"bad": True}
a, b, c = opened("a", 0), opened("b", 5, kind=BAD_ERRORS), opened("c", 8, kind=LOSS)
queue, silent = opened("q", 0, kind=QUEUE), opened("s", 50, kind=SILENCE)
again = opened("a2", 60)
flaps: list[Anomaly] = [opened(f"f{t}", t) for t in range(0, 200, 20)]
weak, shop = opened("w", 0, kind=OTHER | {"score": 4.0}), opened("x", 3, group="shop")
pods = [opened(f"p{i}", i, kind=QUEUE | {"instance": (("k8s.pod.name", f"pod-{i}"),)}) for i in range(300)]

TIMELINES = {
    "a service slows down and recovers": Timeline(
        [(0, [a]), (10, [grown(a, 10, score=20.0)]), (60, [closed(a, 60)]), (80, []), (95, [])],
        [(0, "trigger", "critical", "latency"), (90, "resolve", "critical", "latency")],
    ),
    "it slows down, then fails, then loses its traffic: one incident, one update for the news": Timeline(
        [(0, [a]), (5, [b]), (8, [c]), (100, [closed(x, 100) for x in (a, b, c)]), (140, [])],
        [(0, "trigger", "critical", "latency"), (5, "update", "critical", "errors"), (130, "resolve", "critical", "errors")],
    ),
    "a ticket becomes a page": Timeline(
        [(0, [queue]), (50, [silent]), (90, [closed(silent, 90, "heard again"), closed(queue, 88)]), (200, [])],
        [(0, "trigger", "warning", "queue"), (50, "update", "critical", "silence"), (120, "resolve", "critical", "silence")],
    ),
    "an anomaly comes and goes within the wait: nobody is told thrice": Timeline(
        [*(step(20.0 * i, f, closed(f, 20 * i + 5)) for i, f in enumerate(flaps)), (300, [])],
        [(0, "trigger", "critical", "latency"), (215, "resolve", "critical", "latency")],
    ),
    "it returns after the wait: another incident": Timeline(
        [(0, [a]), (10, [closed(a, 10)]), (45, []), (60, [again]), (70, [closed(again, 70)]), (200, [])],
        [(0, "trigger", "critical", "latency"), (40, "resolve", "critical", "latency"),
         (60, "trigger", "critical", "latency"), (100, "resolve", "critical", "latency")],
    ),
    "two services at once": Timeline(
        [(0, [a]), (3, [shop]), (20, [closed(shop, 20)]), (30, [closed(a, 30)]), (100, [])],
        [(0, "trigger", "critical", "latency"), (3, "trigger", "critical", "latency"),
         (50, "resolve", "critical", "latency"), (60, "resolve", "critical", "latency")],
    ),
    "a little odd, all day": Timeline([(0, [weak]), (40_000, [closed(weak, 40_000)]), (50_000, [])], []),
    "a little odd, then really": Timeline(
        [(0, [weak]), (30, [grown(weak, 30, score=8.0)]), (60, [closed(weak, 60)]), (100, [])],
        [(30, "trigger", "warning", "cache"), (90, "resolve", "warning", "cache")],
    ),
    "a service is gone, and stays away": Timeline([(50, [silent]), (90_000, [])], [(50, "trigger", "critical", "silence")]),
    "three hundred pods at once are one ticket": Timeline(
        [(300, list(pods)), (400, [closed(p, 400) for p in pods]), (500, [])],
        [(0, "trigger", "warning", "queue"), (430, "resolve", "warning", "queue")],
    ),
    "a deployment removes the pod that was ill": Timeline(
        [(0, [queue]), (20, [closed(queue, 20, "series ended")]), (100, []), (319, []), (320, [])],
        [(0, "trigger", "warning", "queue"), (320, "resolve", "warning", "queue")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMELINES)
def test_people_are_told(name: str):
    timeline = TIMELINES[name]
    assert [due(alert) for alert in told(timeline.steps)] == timeline.due


@pytest.mark.parametrize("name", TIMELINES)
def test_a_redelivered_step_tells_nobody_anything_again(name: str):
    """At least once: each step comes again, as it does when a worker stops before it has committed."""
    steps = TIMELINES[name].steps
    twice = [each for pair in zip(steps, steps, strict=True) for each in pair]
    assert told(twice) == told(steps)


@pytest.mark.parametrize("name", TIMELINES)
def test_ids_are_unique_and_each_key_begins_with_a_trigger(name: str):
    alerts = told(TIMELINES[name].steps)
    assert len({x.id for x in alerts}) == len(alerts)
    by_key: dict[str, list[str]] = {}
    for alert in alerts:
        by_key.setdefault(alert.dedup_key, []).append(alert.event.value)
    for events in by_key.values():
        assert events[0] == "trigger"
        assert all(before != "resolve" for before, _ in pairwise(events))


def test_environments_do_not_mix():
    """The same service fails in two environments: two incidents, each with its own story."""
    other = structs.replace(a, id="t", environment="test")
    alerts = told([(0, [a, other]), (10, [closed(a, 10)]), (60, [])])
    said = [(x.environment, x.event.value) for x in alerts]
    assert said == [
        ("prod", "trigger"),
        ("test", "trigger"),
        ("prod", "resolve"),
    ]
