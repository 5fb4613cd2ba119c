"""Our topics are made as they must be, or the start says exactly what is missing."""

from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from anomaly.config.settings import KafkaSettings, Topics
from anomaly.host import compacted, topics
from anomaly.host.outputs import Message, Outputs

pytestmark = pytest.mark.kafka


def settings(bootstrap: str, **plan: object) -> KafkaSettings:
    return KafkaSettings(bootstrap=[bootstrap], topics=Topics(prefix=f"p{uuid4().hex[:8]}", **plan))  # type: ignore[arg-type]


async def test_missing_topics_are_made_and_found_the_next_time(bootstrap: str) -> None:
    """Partitions as configured, state compacted."""
    kafka = settings(bootstrap, partitions=3)
    names = topics.Names.of(kafka.topics.prefix)
    assert await topics.prepare(kafka, names) == dict.fromkeys(names.configs(), 3)
    assert await topics.prepare(kafka, names) == dict.fromkeys(names.configs(), 3)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, names.open)])
    await admin.close()
    assert "compact" in {entry[1] for entry in answer.resources[0][4] if entry[0] == "cleanup.policy"}


async def test_where_we_may_not_make_topics_the_commands_are_shown(bootstrap: str) -> None:
    """One line a topic, to be pasted."""
    kafka = settings(bootstrap, create=False, partitions=3)
    names = topics.Names.of(kafka.topics.prefix)
    with pytest.raises(topics.MissingTopics) as error:
        await topics.prepare(kafka, names)
    for name in names:
        assert f"--create --topic {name} --partitions 3 --replication-factor 1" in str(error.value)
    assert "--config cleanup.policy=compact" in str(error.value)


async def test_the_last_value_of_each_key_is_restored(bootstrap: str) -> None:
    """Tombstones delete, offsets from `until` on are not read, other partitions are others'."""
    kafka = settings(bootstrap, partitions=2)
    names = topics.Names.of(kafka.topics.prefix)
    await topics.prepare(kafka, names)
    outputs = Outputs(kafka)
    await outputs.start()
    written = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None), (b"c", b"4")]
    await outputs.send([Message(names.open, 0, key, value) for key, value in written])
    await outputs.stop()
    assert await compacted.read(kafka, names.open, [0, 1]) == {0: {b"a": b"3", b"c": b"4"}, 1: {}}
    assert await compacted.read(kafka, names.open, [0], {0: 2}) == {0: {b"a": b"1", b"b": b"2"}}
    assert await compacted.ends(kafka, names.open, [0, 1]) == {0: 5, 1: 0}
