"""What a detector says, on its way to the correlators, and the notes of what is open, so that a restart goes on from there.

A detector is named by its source (none for that of a partition of anomaly.points) and its partition. Its notes are in
.state.open, compacted, by the anomaly's id; those of a named one have its name before the id, and lie on the partition that
the name chooses.
"""

import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from anomaly.correlate.incident import Incident, State
from anomaly.decode.identity import fingerprint
from anomaly.detect.anomaly import Anomaly, Event, Tick
from anomaly.detect.beside import Beside, Said
from anomaly.host import compacted
from anomaly.host.outputs import Message
from anomaly.host.posting import Posting
from anomaly.host.wiring import Wiring

log = logging.getLogger(__name__)

TICK_EVERY = 1000  # ms of event time between ticks: they say nothing but that time goes on
FUSED = 1 << 20  # numbers of named detectors begin here: no topic has so many partitions

T = TypeVar("T")

to_json = msgspec.json.Encoder().encode
_anomaly = msgspec.json.Decoder(Anomaly)


class Standing(Struct, frozen=True):
    """What we ask of a record of .incidents."""

    incident: Incident


_standing = msgspec.json.Decoder(Standing)


class Of(NamedTuple):
    """A detector: of a partition of anomaly.points, or of one of a source that is judged where it is decoded."""

    partition: int
    source: str = ""

    @property
    def number(self) -> int:
        """What the engine and its ticks call it."""
        return self.partition + (FUSED * (1 + zlib.crc32(self.source.encode())) if self.source else 0)

    @property
    def prefix(self) -> bytes:
        """What the keys of its notes begin with."""
        return f"{self.source}/{self.partition}/".encode() if self.source else b""

    def notes(self, partitions: int) -> int:
        """The partition of its notes."""
        return zlib.crc32(self.prefix) % partitions if self.source else self.partition


class Telling:
    """Tells what detectors say, and counts it."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.posting = wiring, Posting(wiring.outputs.send)
        self._ticked: dict[Of, int] = {}
        self._counted: dict[Of, Counter[str]] = {}
        self._shared: Counter[Of] = Counter()

    def begin(self, of: Of) -> None:
        """What a detector counted before we had it was told by another process; what other specs did to it, nobody was."""
        if of not in self._counted:
            detector = self.wiring.engine.detector(of.number)
            self._counted[of] = Counter(detector.counts)
            for said in detector.migrated:
                log.warning("restored state: %s", said, extra=of._asdict())

    def drop(self, of: Of) -> None:
        """Another worker tells it from now on."""
        self.wiring.engine.drop(of.number)
        self._ticked.pop(of, None)
        self._counted.pop(of, None)

    async def restore(self, detectors: Sequence[Of]) -> None:
        """Open anomalies, so that none is opened or closed twice; told again, since a crash may have come between.

        Where nothing is noted, the notes may be lost as well: then incidents say what they wait for.
        """
        topic = self.wiring.names.open
        where = {of: of.notes(self.wiring.partitions.get(topic, 1)) for of in detectors}
        held = await compacted.read(self.wiring.kafka, topic, sorted(set(where.values())))
        noted: dict[Of, list[Anomaly]] = {}
        for of, partition in where.items():
            mine = {k: v for k, v in held[partition].items() if k.rpartition(b"/")[0] == of.prefix[:-1]}
            noted[of] = readable(mine, _anomaly)
        awaited = [] if all(noted.values()) else await self._awaited()
        for of, own in noted.items():
            anomalies = own or [a for a in awaited if of.source or self._home(a) == of.partition]
            self.wiring.engine.detector(of.number).restore(anomalies)
            await self.posting.put([self._event(a) for a in anomalies])

    async def _awaited(self) -> list[Anomaly]:
        """Open anomalies of open incidents."""
        topic = self.wiring.names.incidents
        held = await compacted.read(self.wiring.kafka, topic, range(self.wiring.partitions.get(topic, 1)))
        standing = [s.incident for by_key in held.values() for s in readable(by_key, _standing)]
        return [a for i in standing if i.state is State.OPEN for a in i.anomalies.values() if a.ended is None]

    def _home(self, anomaly: Anomaly) -> int:
        """The partition of anomaly.points that its group is on."""
        seed = self.wiring.engine.settings.identity.seed
        group = fingerprint(seed, anomaly.environment, anomaly.group)
        return group % self.wiring.partitions[self.wiring.names.points]

    async def tell(self, of: Of, events: Sequence[Said]) -> None:
        """What opened is noted before it is told, what closed is told before its note goes.

        A crash in between leaves a note of what may not have been told: the next start tells it again, by the same id. The
        model could not: it has not seen what came before.
        """
        self._count(of, events)
        anomalies = [event for event in events if isinstance(event, Anomaly)]
        over = {a.id: a.event is Event.CLOSE for a in anomalies}  # as each stands at last
        lasting = {a.id: to_json(a) for a in anomalies if not over[a.id]}
        await self.posting.put(
            [self._note(of, i, text) for i, text in lasting.items()],
            [*(self._event(e) for e in events if not isinstance(e, Tick)), *self._ticks(of, events)],
            [self._note(of, i, None) for i, is_over in over.items() if is_over],
        )

    async def moved(self, before: Of, now: Of, anomalies: Sequence[Anomaly]) -> None:
        """What is open at one detector is another's from now on: its note goes along."""
        noted = [self._note(now, a.id, to_json(a)) for a in anomalies]
        await self.posting.put(noted, [self._note(before, a.id, None) for a in anomalies])

    def report(self, stage: str, detectors: Sequence[Of]) -> None:
        """Tell health how many series the detectors of a stage know, and how well."""
        known = [self.wiring.engine.detector(of.number) for of in detectors]
        series = sum(d.series for d in known)
        for of in detectors:
            self._say_shared(of)
        self.wiring.health.series(series, sum(d.warm_share * d.series for d in known) / max(series, 1), stage)

    def _say_shared(self, of: Of) -> None:
        """Series that several write: said when there are any, and again when they are twice as many."""
        n, example = self.wiring.engine.detector(of.number).shared()
        if example and n >= 2 * self._shared[of]:
            self._shared[of] = n
            who = f"{example.metric} of {example.group} in {example.environment}"
            log.warning("%d series are written by several: one of them is elected; such as %s", n, who, extra=of._asdict())

    def _note(self, of: Of, anomaly: str, text: bytes | None) -> Message:
        topic = self.wiring.names.open
        return Message(topic, of.notes(self.wiring.partitions.get(topic, 1)), of.prefix + anomaly.encode(), text)

    def _event(self, event: Anomaly | Beside) -> Message:
        environment = event.environment
        return Message(self.wiring.names.anomalies, self._to(environment), environment.encode(), to_json(event))

    def _to(self, environment: str) -> int:
        """Nothing crosses an environment: all of it meets on one partition."""
        return zlib.crc32(environment.encode()) % self.wiring.partitions[self.wiring.names.anomalies]

    def _ticks(self, of: Of, events: Iterable[Said]) -> list[Message]:
        """The last tick of a block, behind its anomalies, to all correlators; none if a recent one said as much."""
        time = max((e.time for e in events if isinstance(e, Tick)), default=0)
        if time < self._ticked.get(of, 0) + TICK_EVERY:
            return []
        self._ticked[of] = time
        names, text = self.wiring.names, to_json(Tick(partition=of.number, time=time))
        return [Message(names.anomalies, p, None, text) for p in range(self.wiring.partitions[names.anomalies])]

    def _count(self, of: Of, events: Iterable[Said]) -> None:
        for event in events:
            if isinstance(event, Anomaly):
                self.wiring.health.anomaly(event)
        now = Counter(self.wiring.engine.detector(of.number).counts)
        del now["waiting"]  # not an outcome yet
        self.wiring.health.outcomes(now - self._counted.get(of, Counter()))
        self._counted[of] = now


def readable(held: Mapping[bytes, bytes], decoder: "msgspec.json.Decoder[T]") -> list[T]:
    """The values that can be read; another version of ours may have written what we cannot."""
    found = []
    for key, value in held.items():
        try:
            found.append(decoder.decode(value))
        except msgspec.DecodeError as error:
            log.warning("not restored: %s: %s", key.decode(errors="replace"), error)
    return found
