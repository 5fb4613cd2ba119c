"""The Faust adapter: a transport whose event is a block, and an agent per topic that hands blocks to the Intake.

Faust gives consumer group, threads, rebalancing, flow control and supervision. Its own way of reading (an event per
record) and of committing (an entry per record, acknowledged even if the agent raised) is replaced: a block is committed
when the Intake has settled it, and not otherwise. Internals used, of Faust 0.15.3, each with a test: Consumer.callback,
_to_message, _new_consumer_thread, _new_offset, _filter_tps_with_pending_acks, _add_gap, getmany, sleep, _acked,
_acked_index, _read_offset, on_partitions_revoked; AIOKafkaConsumerThread._create_worker_consumer, _consumer,
Worker and shutdown_timeout; mode's WorkerThread.stop and is_stopped; App.on_rebalance_complete, which Faust awaits after a
rebalance with every flow stopped, before it seeks to the committed offsets.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.threads import WorkerThread
from yarl import URL

from anomaly.config.settings import KafkaSettings
from anomaly.host import blocks, connect
from anomaly.host.blocks import BLOCKS, Fetched, Place
from anomaly.host.extent import Extents
from anomaly.host.intake import Intake
from anomaly.host.progress import Progress, positions, unread
from anomaly.host.source import COMMIT_EVERY, FETCH_BYTES, FETCH_WAIT, HEARTBEAT, REBALANCE, SESSION, WAITING_BLOCKS

log = logging.getLogger(__name__)

LOST_AFTER = 3  # looks, a second apart
CLOSED, JOINED = 10.0, 1.0  # seconds for a consumer to leave its group, and for its thread after that


async def nothing(places: Iterable[Place]) -> None:
    """Nobody wants to know."""


class Worker(WorkerThread):  # type: ignore[misc]
    """A thread that keeps nobody from ending: mode joins it for as long as it takes, with the event loop standing still."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def stop(self) -> None:
        if not self.is_stopped.wait(JOINED):
            log.warning("Faust's consumer does not end and is left alone")


class Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, with a consumer that reads blocks.

    One that is stopped in the middle of a rebalance waits for the app, which waits for it: all is settled by then.
    """

    Worker = Worker
    shutdown_timeout = CLOSED

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._value_deserializer = BLOCKS
        # Faust hard-codes 1.5 s, which one quiet partition would impose on all others of its broker.
        consumer._fetch_max_wait_ms = int(FETCH_WAIT * 1000)
        consumer._isolation_level = "read_committed"
        return consumer


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, with blocks for messages and its own account of what may be committed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.progress = Progress()
        self.began: Callable[[Mapping[Place, int | None]], None] = lambda committed: None
        self.leaving: Callable[[Iterable[Place]], Awaitable[None]] = nothing
        deliver = self.callback  # type: ignore[has-type]

        async def tracked(message: Any) -> None:
            if isinstance(message.value, Fetched):
                self.progress.deliver(message.value)
            await deliver(message)

        self.callback = tracked

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[Any]:
        """Poll briefly: a poll asks only for the partitions that were active when it began.

        Faust would drop what lies below an offset that it has read: a topic that was made anew, for one. The Intake decides.
        """
        async for tp, message in super().getmany(min(timeout, FETCH_WAIT)):
            if isinstance(message.value, Fetched):
                self._read_offset[tp] = None
            yield tp, message

    async def sleep(self, n: Any, **kwargs: Any) -> None:
        """Not long: Faust sleeps for a second where all partitions are paused, even if they are resumed the next moment."""
        fetching = isinstance(n, int)  # timers, that of the commits among them, sleep for a float
        await super().sleep(min(n, FETCH_WAIT) if fetching else n, **kwargs)

    def _to_message(self, tp: TP, record: Any) -> Any:
        if not isinstance(record, Fetched):
            return super()._to_message(tp, record)
        time = float(record.time[-1]) / 1000.0 if len(record) else 0.0
        return ConsumerMessage(
            tp.topic, tp.partition, record.next_offset - 1, time, 0, (), None, record, None, 0, record.buffer.size, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter([TP(*place) for place in self.progress.places() if topics is None or place.topic in topics])

    def _new_offset(self, tp: TP) -> int | None:
        """What Faust acknowledged says nothing: an agent that raised, or was cancelled, counts as done there."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.progress.committable(Place(tp.topic, tp.partition))

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust would remember every missing offset; a gap of ten million is half a gigabyte."""

    async def perform_seek(self) -> None:
        """Faust's last step before it reads on after a rebalance."""
        await super().perform_seek()
        self.began({Place(tp.topic, tp.partition): self._committed_offset[tp] for tp in self.assignment()})

    async def read_again(self, place: Place, offset: int) -> None:
        """What was read from `offset` on never arrived."""
        self.progress.forget([place])
        await self.seek_wait({TP(*place): offset})
        self._read_offset[TP(*place)] = None

    async def on_partitions_revoked(self, revoked: Iterable[TP]) -> None:
        """Flow stops, running blocks are committed as far as they are settled, the rest will be read again."""
        revoked = set(revoked)
        await self.leaving(Place(tp.topic, tp.partition) for tp in revoked)
        await self.commit()
        await super().on_partitions_revoked(revoked)
        self.progress.forget(Place(tp.topic, tp.partition) for tp in revoked)


# mode names a service's logger after the module of its class; what these say is Faust's own talk.
Thread.logger = Consumer.logger = driver.logger


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's transport over our consumer."""

    Consumer = Consumer


def credentials(kafka: KafkaSettings) -> Any:
    """TLS and SASL in Faust's terms."""
    security, tls = kafka.security, connect.context(kafka.security)
    if security.protocol.startswith("SASL"):
        name, word = connect.secret(security.username_file), connect.secret(security.password_file)
        return faust.SASLCredentials(mechanism=security.mechanism, username=name, password=word, ssl_context=tls)
    return faust.SSLCredentials(context=tls) if tls else None


def application(kafka: KafkaSettings, group: str, folder: str) -> faust.App:
    """A Faust app that reads blocks; it keeps nothing in its folder, but insists on one."""
    brokers = [URL(f"kafka://{address}") for address in kafka.bootstrap]
    app = faust.App(
        group,
        broker=brokers,
        broker_credentials=credentials(kafka),
        broker_commit_interval=COMMIT_EVERY,
        broker_heartbeat_interval=HEARTBEAT,
        broker_rebalance_timeout=REBALANCE,
        broker_session_timeout=SESSION,
        broker_max_poll_records=WAITING_BLOCKS,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=kafka.instance or None,
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_metadata_max_age_ms=connect.METADATA,
        stream_buffer_maxsize=WAITING_BLOCKS,
        stream_wait_empty=False,
        store="memory://",
        datadir=folder,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.transport = Transport(brokers, app)
    return app


class FaustSource:
    """A Faust app whose agents feed an Intake."""

    def __init__(self, kafka: KafkaSettings, group: str, intake: Intake) -> None:
        blocks.install()
        self.intake = intake
        intake.gate.look = Extents(kafka).look
        self._folder = tempfile.TemporaryDirectory(prefix="anomaly-")
        self.app = application(kafka, group, self._folder.name)
        self._stopped = asyncio.Event()
        self._failure: BaseException | None = None
        self.app.on_rebalance_complete.connect(self._assigned, weak=False)
        for topic in intake.stage.topics:
            channel = self.app.topic(topic, key_serializer="raw", value_serializer="raw")
            self.app.agent(channel, name=f"{intake.stage.name}.{topic}")(self._agent)

    async def _agent(self, stream: Any) -> None:
        async for block in stream:
            try:
                await self.intake.take(block)
            except Exception as error:
                # Faust would acknowledge the block and start the agent anew; the block is not settled, so it is not
                # committed, and whoever starts us again reads it again.
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.intake.refuse()
        self._stopped.set()

    async def _assigned(self, *_: Any, **__: Any) -> None:
        try:
            await self.intake.assigned([Place(tp.topic, tp.partition) for tp in self.app.consumer.assignment()])
        except Exception as error:
            self._fail(error)

    async def run(self) -> None:
        """Read until stopped; raises what an agent, or Faust itself, could not get over."""
        self.app.finalize()
        self.app.consumer.began, self.app.consumer.leaving = self.intake.begin, self.intake.keep
        mending = asyncio.create_task(self._mend())
        starting = asyncio.create_task(self.app.start())
        ends = [asyncio.create_task(self.app._crashed.wait()), asyncio.create_task(self._stopped.wait())]
        await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in (starting, mending, *ends):
            task.cancel()
        failure = self._failure or self.app._crash_reason
        await self._leave()
        if failure:
            raise failure

    async def _mend(self) -> None:
        """Read again what Faust read and dropped: while the stage is idle, its partition is read past what it waits for."""
        waits: dict[Place, tuple[int, int]] = {}
        while True:
            await asyncio.sleep(1.0)
            found = positions(self.app.consumer._thread._consumer, self.intake.stage.topics)
            wanted = {p: n for p, n in self.intake.expected().items() if p in found and found[p][0] > n}
            waits = {p: (n, waits[p][1] + 1 if p in waits and waits[p][0] == n else 1) for p, n in wanted.items()}
            for place, (offset, seconds) in waits.items():
                if seconds >= LOST_AFTER and self.app.consumer.flow_active:
                    log.info("reading again", extra={"topic": place.topic, "partition": place.partition, "offset": offset})
                    with suppress(Exception):
                        await self.app.consumer.read_again(place, offset)

    async def _leave(self) -> None:
        await self.intake.close()
        with suppress(Exception):
            await self.app.consumer.commit()
        await self.app.stop()
        self._folder.cleanup()

    async def stop(self) -> None:
        """Let `run` finish: the block in hand, a last commit, goodbye to the group."""
        self._stopped.set()

    def lag(self) -> dict[Place, int]:
        """Records not yet read, by assigned partition."""
        return unread(self.app.consumer._thread._consumer, self.intake.stage.topics)
