"""Decode and detect as they run on Kafka: source topics -> Decode -> .points -> Detect -> .anomalies.

Each stage writes its outputs before its input is committed, so that a crash repeats and never loses; whatever repeats
carries the same id. Open anomalies survive in .state.open, compacted, on the same partition as their points.
"""

import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from anomaly.config.settings import KafkaSettings, SourceSettings
from anomaly.decode.block import Block
from anomaly.decode.records import BadRecord, DeadLetter
from anomaly.decode.stage import PAST_LIMIT
from anomaly.detect.anomaly import Anomaly, Event, Tick
from anomaly.engine import Engine
from anomaly.host import compacted, wire_points
from anomaly.host.blocks import Fetched
from anomaly.host.health import Health
from anomaly.host.outputs import Message, Outputs, dead_letter
from anomaly.host.source import Place
from anomaly.host.topics import Names

log = logging.getLogger(__name__)

TICK_EVERY = 1000  # ms of event time between ticks: they say nothing but that time goes on

T = TypeVar("T")

to_json = msgspec.json.Encoder().encode
_anomaly = msgspec.json.Decoder(Anomaly)


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every stage needs; `partitions` counts those of our topics."""

    kafka: KafkaSettings
    names: Names
    partitions: Mapping[str, int]
    engine: Engine
    outputs: Outputs
    health: Health

    async def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters, and count them."""
        self.health.set_aside(letters)
        await self.outputs.send([dead_letter(self.names.dead, letter) for letter in letters])


class DecodeStage:
    """Raw records of the sources -> blocks of points by group."""

    name, reads_sources, settles_later = "decode", True, False

    def __init__(self, wiring: Wiring, sources: Sequence[SourceSettings]) -> None:
        self.wiring = wiring
        self.sources = {source.topic: source for source in sources}
        self.topics: tuple[str, ...] = tuple(self.sources)
        self._told: dict[tuple[Place, int], int] = {}  # (source, points partition) -> how far it was told to be heard

    async def restore(self, places: Sequence[Place]) -> None:
        """Nothing: series are announced anew."""

    def drop(self, place: Place) -> None:
        """Say how far a partition is heard as soon as it is ours again."""
        self._told = {key: heard for key, heard in self._told.items() if key[0] != place}

    async def take(self, block: Fetched) -> int:
        """Decode a block; its points go to the partitions of their groups."""
        before = self.wiring.engine.overflow
        found, dead = self.wiring.engine.decode(self.sources[block.source], block)
        self.wiring.health.outcomes({PAST_LIMIT: self.wiring.engine.overflow - before})
        await self.wiring.set_aside(dead)
        await self.wiring.outputs.send([
            Message(self.wiring.names.points, partition, None, record)
            for partition, points in found
            if self._says_something(partition, points)
            for record in wire_points.encode(points)
        ])  # fmt: skip
        return sum(len(points.points) for _, points in found)

    def report(self) -> None:
        """Nothing but what each block said."""

    async def finish(self) -> None:
        """Nothing is left: blocks are settled when they are taken."""

    def _says_something(self, partition: int, block: Block) -> bool:
        key = Place(block.source, block.partition), partition
        told = self._told.get(key, 0)
        if not (len(block.points) or len(block.series) or block.heard >= told + TICK_EVERY):
            return False
        self._told[key] = max(told, block.heard)
        return True


class DetectStage:
    """Blocks of points -> anomalies, and ticks for the correlators, which see all partitions' time go on."""

    name, reads_sources, settles_later = "detect", False, False

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.topics: tuple[str, ...] = (wiring.names.points,)
        self._held: set[int] = set()
        self._ticked: dict[int, int] = {}
        self._counted: dict[int, Counter[str]] = {}

    async def restore(self, places: Sequence[Place]) -> None:
        """Open anomalies, so that none is opened or closed twice; told again, since a crash may have come between."""
        held = await compacted.read(self.wiring.kafka, self.wiring.names.open, [p.partition for p in places])
        self._held |= set(held)
        for partition, by_id in held.items():
            anomalies = readable(by_id, _anomaly)
            self.wiring.engine.detector(partition).restore(anomalies)
            await self.wiring.outputs.send([self._event(a) for a in anomalies])

    def drop(self, place: Place) -> None:
        """Another worker's groups."""
        self.wiring.engine.drop(place.partition)
        self._held.discard(place.partition)
        self._ticked.pop(place.partition, None)
        self._counted.pop(place.partition, None)

    async def take(self, block: Fetched) -> int:
        """Judge the points of a block of blocks."""
        points, dead, events = 0, [], list[Anomaly | Tick]()
        for i in range(len(block)):
            try:
                received = wire_points.decode(block.value(i))
            except BadRecord as error:
                dead.append(block.dead(i, error))
                continue
            events += self.wiring.engine.detect(block.partition, received)
            points += len(received.points)
            if len(received.points):
                self.wiring.health.judged(int(received.points.time.max()))
        self._count(block.partition, events)
        await self.wiring.set_aside(dead)
        await self._tell(block.partition, events)
        return points

    def report(self) -> None:
        """How many series are known, and how well."""
        detectors = [self.wiring.engine.detector(partition) for partition in sorted(self._held)]
        series = sum(d.series for d in detectors)
        self.wiring.health.series(series, sum(d.warm_share * d.series for d in detectors) / max(series, 1))

    async def finish(self) -> None:
        """Nothing is left: blocks are settled when they are taken."""

    async def _tell(self, partition: int, events: Sequence[Anomaly | Tick]) -> None:
        """What opened is noted before it is told, what closed is told before its note goes.

        A crash in between leaves a note of what may not have been told: the next start tells it again, by the same id. The
        model could not: it has not seen what came before.
        """
        anomalies = [event for event in events if isinstance(event, Anomaly)]
        ids = {a.id: a.event is Event.CLOSE for a in anomalies}  # as each stands at last
        topic = self.wiring.names.open
        lasting = {a.id: to_json(a) for a in anomalies if not ids[a.id]}
        await self.wiring.outputs.send([Message(topic, partition, i.encode(), text) for i, text in lasting.items()])
        await self.wiring.outputs.send([*map(self._event, anomalies), *self._ticks(partition, events)])
        await self.wiring.outputs.send([Message(topic, partition, i.encode(), None) for i, over in ids.items() if over])

    def _event(self, anomaly: Anomaly) -> Message:
        environment = anomaly.environment
        return Message(self.wiring.names.anomalies, self._of(environment), environment.encode(), to_json(anomaly))

    def _of(self, environment: str) -> int:
        """Nothing crosses an environment: all of it meets on one partition."""
        return zlib.crc32(environment.encode()) % self.wiring.partitions[self.wiring.names.anomalies]

    def _ticks(self, partition: int, events: Iterable[Anomaly | Tick]) -> list[Message]:
        """The last tick of a block, behind its anomalies, to all correlators; none if a recent one said as much."""
        time = max((e.time for e in events if isinstance(e, Tick)), default=0)
        if time < self._ticked.get(partition, 0) + TICK_EVERY:
            return []
        self._ticked[partition] = time
        names, text = self.wiring.names, to_json(Tick(partition=partition, time=time))
        return [Message(names.anomalies, p, None, text) for p in range(self.wiring.partitions[names.anomalies])]

    def _count(self, partition: int, events: Iterable[Anomaly | Tick]) -> None:
        for event in events:
            if isinstance(event, Anomaly):
                self.wiring.health.anomaly(event)
        now = Counter(self.wiring.engine.detector(partition).counts)
        del now["waiting"]  # not an outcome yet
        self.wiring.health.outcomes(now - self._counted.get(partition, Counter()))
        self._counted[partition] = now


def readable(held: Mapping[bytes, bytes], decoder: "msgspec.json.Decoder[T]") -> list[T]:
    """The values that can be read; another version of ours may have written what we cannot."""
    found = []
    for key, value in held.items():
        try:
            found.append(decoder.decode(value))
        except msgspec.DecodeError as error:
            log.warning("not restored: %s: %s", key.decode(errors="replace"), error)
    return found
