"""A real broker for the tests marked `kafka`, started once."""

from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.host import broker as kafka


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """Address of the broker."""
    try:
        kafka.jars()
    except kafka.Missing as missing:
        pytest.fail(str(missing), pytrace=False)
    with kafka.broker() as address:
        yield address


MakeTopic = Callable[..., Awaitable[str]]


@pytest.fixture
def topic(bootstrap: str) -> MakeTopic:
    """Makes a topic of a fresh name."""

    async def make(partitions: int = 1, name: str = "t", **configs: str) -> str:
        name = f"{name}-{uuid4().hex[:8]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            # Stories are dated in the past; the broker would delete them as too old when it comes round to look.
            named = {"retention.ms": "-1"} | {k.replace("_", "."): v for k, v in configs.items()}
            await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=named)])
        finally:
            await admin.close()
        return name

    return make
