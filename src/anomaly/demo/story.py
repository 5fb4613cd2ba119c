"""The demo: a shop under load, learned; then a fault, alerted with its likely cause, mended, and resolved.

First stock, two calls down from the frontend, becomes slow: one alert that blames stock and calls catalog and frontend its
victims. Then one of the cart's instances gets a version that throws: one alert that blames the cart and its deployment, with
payment, which needs it, as victim. The services are real, the telemetry is theirs, the detector is the embedded host with
the shipped models. Two waits are shorter than by default, so that nobody sits through them: an anomaly ends after 10 s
back in its band (30 s), an incident 5 s later (30 s). What counts as a fault is left as it is.
"""

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, cast

from msgspec.structs import replace

from anomaly.config.load import load_specs
from anomaly.config.models import ModelSpec
from anomaly.config.settings import Correlation, Settings
from anomaly.demo.crew import Crew, Refused, say
from anomaly.demo.load import RATE
from anomaly.demo.pulse import Pulse
from anomaly.demo.screen import Lines, Live, Screen
from anomaly.demo.shop import BAD, GOOD
from anomaly.dispatch.alert import Alert, What
from anomaly.engine import Engine
from anomaly.host.compile import compile_kernels
from anomaly.host.embedded import judging
from anomaly.host.inprocess import InProcess, Judged
from anomaly.host.otlp_http import serve

WARM_UP = 76.0  # seconds; the detector is useful after 60 s of 1 s data
SLOWER = 15.0
FAULT = 15.0  # at least so long, so that the alert can be read
PATIENCE = 65.0  # for an alert that names the cause
END = 150.0  # for its end: k of n of traces looks back for a minute, and what is odd has to stay away
IN_TIME = 60.0  # a cause named later than this is no success
LONGEST = WARM_UP + 2 * (PATIENCE + END) + 60.0
CLOSE_AFTER, RESOLVE_AFTER = 10.0, 5.0


class Fault(NamedTuple):
    """What is broken, who is to blame, who must be called a victim, and what else the cause must say."""

    what: str
    cause: str
    victims: frozenset[str]
    says: str
    switch: Callable[[Crew, bool], Awaitable[None]]  # break it, or mend it


@dataclass(slots=True)
class Chapter:
    """What became of one fault."""

    cause: str
    alerted: bool = False
    delay_s: float | None = None
    named: str | None = None
    named_s: float | None = None
    said: str | None = None
    victims: list[str] = field(default_factory=list)
    severity: str | None = None
    title: str | None = None
    resolved: bool = False
    resolve_delay_s: float | None = None
    wrong: str | None = "there was no alert"


@dataclass(slots=True)
class Outcome:
    """What a script wants to know; the last line of `--json`."""

    faults: list[Chapter] = field(default_factory=list)
    others: int = 0
    other_titles: list[str] = field(default_factory=list)
    points: int = 0
    set_aside: int = 0
    duration_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether each fault was one alert with its cause and victims, resolved, and nothing else was alerted."""
        return bool(self.faults) and not self.others and all(not f.wrong and f.resolved for f in self.faults)


class Told:
    """Every alert of the run, as it came; and whether it says what it should of the fault that is on."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.came, self.outcome = screen, asyncio.Condition(), Outcome()
        self.fault: Fault | None = None
        self.key: str | None = None  # of the fault's incident
        self.since = 0.0  # when the fault began, or was lifted, by the monotonic clock

    @property
    def chapter(self) -> Chapter:
        """That of the fault that is on."""
        return self.outcome.faults[-1]

    def begin(self, fault: Fault) -> None:
        """Something breaks now."""
        self.fault, self.key, self.since = fault, None, time.monotonic()
        self.outcome.faults.append(Chapter(fault.cause))

    async def take(self, alert: Alert) -> None:
        """The callback of the host."""
        self.screen.alert(alert)
        if alert.event is What.TRIGGER:
            self._trigger(alert)
        if self.key == alert.dedup_key and alert.event is What.RESOLVE:
            self.chapter.resolved, self.chapter.resolve_delay_s = True, self._gone()
        elif self.key == alert.dedup_key and self.fault and self.chapter.wrong:
            self._judge(alert, self.fault)
        async with self.came:
            self.came.notify_all()

    def _trigger(self, alert: Alert) -> None:
        if self.fault is None or self.key is not None:
            self.outcome.others += 1
            self.outcome.other_titles.append(alert.title)
            return
        self.key, self.chapter.alerted, self.chapter.delay_s = alert.dedup_key, True, self._gone()
        self.chapter.severity, self.chapter.title = alert.severity.value, alert.title

    def _judge(self, alert: Alert, fault: Fault) -> None:
        """What is missing in the alert, or when nothing was any more."""
        chapter, first = self.chapter, alert.causes[0] if alert.causes else {}
        chapter.named, chapter.said = short(str(first.get("service", ""))), as_text(first)
        chapter.victims = sorted(short(str(v)) for v in cast("Sequence[object]", alert.impact.get("victims", ())))
        missing = sorted(fault.victims - set(chapter.victims))
        chapter.wrong = None
        if chapter.named != fault.cause:
            chapter.wrong = f"the alert names {chapter.named or 'nobody'} as the likely cause, not {fault.cause}"
        else:
            chapter.named_s = chapter.named_s or self._gone()
            if missing:
                chapter.wrong = f"the alert does not call {' and '.join(missing)} a victim"
            elif fault.says not in chapter.said:
                chapter.wrong = f"the cause does not say {fault.says}"
            elif chapter.named_s > IN_TIME:
                chapter.wrong = f"the alert named the cause only after {chapter.named_s} s"

    def _gone(self) -> float:
        return round(time.monotonic() - self.since, 1)

    async def wait(self, done: Callable[[], bool], patience: float) -> None:
        """Until it is done or patience is over."""
        async with self.came:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.came.wait_for(done), patience)


def short(group: str) -> str:
    """The service of a group: namespace and environment left out."""
    return group.rpartition("/")[2].partition(" ")[0]


def as_text(cause: object) -> str:
    """A cause, to look for words in."""
    return json.dumps(cause, default=str, ensure_ascii=False)


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
    except Refused as refused:
        print(f"anomaly: the demo cannot go on: {refused}", file=sys.stderr)
        return 1
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
        for fault in STORY:
            await suffer(told, crew, screen, fault)
    told.outcome.duration_s = round(time.monotonic() - began, 1)
    screen.end(told.outcome.good, summary(told.outcome))
    return told.outcome


async def suffer(told: Told, crew: Crew, screen: Screen, fault: Fault) -> None:
    """A fault, from its beginning to the end of its alert."""
    told.begin(fault)
    screen.phase(fault.what, PATIENCE)
    await fault.switch(crew, True)
    await told.wait(lambda: not told.chapter.wrong, PATIENCE)
    await asyncio.sleep(max(FAULT - (time.monotonic() - told.since), 0.0))
    told.since = time.monotonic()
    screen.phase(f"{fault.cause} is mended", END)
    await fault.switch(crew, False)
    if told.key:
        await told.wait(lambda: told.chapter.resolved, END)


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


async def slow(crew: Crew, broken: bool) -> None:
    """Turn the slowness on or off."""
    for url in crew.url["stock"]:
        await say(f"{url}/fault", {"slower": SLOWER if broken else 1.0})


async def throws(crew: Crew, broken: bool) -> None:
    """Roll the bad version out to one instance, or roll it back."""
    await crew.deploy("cart", BAD if broken else GOOD)


SLOW = Fault(
    f"stock, two calls down, is {SLOWER:.0f} times slower", "stock", frozenset({"catalog", "frontend"}), "slow", slow
)
THROWS = Fault(f"one of two carts now runs version {BAD}, which throws", "cart", frozenset({"payment"}), BAD, throws)
STORY = SLOW, THROWS


def summary(outcome: Outcome) -> str:
    """How it went, a sentence for each fault and one for what else was alerted."""
    others = f"{outcome.others} other alerts" if outcome.others else "nothing else was alerted"
    return " ".join(map(chapter_told, outcome.faults)) + f" {others[:1].upper()}{others[1:]}."


def chapter_told(chapter: Chapter) -> str:
    """What became of a fault."""
    if chapter.wrong:
        return f"{chapter.cause}: {chapter.wrong}."
    end = f"resolved {chapter.resolve_delay_s} s after it was mended" if chapter.resolved else "not resolved"
    victims = " and ".join(chapter.victims)
    return f"{chapter.cause} was named as the cause {chapter.named_s} s after it broke, with {victims} as victims, {end}."
