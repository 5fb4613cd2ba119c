"""Checkpoints in a Kafka topic: one transaction each, under an id that is fixed for the partition.

The broker refuses whoever wrote under that id before (a worker that was thought dead and is not), and a reader of committed
records sees a checkpoint whole or not at all. The topic is a log with a moving low end: what is dead is deleted up to the
first record of the oldest generation that lives.
Records: a generation's body in chunks under the keys `generation/chunk`, then the manifest under MANIFEST.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import RecordMetadata

from anomaly.config.settings import KafkaSettings
from anomaly.host import compacted, connect
from anomaly.host.blocks import Place
from anomaly.host.statelog import Fenced, Found, Generation, Manifest, checked, read_manifest, to_manifest
from anomaly.host.topics import Names

log = logging.getLogger(__name__)

MANIFEST = b"manifest"
CHUNK = 900_000  # bytes: brokers refuse more than 1 MB in a record unless told otherwise
TRANSACTION = 60.0  # seconds after which the broker gives up one that does not end
FENCED = ("InvalidProducerEpoch", "ProducerFenced", "InvalidProducerIdMapping")


class StateTopic:
    """The checkpoints of one partition. `transaction` is the id."""

    reached: Callable[[str], None] = staticmethod(lambda step: None)  # the fault tests end the process between the steps

    @classmethod
    def of(cls, kafka: KafkaSettings, place: Place, admin: connect.Admin | None = None) -> "StateTopic":
        """Those of the stage that reads a place."""
        topic = Names.of(kafka.topics.prefix).state_of(place.topic)
        return cls(kafka, topic, place.partition, f"{kafka.application}.{place.topic}-{place.partition}", admin)

    def __init__(
        self, kafka: KafkaSettings, topic: str, partition: int, transaction: str, admin: connect.Admin | None = None
    ) -> None:
        """Without an `admin` nothing that is dead is deleted."""
        self.kafka, self.place, self.transaction = kafka, TopicPartition(topic, partition), transaction
        self._admin = admin
        self._producer: AIOKafkaProducer | None = None
        self._last: Manifest | None = None  # the newest that we know of: found when we opened, or written since
        self._may_delete, self._freed = True, 0

    async def open(self) -> Found | None:
        """Shut out whoever wrote before, then read what is committed: nothing can be added to that any more."""
        await connect.patiently(self._reopen, f"opening {self.place.topic}")
        found = await self.read()
        self._last = found.manifest if found else None
        return found

    async def read(self) -> Found | None:
        """What is kept as of now; disturbs nobody."""
        return await connect.patiently(self._read, f"reading {self.place.topic}")

    async def write(self, manifest: Manifest, body: bytes, low: int) -> Manifest:
        """One transaction; again with growing pauses while the brokers do not answer."""
        written = await connect.patiently(lambda: self._write(manifest, body, low), f"writing {self.place.topic}")
        await self._free(written)
        return written

    async def close(self) -> None:
        """Leave the id to others."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stopped(producer)

    async def _reopen(self) -> None:
        await self.close()
        producer = AIOKafkaProducer(
            **connect.options(self.kafka),
            transactional_id=self.transaction,
            transaction_timeout_ms=int(TRANSACTION * 1000),
            max_request_size=2 * CHUNK,
            linger_ms=0,
        )
        try:
            await producer.start()
            await producer.begin_transaction()  # asks for the id, which ends its former owner's rights
            await producer.abort_transaction()
        except BaseException:
            await _stopped(producer)
            raise
        self._producer = producer

    async def _write(self, manifest: Manifest, body: bytes, low: int) -> Manifest:
        if self._producer is None and (written := await self._try_again(manifest)):
            return written
        try:
            self._last = await self._transact(manifest, body, low)
            return self._last
        except ProducerFenced as error:
            await self.close()
            raise Fenced(self.transaction) from error
        except KafkaError as error:
            await self.close()
            if type(error).__name__ in FENCED:
                raise Fenced(self.transaction) from error
            raise

    async def _try_again(self, manifest: Manifest) -> Manifest | None:
        """After a try that failed: the manifest, if that was written all the same (the answer was lost); raises Fenced.

        Another worker may have taken over meanwhile. It is asked for before we open, because opening would shut it out, and
        once more behind it, when nothing can come in between.
        """
        await self._newest(manifest)
        await self._reopen()
        newest = await self._newest(manifest)
        if newest is None or newest == self._last:
            return None
        self._last = newest
        return newest

    async def _newest(self, ours: Manifest) -> Manifest | None:
        """The newest manifest since the last that we know; raises Fenced if it is neither that nor ours."""
        begin, newest = self._last.live[-1].begins if self._last else 0, None
        async for _, key, value in records(self.kafka, self.place, begin):
            newest = read_manifest(value) if key == MANIFEST else newest
        if newest in (None, self._last) or (newest and same(newest, ours)):
            return newest
        await self.close()
        raise Fenced(self.transaction)

    async def _transact(self, manifest: Manifest, body: bytes, low: int) -> Manifest:
        producer = self._producer
        assert producer is not None
        await producer.begin_transaction()
        chunks = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
        key = f"{manifest.generation}/".encode()
        sent = [await self._send(producer, key + str(i).encode(), chunk) for i, chunk in enumerate(chunks)]
        where = [told.offset for told in await asyncio.gather(*sent)]
        self.reached("chunks")
        written = manifest.kept(where[0], low)
        await (await self._send(producer, MANIFEST, to_manifest(written)))
        self.reached("manifest")
        await producer.commit_transaction()
        self.reached("commit")
        return written

    async def _send(self, producer: AIOKafkaProducer, key: bytes, value: bytes) -> "asyncio.Future[RecordMetadata]":
        future: asyncio.Future[RecordMetadata] = await producer.send(self.place.topic, value, key, self.place.partition)
        future.add_done_callback(_seen)
        return future

    async def _free(self, manifest: Manifest) -> None:
        """Delete what lies before the oldest living generation. Without the right to do so the log only grows."""
        before = manifest.live[0].begins
        if self._admin is None or not self._may_delete or before <= self._freed:
            return
        try:
            wanted = {self.place: RecordsToDelete(before_offset=before)}
            await self._admin.ask(lambda client: client.delete_records(wanted))
            self._freed = before
        except (KafkaError, OSError) as error:
            self._may_delete = connect.passing(error)
            log.warning("old checkpoints of %s stay: %s", self.place.topic, connect.brief([], error))

    async def _read(self) -> Found | None:
        manifest, chunks = None, defaultdict[int, list[tuple[int, bytes]]](list)
        async for at, key, value in records(self.kafka, self.place):
            if key == MANIFEST:
                manifest = value
            else:
                chunks[int(key.partition(b"/")[0])].append((at, value))
        if manifest is None:
            return None
        read = read_manifest(manifest)
        return Found(read, [checked(each, _body(each, chunks[each.number])) for each in read.live])


def same(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests tell of the same checkpoint, wherever it was written."""
    a, b = one.live[-1], other.live[-1]
    return (a.number, a.crc, a.size, one.next_offset) == (b.number, b.crc, b.size, other.next_offset)


def _body(generation: Generation, chunks: Sequence[tuple[int, bytes]]) -> bytes:
    """Its chunks, from where it begins: numbers come again after a state was lost."""
    return b"".join(value for at, value in chunks if at >= generation.begins)[: generation.size]


async def records(kafka: KafkaSettings, place: TopicPartition, begin: int = 0) -> AsyncIterator[tuple[int, bytes, bytes]]:
    """(offset, key, value) of the committed records of a partition from an offset on, to its end as of now."""
    async with compacted.reader(kafka, isolation_level="read_committed") as consumer:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        consumer.seek(place, max(begin, (await consumer.beginning_offsets([place]))[place]))
        while await consumer.position(place) < end:
            for found in (await consumer.getmany(timeout_ms=100)).values():
                for record in found:
                    yield record.offset, record.key or b"", record.value or b""


def _seen(future: "asyncio.Future[Any]") -> None:
    """A fenced producer fails everything that waits: nobody needs to be told of each."""
    if not future.cancelled():
        future.exception()


async def _stopped(producer: AIOKafkaProducer) -> None:
    """Stop a producer, whatever state it is in."""
    try:
        await asyncio.wait_for(producer.stop(), 5.0)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) and task.cancelling():
            raise
