"""Both adapters keep the same promises, on a real broker."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from anomaly.config.settings import KafkaSettings
from anomaly.decode.records import DeadLetter
from anomaly.host.blocks import Fetched, Place
from anomaly.host.consumer_source import ConsumerSource
from anomaly.host.faust_source import FaustSource
from anomaly.host.health import Health
from anomaly.host.intake import Intake
from anomaly.host.source import Source

pytestmark = pytest.mark.kafka

MakeTopic = Callable[..., Awaitable[str]]
DRIVERS: dict[str, Callable[..., Source]] = {"faust": FaustSource, "consumer": ConsumerSource}


class Recorder:
    """A stage that writes down what it is given."""

    name, reads_sources, settles_later = "decode", True, False
    keeps_state = False

    def __init__(self, *topics: str) -> None:
        self.topics = topics
        self.restored: list[Place] = []
        self.dropped: list[Place] = []
        self.held: set[Place] = set()
        self.taken: list[tuple[Place, int, bytes]] = []
        self.fault: Callable[[Fetched], None] = lambda block: None
        self.work = 0.0
        self.changed = asyncio.Event()

    def state(self, place: Place) -> None:
        return None

    async def restore(self, places: Sequence[Place]) -> None:
        self.restored += places
        self.held |= set(places)

    def drop(self, place: Place) -> None:
        self.dropped.append(place)
        self.held.discard(place)

    async def take(self, block: Fetched) -> int:
        assert Place(block.source, block.partition) in self.restored
        self.fault(block)
        await asyncio.sleep(self.work)
        place = Place(block.source, block.partition)
        self.taken += [(place, int(block.offset[i]), block.value(i)) for i in range(len(block))]
        self.changed.set()
        return len(block)

    def report(self) -> None:
        pass

    async def sent(self) -> None:
        pass

    async def finish(self) -> None:
        pass

    async def until(self, n: int) -> None:
        """Return when `n` records were taken."""
        async with asyncio.timeout(60):
            while len(self.taken) < n:
                self.changed.clear()
                await self.changed.wait()


class Running:
    """A source at work."""

    def __init__(self, driver: str, bootstrap: str, group: str, stage: Recorder, instance: str = "") -> None:
        self.dead: list[DeadLetter] = []
        self.intake = Intake(stage, self.set_aside, Health())
        self.source: Source = DRIVERS[driver](KafkaSettings(bootstrap=[bootstrap], instance=instance), group, self.intake)
        self.task: asyncio.Task[None] | None = None

    async def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        self.dead += letters

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(self.source.run())
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.source.stop()
        if self.task:
            await asyncio.wait_for(self.task, 60)


async def produce(bootstrap: str, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="lz4") as producer:
        sent = [await producer.send(topic, value, partition=partition) for value in values]
        await asyncio.gather(*sent)


async def members(bootstrap: str, group: str) -> tuple[str, int]:
    """State of a group, and how many there are."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
        ((_, _, state, _, _, held, *_),) = answer.groups
        return state, len(held)
    finally:
        await admin.close()


async def committed(bootstrap: str, group: str, topic: str, partition: int = 0) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(TopicPartition(topic, partition))
        return offset
    finally:
        await consumer.stop()


def numbers(n: int, start: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(start, start + n)]


@pytest.fixture(params=["faust", "consumer"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def group() -> str:
    return f"g-{uuid4().hex[:8]}"


async def test_every_record_is_taken_once_and_committed_at_the_stop(
    bootstrap: str, topic: MakeTopic, driver: str, group: str
) -> None:
    """Two topics, two partitions each, restored before the first block; a second run reads nothing again."""
    one, two = await topic(2), await topic(2)
    places = [Place(t, p) for t in (one, two) for p in (0, 1)]
    for place in places:
        await produce(bootstrap, place.topic, numbers(500), place.partition)
    stage = Recorder(one, two)
    async with Running(driver, bootstrap, group, stage) as running:
        await stage.until(2000)
        await produce(bootstrap, one, numbers(5, 500))
        await stage.until(2005)
        assert sum(running.source.lag().values()) == 0
    assert sorted(stage.restored) == sorted(places)
    assert sorted(stage.taken) == sorted(
        (place, i, b"%d" % i) for place in places for i in range(505 if place == places[0] else 500)
    )
    assert [await committed(bootstrap, group, *place) for place in places] == [505, 500, 500, 500]

    again = Recorder(one, two)
    await produce(bootstrap, two, [b"new"], 1)
    async with Running(driver, bootstrap, group, again):
        await again.until(1)
    assert again.taken == [(Place(two, 1), 500, b"new")]


async def test_a_block_that_meets_a_fault_of_ours_is_taken_record_by_record(
    bootstrap: str, topic: MakeTopic, driver: str, group: str
) -> None:
    """The poisoned record is set aside with its bytes, its neighbours are judged, and the stream goes on."""
    name = await topic()
    await produce(bootstrap, name, numbers(10))
    stage = Recorder(name)

    def fault(block: Fetched) -> None:
        if any(block.value(i) == b"4" for i in range(len(block))):
            raise ZeroDivisionError("ours")

    stage.fault = fault
    async with Running(driver, bootstrap, group, stage) as running:
        await stage.until(9)
    assert [offset for _, offset, _ in stage.taken] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert [(d.offset, d.reason, d.value) for d in running.dead] == [(4, "internal_error", b"4")]
    assert await committed(bootstrap, group, name) == 10


async def test_what_the_brokers_refuse_stops_the_source_and_is_not_committed(
    bootstrap: str, topic: MakeTopic, driver: str, group: str
) -> None:
    """An output that was not written may not be forgotten: whoever starts again reads its input again."""
    name = await topic()
    await produce(bootstrap, name, numbers(10))
    stage = Recorder(name)

    def fault(block: Fetched) -> None:
        raise ConnectionError("refused")

    stage.fault = fault
    running = Running(driver, bootstrap, group, stage)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(running.source.run(), 60)
    assert await committed(bootstrap, group, name) is None


async def test_a_partition_moves_to_a_worker_that_joins_and_comes_back(
    bootstrap: str, topic: MakeTopic, driver: str, group: str
) -> None:
    """Nothing is lost, each is told what it lost and restores what it gets; what stays is not restored again."""
    name = await topic(2)
    places = {Place(name, 0), Place(name, 1)}
    first, second = Recorder(name), Recorder(name)
    async with Running(driver, bootstrap, group, first):
        for p in (0, 1):
            await produce(bootstrap, name, numbers(10), p)
        await first.until(20)
        async with Running(driver, bootstrap, group, second):
            async with asyncio.timeout(60):
                while not (second.restored and first.dropped):
                    await asyncio.sleep(0.05)
            assert set(second.restored) == set(first.dropped)
            for p in (0, 1):
                await produce(bootstrap, name, numbers(10, 10), p)
            await second.until(10)
            await first.until(30)
        for p in (0, 1):
            await produce(bootstrap, name, numbers(10, 20), p)
        await first.until(50)
    moved, stayed = set(second.restored), places - set(second.restored)
    assert sorted(first.restored) == sorted([*places, *moved])
    assert not set(first.dropped) & stayed
    taken = first.taken + second.taken
    assert {(place, offset) for place, offset, _ in taken} == {(place, i) for place in places for i in range(30)}
    assert len(taken) == 60


async def test_a_worker_with_a_name_comes_back_to_its_partitions_and_nobody_else_stops(
    bootstrap: str, topic: MakeTopic, driver: str, group: str
) -> None:
    """Static membership: a restart is no rebalance."""
    name = await topic(2)
    stays, goes, back = Recorder(name), Recorder(name), Recorder(name)
    async with Running(driver, bootstrap, group, stays, "a"):
        async with Running(driver, bootstrap, group, goes, "b"):
            async with asyncio.timeout(60):
                while not len(goes.held) == len(stays.held) == 1:
                    await asyncio.sleep(0.05)
                while await members(bootstrap, group) != ("Stable", 2):  # no other rebalance is under way
                    await asyncio.sleep(0.05)
            mine, before = set(goes.held), (list(stays.restored), list(stays.dropped))
        async with Running(driver, bootstrap, group, back, "b"):
            for p in (0, 1):
                await produce(bootstrap, name, numbers(10), p)
            await back.until(10)
            await stays.until(10)
    assert set(back.restored) == mine
    assert (stays.restored, stays.dropped) == before


async def test_what_retention_took_while_nobody_read_is_stepped_over(
    bootstrap: str, topic: MakeTopic, driver: str, group: str
) -> None:
    """The committed offset is below the first record that is left: reading goes on there, and commits past it."""
    name = await topic()
    await produce(bootstrap, name, numbers(10))
    stage = Recorder(name)
    async with Running(driver, bootstrap, group, stage):
        await stage.until(10)
    await produce(bootstrap, name, numbers(20, 10))
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=25)})
    await admin.close()
    again = Recorder(name)
    async with Running(driver, bootstrap, group, again):
        await again.until(5)
    assert [offset for _, offset, _ in again.taken] == [25, 26, 27, 28, 29]
    assert await committed(bootstrap, group, name) == 30


async def test_aborted_records_are_not_taken_and_their_offsets_are_committed(
    bootstrap: str, topic: MakeTopic, driver: str, group: str
) -> None:
    """Neither they nor the markers of transactions hold a partition back."""
    name = await topic()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=group) as producer:
        for text, ends in ((b"kept", producer.commit_transaction), (b"aborted", producer.abort_transaction)):
            await producer.begin_transaction()
            for _ in range(3):
                await producer.send_and_wait(name, text, partition=0)
            await ends()
    await produce(bootstrap, name, [b"last"])
    stage = Recorder(name)
    async with Running(driver, bootstrap, group, stage):
        await stage.until(4)
    assert [value for _, _, value in stage.taken] == [b"kept"] * 3 + [b"last"]
    assert await committed(bootstrap, group, name) == 9


async def test_a_slow_stage_slows_its_reader(bootstrap: str, topic: MakeTopic, driver: str, group: str) -> None:
    """While a block is in hand, only a few others are read: memory does not grow with the backlog."""
    name = await topic()
    for _ in range(12):
        await produce(bootstrap, name, [b"x" * 1_000_000] * 4)
    stage = Recorder(name)
    stage.work = 0.3
    async with Running(driver, bootstrap, group, stage) as running:
        await stage.until(8)
        progress = running.source.progress if driver == "consumer" else running.source.app.consumer.progress  # type: ignore[attr-defined]
        held = sum(not ticket.is_settled() for waiting in progress._delivered.values() for ticket in waiting)
        assert 0 < held <= 10, "blocks of four megabytes"
        await stage.until(48)
    assert [offset for _, offset, _ in stage.taken] == list(range(48))
