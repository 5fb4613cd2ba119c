"""PagerDuty, Events API v2: one event per change, put together by `dedup_key`.

Limits are PagerDuty's own: a summary of 1,024 characters, 512 KB a payload, about 120 events a minute and key.
"""

from pathlib import Path
from typing import Any

import aiohttp
import orjson
from msgspec import to_builtins

from anomaly.config.settings import PagerDuty
from anomaly.dispatch.alert import Alert, What
from anomaly.dispatch.receivers.answer import Request, Sent, post

SUMMARY = 1024  # characters; more is refused, and the page lost
PAYLOAD = 512_000  # bytes
LEFT_OUT = {"left_out": "the details were larger than PagerDuty takes; the alert itself is on the alerts topic"}


def request(alert: Alert, url: str, routing_key: str) -> Request:
    """The event that says it. An update is a trigger with the same key; a resolve needs no more than the key."""
    event: dict[str, Any] = {"routing_key": routing_key, "dedup_key": alert.dedup_key}
    if alert.event is What.RESOLVE:
        return Request(url, orjson.dumps(event | {"event_action": "resolve"}), {})
    event |= {"event_action": "trigger", "client": "anomaly", "payload": payload(alert), "links": links(alert)}
    body = orjson.dumps(event)
    if len(body) > PAYLOAD:
        event["payload"]["custom_details"] = LEFT_OUT
        body = orjson.dumps(event)
    if len(body) > PAYLOAD:
        body = orjson.dumps(event | {"links": []})
    return Request(url, body, {})


def payload(alert: Alert) -> dict[str, Any]:
    """What the responder sees."""
    return {
        "summary": alert.title[:SUMMARY],
        "source": alert.group or "unknown",
        "severity": alert.severity.value,
        "timestamp": alert.started_at,
        "component": alert.group,
        "group": alert.environment,
        "class": alert.evidence[0].quantity if alert.evidence else "anomaly",
        "custom_details": details(alert),
    }


def details(alert: Alert) -> dict[str, Any]:
    """Text first: PagerDuty shows the details in their order."""
    told = to_builtins(alert)
    return {key: told[key] for key in ("text", "why", "confidence", "started_at", "impact", "causes", "evidence", "id")}


def links(alert: Alert) -> list[dict[str, str]]:
    """Those that a browser can open."""
    return [{"href": url, "text": name} for name, url in alert.links.items() if url.startswith(("http://", "https://"))]


class PagerDutyReceiver:
    """One integration."""

    pace = 0.5  # seconds: 120 a minute

    def __init__(self, settings: PagerDuty) -> None:
        self._url, self._key = settings.url, Path(settings.routing_key_file).read_text(encoding="utf-8").strip()

    async def send(self, session: aiohttp.ClientSession, alert: Alert) -> Sent:
        """One event."""
        return await post(session, request(alert, self._url, self._key))
