"""Decode and detect as they run on Kafka: source topics -> Decode -> .points -> Detect -> .anomalies.

Each stage writes its outputs before its input is committed, so that a crash repeats and never loses; whatever repeats
carries the same id, or the same offsets. Open anomalies survive in .state.open (`telling`). Sources that are keyed by group
are decoded and judged in one stage, with no topic between.
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import SourceSettings
from anomaly.decode.block import Block
from anomaly.decode.records import BadRecord
from anomaly.decode.stage import Decode, Knows
from anomaly.decode.steps_keep import KeptBeside
from anomaly.detect.absence import CHECK
from anomaly.host import stages_commands, wire_commands, wire_points
from anomaly.host.blocks import Fetched, Place
from anomaly.host.growth import Growth
from anomaly.host.outputs import Message
from anomaly.host.sending import Sending, bearable
from anomaly.host.telling import Of, Telling
from anomaly.host.wiring import Wiring
from anomaly.state import Stateful

log = logging.getLogger(__name__)


class DecodeStage:
    """Raw records of the sources -> blocks of points by group. A block is settled when its points are on the brokers."""

    name, reads_sources, keeps_state, settles_later = "decode", True, False, True

    def __init__(self, wiring: Wiring, sources: Sequence[SourceSettings]) -> None:
        self.wiring = wiring
        self.sources = {source.topic: source for source in sources}
        self.topics: tuple[str, ...] = tuple(self.sources)
        self._decoder = Decode(wiring.engine.settings, wiring.partitions[wiring.names.points])
        self._decoder.steps = None  # a trace comes by several partitions: `stages_spans` puts it together
        self._told: dict[tuple[Place, int], int] = {}  # (source, points partition) -> how far it was told to be heard
        self._sending = Sending(self._send)

    def state(self, place: Place) -> Stateful | None:
        """None: what is known of series can be built anew."""

    async def restore(self, places: Sequence[Place]) -> None:
        """Nothing: series are announced anew."""

    def drop(self, place: Place) -> None:
        """Say how far a partition is heard as soon as it is ours again."""
        self._told = {key: heard for key, heard in self._told.items() if key[0] != place}
        self._decoder.drop(place.topic, place.partition)

    async def take(self, block: Fetched) -> int:
        """Decode a block; its points go to the partitions of their groups."""
        decoder = self.decoder(block.place)
        before = decoder.counts
        found, dead = decoder.blocks(self.sources[block.source], block)
        self.wiring.health.outcomes(decoder.counted(before))
        if not all(bearable(points) for _, points in found):
            decoder.withdraw(points for _, points in found)
            raise BadRecord("too_large", "a series or a histogram of it does not go into one record")
        await self.wiring.set_aside(dead)
        await self._sending.put(block, [(p, points) for p, points in found if self._says_something(p, points)])
        return sum(len(points.points) for _, points in found)

    def decoder(self, place: Place) -> Decode:
        """What decodes a partition: of the users' topics one decoder for all."""
        return self._decoder

    def report(self) -> None:
        """Nothing but what each block said."""

    async def sent(self) -> None:
        """Nothing is asked of it: blocks are settled when they are sent."""

    async def finish(self) -> None:
        """What was decoded is sent."""
        await self._sending.all()

    async def _send(self, found: Sequence[tuple[int, Block]]) -> None:
        """Those of a block that is too large go one after the other: none may overtake another."""
        version, topic = self.wiring.kafka.topics.points_version, self.wiring.names.points
        records = [(partition, wire_points.encode(block, version)) for partition, block in found]
        for i in range(max((len(r) for _, r in records), default=0)):
            await self.wiring.outputs.send([Message(topic, p, None, r[i]) for p, r in records if i < len(r)])

    def _says_something(self, partition: int, block: Block) -> bool:
        """A block without points tells how far its input is heard; nobody asks more often, and every input tells every
        partition: with a hundred of each they would be most of all records."""
        key = Place(block.source, block.partition), partition
        told = self._told.get(key, 0)
        if not (len(block.points) or len(block.series) or block.heard >= told + CHECK):
            return False
        self._told[key] = max(told, block.heard)
        return True


class DetectStage:
    """Blocks of points -> anomalies, and ticks for the correlators, which see all partitions' time go on."""

    name, reads_sources, keeps_state, settles_later = "detect", False, True, False

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.telling = wiring, Telling(wiring)
        self.topics: tuple[str, ...] = (wiring.names.points,)
        self._held: set[int] = set()

    def state(self, place: Place) -> Stateful | None:
        """The partition's detector."""
        if self.wiring.was_added(place):
            return None
        self._held.add(place.partition)
        return self.wiring.engine.detector(place.partition)

    async def restore(self, places: Sequence[Place]) -> None:
        """Without their checkpoints at least what was open is known, and what people said."""
        ours = [p for p in places if self.wiring.has(p)]
        await self.telling.restore([Of(p.partition) for p in ours])
        said = await stages_commands.known(self.wiring) if ours else []
        for command in filter(stages_commands.is_about_learning, said):
            for place in ours:
                self.wiring.engine.detector(place.partition).command(command)

    def drop(self, place: Place) -> None:
        """Another worker's groups."""
        self.telling.drop(Of(place.partition))
        self._held.discard(place.partition)

    async def take(self, block: Fetched) -> int:
        """Judge the points of a block of blocks."""
        points, dead, events = 0, [], []
        self.telling.begin(Of(block.partition))
        for i in range(len(block)):
            record = block.value(i)
            try:
                if command := wire_commands.command_in(record):
                    self.wiring.engine.detector(block.partition).command(command)
                    continue
                received = wire_points.decode(record)
            except BadRecord as error:
                dead.append(block.dead(i, error))
                continue
            events += self.wiring.engine.detect(block.partition, received)
            points += len(received.points)
            if len(received.points):
                self.wiring.health.judged(int(received.points.time.max()))
        await self.wiring.set_aside(dead)
        await self.telling.tell(Of(block.partition), events)
        return points

    def report(self) -> None:
        """How many series are known, and how well."""
        self.telling.report(self.name, [Of(partition) for partition in sorted(self._held)])

    async def sent(self) -> None:
        """What was told has arrived."""
        await self.telling.posting.all()

    async def finish(self) -> None:
        """The same: nothing else is left."""
        await self.sent()


class FusedStage:
    """Raw records of sources keyed by group -> anomalies and ticks.

    A partition of the source is a partition of the detector, with a decoder of its own, which asks it what it knows: a
    series is announced once. Where the source gets more partitions, groups change theirs (`growth`).
    """

    name, reads_sources, keeps_state, settles_later = "fused", True, True, False

    def __init__(self, wiring: Wiring, sources: Sequence[SourceSettings]) -> None:
        self.wiring, self.telling = wiring, Telling(wiring)
        self.sources = {source.topic: source for source in sources}
        self.topics: tuple[str, ...] = tuple(self.sources)
        self._held: set[Place] = set()
        self._decoders: dict[Place, Decode] = {}
        self._homes: dict[tuple[str, int], int] = {}  # (source, group) -> the partition that it was met on first
        self.growth = Growth(wiring, self.telling, self.topics, self._held)

    def state(self, place: Place) -> Stateful:
        """The detector of the source's partition."""
        self.growth.watch()
        self._held.add(place)
        self._decoders.pop(place, None)
        beside = KeptBeside(self._decoder(place))  # else a million series would be described again, in half a minute
        return self.wiring.engine.detector(Of(place.partition, place.topic).number, beside)

    async def restore(self, places: Sequence[Place]) -> None:
        """Without their checkpoints at least what was open is known."""
        await self.telling.restore([Of(p.partition, p.topic) for p in places])

    def drop(self, place: Place) -> None:
        """Another worker's groups."""
        self.telling.drop(Of(place.partition, place.topic))
        self._held.discard(place)
        self._decoders.pop(place, None)
        self._homes = {key: p for key, p in self._homes.items() if (key[0], p) != place}

    async def take(self, block: Fetched) -> int:
        """Decode a block and judge its points."""
        place = block.place
        decoder, of = self._decoder(place), Of(block.partition, block.source)
        await self.growth.known()
        self.telling.begin(of)
        before = decoder.counts
        found, dead = decoder.blocks(self.sources[block.source], block)
        points = found[0][1]
        groups = np.unique(decoder.catalog.group[decoder.catalog.rows_of(points.series.hash)])
        await self.growth.bring(of, groups, points.heard)
        self._look(place, groups, points.heard)
        events = self.wiring.engine.detect(of.number, points)
        events = await self.growth.told_here(of, events, points.heard)
        if len(points.points):
            self.wiring.health.judged(int(points.points.time.max()))
        self.wiring.health.outcomes(decoder.counted(before))
        await self.wiring.set_aside(dead)
        await self.telling.tell(of, events)
        return len(points.points)

    def report(self) -> None:
        """How many series are known, and how well."""
        self.telling.report(self.name, [Of(p.partition, p.topic) for p in sorted(self._held)])

    async def sent(self) -> None:
        """What was told has arrived."""
        await self.telling.posting.all()

    async def finish(self) -> None:
        """The same: nothing else is left."""
        self.growth.stop()
        await self.sent()

    def _decoder(self, place: Place) -> Decode:
        """The decoder beside the partition's detector: made with its first block, and anew with another detector."""
        if place not in self._decoders:
            number = Of(place.partition, place.topic).number
            knows: Knows = lambda series: self.wiring.engine.detector(number).knows(series)  # noqa: E731
            self._decoders[place] = Decode(self.wiring.engine.settings, 1, knows)
            self._held.add(place)
        return self._decoders[place]

    def _look(self, place: Place, groups: NDArray[np.uint64], heard: int) -> None:
        """A group on two partitions is judged in two halves: whoever declared the source must know, unless it moves."""
        keys = [(place.topic, group) for group in groups.tolist()]
        if heard <= self.growth.settled(place.topic):
            self._homes.update(dict.fromkeys(keys, place.partition))
        wrong = [key for key in keys if self._homes.setdefault(key, place.partition) != place.partition]
        if wrong:
            log.warning(
                "%s is declared keyed: group, but %d groups of partition %d were met on another one before",
                place.topic, len(wrong), place.partition,
            )  # fmt: skip
            self.wiring.health.misplaced(place.topic, len(wrong))
