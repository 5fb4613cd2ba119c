"""Blindness is judged on what hosts report and a clock that the test holds; timelines of minutes take no time."""

import asyncio
import socket

import aiohttp
import pytest
from tests.host.letters import letter

from anomaly.config.mistake import ConfigError
from anomaly.config.settings import Blind, Settings
from anomaly.config.settings import Health as HealthSettings
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host.blind import Blindness, watched
from anomaly.host.health import Health

START = 1_700_000_000.0


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


class Scene:
    """A detector with one source, watched every five seconds."""

    def __init__(self, blind: Blind | None = None) -> None:
        self.clock = Clock()
        self.health = Health(self.clock)
        self.blindness = Blindness(blind or Blind(), self.health)
        self.health.assigned(["otlp_metrics"])
        self.alerts: list[tuple[float, Alert]] = []

    def run(self, seconds: int, records: int = 0, dead: int = 0, behind: float | None = 1.0) -> "Scene":
        """Time passes; each second brings `records`, of which `dead` are set aside, judged `behind` seconds late."""
        for _ in range(seconds):
            self.clock.time += 1.0
            if records:
                newest = None if behind is None else int((self.clock.time - behind) * 1000)
                self.health.batch("decode", "otlp_metrics", 0, records, 10 * records, 0.01, newest)
            if dead:
                self.health.set_aside([letter("malformed")] * dead)
            if int(self.clock.time) % 5 == 0:
                self.alerts += [(self.clock.time - START, a) for a in self.blindness.check(self.clock.time)]
        return self

    def said(self) -> list[str]:
        return [a.event.value for _, a in self.alerts]


def test_a_source_that_falls_silent_is_one_critical_alert_within_two_minutes_and_one_resolve():
    scene = Scene().run(300, records=5).run(240).run(120, records=5)

    assert scene.said() == ["trigger", "resolve"]
    (found, trigger), (_, resolve) = scene.alerts
    assert 300 + 90 < found <= 300 + 120
    assert trigger.severity is Severity.CRITICAL
    assert trigger.group == "anomaly"
    assert trigger.text.startswith(
        "I am blind: no record from otlp_metrics for 95 s. What fails there meanwhile is not found."
    )
    assert trigger.started_at == "2023-11-14T22:18:20Z"  # START + 300 s by `date -u`
    assert resolve.dedup_key == trigger.dedup_key
    assert resolve.id != trigger.id
    assert resolve.ended_at is not None


def test_a_source_that_never_brings_anything_is_found_too():
    (at, alert), *more = Scene().run(300).alerts
    assert 90 < at <= 120
    assert "otlp_metrics" in alert.text
    assert not more


def test_one_sender_that_exports_once_a_minute_is_neither_silent_nor_late():
    """OpenTelemetry's default interval, with the delays of a batch processor."""
    scene = Scene()
    for delay in (0, 3, 0, 7, 1, 0, 5, 2):
        scene.run(1, records=1).run(59 + delay)
    assert scene.alerts == []


def test_nothing_is_awaited_from_a_process_without_sources():
    """A worker that owns no partition hears nothing, and that is all right."""
    scene = Scene()
    scene.health.assigned([])
    assert scene.run(600).alerts == []


def test_a_healthy_detector_says_nothing():
    assert Scene().run(900, records=3).alerts == []


def test_judging_old_data_is_lag_and_says_how_old_it_is():
    scene = Scene().run(60, records=5).run(20, records=5, behind=400).run(60, records=5, behind=100)
    assert scene.alerts == []  # the newest one judged is of 00:59, and counts for 90 s

    scene.run(30, records=5, behind=200).run(120, records=5, behind=2)
    assert scene.said() == ["trigger", "resolve"]
    assert scene.alerts[0][1].title == "I am blind: records arrive, but the newest one judged is 91 s old"


def test_silence_is_not_reported_as_lag():
    scene = Scene().run(100, records=5).run(600)
    assert [a.why for _, a in scene.alerts] == ["the detector hears nothing from a source: silence is no good news"]


def test_a_detector_that_is_not_told_event_times_does_not_guess_a_lag():
    assert Scene().run(900, records=3, behind=None).alerts == []


@pytest.mark.parametrize(("records", "dead", "expected"), [(10, 4, []), (10, 6, ["trigger"]), (1, 1, ["trigger"])])
def test_rejects_count_by_their_share_of_the_last_minute(records: int, dead: int, expected: list[str]):
    assert Scene().run(120, records=records, dead=dead).said() == expected


def test_a_handful_of_broken_records_is_not_blindness():
    scene = Scene(Blind(no_input=3600.0)).run(1, records=4, dead=4).run(300)
    assert scene.alerts == []


def test_rejects_that_come_and_go_are_one_alert():
    """The share crosses its limit for twenty seconds in every forty: one trigger, and one resolve at the end."""
    scene = Scene(Blind(rejects=0.5))
    for _ in range(10):
        scene.run(20, records=10, dead=10).run(20, records=10)
    assert scene.said() == ["trigger"]
    assert scene.run(200, records=10).said() == ["trigger", "resolve"]


def test_brokers_that_are_gone_are_one_alert_and_not_silence_beside_it():
    scene = Scene().run(100, records=5)
    scene.health.brokers(reachable=False)
    scene.run(300)
    assert [a.title for _, a in scene.alerts] == ["I am blind: no Kafka broker has answered for 95 s"]
    assert scene.alerts[0][0] <= 100 + 120

    scene.health.brokers(reachable=True)
    assert scene.run(120, records=5).said() == ["trigger", "resolve"]


def test_silence_is_not_resolved_because_the_brokers_went_too():
    scene = Scene().run(100, records=5).run(100)
    scene.health.brokers(reachable=False)
    scene.run(200)
    assert scene.said() == ["trigger", "trigger"]
    scene.health.brokers(reachable=True)
    assert scene.run(120, records=5).said() == ["trigger", "trigger", "resolve", "resolve"]


def test_a_second_blindness_has_the_same_key_and_new_ids():
    scene = Scene()
    for _ in range(2):
        scene.run(60, records=5).run(180).run(60, records=5)
    alerts = [a for _, a in scene.alerts]
    assert [a.event for a in alerts] == [What.TRIGGER, What.RESOLVE] * 2
    assert len({a.dedup_key for a in alerts}) == 1
    assert len({a.id for a in alerts}) == 4


def test_the_gauge_says_for_which_reason():
    scene = Scene().run(200)
    value = scene.health.registry.get_sample_value
    assert value("anomaly_blind", {"reason": "no_input"}) == 1.0
    assert value("anomaly_blind", {"reason": "lag"}) == 0.0


async def test_the_watch_hands_over_what_is_due_and_outlives_a_receiver_that_raises():
    scene = Scene().run(1)
    scene.clock.time += 100.0
    seen: list[Alert] = []
    handed = asyncio.Event()

    async def deliver(alert: Alert) -> None:
        seen.append(alert)
        if alert.event is What.TRIGGER:
            scene.health.batch("decode", "otlp_metrics", 0, 1, 1, 0.0)
            scene.clock.time += 50.0
            raise RuntimeError("receiver")
        handed.set()

    task = asyncio.create_task(scene.blindness.watch(deliver, interval=0.001))
    await asyncio.wait_for(handed.wait(), 10)
    task.cancel()
    assert [a.event for a in seen] == [What.TRIGGER, What.RESOLVE]


async def test_a_host_is_watched_and_served_while_it_runs():
    settings = Settings(health=HealthSettings(listen="127.0.0.1:0"))
    health = Health()
    async with watched(settings, health, ignored):
        port = health.port
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200


async def test_a_port_that_is_taken_stops_the_start_with_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(health=HealthSettings(listen=address))
        with pytest.raises(ConfigError, match=rf"^health\.listen: cannot listen on {address}: .*; name another address"):
            async with watched(settings, Health(), ignored):
                pass


async def ignored(_: Alert) -> None:
    """A receiver."""


def test_a_source_of_changes_may_be_silent_for_days():
    scene = Scene()
    scene.health.seldom = frozenset(["otlp_metrics"])
    assert scene.run(300).said() == []
