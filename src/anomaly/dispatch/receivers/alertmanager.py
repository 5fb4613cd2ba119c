"""Alertmanager, API v2: alerts are label sets that somebody keeps repeating while they fire.

Labels identify, so they hold nothing that moves. Severity is one of them, because routes are chosen by it: when it changes,
the old label set is ended in the same request that starts the new one, and no twin is left firing.

A firing alert is repeated every `resend` seconds and carries an end some repetitions ahead: it outlives a restart of ours,
and a resolved one is repeated for five minutes, for a replica that was away. Every replica is sent to.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from anomaly.config.settings import Alertmanager
from anomaly.dispatch.alert import Alert, What
from anomaly.dispatch.receivers.answer import Request, Sent, post

PATH = "/api/v2/alerts"
NAME = "Anomaly"
REPEATED = 300.0  # seconds for which a resolved alert is repeated
AHEAD = 4  # repetitions that may fail before a firing alert ends by itself, as Prometheus does it
AT_LEAST_AHEAD = 300.0
TOGETHER = 500  # alerts of one request

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Held:
    """A label set that Alertmanager knows of; `ended` is None while it fires. Seconds since the epoch."""

    alert: Alert
    ended: float | None = None
    until: float = 0.0  # how long a resolved one is repeated


def labels(alert: Alert) -> Labels:
    """What identifies the alert there."""
    return (
        ("alertname", NAME),
        ("environment", alert.environment),
        ("group", alert.group),
        ("severity", alert.severity.value),
        ("dedup_key", alert.dedup_key),
    )


def annotations(alert: Alert) -> dict[str, str]:
    """What may change."""
    links = {f"{name}_url": url for name, url in alert.links.items()}
    return {"summary": alert.title, "description": alert.text, "why": alert.why, "confidence": alert.confidence} | links


def payload(alert: Alert, start: float, end: float) -> dict[str, Any]:
    """One alert as Alertmanager takes it: an end in the past is a resolved one."""
    return {
        "labels": dict(labels(alert)),
        "annotations": annotations(alert),
        "startsAt": rfc3339(min(start, end)),
        "endsAt": rfc3339(end),
    }


class AlertmanagerReceiver:
    """All replicas of one Alertmanager."""

    pace = 0.0

    def __init__(self, settings: Alertmanager, now: Callable[[], float]) -> None:
        self._urls = [url.rstrip("/") + PATH for url in settings.urls]
        self.resend = settings.resend
        self._now = now
        self._held: dict[Labels, Held] = {}

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Alerts known to fire from before a restart."""
        self._held.update({labels(alert): Held(alert) for alert in alerts})

    async def send(self, session: aiohttp.ClientSession, alert: Alert) -> Sent:
        """Start or end it, and end whatever label set it had before."""
        changed = self._take(alert, self._now())
        sent = await self._post(session, changed)
        if not (sent.ok or sent.retry):
            for refused in changed:
                self._held.pop(labels(refused.alert), None)
        return sent

    async def again(self, session: aiohttp.ClientSession) -> Sent | None:
        """Repeat what fires and what was resolved lately; None if there is nothing."""
        now = self._now()
        self._held = {k: h for k, h in self._held.items() if h.ended is None or h.until > now}
        held = list(self._held.values())
        sent = [await self._post(session, held[at : at + TOGETHER]) for at in range(0, len(held), TOGETHER)]
        return next((s for s in sent if not s.ok), sent[0]) if sent else None

    def _take(self, alert: Alert, now: float) -> list[Held]:
        """All label sets of the incident as they are now; the former ones too, because an earlier try may have failed."""
        for held in self._held.values():
            if held.alert.dedup_key == alert.dedup_key and held.ended is None:
                held.ended, held.until = now, now + REPEATED
        over = min(seconds(alert.ended_at or alert.time), now) if alert.event is What.RESOLVE else None
        self._held[labels(alert)] = Held(alert, over, now + REPEATED)
        return [held for held in self._held.values() if held.alert.dedup_key == alert.dedup_key]

    async def _post(self, session: aiohttp.ClientSession, held: Sequence[Held]) -> Sent:
        """To all replicas. One that took it is enough: the next repetition is for the others."""
        ahead = self._now() + max(AHEAD * self.resend, AT_LEAST_AHEAD)
        told = [payload(h.alert, seconds(h.alert.started_at), ahead if h.ended is None else h.ended) for h in held]
        body = orjson.dumps(told)
        sent = await asyncio.gather(*(post(session, Request(url, body, {})) for url in self._urls))
        detail = "; ".join(f"{url} {s.detail}" for url, s in zip(self._urls, sent, strict=True) if not s.ok)
        ok = any(s.ok for s in sent)
        return Sent(ok, not ok and any(s.retry for s in sent), detail or sent[0].detail)


def seconds(text: str) -> float:
    """Since the epoch, of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()


def rfc3339(time: float) -> str:
    """With milliseconds."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
