"""A slow change against weeks ago, as people are told of it."""

from tests.dispatch.story import LATENCY, START, closed, opened
from tests.dispatch.test_decide import Scene, said

from anomaly.detect.anomaly import REGRESSION

WEEK = 7 * 86_400_000
SLOW = LATENCY | {
    "kind": REGRESSION,
    "observed": 0.430,
    "expected": (0.15, 0.42),
    "points": ((START - 4 * WEEK, 0.300), (START, 0.430)),
}


def test_a_slow_change_is_a_ticket_that_says_what_was_weeks_ago():
    (alert,) = Scene().play(opened("a", 0, kind=SLOW))
    assert alert.severity.value == "warning"
    assert alert.why.startswith("latency changed slowly, against the same weekdays of weeks ago")
    assert "430 ms, 4 weeks ago 300 ms" in alert.title
    assert "since" not in alert.title


def test_a_slow_change_of_weeks_does_not_swallow_the_pages_of_its_group():
    """While it is open, a fault of the same service is an incident of its own, which pages and is resolved by itself."""
    scene, fault = Scene(), opened("b", 600, kind=LATENCY)
    alerts = scene.play(opened("a", 0, kind=SLOW), fault, closed(fault, 700))
    alerts += scene.play(opened("c", 4_000, kind=LATENCY))
    assert said(alerts) == [
        ("trigger", "warning"),
        ("trigger", "critical"),
        ("resolve", "critical"),
        ("trigger", "critical"),
    ]
    assert len({a.dedup_key for a in alerts}) == 3


def test_a_slow_change_is_no_matter_of_the_alert_budget():
    scene = Scene(alert_budget={"default": 1.0})
    alerts = scene.play(opened("a", 0, kind=SLOW), opened("b", 600, kind=LATENCY))
    assert said(alerts) == [("trigger", "warning"), ("trigger", "critical")]
    assert not alerts[0].reduced_by
