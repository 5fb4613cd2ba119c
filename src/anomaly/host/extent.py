"""How a partition's log lies now: of which topic it is, where it begins and where it ends.

A topic that was deleted and made again has the old name and offsets that begin anew; what tells the two apart is the topic's
id. Brokers tell it since Kafka 2.8, by a version of the Metadata request that aiokafka 0.14 does not speak: MetadataRequest
says it, over aiokafka's own connection (internals used, each with a test: `AIOKafkaConsumer._client`, its `get_random_node`
and `send`, and `aiokafka.protocol`). A broker that does not know ids is asked for none.
"""

import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, UnknownTopicOrPartitionError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from anomaly.config.settings import KafkaSettings
from anomaly.host import compacted, connect
from anomaly.host.blocks import Place

UNKNOWN = 0  # an epoch that nobody told


class Extent(NamedTuple):
    """A partition's log: `epoch` is of the topic's id, UNKNOWN where brokers have none; its records are [begins, ends)."""

    epoch: int
    begins: int
    ends: int


Look = Callable[[Iterable[Place]], Awaitable[Mapping[Place, Extent]]]


async def unseen(places: Iterable[Place]) -> Mapping[Place, Extent]:
    """Nobody looks."""
    return {}


class Uuid:
    """Sixteen bytes."""

    NONE = bytes(16)

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """As it is."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """As it is."""
        return data.read(16)


class MetadataResponse(Response):  # type: ignore[misc]
    """Version 11: what we do not ask about is there to be read over."""

    API_KEY, API_VERSION = 3, 11
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()),
                                 ("tags", TaggedFields))),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        ("topics", CompactArray(
            ("error_code", Int16), ("name", CompactString()), ("topic_id", Uuid), ("is_internal", Boolean),
            ("partitions", CompactArray(
                ("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
                ("replicas", CompactArray(Int32)), ("isr", CompactArray(Int32)), ("offline", CompactArray(Int32)),
                ("tags", TaggedFields),
            )),
            ("operations", Int32), ("tags", TaggedFields),
        )),
        ("tags", TaggedFields),
    )  # fmt: skip


class MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    """Version 11 (Kafka 2.8), the first whose answer names ids and whose question may be by name."""

    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION, RESPONSE_TYPE = 3, 11, MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class MetadataRequest(Request[MetadataRequestStruct]):  # type: ignore[misc]
    """Asks about topics by their names."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self.topics = topics

    def build(self, request_struct_class: type[MetadataRequestStruct]) -> MetadataRequestStruct:
        """The question."""
        return request_struct_class([(Uuid.NONE, topic, {}) for topic in self.topics], False, False, {})


class Extents:
    """Asks the brokers, by a client that lives as long as a question: they are few."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka

    async def look(self, places: Iterable[Place]) -> dict[Place, Extent]:
        """The extents of partitions, asked for with patience; of a topic that is not there at the moment, none."""
        held = sorted(places)
        return await connect.patiently(partial(self._look, held), "reading topics") if held else {}

    async def _look(self, places: Sequence[Place]) -> dict[Place, Extent]:
        async with compacted.reader(self.kafka) as consumer:
            epochs = await topic_epochs(consumer, sorted({place.topic for place in places}))
            there = [TopicPartition(*place) for place in places if place.topic in epochs]
            try:
                begins, ends = await consumer.beginning_offsets(there), await consumer.end_offsets(there)
            except UnknownTopicOrPartitionError:  # deleted since
                return {}
            return {Place(*p): Extent(epochs[p.topic], begins[p], ends[p]) for p in there if p in begins and p in ends}


async def topic_epochs(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> dict[str, int]:
    """Numbers that tell a topic from those that had its name before, of the topics that are there."""
    client: Any = consumer._client
    try:
        answer = await client.send(client.get_random_node(), MetadataRequest(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return dict.fromkeys(topics, UNKNOWN)
    return {name: epoch_of(topic_id) for error, name, topic_id, *_ in answer.topics if not error}


def epoch_of(topic_id: bytes) -> int:
    """An id as a number of 63 bits, as it goes into a manifest and a record."""
    one, other = struct.unpack("<QQ", topic_id)
    return int(one ^ other) >> 1
