"""`anomaly run` on Kafka: the stages of one process, from waiting for brokers to the last commit.

Every stage reads in a consumer group of its own, `<application>.<stage>`, so that stages can be scaled, and may be slow,
apart; a small deployment runs all of them in one process.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

from aiokafka.errors import KafkaError

from anomaly.config.models import ModelSpec
from anomaly.config.settings import Driver, KafkaSettings, Keyed, Settings
from anomaly.decode import changes
from anomaly.dispatch.delivery import Delivery
from anomaly.engine import Engine
from anomaly.host import connect, memory, topics
from anomaly.host.blind import watched
from anomaly.host.blocks import Place
from anomaly.host.checkpoint import Checkpoints
from anomaly.host.compile import compile_kernels
from anomaly.host.consumer_source import ConsumerSource
from anomaly.host.faust_source import FaustSource
from anomaly.host.health import Health
from anomaly.host.intake import Intake
from anomaly.host.outputs import Outputs
from anomaly.host.source import Source, Stage
from anomaly.host.stages import DecodeStage, DetectStage, FusedStage
from anomaly.host.stages_alerts import CorrelateStage, DeliverStage
from anomaly.host.stages_commands import CommandStage
from anomaly.host.stages_spans import JoinStage, SpansStage, traced
from anomaly.host.state_topic import StateTopic
from anomaly.host.topics import MissingTopics, Names
from anomaly.host.watchdog import LEAVING, Reader, Stalled, Watched, alarm, answers, leave_within
from anomaly.host.wiring import Wiring
from anomaly.state import Newer

log = logging.getLogger(__name__)

STAGES = ("decode", "detect", "correlate", "deliver")
REPORT_EVERY = 5.0  # seconds between looks at lag and series


def run_kafka(
    settings: Settings, specs: Sequence[ModelSpec], stages: Sequence[str] = STAGES, health: Health | None = None
) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    health = health or Health()
    health.seldom = frozenset(s.topic for s in settings.sources if s.encoding == changes.ENCODING)
    make_ready(health)
    try:
        asyncio.run(Worker(settings, specs, stages, health).run())
    except (MissingTopics, Newer, Stalled, KafkaError, OSError) as error:
        said = error if isinstance(error, (MissingTopics, Newer, Stalled)) else connect.brief([], error)
        print(f"anomaly: {said}", file=sys.stderr)
        return 1
    return 0


def make_ready(health: Health) -> None:
    """What a process does before it is a worker: kernels are compiled, and memory is asked for in our way."""
    memory.large_apart()
    seconds = compile_kernels()
    health.compile_seconds(seconds)
    log.info("kernels are ready", extra={"seconds": round(seconds, 1)})
    memory.for_ever()


class Worker:
    """The stages of one process."""

    def __init__(self, settings: Settings, specs: Sequence[ModelSpec], stages: Sequence[str], health: Health) -> None:
        assert settings.kafka is not None, "the configuration names no Kafka"
        self.settings, self.specs, self.names_of_stages, self.health = settings, specs, tuple(stages), health
        self.kafka: KafkaSettings = settings.kafka
        self.names = Names.of(self.kafka.topics.prefix)
        self.sources: list[Source] = []
        self._admin = connect.Admin(self.kafka)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Work until asked to stop; raises what cannot be got over."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._stop.set)
        working, asked = asyncio.create_task(self._work()), asyncio.create_task(self._stop.wait())
        await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        timer = leave_within(LEAVING)
        try:
            if not self.sources:
                working.cancel()
            with suppress(asyncio.CancelledError):
                await working
        finally:
            timer.cancel()

    async def _work(self) -> None:
        async with AsyncExitStack() as held:
            delivery = await held.enter_async_context(Delivery(self.settings, observe=self.health.delivery))
            await held.enter_async_context(watched(self.settings, self.health, delivery.send))
            partitions = await self._prepare()
            outputs = Outputs(self.kafka, self.health.brokers)
            await connect.patiently(outputs.start, "starting", self.health.brokers)
            held.push_async_callback(outputs.stop)
            held.push_async_callback(self._admin.close)
            engine = Engine(self.settings, self.specs, partitions[self.names.points])
            wiring = Wiring(self.kafka, self.names, partitions, engine, outputs, self.health)
            stages = self._stages(wiring, delivery)
            reporting = asyncio.create_task(self._report(stages))
            held.callback(reporting.cancel)
            await self._read(wiring, stages)

    async def _prepare(self) -> dict[str, int]:
        """Brokers and topics, waited for as long as it takes; partition counts of our topics."""
        traces = bool(traced([source for source in self.settings.sources if source.keyed is None]))
        found = await connect.patiently(
            lambda: topics.prepare(self.kafka, self.names, traces), "starting", self.health.brokers
        )
        if "decode" in self.names_of_stages:
            wanted = [source.topic for source in self.settings.sources]
            await connect.patiently(lambda: topics.await_sources(self.kafka, wanted), "starting", self.health.brokers)
        return found

    def _group(self, stage: str) -> str:
        return f"{self.kafka.application}.{stage}"

    def _stages(self, wiring: Wiring, delivery: Delivery) -> list[Stage]:
        """Sources keyed by group are judged where they are decoded."""
        fused = [source for source in self.settings.sources if source.keyed is Keyed.GROUP]
        traces = traced([source for source in self.settings.sources if source not in fused])
        split = [source for source in self.settings.sources if source not in fused and source not in traces]
        made: dict[str, list[Stage]] = {
            "decode": [
                *[s for s in (DecodeStage(wiring, split), FusedStage(wiring, fused)) if s.topics],
                *([SpansStage(wiring, traces), JoinStage(wiring, traces)] if traces else []),
            ],
            "detect": [DetectStage(wiring)],
            "correlate": [CommandStage(wiring), CorrelateStage(wiring)],
            "deliver": [DeliverStage(wiring, delivery, self._group("delivery"))],
        }
        return [stage for name in STAGES if name in self.names_of_stages for stage in made[name]]

    async def _read(self, wiring: Wiring, stages: Sequence[Stage]) -> None:
        """All stages side by side; when one cannot go on, or we are asked to stop, each finishes what it has in hand."""
        reachable = partial(answers, self.kafka)
        make = [partial(self._reader, wiring, stage) for stage in stages]
        self.sources = [
            Watched(stage.name, made, self.kafka.stall, self.health, reachable)
            for stage, made in zip(stages, make, strict=True)
        ]
        log.info("running", extra={"stages": ",".join(s.name for s in stages), "driver": self.kafka.driver.value})
        if not any(stage.reads_sources for stage in stages):
            self.health.assigned(())  # nothing of the users' to wait for, and no silence of theirs to notice
        reading = [asyncio.create_task(source.run()) for source in self.sources]
        alarmed = asyncio.create_task(alarm(self.kafka.stall))
        await asyncio.wait([*reading, asyncio.create_task(self._stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping: finishing the blocks in hand")
        for source in self.sources:
            await source.stop()
        ends = await asyncio.gather(*reading, return_exceptions=True)
        alarmed.cancel()
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _reader(self, wiring: Wiring, stage: Stage) -> Reader:
        """What reads for a stage; made once more if it stalls."""
        adapter = FaustSource if self.kafka.driver is Driver.FAUST else ConsumerSource
        intake = Intake(stage, wiring.set_aside, self.health, await self._checkpoints(stage))
        return intake, adapter(self.kafka, self._group(stage.name), intake)

    async def _checkpoints(self, stage: Stage) -> Checkpoints | None:
        """Of a stage that has state: in a topic beside each that it reads."""
        if not stage.keeps_state:
            return None
        for topic in stage.topics:
            kept = self.names.state_of(topic)
            prepare = partial(topics.prepare_state, self.kafka, kept, topic, grows=stage.reads_sources)
            await connect.patiently(prepare, "starting")
        store = partial(StateTopic.of, self.kafka, admin=self._admin)
        return Checkpoints(stage.name, store, self.settings.checkpoint, self.health)

    async def _report(self, stages: Sequence[Stage]) -> None:
        """Tell health, now and then, what is nobody's event."""
        known: set[Place] = set()
        while True:
            await asyncio.sleep(REPORT_EVERY)
            lag = {place: n for source in self.sources for place, n in source.lag().items()}
            for place in known - set(lag):
                self.health.lag_gone(*place)
            for place, n in lag.items():
                self.health.lag(*place, n)
            known = set(lag)
            for stage in stages:
                stage.report()
