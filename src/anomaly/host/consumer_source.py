"""The plain adapter: one aiokafka consumer, without Faust. The same blocks, the same Intake, the same commits."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from anomaly.config.settings import KafkaSettings
from anomaly.host import blocks, connect
from anomaly.host.blocks import BLOCKS, Fetched, Place
from anomaly.host.extent import Extents
from anomaly.host.intake import Intake
from anomaly.host.progress import Progress, unread
from anomaly.host.source import COMMIT_EVERY, FETCH_BYTES, FETCH_WAIT, HEARTBEAT, REBALANCE, SESSION, WAITING_BLOCKS

log = logging.getLogger(__name__)

POLL = 0.2  # seconds


class ConsumerSource(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads, keeps WAITING_BLOCKS in hand, has them taken one by one, and commits what is settled."""

    def __init__(self, kafka: KafkaSettings, group: str, intake: Intake) -> None:
        blocks.install()
        self.kafka, self.group, self.intake = kafka, group, intake
        intake.gate.look = Extents(kafka).look
        self.progress = Progress()
        self._waiting: deque[Fetched] = deque()
        self._changed = asyncio.Event()  # something was put in, taken out, or we are to stop
        self._ready = asyncio.Event()  # between rebalances
        self._generation = 0
        self._stopping = False
        self._consumer: Any = None
        self._failure: Exception | None = None
        self._committed: dict[Place, int] = {}

    async def run(self) -> None:
        """Read until stopped; raises what made it impossible to go on."""
        self._consumer = AIOKafkaConsumer(
            **connect.options(self.kafka),
            group_id=self.group,
            group_instance_id=self.kafka.instance or None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            value_deserializer=BLOCKS,
            fetch_max_wait_ms=int(FETCH_WAIT * 1000),
            max_partition_fetch_bytes=FETCH_BYTES,
            heartbeat_interval_ms=int(HEARTBEAT * 1000),
            rebalance_timeout_ms=int(REBALANCE * 1000),
            session_timeout_ms=int(SESSION * 1000),
        )
        await self._consumer.start()
        self._consumer.subscribe(self.intake.stage.topics, listener=self)
        tasks = [asyncio.create_task(work()) for work in (self._read, self._take, self._commit_often)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await self._leave(tasks)
        for task in done:
            task.result()
        if self._failure:
            raise self._failure

    async def _leave(self, tasks: list["asyncio.Task[None]"]) -> None:
        await self.intake.close()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        await self._commit()
        await self._consumer.stop()

    async def stop(self) -> None:
        """Let `run` finish: the block in hand, a last commit, goodbye to the group."""
        self._stopping = True
        self._changed.set()

    async def _read(self) -> None:
        while not self._stopping:
            await self._until(lambda: self._stopping or (self._ready.is_set() and len(self._waiting) < WAITING_BLOCKS))
            generation = self._generation
            found = await self._consumer.getmany(timeout_ms=int(POLL * 1000), max_records=WAITING_BLOCKS)
            for place, read in found.items():
                if generation != self._generation:
                    self._put_back(place, read[0])
                    continue
                for block in read:
                    self.progress.deliver(block)
                    self._waiting.append(block)
            self._changed.set()

    def _put_back(self, place: TopicPartition, block: Fetched) -> None:
        """A rebalance came while we polled: if the partition is ours now, it is to be read from there again."""
        with suppress(IllegalStateError):
            self._consumer.seek(place, block.first_offset)

    async def _until(self, holds: Any) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def _take(self) -> None:
        while True:
            await self._until(lambda: self._waiting and self._ready.is_set())
            block = self._waiting.popleft()
            self._changed.set()
            if not await self.intake.take(block):
                self._read_again(block.place)
            await asyncio.sleep(0)

    def _read_again(self, place: Place) -> None:
        """A block was refused: if it is because something is missing before it, it is read from there."""
        offset = self.intake.expected().get(place)
        if offset is not None:
            self.progress.forget([place])
            self._waiting = deque(b for b in self._waiting if b.place != place)
            with suppress(IllegalStateError):
                self._consumer.seek(TopicPartition(*place), offset)

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            await self._commit()

    async def _commit(self) -> None:
        """A commit that fails is made good by the next one; one that comes after a rebalance is another worker's affair."""
        offsets: dict[Place, int] = {}
        for place in self.progress.places():
            offset = self.progress.committable(place)
            ours = TopicPartition(*place) in self._consumer.assignment()
            if ours and offset is not None and offset != self._committed.get(place):
                offsets[place] = offset
        try:
            if offsets:
                await self._consumer.commit({TopicPartition(*place): offset for place, offset in offsets.items()})
                self._committed.update(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("not committed, the group is rebalancing: %s", connect.brief([], error))
        except KafkaError as error:
            log.warning("not committed: %s", connect.brief([], error))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Stop, finish the block in hand, commit; what waits is read again by its next owner."""
        revoked = list(revoked)
        self._generation += 1
        self._ready.clear()
        self._waiting.clear()
        await self.intake.keep(Place(p.topic, p.partition) for p in revoked)
        await self._commit()
        self.progress.forget(Place(p.topic, p.partition) for p in revoked)
        self._committed.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Restore before the first block."""
        try:
            assigned = list(assigned)
            await self.intake.assigned(Place(p.topic, p.partition) for p in assigned)
            self.intake.begin({Place(p.topic, p.partition): await self._consumer.committed(p) for p in assigned})
        except Exception as error:
            self._failure = error  # the client would only log it
            await self.stop()
            raise
        self._ready.set()
        self._changed.set()

    def lag(self) -> dict[Place, int]:
        """Records not yet read, by assigned partition."""
        return unread(self._consumer, self.intake.stage.topics)
