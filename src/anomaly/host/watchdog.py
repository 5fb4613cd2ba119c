"""A source that makes no progress says why, and is made anew; if that does not help, the worker ends.

A stage stalls in two ways: what it has in hand does not end, or nothing comes although the brokers have something for it.
The second is asked of the brokers, not of the client that may have stalled. Brokers that do not answer are no stall: for
them a worker waits. Nor is a receiver that is down: delivery holds its blocks back on purpose.
What stalls without giving the event loop back is met by `alarm`, which needs neither the loop nor the interpreter.
"""

import asyncio
import faulthandler
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from aiokafka.errors import KafkaError

from anomaly.config.settings import KafkaSettings
from anomaly.host import connect
from anomaly.host.blocks import Place
from anomaly.host.health import Health
from anomaly.host.intake import Intake
from anomaly.host.source import Source

log = logging.getLogger(__name__)

HELPS = 2  # times a source is made anew without a block taken in between; then the worker ends
ANSWER = 10.0  # seconds for a broker, or a client, to answer a question
LEAVING = 25.0  # seconds for a stalled source to end, and for a worker that was told to: Kubernetes kills after 30

Reader = tuple[Intake, Source]


class Stalled(Exception):
    """A stage makes no progress, and a new source did not help."""


class Stall(NamedTuple):
    """Why a stage makes no progress."""

    reason: str  # in_hand or not_read: what is counted
    said: str


async def answers(kafka: KafkaSettings) -> bool:
    """Whether the brokers do."""
    with suppress(TimeoutError, KafkaError, OSError), connect.overheard():
        async with asyncio.timeout(ANSWER), connect.admin(kafka) as client:
            await client.describe_cluster()
            return True
    return False


class Watched:
    """A Source over sources: reads with one until it stalls, then with a new one. `limit` in seconds, 0: never stalls."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Awaitable[Reader]],
        limit: float,
        health: Health,
        reachable: Callable[[], Awaitable[bool]],
    ) -> None:
        self.name, self.limit, self.health = name, limit, health
        self._make, self._reachable = make, reachable
        self._source: Source | None = None
        self._making: asyncio.Future[Reader] | None = None
        self._stopping = False

    async def run(self) -> None:
        """Read until stopped; raises what made it impossible to go on."""
        left = HELPS + 1
        while not self._stopping:
            if (made := await self._made()) is None:
                break
            intake, self._source = made
            reading = asyncio.create_task(self._source.run())
            watching = asyncio.create_task(self._stall(intake, self._source))
            await asyncio.wait([reading, watching], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping or reading.done():
                watching.cancel()
                await reading
                break
            stall = watching.result()
            self._say(stall, intake)
            left = HELPS if intake.blocks else left - 1
            ended = await self._abandon(intake, self._source, reading)
            if not (ended and left):
                leave_within(LEAVING)
                why = "a new consumer did not help" if ended else "its consumer does not end"
                raise Stalled(f"{self.name} stalled, {why}: {stall.said}")

    async def _made(self) -> Reader | None:
        """A new source; None where we were asked to stop before there was one, which brokers may hold up for long."""
        self._making = asyncio.ensure_future(self._make())
        try:
            made = await self._making
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            return None
        return None if self._stopping else made

    def _say(self, stall: Stall, intake: Intake) -> None:
        self.health.stalled(self.name, stall.reason)
        log.error("%s makes no progress: %s", self.name, stall.said)
        if intake.in_hand and intake.in_hand.task:
            stack = io.StringIO()
            intake.in_hand.task.print_stack(file=stack)
            log.error("where it waits: %s", stack.getvalue())

    async def _abandon(self, intake: Intake, source: Source, reading: "asyncio.Task[None]") -> bool:
        """End a source that stalled, nothing of its state kept; False if it does not end."""
        intake.abandon()
        await source.stop()
        done, _ = await asyncio.wait([reading], timeout=LEAVING)
        if not done:
            reading.cancel()
        elif not reading.cancelled() and (error := reading.exception()):
            log.info("the consumer that stalled ended with %r", error)
        return bool(done)

    async def _stall(self, intake: Intake, source: Source) -> Stall:
        """Return when there is no progress for longer than the limit."""
        if not self.limit:
            await asyncio.Event().wait()
        seen = intake.moved
        since = time.monotonic()
        while True:
            await asyncio.sleep(min(self.limit / 4, 5.0))
            seen, since = (seen, since) if intake.moved == seen else (intake.moved, time.monotonic())
            if time.monotonic() - since < self.limit:
                continue
            stall = await self._why(intake, source)
            if stall and intake.moved == seen and await self._reachable():
                return stall
            since = time.monotonic()

    async def _why(self, intake: Intake, source: Source) -> Stall | None:
        """What a stage that does not move waits for; None: for nothing, or for what is not ours to mend."""
        if held := intake.in_hand:
            said = f"{held.what} {held.place} from offset {held.offset} on" if held.place else held.what
            lasts = f"{said} lasts {time.monotonic() - held.since:.0f} s"
            return None if intake.stage.settles_later and held.place else Stall("in_hand", lasts)
        for place, wanted in sorted(intake.expected().items()):
            if (end := await self._end(intake, place)) is None or end > wanted:
                return Stall(
                    "not_read", f"{place} is not read on from offset {wanted}, it ends at {end or 'an unknown one'}"
                )
        if unread := {place: n for place, n in source.lag().items() if n}:
            return Stall("not_read", f"nothing is read, there is more: {unread}")
        return None

    async def _end(self, intake: Intake, place: Place) -> int | None:
        """Where a partition ends; None if nobody tells."""
        with suppress(TimeoutError, KafkaError, OSError, KeyError):
            async with asyncio.timeout(ANSWER):
                return (await intake.gate.look([place]))[place].ends
        return None

    async def stop(self) -> None:
        """Let `run` finish."""
        self._stopping = True
        if self._making:
            self._making.cancel()
        if self._source:
            await self._source.stop()

    def lag(self) -> dict[Place, int]:
        """Records not yet read, by assigned partition."""
        return self._source.lag() if self._source else {}


def leave_within(seconds: float) -> threading.Timer:
    """The process ends by then, whatever else hangs, unless the timer is cancelled: somebody starts it again."""

    def leave() -> None:
        said = f"anomaly: left after {seconds:.0f} s, though not all has ended: what no checkpoint covers is read again"
        print(said, file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    return timer


async def alarm(limit: float) -> None:
    """Unless the event loop comes round within `limit` seconds, the stacks are printed and the process ends."""
    try:
        while limit:
            faulthandler.dump_traceback_later(limit, exit=True, file=sys.__stderr__ or sys.stderr)
            await asyncio.sleep(min(limit / 4, 5.0))
    finally:
        faulthandler.cancel_dump_traceback_later()
