"""A source keyed by group goes from 4 to 12 partitions: nothing is told that is not so, and nothing is learned anew."""

import json
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import pytest
from tests.faults.chaos import BEGIN, EVERY, record, story

from anomaly.config.load import load_specs
from anomaly.config.settings import KafkaSettings, Keyed, Settings, SourceSettings
from anomaly.decode.records import Records
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.dispatch.alert import Alert, What
from anomaly.engine import Engine
from anomaly.host import compacted, topics
from anomaly.host.blocks import Fetched, Place
from anomaly.host.health import Health
from anomaly.host.outputs import Message, Outputs
from anomaly.host.stages import FusedStage
from anomaly.host.state_topic import StateTopic
from anomaly.host.statelog import Found, Generation, Manifest, pack, put
from anomaly.host.telling import Of
from anomaly.host.topics import Names
from anomaly.host.wiring import Wiring

KAFKA, NAMES = KafkaSettings(bootstrap=["nowhere:9092"]), Names.of("a")
SOURCE = SourceSettings(topic="metrics", encoding="prometheus_json", keyed=Keyed.GROUP)
GROWS, END = 103, 185  # steps of five seconds: service 7 is ill from the 90th to the 107th, 6, 5, 4 and 3 after it
_event = msgspec.json.Decoder(Anomaly | Tick)


class Brokers(Outputs):
    """What is on the topics of ours: all that was told, and the newest note by key."""

    def __init__(self) -> None:
        super().__init__(KAFKA)
        self.notes: dict[bytes, bytes] = {}
        self.told: list[bytes] = []

    async def send(self, messages: Sequence[Message]) -> None:
        for m in messages:
            if m.topic == NAMES.anomalies:
                self.told.append(m.value or b"")
            elif m.value is None:
                self.notes.pop(m.key or b"", None)
            else:
                self.notes[m.key or b""] = m.value


class World:
    """A source whose services are keyed by name, workers that share its partitions, and their checkpoints."""

    def __init__(self, workers: int = 1) -> None:
        self.partitions, self.room, self.step = 4, 4, 0  # `room`: partitions of the state's topic
        self.brokers, self.log = Brokers(), defaultdict[Place, list[Fetched]](list)
        self.kept: dict[Place, tuple[int, Found]] = {}  # blocks taken, and the checkpoint that says so
        self.taken: dict[Place, int] = {}
        self.stages = [self.worker() for _ in range(workers)]
        self.correlating, self.alerts = Engine(Settings(), load_specs()), list[Alert]()

    def worker(self) -> FusedStage:
        """One that has nothing yet. Its clock is that of the story."""
        engine = Engine(Settings(kafka=KAFKA, sources=[SOURCE]), load_specs())
        stage = FusedStage(Wiring(KAFKA, NAMES, dict.fromkeys(NAMES, 1), engine, self.brokers, Health()), [SOURCE])
        stage.growth.now = lambda: BEGIN + EVERY * self.step
        return stage

    def owner(self, place: Place) -> FusedStage:
        """The old partitions are the first worker's, the new ones the last one's."""
        return self.stages[0 if place.partition < 4 else -1]

    async def play(self, until: int) -> None:
        """Write the story, and have it judged as it comes."""
        for self.step in range(self.step, until):  # noqa: B020
            by_place: dict[Place, list[bytes]] = defaultdict(list)
            for _, value in story(self.step):
                job = json.loads(value)["labels"]["job"]
                by_place[Place(SOURCE.topic, zlib.crc32(job.encode()) % self.partitions)].append(value)
            for place, values in sorted(by_place.items()):
                self.log[place].append(block(place, self.ends(place), values))
            await self.read()
        self.step = until

    def ends(self, place: Place) -> int:
        """The offset after the last record."""
        return self.log[place][-1].next_offset if self.log[place] else 0

    async def read(self) -> None:
        """Judge what is new, and decide what it matters."""
        for place, blocks in sorted(self.log.items()):
            stage = self.owner(place)
            if place not in self.taken:
                await self.assign(place, stage)
            for one in blocks[self.taken[place] :]:
                await stage.take(one)
                self.taken[place] += 1
            await stage.sent()
        told, self.brokers.told = self.brokers.told, []
        for event in map(_event.decode, told):
            self.alerts += [alert for _, alert in self.correlating.correlate(0, [event]) if alert]

    async def assign(self, place: Place, stage: FusedStage) -> None:
        """Restored from its checkpoint, or from notes."""
        state = stage.state(place)
        self.taken[place], found = self.kept.get(place, (0, None))
        if found:
            put(found, state)
        else:
            await stage.restore([place])

    def grow(self) -> None:
        """More partitions: a rebalance, with a last checkpoint of each; a minute of the story is a moment of ours."""
        self.checkpoint()
        self.partitions = 12
        for stage in self.stages:
            stage.growth.watch()

    def checkpoint(self) -> None:
        """Of every partition, as a rebalance makes them."""
        for place, taken in self.taken.items():
            state = self.owner(place).wiring.engine.detector(Of(place.partition, place.topic).number)
            body = pack(state.gather(1), state.layouts())
            own = Generation(1, 0, zlib.crc32(body), len(body))
            self.kept[place] = taken, Found(Manifest(generation=1, next_offset=0, live=(own,)), [(1, body)])

    async def stop(self) -> None:
        """No task is left."""
        for stage in self.stages:
            await stage.finish()

    def triggers(self) -> list[tuple[str, str, str]]:
        """(group, id of the incident, when) of each page or ticket, in order."""
        return [(a.group, a.dedup_key, a.time) for a in self.alerts if a.event is What.TRIGGER]

    def resolved(self) -> set[tuple[str, str]]:
        """Incidents that are over, and since when."""
        return {(a.dedup_key, a.time) for a in self.alerts if a.event is What.RESOLVE}


def block(place: Place, offset: int, values: Sequence[bytes]) -> Fetched:
    """As it comes off the topic."""
    r = Records.of(values, *place, offset)
    return Fetched(*place, r.buffer, r.offset, r.time, r.value_at, r.value_len, r.next_offset, r.first_offset)


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    """Those that the clients below belong to: the last one."""
    made: list[World] = []

    async def counts(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
        return {name: made[-1].partitions if name == SOURCE.topic else made[-1].room for name in names}

    async def widen(kafka: KafkaSettings, topic: str, partitions: int) -> None:
        made[-1].room = partitions

    async def notes(kafka: KafkaSettings, topic: str, partitions: Iterable[int]) -> dict[int, dict[bytes, bytes]]:
        return {p: dict(made[-1].brokers.notes) for p in partitions}

    async def read(store: StateTopic) -> Found | None:
        place = Place(SOURCE.topic, store.place.partition)
        return made[-1].kept[place][1] if place in made[-1].kept else None

    monkeypatch.setattr(topics, "counts", counts)
    monkeypatch.setattr(topics, "widen", widen)
    monkeypatch.setattr(compacted, "read", notes)
    monkeypatch.setattr(StateTopic, "read", read)
    return made


async def undisturbed(worlds: list[World], end: int = END) -> World:
    """What is told where nothing grows."""
    worlds.append(World())
    await worlds[-1].play(end)
    await worlds[-1].stop()
    return worlds[-1]


def moved() -> set[str]:
    """Services that change their partition."""
    names = [f"service-{g}" for g in range(12)]
    return {n for n in names if zlib.crc32(n.encode()) % 4 != zlib.crc32(n.encode()) % 12}


def series(world: World) -> dict[str, set[int]]:
    """Service -> how many series each partition knows of it."""
    found: dict[str, set[int]] = defaultdict(set)
    for place in world.taken:
        detector = world.owner(place).wiring.engine.detector(Of(place.partition, place.topic).number)
        held: dict[str, int] = defaultdict(int)
        for listed in detector.listing():
            held[listed.series.group] += 1
        for group, n in held.items():
            found[group].add(n)
    return found


@pytest.mark.parametrize("workers", [1, 2])
async def test_faults_are_told_as_if_the_source_had_not_grown(worlds: list[World], workers: int) -> None:
    """One lasts meanwhile, others follow: the same incidents by their ids, none twice, none over too early."""
    narrow = await undisturbed(worlds)
    wide = World(workers)
    worlds.append(wide)
    await wide.play(GROWS)
    before = wide.triggers()
    wide.grow()
    await wide.play(END)
    await wide.stop()

    assert {"service-7", "service-4", "service-3"} <= moved()
    assert "service-7" in {group for group, *_ in before}
    assert {"service-7", "service-4", "service-3"} <= {group for group, *_ in narrow.triggers()}
    assert wide.triggers() == narrow.triggers()
    assert wide.resolved() == narrow.resolved() != set()
    assert wide.room == 12
    assert {len(numbers) for numbers in series(wide).values()} == {1}, "who moved took all his series along"


async def test_a_worker_that_dies_when_groups_have_moved_takes_them_over_once_more(worlds: list[World]) -> None:
    """Before any checkpoint of the new partitions: what is open is known from its notes, and no incident is told twice."""
    narrow = await undisturbed(worlds)
    wide = World()
    worlds.append(wide)
    await wide.play(GROWS)
    wide.grow()
    await wide.play(GROWS + 2)
    await wide.stop()
    wide.stages, wide.taken = [wide.worker()], {}
    await wide.play(END)
    await wide.stop()

    assert wide.triggers() == narrow.triggers()
    assert wide.resolved() == narrow.resolved()


@pytest.mark.parametrize("noted", [True, False])
async def test_a_source_that_grew_while_nobody_was_there_is_known_to_have_grown(worlds: list[World], noted: bool) -> None:
    """Who left is not missed, what was open goes on; also where the version before ours noted no number of partitions."""
    narrow = await undisturbed(worlds)
    wide = World()
    worlds.append(wide)
    await wide.play(GROWS)
    wide.checkpoint()
    await wide.stop()
    note = wide.brokers.notes.pop(b"partitions/metrics")
    wide.brokers.notes |= {b"partitions/metrics": note} if noted else {}
    wide.partitions, wide.stages, wide.taken = 12, [wide.worker()], {}
    await wide.play(END)
    await wide.stop()

    assert wide.triggers() == narrow.triggers()
    assert wide.resolved() == narrow.resolved()


def long_story(step: int) -> Iterator[tuple[int, bytes]]:
    """Service 7 is ill for twenty minutes around the growth; long after it service 1 dies, and 4, which has moved."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN + EVERY * step))
    for g in range(12):
        if step >= 390 and g in (1, 4):
            continue
        value = (g * 31 + step * 7919) % 100 / 10 + (500 if g == 7 and 90 <= step < 330 else 0)
        labels = {"job": f"service-{g}", "instance": f"10.0.{g}.0:1"}
        yield 0, record(stamp, value, labels | {"__name__": "queue_depth"})
        yield 0, record(stamp, 100 * step, labels | {"__name__": "http_requests_total"})


async def test_the_partition_that_a_group_left_ends_nothing_that_lasts_and_silence_is_watched_for_again(
    worlds: list[World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one lets go of what was open ten minutes after the source has settled; only its new place knows the end."""
    monkeypatch.setattr("tests.acceptance.test_growth.story", long_story)
    narrow = await undisturbed(worlds, 420)
    wide = World(workers=2)
    worlds.append(wide)
    await wide.play(GROWS)
    wide.grow()
    await wide.play(420)
    await wide.stop()

    told, expected = (
        [(a.event, a.group, a.dedup_key, a.time) for a in world.alerts if a.event is not What.UPDATE]
        for world in (wide, narrow)
    )
    assert told == expected
    assert [each[:2] for each in told[:2]] == [(What.TRIGGER, "service-7"), (What.RESOLVE, "service-7")]
    assert {each[:2] for each in told[2:]} == {(What.TRIGGER, "service-1"), (What.TRIGGER, "service-4")}
    assert not [
        key for key in wide.brokers.notes if key.startswith(b"metrics/1/") and b"service-7" in wide.brokers.notes[key]
    ]
