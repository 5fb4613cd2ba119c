"""A source keyed by group gets more partitions while a fault lasts: a real broker, both adapters, one and two workers."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from tests.host.shop import telemetry
from tests.host.test_worker import BEGIN, FUSED, Story, Worker, ours_exist

from anomaly.config.settings import KafkaSettings, Topics
from anomaly.host import topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

MakeTopic = Callable[..., Awaitable[str]]
NARROW, WIDE = {"web": 0, "checkout": 1, "payment": 1}, {"web": 5, "checkout": 1, "payment": 3}  # service -> partition
HEALTHY, ILL, AFTER = 240, 45, 150  # seconds of the story


class Keyed(Worker):
    """A worker that reads the source in one stage, by an adapter."""

    def __init__(self, bootstrap: str, source: str, driver: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(bootstrap, source, FUSED, folder)
        self.config.write_text(self.config.read_text().replace("driver: faust", f"driver: {driver}"))

    def said(self, words: str) -> bool:
        """Whether it logged that."""
        return words in self.log.read_text(errors="replace")


@pytest.fixture(scope="module")
def story() -> Story:
    """Four minutes of health, 45 seconds in which payment is ill, and its recovery."""
    return list(telemetry(BEGIN, HEALTHY + ILL + AFTER, HEALTHY, HEALTHY + ILL))


Start = Callable[[str, int], Awaitable[list[Keyed]]]


@pytest.fixture
async def start(bootstrap: str, topic: MakeTopic, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts so many workers on a new source; they end with the test."""
    made: list[Keyed] = []

    async def some(driver: str, many: int) -> list[Keyed]:
        source = await topic(2, name="otlp")
        made.extend(Keyed(bootstrap, source, driver, tmp_path / str(i)) for i in range(many))
        for worker in made:
            worker.start()
            await worker.until(worker.ready, "ready")
        return made

    yield some
    for worker in made:
        if worker.alive():
            worker.end(signal.SIGKILL)


async def play(bootstrap: str, source: str, story: Story, places: dict[str, int], begin: int, end: int) -> None:
    """Write these seconds of the story at the event's time, each service to its partition; a second takes a hundredth."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for time, name, request in story:
            second = time // 1000 - BEGIN
            if begin <= second < end:
                await producer.send(source, request, partition=places[name], timestamp_ms=time)
                await asyncio.sleep(0.01 if name == "payment" else 0)


async def grow(bootstrap: str, source: str) -> None:
    """Give the source more partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_partitions({source: NewPartitions(6)})
    await admin.close()


async def has_room(worker: Worker) -> bool:
    """Whether the workers have noticed: what they keep of the new partitions has a place."""
    kafka = KafkaSettings(bootstrap=[worker.bootstrap], topics=Topics(prefix=worker.prefix))
    return await topics.partitions_of(kafka, topics.Names.of(worker.prefix).state_of(worker.source)) == 6


async def noticed(worker: Keyed) -> bool:
    """Whether this one knows."""
    return worker.said("the source has other partitions")


@pytest.mark.parametrize(("driver", "many"), [("faust", 1), ("consumer", 2)])
async def test_a_fault_lasts_while_its_group_moves_to_a_new_partition(
    start: Start, bootstrap: str, story: Story, driver: str, many: int
) -> None:
    """One trigger, one resolve at its end, and nobody is missed or learned anew: payment alone is talked of."""
    workers = await start(driver, many)
    first = workers[0]

    async def alerts(event: str) -> bool:
        return bool(await first.alerts(event))

    await play(bootstrap, first.source, story, NARROW, 0, HEALTHY + 20)
    await first.until(ours_exist(first, partial(alerts, "trigger")), "a trigger")
    await grow(bootstrap, first.source)
    await first.until(partial(has_room, first), "the growth noticed")
    for worker in workers:  # each by itself, in seconds; the story's minutes go by in less than that
        await worker.until(partial(noticed, worker), "the growth noticed")
    assert not await alerts("resolve")

    await play(bootstrap, first.source, story, WIDE, HEALTHY + 20, HEALTHY + ILL + AFTER)
    await first.until(partial(alerts, "resolve"), "a resolve")

    async def all_read() -> bool:
        return await first.committed() == len(story)

    await first.until(all_read, "everything committed")
    told = [(a["event"], a["group"]) for event in ("trigger", "resolve") for a in await first.alerts(event)]
    assert told == [("trigger", "shop/payment"), ("resolve", "shop/payment")]
    assert any(worker.said("groups came from another partition") for worker in workers)
    assert not any(worker.said("is declared keyed: group, but") for worker in workers)
    for worker in workers:
        assert worker.end(signal.SIGTERM) == 0


async def test_partitions_added_to_a_topic_of_ours_disturb_nobody_until_a_start_says_what_to_do(
    bootstrap: str, topic: MakeTopic, story: Story, tmp_path: Path
) -> None:
    """Whose keys are hashed would leave what is known of them: the worker goes on with those it knows, the next refuses."""
    worker = Worker(bootstrap, await topic(2, name="otlp"), "consumer", tmp_path)
    worker.start()
    await worker.until(worker.ready, "ready")
    await play(bootstrap, worker.source, story, NARROW, 0, HEALTHY)

    async def reads() -> bool:
        return await worker.committed() > 0

    await worker.until(ours_exist(worker, reads), "something committed")
    await grow(bootstrap, f"{worker.prefix}.points")
    await grow(bootstrap, f"{worker.prefix}.anomalies")

    async def noticed() -> bool:
        return worker.log.read_text().count("got partitions while we run") >= 8

    await worker.until(noticed, "the new partitions assigned")
    await play(bootstrap, worker.source, story, NARROW, HEALTHY, HEALTHY + ILL + AFTER)

    async def resolved() -> bool:
        return bool(await worker.alerts("resolve"))

    await worker.until(resolved, "a resolve")
    told = [(a["event"], a["group"]) for event in ("trigger", "resolve") for a in await worker.alerts(event)]
    assert told == [("trigger", "shop/payment"), ("resolve", "shop/payment")]
    assert worker.end(signal.SIGTERM) == 0

    worker.start()
    assert worker.process
    assert await asyncio.to_thread(worker.process.wait, 60) == 1
    said = worker.log.read_text()
    assert f"{worker.prefix}.points has 6" in said
    assert "made again with 2 partitions" in said
