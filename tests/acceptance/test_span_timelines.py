"""Two services in spans, from bytes to alerts: the operation that is ill is named, in one alert for its service.

A gateway `web` calls `shop` for each of four operations, five requests a second; spans of a second come in two records, the
callee's first. Expected are alerts by service.
"""

import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode.records import Records
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.engine import Engine

BEGIN, ONSET, END, OVER = 1_700_000_000, 450, 530, 660  # seconds
OPERATIONS = ("/cart", "/pay", "/search", "/stock")
SOURCE = SourceSettings(topic="spans", encoding="otlp_spans_proto")
MS = 1_000_000


class Ill(NamedTuple):
    """What is wrong with `/pay`: how much longer shop works, the share that fails, what the way takes more (ms)."""

    slower: float = 1.0
    fails: float = 0.0
    way: int = 0


def second(t: int, ill: Ill) -> Iterator[bytes]:
    """The records of a second: shop's spans, then web's."""
    random = np.random.default_rng(t)
    callee, caller = ExportTraceServiceRequest(), ExportTraceServiceRequest()
    shop, web = (scope(one, name) for one, name in ((callee, "shop"), (caller, "web")))
    for k in range(20):
        operation, start = OPERATIONS[k % 4], (BEGIN + t) * 10**9 + k * 45 * MS
        sick = operation == "/pay"
        took = int(random.lognormal(np.log(40 * MS), 0.25) * (ill.slower if sick else 1.0))
        failed = 2 * bool(sick and random.random() < ill.fails)
        way = 2 * MS + (ill.way * MS if sick else 0)
        trace, ids = struct.pack("<QQ", t + 1, k + 1), [struct.pack("<Q", 1 + i) for i in range(3)]
        add(shop, trace, ids[2], ids[1], operation, 2, start + way // 2, took, failed)
        add(web, trace, ids[1], ids[0], f"GET {operation}", 3, start, took + way, 0)
        add(web, trace, ids[0], b"", f"/web{operation}", 2, start - MS, took + way + 2 * MS, 0)
    yield from (callee.SerializeToString(), caller.SerializeToString())


def scope(one: ExportTraceServiceRequest, service: str):
    """Where the spans of a service go."""
    resource = one.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    return resource.scope_spans.add()


def add(to, trace, own, parent, name, kind, start, took, status):
    """A span."""
    made = to.spans.add(trace_id=trace, span_id=own, parent_span_id=parent, name=name, kind=kind)
    made.start_time_unix_nano, made.end_time_unix_nano = start, start + took
    made.status.code = status


@cache
def lived(ill: Ill, metrics: bool = False) -> tuple[Alert, ...]:
    """The alerts of a thousand seconds, of which two minutes are ill."""
    engine, alerts = Engine(Settings(), load_specs()), list[Alert]()
    for t in range(0, OVER, 5):
        for s in range(t, t + 5):
            values = list(second(s, ill if ONSET <= s < END else Ill()))
            alerts += process(engine, SOURCE, values, s, 2 * s)
            if metrics:
                alerts += process(engine, METRICS, [served(s, ill if ONSET <= s < END else Ill())], s, s)
    return tuple(alerts)


METRICS = SourceSettings(topic="metrics", encoding="otlp_proto")


def process(engine: Engine, source: SourceSettings, values: list[bytes], s: int, offset: int) -> list[Alert]:
    """One block."""
    alerts, dead = engine.process(source, Records.of(values, source.topic, 0, offset, time=(BEGIN + s + 1) * 1000))
    assert not dead
    return alerts


def served(s: int, ill: Ill) -> bytes:
    """The same requests as shop's own metrics tell them."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    data = resource.scope_metrics.add().metrics.add(name="http.server.request.duration", unit="s").histogram
    data.aggregation_temporality = 1
    random = np.random.default_rng(s)
    took = [random.lognormal(np.log(0.04), 0.25) * (ill.slower if k % 4 == 1 else 1.0) for k in range(20)]
    bounds = (0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 1.0)
    counts = np.bincount(np.searchsorted(bounds, took), minlength=9).tolist()
    point = data.data_points.add(count=20, sum=sum(took), bucket_counts=counts, explicit_bounds=bounds)
    point.start_time_unix_nano, point.time_unix_nano = (BEGIN + s) * 10**9, (BEGIN + s + 1) * 10**9
    point.attributes.add(key="http.response.status_code").value.string_value = "200"
    return request.SerializeToString()


def of(alerts: tuple[Alert, ...], service: str, keep: Callable[[Alert], bool]) -> list[Alert]:
    """Alerts of one service."""
    return [a for a in alerts if a.group == service and keep(a)]


def is_trigger(a: Alert) -> bool:
    return a.event is What.TRIGGER


def test_a_healthy_pair_is_quiet():
    assert lived(Ill()) == ()


@pytest.mark.parametrize(
    ("ill", "words"), [(Ill(slower=5.0), "/pay, mean of duration is"), (Ill(fails=0.4), "/pay, ")], ids=["slow", "failing"]
)
def test_an_operation_that_is_ill_is_one_alert_that_names_it(ill: Ill, words: str):
    (trigger,) = of(lived(ill), "shop", is_trigger)
    assert trigger.severity is Severity.CRITICAL
    assert words in trigger.title
    assert [a.dedup_key for a in of(lived(ill), "shop", lambda a: a.event is What.RESOLVE)] == [trigger.dedup_key]
    others = [o for o in OPERATIONS if o != "/pay"]
    assert not [a for a in lived(ill) for o in others if o in a.title]


def test_a_slow_way_is_no_fault_of_the_callees_work():
    """The caller pages, since its own users wait; the callee's own times are as ever: the cause is the way between."""
    alerts = lived(Ill(way=400))
    (trigger,) = [a for a in alerts if is_trigger(a)]
    assert trigger.group == "web"
    assert of(alerts, "web", lambda a: a.severity is Severity.CRITICAL and "/pay" in a.title)
    cause = alerts[-1].causes[0]
    assert (cause["service"], cause["what"]) == (
        "shop",
        "shop: calls of /pay by web are slow on the way (network, or waiting)",
    )
    assert (alerts[-1].impact["groups"], alerts[-1].impact["victims"]) == (["web", "shop"], ["web"])


def test_a_slow_service_and_its_caller_are_one_incident_and_the_caller_is_a_victim():
    alerts = lived(Ill(slower=5.0))
    assert len([a for a in alerts if is_trigger(a)]) == 1
    assert [c["service"] for c in alerts[-1].causes] == ["shop", "web"]
    assert alerts[-1].impact["victims"] == ["web"]


def test_a_service_that_tells_the_same_by_metrics_and_spans_pages_once():
    triggers = of(lived(Ill(slower=8.0), metrics=True), "shop", is_trigger)
    assert len(triggers) == 1
