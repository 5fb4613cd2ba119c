"""From results of probes to alerts, also for a team in shadow: two failures in a row page, one blip does not."""

from collections.abc import Sequence

import pytest
from tests.detect.feed import T0, P, columns, series

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine

EVERY, TIMES = 30, 60
SUCCESS = series("probe_success", probe="shop", region="eu")
K6 = series("k6_http_req_failed_rate", scenario="browse")
COLLECTOR = series("httpcheck.status", http__status_class="5xx", http__url="http://shop/")
OTHER = series("other", service="other")


def alerts(which: Series, values: Sequence[float], shadow: bool = False, silent_from: int = TIMES) -> list[Alert]:
    """What is told of values, one each EVERY seconds; another service is always heard."""
    engine, told = Engine(Settings(shadow={"default": shadow}), load_specs()), list[Alert]()
    for i, value in enumerate(values):
        points = [P(which, i * EVERY, value)] if i < silent_from else []
        points.append(P(OTHER, i * EVERY + 1.0, 1.0))
        heard = T0 + (i * EVERY + 1) * 1000
        block = Block("metrics", 0, i, i, heard, 10_000, columns(points), Announced.of([which, OTHER] if i == 0 else []))
        events = engine.detect(0, block)
        told += [alert for _, alert in engine.correlate(0, events) if alert]
    return told


def course(failing: Sequence[int], good: float = 1.0, bad: float = 0.0) -> list[float]:
    return [bad if i in failing else good for i in range(TIMES)]


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize(
    ("which", "good", "bad"), [(SUCCESS, 1.0, 0.0), (K6, 0.0, 1.0), (COLLECTOR, 0.0, 1.0)], ids=["blackbox", "k6", "otel"]
)
def test_a_probe_that_fails_twice_pages_and_its_recovery_resolves_it(which: Series, good: float, bad: float, shadow: bool):
    told = alerts(which, course(range(30, 40), good, bad), shadow)
    assert [(a.event.value, a.severity.value) for a in told] == [("trigger", "critical"), ("resolve", "critical")]
    assert "a fault whatever was usual" in str(told[0])


def test_a_probe_that_has_failed_from_its_first_result_pages():
    assert [(a.event.value, a.severity.value) for a in alerts(SUCCESS, [0.0] * TIMES)] == [("trigger", "critical")]


def test_a_single_blip_is_no_alert():
    assert alerts(SUCCESS, course([20, 40])) == []


def test_a_probe_that_falls_silent_is_not_a_failing_service():
    assert alerts(SUCCESS, course([]), silent_from=30) == []
