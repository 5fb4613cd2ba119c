"""The demo: a shop under load, learned; a fault in payment, alerted; the fault lifted, and the alert resolved.

The services are real, the telemetry is theirs, the detector is the embedded host with the shipped models. Two waits are
shorter than by default, so that nobody sits through them: an anomaly ends after 10 s back in its band (30 s), an
incident 5 s later (30 s). What counts as a fault is left as it is.
"""

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import ClientSession
from msgspec.structs import replace

from anomaly.config.load import load_specs
from anomaly.config.models import ModelSpec
from anomaly.config.settings import Correlation, Settings
from anomaly.demo.crew import Crew
from anomaly.demo.load import RATE
from anomaly.demo.pulse import Pulse
from anomaly.demo.screen import Lines, Live, Screen
from anomaly.dispatch.alert import Alert, What
from anomaly.engine import Engine
from anomaly.host.compile import compile_kernels
from anomaly.host.embedded import judging
from anomaly.host.inprocess import InProcess, Judged
from anomaly.host.otlp_http import serve

SERVICE = "payment"
SLOWER, ERRORS = 10.0, 0.35
WARM_UP = 75.0  # seconds; the detector is useful after 60 s of 1 s data
FAULT = 20.0  # at least so long, so that the alert can be read
PATIENCE = 45.0  # for an alert, and for its end
IN_TIME = 15.0  # an alert later than this is no success
LONGEST = WARM_UP + 2 * PATIENCE + 60.0
CLOSE_AFTER, RESOLVE_AFTER = 10.0, 5.0


@dataclass(slots=True)
class Outcome:
    """What a script wants to know; the last line of `--json`."""

    alerted: bool = False
    delay_s: float | None = None
    service: str | None = None
    severity: str | None = None
    title: str | None = None
    resolved: bool = False
    resolve_delay_s: float | None = None
    others: int = 0
    other_titles: list[str] | None = None
    points: int = 0
    set_aside: int = 0
    duration_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the fault was alerted in time with the right name, resolved, and nothing else was alerted."""
        in_time = self.delay_s is not None and self.delay_s <= IN_TIME
        return self.alerted and in_time and self.service == SERVICE and self.resolved and not self.others


class Told:
    """Every alert of the run, as it came; and whom it was about."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.came, self.outcome = screen, asyncio.Condition(), Outcome(other_titles=[])
        self.key: str | None = None  # of the fault's incident
        self.fault: float | None = None  # when it began, and when it was lifted, by the monotonic clock
        self.lifted: float | None = None

    async def take(self, alert: Alert) -> None:
        """The callback of the host."""
        self.screen.alert(alert)
        if alert.event is What.TRIGGER:
            self._trigger(alert)
        if alert.event is What.RESOLVE and alert.dedup_key == self.key and self.lifted is not None:
            self.outcome.resolved = True
            self.outcome.resolve_delay_s = round(time.monotonic() - self.lifted, 1)
        async with self.came:
            self.came.notify_all()

    def _trigger(self, alert: Alert) -> None:
        service = alert.group.rpartition("/")[2]
        if self.fault is None or self.key is not None or service != SERVICE:
            self.outcome.others += 1
            (self.outcome.other_titles or []).append(alert.title)
            return
        self.key, self.outcome.alerted, self.outcome.service = alert.dedup_key, True, service
        self.outcome.severity, self.outcome.title = alert.severity.value, alert.title
        self.outcome.delay_s = round(time.monotonic() - self.fault, 1)

    async def wait(self, done: Callable[[], bool]) -> None:
        """Until it is done or patience is over."""
        async with self.came:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.came.wait_for(done), PATIENCE)


def demo(headless: bool = False, json: bool = False) -> int:
    """Tell the story; 0 if it went as it should."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    screen: Screen = Lines(sys.stderr if json else sys.stdout) if headless or not sys.stdout.isatty() else Live()
    try:
        screen.phase("making the kernels ready (a minute the first time)", 0.0)
        compile_kernels()
        outcome = asyncio.run(stoppable(screen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 130
    if json:
        print(as_json(outcome))
    return 0 if outcome.good else 1


def as_json(outcome: Outcome) -> str:
    """One line."""
    return json.dumps(asdict(outcome))


async def stoppable(screen: Screen) -> Outcome:
    """The story, ended in good order by SIGTERM as by Ctrl-C."""
    telling = asyncio.ensure_future(tell(screen))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, telling.cancel)
    return await telling


async def tell(screen: Screen) -> Outcome:
    """The whole story, in order."""
    began, told, pulse = time.monotonic(), Told(screen), Pulse()
    specs = [replace(spec, close_after=min(spec.close_after, CLOSE_AFTER)) for spec in load_specs(())]
    settings = Settings(correlation=Correlation(resolve_after=RESOLVE_AFTER))

    def watch(judged: Judged) -> None:
        pulse.hear(judged.blocks)
        told.outcome.points += sum(len(block.points) for _, block in judged.blocks)
        told.outcome.set_aside += len(judged.dead)

    screen.phase("starting five services, the shoppers and the detector", 0.0)
    async with host(settings, specs, told, watch) as (engine, otlp), Crew(otlp) as crew, screening(screen, pulse, engine):
        await crew.open()
        await crew.load(list(RATE), LONGEST)
        screen.phase("learning what is usual", WARM_UP)
        await asyncio.sleep(WARM_UP)
        told.fault = time.monotonic()
        screen.phase(f"{SERVICE} is {SLOWER:.0f} times slower and fails {ERRORS:.0%} of requests", PATIENCE)
        await switch(crew, SLOWER, ERRORS)
        await told.wait(lambda: told.key is not None)
        await asyncio.sleep(max(FAULT - (time.monotonic() - told.fault), 0.0))
        told.lifted = time.monotonic()
        screen.phase("the fault is lifted", PATIENCE)
        await switch(crew, 1.0, 0.0)
        if told.key:
            await told.wait(lambda: told.outcome.resolved)
    told.outcome.duration_s = round(time.monotonic() - began, 1)
    screen.end(told.outcome.good, summary(told.outcome))
    return told.outcome


@asynccontextmanager
async def host(
    settings: Settings, specs: Sequence[ModelSpec], told: Told, watch: Callable[[Judged], None]
) -> AsyncIterator[tuple[Engine, str]]:
    """The embedded host on a free port; gives the engine and the address to export to."""
    engine = Engine(settings, specs)
    async with judging(InProcess(engine, told.take, watch)) as (running, _):
        receiver, port = await serve(running, "127.0.0.1:0", settings.limits.record_bytes)
        try:
            yield engine, f"http://127.0.0.1:{port}"
        finally:
            await receiver.cleanup()


@asynccontextmanager
async def screening(screen: Screen, pulse: Pulse, engine: Engine) -> AsyncIterator[None]:
    """Draw what is heard, every second."""

    async def draw() -> None:
        while True:
            await asyncio.sleep(1.0)
            screen.show(pulse, engine.detector(0).warm_share if pulse.heard else 0.0)

    drawing: asyncio.Task[Any] = asyncio.create_task(draw())
    with screen:
        try:
            yield
        finally:
            drawing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drawing


async def switch(crew: Crew, slower: float, errors: float) -> None:
    """Turn the fault on or off."""
    async with ClientSession() as session:
        await session.post(f"{crew.url[SERVICE]}/fault", json={"slower": slower, "errors": errors})


def summary(outcome: Outcome) -> str:
    """How it went, in a sentence or three."""
    after = f"alerted {outcome.delay_s} s after it broke" if outcome.alerted else "not alerted"
    resolved = f"resolved {outcome.resolve_delay_s} s after it was mended" if outcome.resolved else "not resolved"
    others = f"{outcome.others} other alerts" if outcome.others else "nothing else was alerted"
    return f"{SERVICE} was {after}, {resolved}; {others}."
