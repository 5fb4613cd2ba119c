"""Log lines from telemetry to alerts: bursts, new kinds of lines, secrets, restarts, floods."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from anomaly.config.load import load_specs
from anomaly.config.settings import LogSettings, Settings, SourceSettings
from anomaly.decode.log_lines import METRIC, OTHERS
from anomaly.decode.records import Records
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine

BEGIN, EVERY = 1_700_000_000, 5  # seconds
SOURCE = SourceSettings(topic="lines", encoding="otlp_logs_proto")
INFO, ERROR = 9, 17
Lines = Sequence[tuple[int, str]]
SECRET = "card 4111 1111 1111 1111 of bob@example.com declined: password=hunter2"


def request(second: int, lines: Iterable[tuple[int, str]], service: str = "cart") -> bytes:
    made = ExportLogsServiceRequest()
    one = made.resource_logs.add()
    for key, value in (("service.name", service), ("service.instance.id", "a")):
        one.resource.attributes.add(key=key).value.string_value = value
    scope = one.scope_logs.add()
    for level, text in lines:
        scope.log_records.add(time_unix_nano=(BEGIN + second) * 10**9, severity_number=level).body.string_value = text
    return made.SerializeToString()


@cache
def usual(second: int) -> Lines:
    """As ever: requests, now and then an error."""
    rng = np.random.default_rng(second)
    lines = [(INFO, f"GET /cart/{rng.integers(10**6)} took {rng.integers(99)} ms")] * int(rng.poisson(40))
    return [*lines, *[(ERROR, f"connection to 10.0.0.{rng.integers(250)} refused")] * int(rng.random() < 0.05)]


def live(engine: Engine, begin: int, end: int, more: Callable[[int], Lines] = lambda second: ()) -> list[Alert]:
    """Alerts of these seconds."""
    alerts = []
    for second in range(begin, end, EVERY):
        value = request(second, [*usual(second), *more(second)])
        found, dead = engine.process(SOURCE, Records.of([value], "lines", 0, second, (BEGIN + second) * 1000))
        assert not dead
        alerts += found
    return alerts


def fresh(templates: int = 1_000, signatures: int = 100_000) -> Engine:
    return Engine(Settings(logs=LogSettings(templates=templates, signatures=signatures)), load_specs([]))


def test_a_burst_of_a_new_error_alerts_once_with_an_example_and_without_its_secrets():
    alerts = live(fresh(), 0, 2_400, lambda s: [(ERROR, SECRET)] * 5 if 1_500 <= s < 1_560 else ())

    assert [a.event for a in alerts] == ["trigger", "resolve"]
    assert "card <card> of <email> declined: password=<secret>" in alerts[0].text
    assert "never seen before" in alerts[0].title
    for secret in ("4111", "bob", "hunter2"):
        assert secret not in str(alerts)


def test_a_single_new_line_and_an_ordinary_hour_alert_nobody():
    assert live(fresh(), 0, 3_600, lambda s: [(INFO, "configuration was read anew")] if s == 1_800 else ()) == []


def test_a_known_error_in_great_numbers_is_an_alert():
    alerts = live(fresh(), 0, 3_000, lambda s: [(ERROR, "connection to 10.0.0.7 refused")] * 20 if s >= 2_700 else ())

    assert [a.event for a in alerts][:1] == ["trigger"]
    assert "lines like “connection to <*> refused”" in alerts[0].title


def test_a_template_that_vanishes_while_its_service_logs_on_is_an_alert():
    steady = [(INFO, "heartbeat sent to the registry")] * 10
    alerts = live(fresh(), 0, 3_000, lambda s: steady if s < 2_400 else ())

    assert [a.event for a in alerts][:1] == ["trigger"]
    assert "heartbeat" in alerts[0].title


@pytest.mark.parametrize("often", [1, 60])
def test_a_line_of_every_second_or_minute_that_does_not_come_any_more_is_told_until_it_does(often: int):
    """After an hour and a half; its service has a job too that ends its work, of which nothing is to be told."""

    def more(second: int) -> Lines:
        away = 6_000 <= second < 7_500
        job = [(INFO, f"row of {table} copied") for table in ("orders", "customers", "parts")] if second < 5_500 else []
        steady = [(INFO, "heartbeat sent to the registry")] * (max(EVERY // often, second % often == 0) * (not away))
        return [*steady, *job * (second % 60 == 0)]

    alerts = live(fresh(), 0, 8_000, more)

    assert [a.event for a in alerts] == ["trigger", "resolve"]
    assert "heartbeat" in alerts[0].title
    assert datetime.fromisoformat(alerts[0].time).timestamp() - BEGIN - 6_000 < 10 * often + 60
    assert 0 <= datetime.fromisoformat(alerts[1].time).timestamp() - BEGIN - 7_500 < 600


def test_a_restart_keeps_templates_and_says_the_same_to_the_byte():
    through, first, second = fresh(), fresh(), fresh()
    new = lambda s: [(ERROR, "disk of ada is full")] * 4 if 1_500 <= s < 1_560 else ()  # noqa: E731
    undisturbed = live(through, 0, 1_800, new)
    before = live(first, 0, 1_520, new)
    detector = first.detector(0)
    snapshot, layouts = detector.gather(1), detector.layouts()
    second.detector(0).put(1, snapshot.parts, layouts)
    second.detector(0).settle(snapshot.rest)
    second._correlators = first._correlators
    second._budgets = first._budgets

    after = live(second, 1_520, 1_800, new)

    assert before + after == undisturbed
    assert second.detector(0).digest() == through.detector(0).digest()


def test_where_a_block_ends_changes_nothing():
    values = [request(s, usual(s)) for s in range(0, 600, EVERY)]
    digests = set()
    for size in (1, 7, len(values)):
        engine = fresh()
        for at in range(0, len(values), size):
            engine.process(SOURCE, Records.of(values[at : at + size], "lines", 0, at, (BEGIN + 600) * 1000))
        digests.add(engine.detector(0).digest())
    assert len(digests) == 1


def test_a_flood_of_kinds_is_bounded_and_said():
    """Ten thousand kinds against limits of fifty and of five hundred."""
    engine, rng = fresh(templates=50, signatures=500), np.random.default_rng(2)
    letters = np.array(list("ghijklmnop"))
    for second in range(0, 100, EVERY):
        words = rng.choice(letters, (500, 5, 6))
        lines = [(INFO, " ".join("".join(w) for w in line)) for line in words]
        engine.process(SOURCE, Records.of([request(second, lines)], "lines", 0, second, (BEGIN + second) * 1000))
    detector = engine.detector(0)
    detector.logs.hear("lines", (BEGIN + 200) * 1000, 10_000)

    kinds = detector.logs.kinds
    assert len(kinds) <= 51
    assert kinds.rows.signatures.used <= 501
    assert any(metric.startswith(f"{METRIC} of cart") and n > 0 for _, metric, n in detector.overflow())
    assert OTHERS in [kinds.name(row).text for row in range(kinds.rows.templates.used)]
