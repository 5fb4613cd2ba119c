"""`anomaly run` without Kafka: OTLP over HTTP, or a file or standard input, to the same receivers, health and blindness.

What it knows survives a restart where a directory is named for it (`checkpoint: {directory: …}`); without one it has no
memory beyond the process.
"""

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from anomaly.config.mistake import ConfigError, Mistake
from anomaly.config.models import ModelSpec
from anomaly.config.settings import OtlpReceiver, Settings
from anomaly.correlate.correlator import Memory
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.alert import Alert, What
from anomaly.dispatch.delivery import Delivery
from anomaly.engine import Engine
from anomaly.host.blind import watched
from anomaly.host.blocks import Place
from anomaly.host.checkpoint import Checkpoints
from anomaly.host.files import batches, encoding_of, source_of
from anomaly.host.health import Health
from anomaly.host.inprocess import OTLP, InProcess, Judged
from anomaly.host.otlp_http import PATH, serve
from anomaly.host.state_folder import StateFolder
from anomaly.host.statelog import FRESH, put
from anomaly.state import Snapshot
from anomaly.table import Layout, Part

log = logging.getLogger(__name__)

LAST_WITHIN = 30.0  # seconds for the last checkpoint


def run_embedded(
    settings: Settings,
    specs: Sequence[ModelSpec],
    health: Health | None = None,
    *,
    files: Sequence[str] = (),
    encoding: str | None = None,
) -> int:
    """Run until SIGTERM or SIGINT, or to the end of the files where some are given; the exit code."""
    return asyncio.run(run(settings, specs, health or Health(), files, encoding))


async def run(
    settings: Settings, specs: Sequence[ModelSpec], health: Health, files: Sequence[str] = (), encoding: str | None = None
) -> int:
    """The host, from start to end."""
    engine = Engine(settings, specs)
    async with (
        Delivery(settings, observe=health.delivery) as delivery,
        watched(settings, health, delivery.send),
        kept(engine, settings, health, delivery) as judged,
        judging(InProcess(engine, delivery.send, told(Reporting(engine, health), judged))) as (running, ended),
    ):
        work = feed(running, files, encoding) if files else receive(running, settings, health)
        await first(asyncio.create_task(work), ended, asyncio.create_task(stopped()))
    return 0


class Rest(Struct, frozen=True, array_like=True):
    """What is kept beside the detector's rows. What is newer stands at the end, and is missing in what is older."""

    detector: bytes
    memory: Memory
    firing: list[Alert]
    budgets: bytes = b""
    commands: bytes = b""
    traces: bytes = b""  # that were open


class Together:
    """Detector and correlator of the only partition as one state, so that neither can be newer than the other, with the last
    alert about each open incident, which receivers know of."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.detector, self.correlator, self.budgets = engine.detector(0), engine.correlator(0), engine.budgets(0)
        self.commands = engine.commands(0)
        self.firing: dict[str, Alert] = {}

    def take(self, judged: Judged) -> None:
        """Note what receivers were told."""
        for _, alert in judged.changed:
            if alert and alert.event is What.RESOLVE:
                self.firing.pop(alert.dedup_key, None)
            elif alert:
                self.firing[alert.dedup_key] = alert

    def layouts(self) -> Mapping[str, Layout]:
        """The detector's."""
        return self.detector.layouts()

    def ahead(self, generation: int) -> Iterator[Part]:
        """The detector's rows."""
        return self.detector.ahead(generation)

    def gather(self, generation: int) -> Snapshot:
        """The detector's rows; incidents are few."""
        snapshot = self.detector.gather(generation)
        firing = list(self.firing.values())
        memory, budgets, commands = self.correlator.memory(), self.budgets.dump(), self.commands.dump()
        rest = Rest(snapshot.rest, memory, firing, budgets, commands, self.engine.open_traces())
        return snapshot._replace(rest=_to_rest(rest))

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        """The detector's rows."""
        self.detector.put(generation, parts, layouts)

    def settle(self, rest: bytes) -> None:
        """All."""
        read = _from_rest(rest)
        self.detector.settle(read.detector)
        self.correlator.remember(read.memory)
        self.budgets.load(read.budgets)
        self.commands.load(read.commands)
        self.engine.go_on(read.traces)
        self.firing = {alert.dedup_key: alert for alert in read.firing}


async def as_kept(settings: Settings, specs: Sequence[ModelSpec]) -> Engine | None:
    """An engine as the newest checkpoint in the directory has it, for whoever wants to look; None where there is none."""
    engine, found = Engine(settings, specs), await StateFolder(Path(settings.checkpoint.directory or ".")).read()
    if found is None:
        return None
    put(found, Together(engine))
    return engine


_to_rest, _from_rest = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Rest).decode


@asynccontextmanager
async def kept(
    engine: Engine, settings: Settings, health: Health, delivery: Delivery
) -> AsyncIterator[Callable[[Judged], None]]:
    """The engine's state as it was left, if a directory for it is named; call what this gives after each block."""
    folder = settings.checkpoint.directory
    if folder is None:
        yield lambda judged: None
        return
    place = Place(OTLP, 0)
    checkpoints = Checkpoints("embedded", lambda _: StateFolder(Path(folder)), settings.checkpoint, health)
    together = Together(engine)
    await checkpoints.restore({place: together})
    delivery.restore(list(together.firing.values()))

    def judged(what: Judged) -> None:
        together.take(what)
        checkpoints.took(place, FRESH)

    try:
        yield judged
    finally:
        await checkpoints.finish([place], LAST_WITHIN)
        await checkpoints.close()


def told(*watchers: Callable[[Judged], None]) -> Callable[[Judged], None]:
    """One that tells all of them, in their order."""

    def watch(judged: Judged) -> None:
        for tell in watchers:
            tell(judged)

    return watch


@asynccontextmanager
async def judging(running: InProcess) -> AsyncIterator[tuple[InProcess, asyncio.Task[None]]]:
    """The consumer at work; its task ends only with an error of the engine."""
    task = asyncio.create_task(running.run())
    try:
        yield running, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def receive(running: InProcess, settings: Settings, health: Health) -> None:
    """Take what senders bring, for ever; those under way are answered before it ends."""
    listen = (settings.otlp or OtlpReceiver()).listen
    try:
        receiver, port = await serve(running, listen, settings.limits.record_bytes, running)
    except OSError as error:
        said = f"cannot listen on {listen}: {error.strerror}; name another address, or port 0"
        raise ConfigError([Mistake("", "otlp.listen", said)]) from error
    health.assigned([OTLP])
    log.info("receiving", extra={"url": f"http://{listen.rpartition(':')[0]}:{port}{PATH}"})
    try:
        await asyncio.Event().wait()
    finally:
        await receiver.cleanup()


async def feed(running: InProcess, files: Sequence[str], encoding: str | None) -> None:
    """Put in the files, one after another, as fast as they are judged."""
    for path in files:
        named = encoding_of(path, encoding)
        source, reading = source_of(path, named), batches(path, named)
        while (bodies := await asyncio.to_thread(next, reading, None)) is not None:
            await running.put(source, bodies)


async def stopped() -> None:
    """Until somebody asks us to stop."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, asked.set)
    await asked.wait()


async def first(*tasks: asyncio.Task[None]) -> None:
    """Until one of them ends; the others are ended, and an error of any is raised."""
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    for task in done:
        task.result()


class Reporting:
    """Tells health what was judged."""

    def __init__(self, engine: Engine, health: Health) -> None:
        self.engine, self.health = engine, health
        self._outcomes: Counter[str] = Counter()
        self._suppressed: Counter[str] = Counter()

    def __call__(self, judged: Judged) -> None:
        """One block of records, through all stages."""
        points = sum(len(block.points) for _, block in judged.blocks)
        newest = max((int(b.points.time.max()) for _, b in judged.blocks if len(b.points)), default=None)
        for stage, seconds in judged.seconds.items():
            heard = newest if stage == "detect" else None
            self.health.batch(stage, judged.source, 0, judged.records, points, seconds, heard)
        self.health.set_aside(judged.dead)
        for event in judged.events:
            if isinstance(event, Anomaly):
                self.health.anomaly(event)
        for _, alert in judged.changed:
            if alert:
                self.health.alert(alert)
        self._totals()

    def _totals(self) -> None:
        """What the stages count themselves: told as differences, or as it stands."""
        detector = self.engine.detector(0)
        self.health.outcomes(since(self._outcomes, detector.counts + self.engine.counts))
        for reason, n in since(self._suppressed, self.engine.dispatcher.suppressed).items():
            self.health.suppressed(reason, n)
        self.health.series(detector.series, detector.warm_share)
        self.health.incidents(len(self.engine.correlator(0).open_incidents))
        self.health.budgets(self.engine.budgets(0).readings())


def since(told: Counter[str], now: Counter[str]) -> dict[str, int]:
    """What came since the last time; `told` is brought up to date. What can shrink (points waiting) is told when it grew."""
    added = {name: n - told[name] for name, n in now.items() if n > told[name]}
    told.update(added)
    return added
