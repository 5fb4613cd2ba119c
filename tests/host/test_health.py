"""What Prometheus, and an orchestrator, read; checked by prometheus-client's own parser over HTTP."""

import re

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.host.letters import letter

from anomaly.config.models import Direction, Signal
from anomaly.decode.records import DeadLetter
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.dispatch.budget import Reading
from anomaly.host.health import RECENT, Health


def anomaly(event: Event) -> Anomaly:
    """An anomaly of latency."""
    return Anomaly(
        id="a", event=event, time=1, environment="prod", group="shop/cart", metric="m", quantity="mean", labels=(),
        instance=(), aggregate=True, unit="s", signal=Signal.LATENCY, spec="latency", pages=True,
        direction=Direction.ABOVE, started=1, ended=None, score=9.0, observed=1.0, current=1.0, expected=(0.0, 0.1),
        events=None, bad=False, learned=60.0, points=(),
    )  # fmt: skip


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of a GET."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def scraped(health: Health) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What /metrics serves, as (name, labels) -> value."""
    port = await health.start("127.0.0.1:0")
    try:
        _, text = await get(port, "/metrics")
    finally:
        await health.stop()
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


async def test_what_hosts_report_is_what_prometheus_reads():
    health = Health()
    health.assigned(["otlp_metrics"])
    health.batch("decode", "otlp_metrics", 3, 100, 1700, 0.02)
    health.batch("detect", "otlp_metrics", 3, 100, 1690, 0.03, newest=1_700_000_000_000)
    health.batch("detect", "anomaly.points", 0, 2, 10, 0.03)
    health.set_aside([letter("truncated")] * 1)
    health.set_aside([letter("truncated")] * 2)
    health.outcomes({"scored": 1600, "late": 90})
    health.series(42, 0.5)
    health.anomaly(anomaly(Event.OPEN))
    health.anomaly(anomaly(Event.CLOSE))
    health.incidents(1)
    health.suppressed("below_threshold", 3)
    health.delivery("oncall", "sent")
    health.lag("otlp_metrics", 3, 12)
    health.budgets([Reading("prod", "default", 10.0, 4.5, 3, 2, 7, 1.25, 10.0, 0.5, 9.0, 40, ())])
    health.compile_seconds(1.5)

    seen = await scraped(health)
    expected = {
        ("anomaly_records_total", (("source", "otlp_metrics"),)): 100.0,
        ("anomaly_stage_points_total", (("stage", "detect"),)): 1700.0,
        ("anomaly_rejects_total", (("reason", "truncated"),)): 3.0,
        ("anomaly_points_total", (("outcome", "late"),)): 90.0,
        ("anomaly_series", ()): 42.0,
        ("anomaly_warm_ratio", ()): 0.5,
        ("anomaly_anomalies_total", (("signal", "latency"),)): 1.0,
        ("anomaly_incidents_open", ()): 1.0,
        ("anomaly_suppressed_total", (("reason", "below_threshold"),)): 3.0,
        ("anomaly_deliveries_total", (("receiver", "oncall"), ("result", "sent"))): 1.0,
        ("anomaly_lag_records", (("partition", "3"), ("topic", "otlp_metrics"))): 12.0,
        ("anomaly_batch_records_bucket", (("le", "64.0"), ("stage", "decode"))): 0.0,
        ("anomaly_batch_records_bucket", (("le", "256.0"), ("stage", "decode"))): 1.0,
        ("anomaly_stage_seconds_sum", (("stage", "decode"),)): 0.02,
        ("anomaly_newest_point_timestamp_seconds", ()): 1_700_000_000.0,
        ("anomaly_compile_seconds", ()): 1.5,
        ("anomaly_budget_left", (("budget", "default"), ("environment", "prod"))): 4.5,
        ("anomaly_budget_paged", (("budget", "default"), ("environment", "prod"))): 3.0,
        ("anomaly_budget_threshold", (("budget", "default"), ("environment", "prod"))): 1.25,
    }
    assert {k: seen.get(k) for k in expected} == expected
    assert ("anomaly_records_total", (("source", "anomaly.points"),)) not in seen, "a record is counted where it is read"


async def test_names_follow_the_conventions_and_no_label_is_unbounded():
    """Conventions: single-word prefix, base units; labels only of the kinds that configuration and code bound."""
    health = Health()
    bounded = {"source", "stage", "outcome", "reason", "signal", "event", "severity", "receiver", "result", "topic"}
    bounded |= {"partition", "version", "python", "environment", "budget"}  # of the first hundred budgets
    for family in health.registry.collect():
        assert re.fullmatch(r"anomaly_[a-z_]+", family.name)
        assert not re.search(r"_(ms|millis|milliseconds|minutes|percent|kb|mb)$", family.name)
        assert family.documentation.endswith(".") or family.name == "anomaly_build_info"
        metric = health.registry._names_to_collectors[family.name]
        assert set(getattr(metric, "_labelnames", ())) <= bounded


async def test_it_is_alive_at_once_and_ready_when_kernels_are_compiled_and_sources_assigned():
    health = Health()
    port = await health.start("127.0.0.1:0")
    try:
        assert await get(port, "/healthz") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "kernels are not compiled yet\nno source is assigned yet\n")
        health.compile_seconds(0.1)
        assert (await get(port, "/readyz"))[0] == 503
        health.assigned(["otlp_metrics"])
        assert await get(port, "/readyz") == (200, "ready\n")
    finally:
        await health.stop()


@pytest.mark.parametrize("seconds", [1, 30, 59])
def test_the_window_of_rejects_is_the_last_minute(seconds: int):
    now = [1_000.0]
    health = Health(lambda: now[0])
    health.assigned(["t"])
    health.batch("decode", "t", 0, 7, 7, 0.0)
    health.set_aside([letter("malformed")] * 2)
    now[0] += seconds
    health.batch("decode", "t", 0, 3, 3, 0.0)
    assert health.recent(now[0]) == (10, 2)
    assert health.recent(1_000.0 + RECENT) == (3, 0)


def test_a_record_of_which_some_points_were_read_is_counted_and_is_no_sign_of_blindness():
    health = Health(lambda: 1_000.0)
    health.assigned(["t"])
    health.batch("decode", "t", 0, 2, 9, 0.0)
    health.set_aside([DeadLetter("t", 0, i, 0, "future", "", b"", points) for i, points in enumerate((0, 3))])
    assert health.recent(1_000.0) == (2, 1)
    assert health.registry.get_sample_value("anomaly_rejects_total", {"reason": "future"}) == 2.0


def test_a_worker_of_later_stages_is_ready_when_it_has_partitions():
    """It reads no source; its lag on our own topics says that it has joined."""
    health = Health()
    health.compile_seconds(0.1)
    assert health.missing()
    health.lag("anomaly.points", 0, 0)
    assert not health.missing()


def test_a_source_that_was_given_away_is_not_awaited_any_more():
    now = [10.0]
    health = Health(lambda: now[0])
    health.assigned(["a", "b"])
    health.batch("decode", "a", 0, 1, 1, 0.0)
    now[0] = 20.0
    health.assigned(["b", "c"])
    assert health.heard == {}
    assert health.assigned_at == {"b": 10.0, "c": 20.0}
