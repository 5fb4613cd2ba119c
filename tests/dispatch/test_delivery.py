"""Alerts to receivers, over real sockets; only the waiting between tries is not real."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from tests.dispatch.standins import KEY, Endpoint, PagerDuty, Served, alert

from anomaly.config.settings import File, ReceiverSettings, RouteSettings, Settings, Stdout, Webhook
from anomaly.config.settings import PagerDuty as PagerDutySettings
from anomaly.dispatch.alert import Alert, Evidence, decode, encode
from anomaly.dispatch.delivery import Delivery
from anomaly.dispatch.outbox import Outbox
from anomaly.dispatch.receivers.answer import Sent, judged
from anomaly.dispatch.receivers.pagerduty import LEFT_OUT, request


class Naps:
    """Sleeps that are over at once, and remembered."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        if seconds:
            self.taken.append(seconds)
        await asyncio.sleep(0)


def webhook(url: str, name: str = "hook", **more: Any) -> ReceiverSettings:
    return ReceiverSettings(name=name, webhook=Webhook(url=url), **more)


async def told(settings: Settings, *alerts: Alert, naps: Naps | None = None) -> Delivery:
    """Hand the alerts over one after another, each sent before the next."""
    async with Delivery(settings, sleep=naps or Naps()) as delivery:
        for each in alerts:
            await delivery.send(each)
            await asyncio.wait_for(delivery.settled(), 20)
    return delivery


async def test_a_webhook_gets_the_alert_as_it_is_on_the_topic_with_its_id_as_idempotency_key():
    end = Endpoint()
    async with Served(end.handle) as url:
        delivery = await told(Settings(receivers=[webhook(url)]), alert())
    ((headers, body),) = end.requests
    assert decode(body) == alert()
    assert headers["Idempotency-Key"] == "k1"
    assert headers["Content-Type"] == "application/json"
    assert delivery.counts["hook"] == {"sent": 1}


async def test_a_busy_webhook_is_tried_again_with_doubled_waits_until_it_takes_it():
    end, naps = Endpoint(503, 500, 429, 503, 503, 503, 503, 503), Naps()
    async with Served(end.handle) as url:
        delivery = await told(Settings(receivers=[webhook(url)]), alert(), naps=naps)
    assert naps.taken == [1, 2, 4, 8, 16, 32, 60, 60]
    assert {headers["Idempotency-Key"] for headers, _ in end.requests} == {"k1"}
    assert delivery.counts["hook"] == {"retried": 8, "sent": 1}


@pytest.mark.parametrize("status", [400, 401, 404, 422, 301])
async def test_a_refused_alert_is_not_tried_again_and_does_not_hold_up_the_next(status: int):
    end = Endpoint(status)
    async with Served(end.handle) as url:
        delivery = await told(Settings(receivers=[webhook(url)]), alert(key="a"), alert(key="b"))
    assert [b["id"] for b in end.bodies] == ["a1", "b1"]
    assert delivery.counts["hook"] == {"failed": 1, "sent": 1}


async def test_nothing_is_sent_twice_by_id():
    end = Endpoint(503)
    async with Served(end.handle) as url:
        story = (alert(), alert("update", change=2), alert("resolve", change=3))
        delivery = await told(Settings(receivers=[webhook(url)]), *story, *story)
    assert [b["id"] for b in end.bodies] == ["k1", "k1", "k2", "k3"]
    assert delivery.counts["hook"] == {"retried": 1, "sent": 3, "repeated": 3}


async def test_a_receiver_that_is_gone_is_tried_again():
    async with Served(Endpoint().handle) as url:
        pass  # nobody listens there now
    naps, settings = Naps(), Settings(receivers=[webhook(url)])
    delivery = Delivery(settings, sleep=naps)
    async with delivery:
        await delivery.send(alert())
        while len(naps.taken) < 3:
            await asyncio.sleep(0)
        await delivery.stop(patience=0)
    assert delivery.counts["hook"]["retried"] >= 3


async def test_one_that_is_down_does_not_keep_the_others_from_hearing(tmp_path: Path):
    end = Endpoint(*[503] * 1000)
    file = ReceiverSettings(name="file", file=File(path=str(tmp_path / "alerts.jsonl")))
    async with Served(end.handle) as url:
        delivery = Delivery(Settings(receivers=[webhook(url), file]))
        async with delivery:
            for change in range(1, 4):
                await delivery.send(alert("update", change=change, key=f"k{change}"))
            await asyncio.wait_for(delivery.lines[1].settled(), 20)
            await delivery.stop(patience=0)
    assert len((tmp_path / "alerts.jsonl").read_bytes().splitlines()) == 3


async def test_what_waits_while_a_receiver_is_down_is_put_together():
    """Three incidents begin, one gets worse, one is over before anybody heard of it."""
    end = Endpoint(503)
    story = [alert(key="a"), alert(key="b", severity="warning"), alert(key="c", severity="warning")]
    story += [alert("update", key="b", change=2), alert("resolve", key="c", change=2, severity="warning")]
    async with Served(end.handle) as url, Delivery(Settings(receivers=[webhook(url)]), sleep=Naps()) as delivery:
        for each in story:
            await delivery.send(each)
        await asyncio.wait_for(delivery.settled(), 20)
    assert [(b["event"], b["id"]) for b in end.bodies] == [("trigger", "a1"), ("trigger", "a1"), ("trigger", "b2")]
    assert delivery.counts["hook"]["overtaken"] == 1


async def test_each_receiver_hears_from_its_severity_on_and_of_the_end_of_what_it_heard():
    loud, quiet = Endpoint(), Endpoint()
    async with Served(loud.handle) as one, Served(quiet.handle) as two:
        receivers = [webhook(one, "all", at_least="info"), webhook(two, "pager", at_least="critical")]
        delivery = await told(
            Settings(receivers=receivers),
            alert(key="a", severity="warning"), alert("resolve", key="a", change=2, severity="warning"),
            alert(key="b", severity="warning"), alert("update", key="b", change=2),
            alert("resolve", key="b", change=3),
        )  # fmt: skip
    assert [b["id"] for b in loud.bodies] == ["a1", "a2", "b1", "b2", "b3"]
    assert [b["id"] for b in quiet.bodies] == ["b2", "b3"]
    assert delivery.counts["pager"]["below_at_least"] == 3


async def test_the_route_names_the_receiver():
    one, two = Endpoint(), Endpoint()
    async with Served(one.handle) as first, Served(two.handle) as second:
        receivers = [webhook(first, "one"), webhook(second, "two")]
        await told(Settings(receivers=receivers, routes=RouteSettings(receiver="two")), alert())
    assert (len(one.requests), len(two.requests)) == (0, 1)


async def test_a_full_outbox_makes_the_reader_wait_and_loses_nothing():
    end = Endpoint()
    async with Served(end.handle) as url:
        delivery = Delivery(Settings(receivers=[webhook(url)]), sleep=Naps())
        delivery.lines[0].outbox = Outbox(room=2)
        await delivery.send(alert(key="a"))
        await delivery.send(alert(key="b"))
        third = asyncio.create_task(delivery.send(alert(key="c")))
        await asyncio.sleep(0)
        assert not third.done()
        async with delivery:
            await asyncio.wait_for(third, 20)
            await asyncio.wait_for(delivery.settled(), 20)
    assert [b["id"] for b in end.bodies] == ["a1", "b1", "c1"]


async def test_what_was_sent_before_a_restart_is_not_sent_again():
    end = Endpoint()
    async with Served(end.handle) as url:
        delivery = Delivery(Settings(receivers=[webhook(url)]), sleep=Naps())
        delivery.restore([alert("update", change=2)])
        async with delivery:
            await delivery.send(alert("update", change=2))
            await delivery.send(alert("resolve", change=3))
            await asyncio.wait_for(delivery.settled(), 20)
    assert [b["id"] for b in end.bodies] == ["k3"]


async def test_tokens_come_from_a_file_and_are_not_in_what_is_said_of_a_failure(tmp_path: Path):
    (tmp_path / "headers").write_text("# ours\nAuthorization: Bearer s3cret\n\nX-Team: sre\n")
    end = Endpoint(400)
    async with Served(end.handle) as url:
        hook = Webhook(url=url, headers_file=str(tmp_path / "headers"))
        delivery = Delivery(Settings(receivers=[ReceiverSettings(name="hook", webhook=hook)]), sleep=Naps())
        async with aiohttp.ClientSession() as session:
            sent = await delivery.lines[0].receiver.send(session, alert())
    headers, _ = end.requests[0]
    assert (headers["Authorization"], headers["X-Team"]) == ("Bearer s3cret", "sre")
    assert sent == Sent(False, False, "400 answer 400")


@pytest.mark.parametrize(
    ("status", "ok", "retry"),
    [(200, True, False), (202, True, False), (302, False, False), (400, False, False), (404, False, False),
     (408, False, True),
     (425, False, True), (429, False, True), (500, False, True), (503, False, True)],
)  # fmt: skip
def test_a_send_says_whether_it_failed_and_whether_another_try_may_help(status: int, ok: bool, retry: bool):
    assert judged(status, "x")[:2] == (ok, retry)


async def test_stdout_is_a_block_for_people_or_a_line_for_tools(capsys: pytest.CaptureFixture[str]):
    receivers = [
        ReceiverSettings(name="people", stdout=Stdout()),
        ReceiverSettings(name="tools", stdout=Stdout(json=True)),
    ]
    await told(Settings(receivers=receivers[:1]), alert(text="first\n\nsecond"))
    assert capsys.readouterr().out == "CRITICAL trigger 2026-01-01T09:02:20Z  k trigger\n  first\n\n  second\n\n"
    await told(Settings(receivers=receivers[1:]), alert())
    assert capsys.readouterr().out == encode(alert()).decode() + "\n"


async def test_a_file_gets_a_line_for_each_alert(tmp_path: Path):
    path = tmp_path / "alerts.jsonl"
    settings = Settings(receivers=[ReceiverSettings(name="file", file=File(path=str(path)))])
    await told(settings, alert(), alert("resolve", change=2))
    assert [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()] == ["k1", "k2"]


def pagerduty(url: str, tmp_path: Path, key: str = KEY) -> Settings:
    (tmp_path / "key").write_text(key + "\n")
    settings = PagerDutySettings(routing_key_file=str(tmp_path / "key"), url=url)
    return Settings(receivers=[ReceiverSettings(name="oncall", pagerduty=settings)])


async def test_pagerduty_has_one_incident_triggered_added_to_and_resolved(tmp_path: Path):
    service, naps = PagerDuty(busy=2), Naps()
    story = alert(severity="warning"), alert("update", change=2), alert("resolve", change=3)
    async with Served(service.handle) as url:
        delivery = await told(pagerduty(url, tmp_path), *story, naps=naps)
    (incident,) = service.incidents
    assert incident["status"] == "resolved"
    assert [e["severity"] for e in incident["events"]] == ["warning", "critical"]
    assert incident["events"][0]["summary"] == "k trigger"
    assert service.refused == []
    assert service.answers == [429, 429, 202, 202, 202]
    assert naps.taken == [1, 2, 0.5, 0.5, 0.5], "two a second are within 120 a minute"
    assert delivery.counts["oncall"] == {"retried": 2, "sent": 3}


async def test_a_wrong_routing_key_is_a_failure_that_no_other_try_mends(tmp_path: Path):
    service = PagerDuty()
    async with Served(service.handle) as url:
        delivery = await told(pagerduty(url, tmp_path, "f" * 32), alert())
    assert (service.refused, service.incidents) == (["invalid routing key"], [])
    assert delivery.counts["oncall"] == {"failed": 1}


async def test_an_alert_of_any_size_is_a_page(tmp_path: Path):
    """Too long a summary or too large a payload is refused by PagerDuty, and a page is lost."""
    row = Evidence(series={"label": "ü" * 200}, quantity="p95", unit="s", expected=(None, 1.0), observed=2.0, score=9.0,
                   started_at="2026-01-01T09:02:10Z", ended_at=None, points=(), text="")  # fmt: skip
    long = alert(key="long", title="é" * 5000, links={"runbook": "https://wiki/x", "plain": "ask Ann"})
    huge = alert(key="huge", evidence=(row,) * 2000)
    wide = alert(key="wide", links={str(i): "https://wiki/" + "x" * 200 for i in range(3000)})
    service = PagerDuty()
    async with Served(service.handle) as url:
        await told(pagerduty(url, tmp_path), long, huge, wide)
    assert service.refused == []
    assert len(service.incidents) == 3
    assert service.incidents[1]["events"][0]["custom_details"] == LEFT_OUT


def test_a_resolve_of_pagerduty_needs_no_more_than_the_key():
    body = orjson.loads(request(alert("resolve", change=2), "http://x", KEY).body)
    assert body == {"routing_key": KEY, "dedup_key": "k", "event_action": "resolve"}
