"""Against a real Alertmanager, and what is said to it between changes."""

import asyncio
import time
from datetime import datetime
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from tests.dispatch.standins import Endpoint, Served, alert

from anomaly.config.settings import Alertmanager, ReceiverSettings, Settings
from anomaly.dispatch.alert import Alert
from anomaly.dispatch.delivery import Delivery
from anomaly.dispatch.receivers.alertmanager import AlertmanagerReceiver


def settings(*urls: str, resend: float = 60.0) -> Settings:
    receiver = ReceiverSettings(name="am", at_least="info", alertmanager=Alertmanager(urls=list(urls), resend=resend))
    return Settings(receivers=[receiver])


async def tell(url: str, *alerts: Alert) -> None:
    async with Delivery(settings(url)) as delivery:
        for each in alerts:
            await delivery.send(each)
            await asyncio.wait_for(delivery.settled(), 20)
    assert delivery.counts["am"] == {"sent": len(alerts)}


async def firing(url: str, key: str) -> list[dict[str, Any]]:
    """What is active there, of one incident."""
    query = {"filter": f'dedup_key="{key}"', "active": "true"}
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/alerts", params=query) as answer:
        found: list[dict[str, Any]] = await answer.json()
        return found


@pytest.fixture
def key() -> str:
    return uuid4().hex


async def test_a_trigger_is_one_active_alert_and_its_resolve_takes_it_away(alertmanager: str, key: str):
    await tell(alertmanager, alert(key=key, links={"runbook": "https://wiki/x"}))
    (active,) = await firing(alertmanager, key)
    until = time.monotonic() + 20
    while active["status"]["state"] == "unprocessed" and time.monotonic() < until:
        (active,) = await firing(alertmanager, key)
    assert active["status"]["state"] == "active"
    assert active["labels"] == {
        "alertname": "Anomaly", "environment": "prod", "group": "checkout", "severity": "critical", "dedup_key": key,
    }  # fmt: skip
    assert active["annotations"]["summary"] == f"{key} trigger"
    assert active["annotations"]["runbook_url"] == "https://wiki/x"
    assert datetime.fromisoformat(active["startsAt"]) == datetime.fromisoformat("2026-01-01T09:02:10Z")

    await tell(alertmanager, alert("resolve", key=key, change=2))
    assert await firing(alertmanager, key) == []


async def test_a_changed_severity_leaves_no_twin_firing(alertmanager: str, key: str):
    async with Delivery(settings(alertmanager)) as delivery:
        for each, expected in (
            (alert(key=key, severity="warning"), ["warning"]),
            (alert("update", key=key, change=2), ["critical"]),
            (alert("resolve", key=key, change=3), []),
        ):
            await delivery.send(each)
            await asyncio.wait_for(delivery.settled(), 20)
            assert [a["labels"]["severity"] for a in await firing(alertmanager, key)] == expected


async def test_after_a_restart_the_same_alert_goes_on_and_its_old_severity_ends(alertmanager: str, key: str):
    first = alert(key=key, severity="warning")
    await tell(alertmanager, first)
    restarted = Delivery(settings(alertmanager))
    restarted.restore([first])
    async with restarted:
        await restarted.send(first)
        await restarted.send(alert("update", key=key, change=2))
        await asyncio.wait_for(restarted.settled(), 20)
    assert [a["labels"]["severity"] for a in await firing(alertmanager, key)] == ["critical"]


async def test_a_repeated_blindness_fires_again_under_the_same_labels(alertmanager: str, key: str):
    for change in (1, 3):
        await tell(alertmanager, alert(key=key, change=change))
        assert len(await firing(alertmanager, key)) == 1
        await tell(alertmanager, alert("resolve", key=key, change=change + 1))
        assert await firing(alertmanager, key) == []


async def test_an_alert_from_the_past_or_the_future_is_taken(alertmanager: str, key: str):
    """A replay is old, a sender's clock may be ahead."""
    future: dict[str, Any] = {"time": "2099-01-01T00:00:00Z", "started_at": "2099-01-01T00:00:00Z"}
    await tell(alertmanager, alert(key=key, started_at="2014-04-10T07:15:00Z"), alert(key=f"{key}f", **future))
    assert [len(await firing(alertmanager, k)) for k in (key, f"{key}f")] == [1, 1]
    over: dict[str, Any] = {
        "time": "2099-01-01T00:01:00Z",
        "started_at": "2099-01-01T00:00:00Z",
        "ended_at": "2099-01-01T00:01:00Z",
    }
    await tell(alertmanager, alert("resolve", key=f"{key}f", change=2, **over))
    assert await firing(alertmanager, f"{key}f") == []


async def test_what_fires_is_repeated_and_what_is_over_for_five_minutes_more():
    end, clock = Endpoint(), [1_800_000_000.0]
    async with Served(end.handle) as url, aiohttp.ClientSession() as session:
        receiver = AlertmanagerReceiver(Alertmanager(urls=[url], resend=60.0), lambda: clock[0])
        assert await receiver.again(session) is None
        await receiver.send(session, alert(key="a"))
        await receiver.send(session, alert(key="b"))
        await receiver.send(session, alert("resolve", key="b", change=2))
        end.requests.clear()
        for wait in (60.0, 239.0, 2.0):
            clock[0] += wait
            await receiver.again(session)
    said = [[(a["labels"]["dedup_key"], seconds(a["endsAt"]) > 1_800_000_000.0) for a in body] for body in end.bodies]
    assert said == [[("a", True), ("b", False)], [("a", True), ("b", False)], [("a", True)]]
    assert seconds(end.bodies[-1][0]["endsAt"]) == clock[0] + 300.0, "it outlives five minutes without us"


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_every_replica_is_told_and_one_that_is_down_loses_nothing():
    up, down = Endpoint(), Endpoint(503, 503)

    async def sleep(_: float) -> None:
        await asyncio.sleep(0.001)

    async with Served(up.handle) as one, Served(down.handle) as two, Delivery(settings(one, two), sleep=sleep) as delivery:
        await delivery.send(alert())
        await asyncio.wait_for(delivery.settled(), 20)
        until = time.monotonic() + 20
        while len(down.requests) < 3 and time.monotonic() < until:
            await asyncio.sleep(0.001)
    assert delivery.counts["am"] == {"sent": 1}
    assert [b[0]["labels"]["dedup_key"] for b in down.bodies[:3]] == ["k"] * 3
    assert up.requests


async def test_an_ending_severity_is_told_again_if_the_first_try_failed():
    """Else the old label set would fire beside the new one until the next repetition."""
    end = Endpoint(200, 503)

    async def sleep(seconds_: float) -> None:
        await asyncio.sleep(3600 if seconds_ >= 60 else 0)

    async with Served(end.handle) as url, Delivery(settings(url), sleep=sleep) as delivery:
        await delivery.send(alert(severity="warning"))
        await asyncio.wait_for(delivery.settled(), 20)
        await delivery.send(alert("update", change=2))
        await asyncio.wait_for(delivery.settled(), 20)
    said = [[(a["labels"]["severity"], seconds(a["endsAt"]) > time.time()) for a in body] for body in end.bodies]
    assert said[1:] == [[("warning", False), ("critical", True)]] * 2
