"""Blindness: the detector says that it cannot see, on the wall clock, straight to the receivers, without Kafka.

Four reasons: the brokers do not answer, nothing is read, what is judged is old, too much is set aside. Each is one
critical trigger and one resolve, under a key that stays the same, so that a person meets it once.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from anomaly.config.mistake import ConfigError, Mistake
from anomaly.config.settings import Blind, Settings
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host.health import Health

BROKERS, NO_INPUT, LAG, REJECTS = "brokers", "no_input", "lag", "rejects"
REASONS = (BROKERS, NO_INPUT, LAG, REJECTS)
SURE_AFTER = 30.0  # seconds a reason must be over before it is resolved: one that comes and goes is one alert, not ten
MIN_REJECTS = 5  # fewer in a minute are a broken sender's affair, and have their counter

WHY = {
    BROKERS: "the detector cannot reach Kafka: nothing is judged, and silence is no good news",
    NO_INPUT: "the detector hears nothing from a source: silence is no good news",
    LAG: "the detector judges old data: alerts come late",
    REJECTS: "the detector sets aside much of what it reads: it may miss faults",
}

ADVICE = {
    BROKERS: "Nothing is judged until they do. Check the brokers, and the network between.",
    NO_INPUT: "What fails there meanwhile is not found. Check the senders, the collector and the topic.",
    LAG: "Alerts come late by as much. Check the load of the worker; more workers take over partitions.",
    REJECTS: "Faults in them are not found. The dead letters say why; check the encoding of the source.",
}

log = logging.getLogger(__name__)


class Blindness:
    """Judges what `health` has been told. Sees nothing else, and asks no clock but for `watch`."""

    def __init__(self, settings: Blind, health: Health) -> None:
        self.settings, self.health = settings, health
        self._since: dict[str, float] = {}  # the reasons that have been alerted, and when they began
        self._text: dict[str, str] = {}
        self._last: dict[str, float] = {}  # when each of them last held

    def check(self, now: float) -> list[Alert]:
        """The alerts that are due at `now`, seconds since the epoch."""
        found = self.found(now)
        alerts = []
        for reason in REASONS:
            if reason in found:
                self._last[reason] = now
                if reason not in self._since:
                    alerts.append(self._open(reason, *found[reason], now))
            elif reason in self._since and self._over(reason, now, found):
                alerts.append(self._close(reason, now))
            self.health.blind(reason, reason in self._since)
        return alerts

    def found(self, now: float) -> dict[str, tuple[float, str]]:
        """Reasons that hold at `now`, each with when it began and what to say. Brokers that are gone explain the rest."""
        judges = {BROKERS: self._brokers, NO_INPUT: self._no_input, LAG: self._lag, REJECTS: self._rejects}
        held = {reason: said for reason, judge in judges.items() if (said := judge(now))}
        return {BROKERS: held[BROKERS]} if BROKERS in held else held

    def _brokers(self, now: float) -> tuple[float, str] | None:
        gone = self.health.brokers_gone_since
        if gone is None or now - gone <= self.settings.no_input:
            return None
        return gone, f"no Kafka broker has answered for {now - gone:.0f} s"

    def _no_input(self, now: float) -> tuple[float, str] | None:
        """A source is judged from when it was assigned, so that one which never brings anything is seen too."""
        since = {s: self.health.heard.get(s, at) for s, at in self.health.assigned_at.items() if s not in self.health.seldom}
        silent = {s: t for s, t in sorted(since.items()) if now - t > self.settings.no_input}
        if not silent:
            return None
        return min(silent.values()), "no record from " + " and ".join(f"{s} for {now - t:.0f} s" for s, t in silent.items())

    def _lag(self, now: float) -> tuple[float, str] | None:
        """Only while something is read: a source that is silent is not late."""
        newest, (read, _) = self.health.newest, self.health.recent(now)
        if newest is None or not read or now - newest / 1000.0 <= self.settings.lag:
            return None
        return newest / 1000.0, f"records arrive, but the newest one judged is {now - newest / 1000.0:.0f} s old"

    def _rejects(self, now: float) -> tuple[float, str] | None:
        records, rejects = self.health.recent(now)
        if rejects < MIN_REJECTS or rejects <= self.settings.rejects * records:
            return None
        return now, f"{rejects} of the last minute's {max(records, rejects)} records could not be read and were set aside"

    def _over(self, reason: str, now: float, found: dict[str, tuple[float, str]]) -> bool:
        """Nothing is over while the brokers are gone: it only cannot be seen."""
        return BROKERS not in found and now - self._last[reason] >= SURE_AFTER

    def _open(self, reason: str, since: float, text: str, now: float) -> Alert:
        self._since[reason], self._text[reason] = since, text
        log.error("blind", extra={"reason": reason, "detail": text})
        return message(What.TRIGGER, reason, since, now, f"I am blind: {text}", f"I am blind: {text}. {ADVICE[reason]}")

    def _close(self, reason: str, now: float) -> Alert:
        since, text = self._since.pop(reason), self._text.pop(reason)
        log.warning("sees again", extra={"reason": reason})
        return message(What.RESOLVE, reason, since, now, "I see again", f"I see again, after {now - since:.0f} s ({text}).")

    async def watch(self, deliver: Callable[[Alert], Awaitable[None]], interval: float = 5.0) -> None:
        """Check every `interval` seconds, until cancelled, and hand what is due straight to `deliver`."""
        while True:
            for alert in self.check(self.health.now()):
                await attempt(deliver, alert)
            await asyncio.sleep(interval)


@asynccontextmanager
async def watched(settings: Settings, health: Health, deliver: Callable[[Alert], Awaitable[None]]) -> AsyncIterator[None]:
    """What every host runs in: health served, and blindness watched and handed straight to `deliver`."""
    try:
        await health.start(settings.health.listen)
    except OSError as error:
        said = f"cannot listen on {settings.health.listen}: {os.strerror(error.errno or 0)}; name another address, or port 0"
        raise ConfigError([Mistake("", "health.listen", said)]) from error
    watching = asyncio.create_task(Blindness(settings.blind, health).watch(deliver))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await health.stop()


async def attempt(deliver: Callable[[Alert], Awaitable[None]], alert: Alert) -> None:
    """Deliver; a fault of ours there is logged, and the watch goes on."""
    try:
        await deliver(alert)
    except Exception:
        log.exception("blindness alert not handed over", extra={"alert": alert.id, "title": alert.title})


def message(event: What, reason: str, since: float, now: float, title: str, text: str) -> Alert:
    """The alert about one reason. Every worker uses the same key: an outage of Kafka is one page, not one a worker."""
    key = digest("anomaly", "blind", reason)
    return Alert(
        event=event,
        id=digest(key, f"{since:.3f}", event.value)[:32],
        dedup_key=key,
        time=rfc3339(now),
        severity=Severity.CRITICAL,
        why=WHY[reason],
        title=title if len(title) <= 100 else title[:99] + "…",
        text=text,
        environment="default",
        group="anomaly",
        started_at=rfc3339(since),
        ended_at=rfc3339(now) if event is What.RESOLVE else None,
        confidence="certain: the detector counts its own input",
    )


def digest(*parts: str) -> str:
    """Hexadecimal SHA-256 over `parts`."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def rfc3339(seconds: float) -> str:
    """`2026-01-01T09:03:20Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
