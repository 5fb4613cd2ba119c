"""Alerts to receivers: an outbox for each, tried until it is through or refused. The only part that lives on the wall clock.

A full outbox makes `send` wait, and with it whoever reads the alerts topic, where the rest is safe.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType

import aiohttp

from anomaly.config.settings import ReceiverSettings, Settings
from anomaly.dispatch.alert import Alert, Severity
from anomaly.dispatch.outbox import Outbox, Put, Waiting
from anomaly.dispatch.receivers import made
from anomaly.dispatch.receivers.alertmanager import AlertmanagerReceiver
from anomaly.dispatch.receivers.answer import Receiver, Sent
from anomaly.dispatch.severity import ORDER

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds until another try: doubled each time
TIMEOUT = 10.0  # seconds for one request
SENT, FAILED, RETRIED, BELOW = "sent", "failed", "retried", "below_at_least"

Sleep = Callable[[float], Awaitable[None]]
Observe = Callable[[str, str], None]

log = logging.getLogger(__name__)


class Line:
    """One receiver, what waits for it, and how it went. `counts` is by result."""

    def __init__(self, settings: ReceiverSettings, receiver: Receiver, sleep: Sleep, observe: Observe) -> None:
        self.name, self.receiver, self.outbox = settings.name, receiver, Outbox()
        self.counts: Counter[str] = Counter()
        self._least = ORDER.index(Severity(settings.at_least))
        self._sleep, self._observe = sleep, observe
        self._changed = asyncio.Condition()
        self._failures = 0  # in a row

    async def put(self, alert: Alert, perhaps_sent: bool) -> None:
        """Let it wait its turn. A resolve has its incident's severity, so it goes to whoever was told of the incident."""
        if not self._is_meant(alert):
            self._count(BELOW)
            return
        async with self._changed:
            await self._changed.wait_for(lambda: self.outbox.has_room(alert))
            put = self.outbox.put(alert, perhaps_sent)
            if put is not Put.WAITS:
                self._count(put.value)
            self._changed.notify_all()

    def restore(self, alerts: Iterable[Alert]) -> None:
        """These were sent before a restart."""
        sent = [alert for alert in alerts if self._is_meant(alert)]
        for alert in sent:
            self.outbox.remember(alert)
        if isinstance(self.receiver, AlertmanagerReceiver):
            self.receiver.restore(sent)

    async def settled(self) -> None:
        """Wait until nothing waits."""
        async with self._changed:
            await self._changed.wait_for(lambda: not len(self.outbox))

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Send what waits, for ever."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: len(self.outbox) > 0)
                waiting = self.outbox.take()
            if waiting:
                pause = await self._try(session, waiting)
                await self._sleep(pause)

    async def repeat(self, session: aiohttp.ClientSession, receiver: AlertmanagerReceiver) -> None:
        """Tell Alertmanager again what it would forget, for ever."""
        while True:
            await self._sleep(receiver.resend)
            sent = await receiver.again(session)
            if sent and not sent.ok:
                log.warning("alerts not repeated", extra={"receiver": self.name, "detail": sent.detail})

    async def _try(self, session: aiohttp.ClientSession, waiting: Waiting) -> float:
        """One send; how long to wait until the next."""
        sent = await self._ask(session, waiting.alert)
        async with self._changed:
            if sent.retry:
                self.outbox.back()
            else:
                self.outbox.sent()
            self._changed.notify_all()
        self._failures = self._failures + 1 if sent.retry else 0
        self._report(waiting, sent)
        wait = min(FIRST_WAIT * 2.0 ** (self._failures - 1), LONGEST_WAIT) if sent.retry else 0.0
        return max(wait, self.receiver.pace)

    async def _ask(self, session: aiohttp.ClientSession, alert: Alert) -> Sent:
        """A receiver of ours that raises has a fault that another try will not mend."""
        try:
            return await self.receiver.send(session, alert)
        except Exception as error:
            log.exception("receiver failed", extra={"receiver": self.name, "alert": alert.id})
            return Sent(False, False, str(error))

    def _is_meant(self, alert: Alert) -> bool:
        return ORDER.index(alert.severity) >= self._least

    def _report(self, waiting: Waiting, sent: Sent) -> None:
        self._count(SENT if sent.ok else RETRIED if sent.retry else FAILED)
        if not sent.ok:
            about = {"receiver": self.name, "alert": waiting.alert.id, "tries": waiting.tries, "detail": sent.detail}
            log.log(logging.WARNING if sent.retry else logging.ERROR, "alert not sent", extra=about)

    def _count(self, result: str) -> None:
        self.counts[result] += 1
        self._observe(self.name, result)


class Delivery:
    """All receivers. Use as `async with Delivery(settings) as delivery`, then `await delivery.send(alert)`."""

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
        observe: Observe = lambda receiver, result: None,
    ) -> None:
        self.lines = [Line(r, made(r, now), sleep, observe) for r in routed(settings)]
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """Results by receiver."""
        return {line.name: line.counts for line in self.lines}

    async def send(self, alert: Alert, perhaps_sent: bool = False) -> None:
        """Hand the alert over; waits while an outbox is full.

        `perhaps_sent` says that the alert may have been sent by the process before this one (its offset was not committed):
        then its resolve is sent even if both are read together.
        """
        for line in self.lines:
            await line.put(alert, perhaps_sent)

    def restore(self, alerts: Iterable[Alert]) -> None:
        """The last alerts of open incidents from before a restart: they were sent, and Alertmanager must go on hearing."""
        known = list(alerts)
        for line in self.lines:
            line.restore(known)

    async def settled(self) -> None:
        """Wait until everything that was handed over is sent, or refused."""
        for line in self.lines:
            await line.settled()

    async def start(self) -> None:
        """Begin to send."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        for line in self.lines:
            self._tasks.append(asyncio.create_task(line.run(self._session), name=f"deliver to {line.name}"))
            if isinstance(line.receiver, AlertmanagerReceiver):
                self._tasks.append(asyncio.create_task(line.repeat(self._session, line.receiver)))

    async def stop(self, patience: float = 5.0) -> None:
        """Stop, after what waits has had so many seconds to go out."""
        if self._tasks:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.settled(), patience)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._session:
            await self._session.close()

    async def __aenter__(self) -> "Delivery":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def routed(settings: Settings) -> Sequence[ReceiverSettings]:
    """The receivers that the routes lead to; without routes, all of them."""
    if settings.routes is None:
        return settings.receivers
    return [r for r in settings.receivers if r.name == settings.routes.receiver]
