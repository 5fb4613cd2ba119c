"""State is what one undisturbed pass gives, whatever happened on the way; on a real broker, with both adapters."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaTimeoutError, TopicAlreadyExistsError
from tests.host.sums import Summing, Sums
from tests.host.test_sources import DRIVERS

from anomaly.config.settings import Checkpoint, KafkaSettings, Settings, Topics
from anomaly.decode.records import DeadLetter
from anomaly.host.blocks import Place
from anomaly.host.checkpoint import Checkpoints
from anomaly.host.connect import Admin
from anomaly.host.extent import UNKNOWN, Extent, Extents
from anomaly.host.health import Health
from anomaly.host.intake import Intake
from anomaly.host.source import Source
from anomaly.host.state_command import FAILED, export, inspect, take_in
from anomaly.host.state_folder import StateFolder
from anomaly.host.state_topic import StateTopic
from anomaly.host.statelog import Fenced, Generation, Manifest, pack, put
from anomaly.host.topics import Names, prepare, prepare_state
from anomaly.state import Newer

pytestmark = pytest.mark.kafka

MakeTopic = Callable[..., Awaitable[str]]
SOON = Checkpoint(every=0.1)
NEVER = Checkpoint(every=10_000.0)


RUNNING: list["Worker"] = []


@pytest.fixture(autouse=True)
async def ended() -> AsyncIterator[None]:
    """Whatever a test left running, because it failed, is stopped."""
    yield
    while RUNNING:
        worker = RUNNING.pop()
        if not worker.task.done():
            await worker.stop()


class Worker:
    """A source at work on a summing stage, with checkpoints."""

    def __init__(self, driver: str, bootstrap: str, topic: str, settings: Checkpoint = SOON) -> None:
        self.stage, self.dead, self.health = Summing(topic), list[DeadLetter](), Health()
        kafka = KafkaSettings(bootstrap=[bootstrap])

        def store(place: Place) -> StateTopic:
            return StateTopic(kafka, f"{topic}.state", place.partition, f"{topic}-{place.partition}")

        self.checkpoints = Checkpoints("sums", store, settings, self.health)
        self.intake = Intake(self.stage, self.set_aside, self.health, self.checkpoints)
        self.source: Source = DRIVERS[driver](kafka, f"{topic}.sums", self.intake)
        self.task = asyncio.create_task(self.source.run())
        RUNNING.append(self)

    async def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        self.dead += letters

    async def stop(self) -> None:
        """As SIGTERM would."""
        await self.source.stop()
        await self.task


async def send(bootstrap: str, topic: str, numbers: Sequence[int], partition: int = 0) -> None:
    """Write numbers, ten a batch."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for at in range(0, len(numbers), 10):
            batch = producer.create_batch()
            for n in numbers[at : at + 10]:
                batch.append(key=None, value=str(n).encode(), timestamp=None)
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()


def one_pass(numbers: Sequence[int]) -> list[Any]:
    """What the state must be."""
    sums = Sums()
    for n in numbers:
        sums.add(n)
    return sums.digest()


@pytest.fixture
async def source(bootstrap: str, topic: MakeTopic) -> str:
    """A topic of one partition, with one for its state beside it."""
    made = await topic(1, "sums")
    await prepare_state(KafkaSettings(bootstrap=[bootstrap]), f"{made}.state", made)
    return made


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_worker_goes_on_where_the_one_before_it_stopped(bootstrap: str, source: str, driver: str) -> None:
    """Nothing is judged twice and nothing is left out."""
    await send(bootstrap, source, range(500))
    first = Worker(driver, bootstrap, source)
    await first.stage.until(500)
    await first.stop()
    await send(bootstrap, source, range(500, 800))
    second = Worker(driver, bootstrap, source)
    await second.stage.until(800)
    assert second.stage.sums[Place(source, 0)].digest() == one_pass(range(800))
    assert [offset for _, offset in second.stage.taken] == list(range(500, 800))
    assert not second.stage.restored, "a checkpoint was there"
    await second.stop()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_the_group_follows_the_checkpoint_and_not_the_reader(bootstrap: str, source: str, driver: str) -> None:
    """What no checkpoint covers is not committed: a crash would leave it out."""
    await send(bootstrap, source, range(100))
    worker = Worker(driver, bootstrap, source, NEVER)
    await worker.stage.until(100)
    await asyncio.sleep(2.5)  # two rounds of commits
    assert await committed(bootstrap, f"{source}.sums", source) in (None, 0)
    await worker.stop()
    assert await committed(bootstrap, f"{source}.sums", source) == 100


@pytest.mark.parametrize("driver", DRIVERS)
async def test_what_a_checkpoint_holds_is_not_judged_again_though_the_group_lost_its_offset(
    bootstrap: str, source: str, driver: str
) -> None:
    """Group offsets expire, or a commit fails after the checkpoint: the topic is read from its beginning, and cut off."""
    await send(bootstrap, source, range(300))
    first = Worker(driver, bootstrap, source)
    await first.stage.until(300)
    await first.stop()
    await forget(bootstrap, f"{source}.sums", source)
    await send(bootstrap, source, range(300, 400))
    second = Worker(driver, bootstrap, source)
    await second.stage.until(400)
    assert second.stage.sums[Place(source, 0)].digest() == one_pass(range(400))
    await second.stop()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_records_that_are_gone_are_counted_and_jumped_over(bootstrap: str, source: str, driver: str) -> None:
    """Retention was faster than we: the partition must not stand still for ever."""
    await send(bootstrap, source, range(100))
    first = Worker(driver, bootstrap, source)
    await first.stage.until(100)
    await first.stop()
    await send(bootstrap, source, range(100, 300))
    await delete(bootstrap, source, 200)
    second = Worker(driver, bootstrap, source)
    await second.stage.until(200)
    assert second.stage.sums[Place(source, 0)].digest() == one_pass([*range(100), *range(200, 300)])
    assert second.health.registry.get_sample_value("anomaly_records_lost_total", {"stage": "sums"}) == 100
    await second.stop()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_record_that_meets_a_fault_of_ours_is_set_aside_and_spoils_nothing(
    bootstrap: str, source: str, driver: str
) -> None:
    """The fault comes when the state is changed already: it is restored, and the record is as if it never was."""
    await send(bootstrap, source, range(50))
    worker = Worker(driver, bootstrap, source)

    def fault(value: bytes) -> None:
        if value == b"25":
            raise ZeroDivisionError

    worker.stage.fault = fault
    await worker.stage.until(49)
    assert worker.stage.sums[Place(source, 0)].digest() == one_pass([n for n in range(50) if n != 25])
    assert [(letter.offset, letter.reason) for letter in worker.dead] == [(25, "internal_error")]
    await worker.stop()


def state_topic(bootstrap: str, source: str, admin: Admin | None = None) -> StateTopic:
    """The only partition's."""
    return StateTopic(KafkaSettings(bootstrap=[bootstrap]), f"{source}.state", 0, f"{source}-0", admin)


def manifest(number: int, *live: Generation) -> Manifest:
    """One that stands for offset 10 times its number."""
    return Manifest(generation=number, next_offset=10 * number, live=live)


def generation(number: int, body: bytes) -> Generation:
    """As a checkpoint names it before it is written."""
    import zlib

    return Generation(number, 0, zlib.crc32(body), len(body))


async def test_whoever_opens_shuts_out_the_one_before(bootstrap: str, source: str) -> None:
    """A worker that was frozen and is not dead may not write; what it had written is there."""
    old, new = state_topic(bootstrap, source), state_topic(bootstrap, source)
    assert await old.open() is None
    kept = await old.write(manifest(1, generation(1, b"one")), b"one", 1)
    found = await new.open()
    assert found is not None
    assert (found.manifest, found.bodies) == (kept, [(1, b"one")])
    with pytest.raises(Fenced):
        await old.write(manifest(2, *kept.live, generation(2, b"two")), b"two", 1)
    again = await new.write(manifest(2, *kept.live, generation(2, b"TWO")), b"TWO", 1)
    assert again.live[-1].crc == generation(2, b"TWO").crc
    await old.close()
    await new.close()


async def test_a_checkpoint_that_did_not_come_to_its_end_never_was(
    bootstrap: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended between the chunks and the manifest, and between the manifest and the commit."""
    store = state_topic(bootstrap, source)
    await store.open()
    kept = await store.write(manifest(1, generation(1, b"one")), b"one", 1)
    for step in ("chunks", "manifest"):

        def end(reached: str, at: str = step) -> None:
            if reached == at:
                raise ZeroDivisionError

        monkeypatch.setattr(StateTopic, "reached", staticmethod(end))
        with pytest.raises(ZeroDivisionError):
            await store.write(manifest(2, *kept.live, generation(2, b"two")), b"two", 1)
        monkeypatch.undo()
        store = state_topic(bootstrap, source)
        found = await store.open()
        assert found is not None
        assert (found.manifest, found.bodies) == (kept, [(1, b"one")])


class Lossy:
    """The next transaction of a store fails for want of an answer, before it is written or behind that."""

    def __init__(self, store: StateTopic, monkeypatch: pytest.MonkeyPatch, *, written: bool) -> None:
        self.transact, self.written, self.lost = store._transact, written, 0
        monkeypatch.setattr(store, "_transact", self)

    async def __call__(self, *what: Any) -> Manifest:
        if not self.lost:
            self.lost = 1
            if self.written:
                await self.transact(*what)
            raise KafkaTimeoutError("no answer")
        return await self.transact(*what)


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("number", [1, 2])
async def test_a_checkpoint_whose_confirmation_was_lost_is_there_once(
    bootstrap: str, source: str, number: int, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was written is asked, not guessed: twice in the log it could not be put together again."""
    store, live = state_topic(bootstrap, source), tuple[Generation, ...]()
    await store.open()
    if number == 2:
        live = (await store.write(manifest(1, generation(1, b"one")), b"one", 1)).live
    Lossy(store, monkeypatch, written=written)
    kept = await store.write(manifest(number, *live, generation(number, b"lost")), b"lost", 1)
    await store.write(manifest(number + 1, *kept.live, generation(number + 1, b"next")), b"next", 1)
    await store.close()
    found = await state_topic(bootstrap, source).open()
    assert found is not None
    assert [body for _, body in found.bodies] == [b"one", b"lost", b"next"][2 - number :]


async def test_a_frozen_worker_whose_network_fails_shuts_nobody_out(
    bootstrap: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying again, it would open anew, and so fence the owner and write an old state over a newer one."""
    frozen, owner = state_topic(bootstrap, source), state_topic(bootstrap, source)
    await frozen.open()
    one = await frozen.write(manifest(1, generation(1, b"one")), b"one", 1)
    await owner.open()
    two = await owner.write(manifest(2, *one.live, generation(2, b"TWO")), b"TWO", 1)
    Lossy(frozen, monkeypatch, written=False)
    with pytest.raises(Fenced):
        await frozen.write(manifest(2, *one.live, generation(2, b"two")), b"two", 1)
    three = await owner.write(manifest(3, *two.live, generation(3, b"THREE")), b"THREE", 1)
    assert (await owner.read()) == (three, [(1, b"one"), (2, b"TWO"), (3, b"THREE")])
    await owner.close()


async def test_numbers_that_come_again_after_a_loss_are_told_apart(bootstrap: str, source: str) -> None:
    """A state that was lost begins at generation 1 again, and where old records may not be deleted both are there."""
    store = state_topic(bootstrap, source)
    await store.open()
    await store.write(manifest(1, generation(1, b"one")), b"one", 1)
    again = await store.write(manifest(1, generation(1, b"ONE")), b"ONE", 1)
    assert await store.read() == (again, [(1, b"ONE")])
    await store.close()


async def test_what_is_dead_is_deleted_and_a_large_generation_comes_back_whole(bootstrap: str, source: str) -> None:
    """Several chunks; the log begins with the oldest generation that lives."""
    admin = Admin(KafkaSettings(bootstrap=[bootstrap]))
    store = state_topic(bootstrap, source, admin)
    await store.open()
    large = bytes(range(256)) * 8_000
    one = await store.write(manifest(1, generation(1, b"one")), b"one", 1)
    two = await store.write(manifest(2, *one.live, generation(2, large)), large, 2)
    assert [each.number for each in two.live] == [2]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    place = TopicPartition(f"{source}.state", 0)
    assert (await consumer.beginning_offsets([place]))[place] == two.live[0].begins
    await consumer.stop()
    await admin.close()
    found = await state_topic(bootstrap, source).open()
    assert found is not None
    assert found.bodies == [(2, large)]


async def test_state_goes_out_to_a_directory_and_back_into_another_topic(
    bootstrap: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`anomaly state export` and `import`: generations become one that gives the same state; it is not overwritten."""
    prefix = f"p{source}"
    kafka = KafkaSettings(bootstrap=[bootstrap], application=prefix, topics=Topics(prefix=prefix, partitions=1))
    names = Names.of(prefix)
    await prepare(kafka, names)
    for topic in (names.points, names.anomalies):
        await prepare_state(kafka, names.state_of(topic), topic)
    sums, store = Sums(), StateTopic(kafka, names.state_of(names.points), 0, f"{prefix}.{names.points}-0")
    assert await store.open() is None
    kept: Manifest | None = None
    for number in (1, 2, 3):
        sums.add(number)
        snapshot = sums.gather(number)
        body = pack(snapshot, sums.layouts())
        live = (*(kept.live if kept else ()), generation(number, body))
        kept = await store.write(Manifest(generation=number, next_offset=number, live=live), body, snapshot.low)
    settings = Settings(kafka=kafka)
    assert await inspect(settings, tmp_path) == 0
    assert f"{names.points}" in capsys.readouterr().out
    assert await export(settings, tmp_path) == 0
    assert await take_in(settings, tmp_path) == FAILED, "what is there is not overwritten"
    found = await StateFolder(tmp_path / f"{names.points}-0").open()
    assert found is not None
    assert found.manifest.next_offset == 3
    again = Sums()
    put(found, again)
    assert again.digest() == sums.digest()


async def committed(bootstrap: str, group: str, topic: str) -> int | None:
    """The group's offset."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        found = (await admin.list_consumer_group_offsets(group)).get(TopicPartition(topic, 0))
        return None if found is None else int(found.offset)
    finally:
        await admin.close()


async def forget(bootstrap: str, group: str, topic: str) -> None:
    """Set the group's offset back to the beginning."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.commit({TopicPartition(topic, 0): 0})
    await consumer.stop()


async def delete(bootstrap: str, topic: str, before: int) -> None:
    """As retention would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=before)})
    await admin.close()


async def made_anew(bootstrap: str, topic: str) -> None:
    """Delete a topic and make it again, as somebody does who wants to get rid of what is in it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    async with asyncio.timeout(30):
        while topic in await admin.list_topics():
            await asyncio.sleep(0.1)
        while True:
            try:
                await admin.create_topics([NewTopic(topic, 1, 1)])
                break
            except TopicAlreadyExistsError:
                await asyncio.sleep(0.1)
    await admin.close()


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    bootstrap: str, source: str, driver: str, runs: bool
) -> None:
    """Its offsets begin again, below those that were taken; nobody may take them for records that came twice."""
    await send(bootstrap, source, range(200))
    worker = Worker(driver, bootstrap, source)
    await worker.stage.until(200)
    if not runs:
        await worker.stop()
    await made_anew(bootstrap, source)
    await send(bootstrap, source, range(1000, 1100))
    if not runs:
        worker = Worker(driver, bootstrap, source)
    await worker.stage.until(300)
    assert worker.stage.sums[Place(source, 0)].digest() == one_pass([*range(200), *range(1000, 1100)])
    assert worker.health.registry.get_sample_value("anomaly_topic_anew_total", {"stage": "sums"}) == 1
    await worker.stop()
    again = Worker(driver, bootstrap, source)
    await send(bootstrap, source, range(1100, 1110))
    await again.stage.until(310)
    assert again.stage.sums[Place(source, 0)].digest() == one_pass([*range(200), *range(1000, 1110)])
    await again.stop()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_topic_made_anew_that_has_passed_the_old_offsets_is_read_from_its_beginning(
    bootstrap: str, source: str, driver: str
) -> None:
    """Nothing in its offsets tells that it is another one."""
    await send(bootstrap, source, range(50))
    first = Worker(driver, bootstrap, source)
    await first.stage.until(50)
    await first.stop()
    await made_anew(bootstrap, source)
    await send(bootstrap, source, range(1000, 1300))
    second = Worker(driver, bootstrap, source)
    await second.stage.until(350)
    assert second.stage.sums[Place(source, 0)].digest() == one_pass([*range(50), *range(1000, 1300)])
    assert second.health.registry.get_sample_value("anomaly_topic_anew_total", {"stage": "sums"}) == 1
    await second.stop()


async def test_the_extent_of_a_log_tells_a_topic_from_the_one_before_it(bootstrap: str, source: str) -> None:
    """Ids come over aiokafka's own connection; a topic that is not there has no extent."""
    look, place = Extents(KafkaSettings(bootstrap=[bootstrap])).look, Place(source, 0)
    await send(bootstrap, source, range(30))
    await delete(bootstrap, source, 10)
    before = await look([place, Place("nowhere", 0)])
    assert before == {place: Extent(before[place].epoch, 10, 30)}
    assert (await look([place])) == before
    await made_anew(bootstrap, source)
    await send(bootstrap, source, range(5))
    after = (await look([place]))[place]
    assert (after.begins, after.ends) == (0, 5)
    assert UNKNOWN != after.epoch != before[place].epoch != UNKNOWN


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_state_of_a_later_version_stops_the_worker_and_stays(bootstrap: str, source: str, driver: str) -> None:
    """After a rollback: to begin anew would write over what the newer program has learned."""
    await send(bootstrap, source, range(100))
    first = Worker(driver, bootstrap, source)
    await first.stage.until(100)
    await first.stop()
    store = state_topic(bootstrap, source)
    held = await store.open()
    assert held
    (_, body), *_ = held.bodies
    newer = msgspec.structs.replace(
        held.manifest,
        version=99,
        written_by="7.0",
        generation=1000,
        live=(Generation(1000, 0, zlib.crc32(body), len(body)),),
    )
    await store.write(newer, body, 1000)
    await store.close()
    older = Worker(driver, bootstrap, source)
    with pytest.raises(Newer, match=r"anomaly 7\.0"):
        await asyncio.wait_for(older.task, 60)
    with pytest.raises(Newer):
        await state_topic(bootstrap, source).read()
