"""Reads partitions of a topic to their ends, or to given offsets: the last value of each key."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from anomaly.config.settings import KafkaSettings
from anomaly.host import connect

Held = dict[bytes, bytes]


async def read(
    kafka: KafkaSettings, topic: str, partitions: Sequence[int], until: Mapping[int, int] | None = None
) -> dict[int, Held]:
    """By partition, key -> last value, in order of the keys' first writing; deleted keys are left out.

    Offsets of `until` (by partition) and above are not read.
    """
    return await connect.patiently(lambda: _read(kafka, topic, partitions, until or {}), f"reading {topic}")


async def ends(kafka: KafkaSettings, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """The offsets that come next, by partition."""
    return await connect.patiently(lambda: _ends(kafka, topic, partitions), f"reading {topic}")


async def _ends(kafka: KafkaSettings, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    async with reader(kafka) as consumer:
        found = await consumer.end_offsets([TopicPartition(topic, p) for p in partitions])
    return {place.partition: end for place, end in found.items()}


async def _read(kafka: KafkaSettings, topic: str, partitions: Sequence[int], until: Mapping[int, int]) -> dict[int, Held]:
    found: dict[int, Held] = {p: {} for p in partitions}
    places = [TopicPartition(topic, p) for p in partitions]
    if not places:
        return found
    async with reader(kafka) as consumer:
        consumer.assign(places)
        last = {p: min(end, until.get(p.partition, end)) for p, end in (await consumer.end_offsets(places)).items()}
        await consumer.seek_to_beginning(*places)
        while [p for p in places if await consumer.position(p) < last[p]]:
            for place, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    if record.offset < last[place]:
                        _keep(found[place.partition], record.key or b"", record.value)
    return found


@asynccontextmanager
async def reader(kafka: KafkaSettings, **options: object) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer in no group."""
    consumer = AIOKafkaConsumer(
        **connect.options(kafka), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50, **options
    )
    try:
        await consumer.start()
        await asyncio.sleep(0)  # its tasks must have begun: aiokafka cannot stop one that has not
        yield consumer
    finally:
        await consumer.stop()


def _keep(held: Held, key: bytes, value: bytes | None) -> None:
    if value is None:
        held.pop(key, None)
    else:
        held[key] = value
