"""Reads partitions of a topic to their ends, or to given offsets: the last value of each key."""

from collections.abc import Mapping, Sequence

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


async def _read(kafka: KafkaSettings, topic: str, partitions: Sequence[int], until: Mapping[int, int]) -> dict[int, Held]:
    found: dict[int, Held] = {p: {} for p in partitions}
    places = [TopicPartition(topic, p) for p in partitions]
    consumer = AIOKafkaConsumer(
        **connect.options(kafka), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    try:
        await consumer.start()
        consumer.assign(places)
        ends = {p: min(end, until.get(p.partition, end)) for p, end in (await consumer.end_offsets(places)).items()}
        await consumer.seek_to_beginning(*places)
        while [p for p in places if await consumer.position(p) < ends[p]]:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    if record.offset < ends[TopicPartition(topic, record.partition)]:
                        _keep(found[record.partition], record.key or b"", record.value)
    finally:
        await consumer.stop()
    return found


def _keep(held: Held, key: bytes, value: bytes | None) -> None:
    if value is None:
        held.pop(key, None)
    else:
        held[key] = value
