"""A source keyed by group gets more partitions: groups move to others, and what was learned of them goes along.

How many partitions a source has is noted in .state.open, so that every worker, and one that starts later, knows that they
are others now, and since when. From then on, until `settled`, producers learn of it one after the other: nobody is missed
on a partition before he was heard there after that. A group that a partition does not know, while another one has learned
it, is taken over when it is met first: from the other's detector, if it is in this process, else from its newest checkpoint,
which disturbs nobody. What is open of it is noted under its new partition; the old one tells of no end that is not its own.

A group that is written by several producers is on two partitions until the last of them knows, and is judged in two halves
for as long. What the old partition judges after it was taken over (a backlog) is not learned by the new one.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Collection, Sequence

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from anomaly.detect.anomaly import REMOVED, Anomaly, Event
from anomaly.detect.beside import Said
from anomaly.detect.detector import Detector
from anomaly.detect.handover import hand_over
from anomaly.host import compacted, connect, topics
from anomaly.host.blocks import Place
from anomaly.host.outputs import Message
from anomaly.host.state_topic import StateTopic
from anomaly.host.statelog import Damaged, put
from anomaly.host.telling import Of, Telling
from anomaly.host.wiring import Wiring
from anomaly.state import Newer

log = logging.getLogger(__name__)

# Silence is told after 45 s (`absence`), of data that cannot be older than it is: a worker that asks so often knows before
# that its source has grown. What it knows is at most OLD seconds old when it judges.
LOOK_EVERY, OLD = 10.0, 30.0
SOON = 2.0  # where a group is met that nobody knows here, it is asked anew after so many seconds
# Producers ask every five minutes (Java, librdkafka) or ten (Sarama) which partitions there are, ms.
SETTLING = 600_000
FRESH = 30.0  # seconds for which a checkpoint of another worker's partition need not be read again
ROOM = 200_000  # series of such that are held at once, or one partition, however large
AT_ONCE = 50  # groups: a hundred series of each are taken over in a tenth of a second

Groups = NDArray[np.uint64]


class Note(Struct, frozen=True):
    """How many partitions a source has, how many it had before, 0: it never changed, and when (ms) that was noticed."""

    partitions: int
    before: int = 0
    at: int = 0


_to_note, _from_note = msgspec.json.Encoder().encode, msgspec.json.Decoder(Note).decode


class Growth:
    """Of the sources of a stage. `held` are the partitions whose detectors are in this process."""

    def __init__(
        self, wiring: Wiring, telling: Telling, sources: Sequence[str], held: Collection[Place],
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.wiring, self.telling, self.sources, self.held, self.now = wiring, telling, sources, held, now
        self.notes: dict[str, Note] = {}
        self._kept: dict[str, int] = {}  # partitions of the state's topic, by source
        self._idle = int(wiring.engine.settings.limits.idle * 1000)
        self._homes: dict[tuple[str, int], dict[int, int]] = {}  # source, when it grew -> group -> who knew it
        self._donors: dict[Of, tuple[float, Detector]] = {}  # read from checkpoints, and when, the newest last
        self._turn, self._looked = asyncio.Lock(), -OLD
        self._watching: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Look now and then whether a source has grown, and before the next block: a partition has come to us.

        What is kept of a new one needs a place before it can be restored.
        """
        self._looked = -OLD
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def stop(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        while True:
            await self._look(LOOK_EVERY / 2)
            await asyncio.sleep(LOOK_EVERY)
            self._donors = {of: held for of, held in self._donors.items() if time.monotonic() < held[0] + FRESH}

    async def known(self) -> None:
        """Return when it is known how many partitions there are, or were a moment ago."""
        if time.monotonic() >= self._looked + OLD:
            await self._look(OLD)

    async def _look(self, old: float) -> None:
        async with self._turn:
            began = time.monotonic()
            if began >= self._looked + old:
                await connect.patiently(self._compare, "reading topics")
                self._looked = began

    async def _compare(self) -> None:
        """Note a source that has other partitions than it had, then make room for the state of the new ones."""
        kafka, beside = self.wiring.kafka, {topic: self.wiring.names.state_of(topic) for topic in self.sources}
        counts = await topics.counts(kafka, [*beside, *beside.values()])
        for topic, kept in ((topic, counts.get(name, 0)) for topic, name in beside.items()):
            many, self._kept[topic] = counts.get(topic, 0), kept
            if many and (topic not in self.notes or self.notes[topic].partitions != many):
                self.notes[topic] = await self._noted(topic, many, kept)
            if 0 < kept < many:
                await topics.widen(kafka, beside[topic], many)

    async def _noted(self, topic: str, many: int, kept: int) -> Note:
        """The note of a source, written anew unless another worker was faster. The first one goes by the state's topic."""
        name, key = self.wiring.names.open, f"partitions/{topic}".encode()
        partition = zlib.crc32(key) % self.wiring.partitions.get(name, 1)
        held = (await compacted.read(self.wiring.kafka, name, [partition]))[partition].get(key)
        note = _from_note(held) if held else Note(min(kept, many) or many)
        by_another = held is not None and note.partitions == many
        if note.partitions != many:
            note = Note(many, note.partitions, int(self.now() * 1000))
        if note.before and (topic in self.notes or not by_another):
            log.warning("the source has other partitions: groups that move take along what was learned of them",
                        extra={"source": topic, "before": note.before, "now": many})  # fmt: skip
        if by_another:
            return note
        await self.wiring.outputs.send([Message(name, partition, key, _to_note(note))])
        return note

    def settled(self, topic: str) -> int:
        """Ms of data time from which on groups are where they stay; 0 for a source that never grew."""
        note = self.notes.get(topic)
        return note.at + SETTLING if note and note.before else 0

    def _matters(self, topic: str, heard: int) -> bool:
        """Whether some partition may still hold rows of a group that has left it: idle ones are forgotten."""
        return heard <= self.settled(topic) + 2 * self._idle if self.settled(topic) else False

    async def bring(self, of: Of, groups: Groups, heard: int) -> None:
        """What is known of these groups where they were before, unless the detector knows them; `heard` its time, ms."""
        detector = self.wiring.engine.detector(of.number)
        unknown = groups[~detector.knows_groups(groups)]
        if unknown.size:
            await self._look(SOON)
        detector.absence.settled = self.settled(of.source)
        homes = await self._known_on(of.source) if unknown.size and self._matters(of.source, heard) else {}
        came = [(homes[group], group) for group in unknown.tolist() if homes.get(group, of.partition) != of.partition]
        for partition in sorted({home for home, _ in came}):
            before, theirs = Of(partition, of.source), [group for home, group in came if home == partition]
            if donor := await self._donor(before):
                opened: list[Anomaly] = []
                for at in range(0, len(theirs), AT_ONCE):
                    some = np.array(theirs[at : at + AT_ONCE], np.uint64)
                    opened += hand_over(donor, detector, some, of.source, of.partition)
                    await asyncio.sleep(0)  # the loop has heartbeats to send
                await self.telling.moved(before, of, opened)
                said = {"before": partition, "groups": len(theirs), "open": len(opened)}
                log.info("groups came from another partition", extra=of._asdict() | said)

    async def _known_on(self, topic: str) -> dict[int, int]:
        """Which partition knew each group: of several the one that heard it last. All are looked at, one at a time, once."""
        note = self.notes[topic]
        if (topic, note.at) not in self._homes:
            newest: dict[int, tuple[int, int]] = {}
            for partition in range(min(note.before, self._kept[topic])):
                donor = await self._donor(Of(partition, topic))
                table = donor.register.tables.groups if donor else None
                for key, last in table["group"][["key", "last"]][: table.used].tolist() if table else ():
                    newest[key] = max(newest.get(key, (0, 0)), (last, partition))
            self._homes[topic, note.at] = {key: partition for key, (_, partition) in newest.items() if key}
        return self._homes[topic, note.at]

    async def _donor(self, of: Of) -> Detector | None:
        """The detector of a partition: itself if we have it, else what its newest checkpoint gives."""
        place = Place(of.source, of.partition)
        if place in self.held:
            return self.wiring.engine.detector(of.number)
        if of in self._donors and time.monotonic() < self._donors[of][0] + FRESH:
            return self._donors[of][1]
        self._donors.pop(of, None)
        made = Detector(of.number, self.wiring.engine.specs, self.wiring.engine.settings)
        try:
            found = await StateTopic.of(self.wiring.kafka, place).read()
            if found is None:
                return None
            await asyncio.to_thread(put, found, made)
        except (Damaged, Newer) as error:
            log.warning("groups that come from there are learned anew: %s", error, extra=of._asdict())
            return None
        self._donors[of] = time.monotonic(), made
        while len(self._donors) > 1 and sum(each.series for _, each in self._donors.values()) > ROOM:
            del self._donors[next(iter(self._donors))]
        return made

    async def told_here(self, of: Of, events: list[Said], heard: int) -> list[Said]:
        """The events but for the ends of anomalies that went to another partition, with their notes."""
        ended = [e for e in events if isinstance(e, Anomaly) and e.event is Event.CLOSE and e.reason == REMOVED]
        if not ended or not self._matters(of.source, heard):
            return events
        await self.telling.posting.all()
        name = self.wiring.names.open
        partition = of.notes(self.wiring.partitions.get(name, 1))
        noted = (await compacted.read(self.wiring.kafka, name, [partition]))[partition]
        gone = {e.id for e in ended if of.prefix + e.id.encode() not in noted}
        return [e for e in events if not (isinstance(e, Anomaly) and e.id in gone)]
