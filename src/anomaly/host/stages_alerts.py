"""Correlate and deliver as they run on Kafka: .anomalies -> Correlate -> .incidents and .alerts -> Deliver -> receivers.

.incidents is compacted: the last form of each incident, with the last alert about it. A resolved one stays readable for
KEEP_RESOLVED and is deleted then. An alert's offset is committed when every receiver has it, or refused it for good.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from anomaly.command.command import Copy
from anomaly.correlate.correlator import Memory
from anomaly.correlate.incident import Incident, State
from anomaly.decode.records import BadRecord
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.detect.beside import Said
from anomaly.dispatch.alert import Alert, What, cloudevent
from anomaly.dispatch.delivery import Delivery
from anomaly.host import compacted, connect, stages_commands
from anomaly.host.blocks import Fetched, Place
from anomaly.host.outputs import Message
from anomaly.host.posting import Posting
from anomaly.host.statelog import Whole
from anomaly.host.telling import readable, to_json
from anomaly.host.wiring import Wiring
from anomaly.state import Stateful, refuse_newer

VERSION = 1

# How long a resolved incident stays in .incidents, in ms of event time: somebody looks at what woke him.
KEEP_RESOLVED = 3_600_000
PATIENCE = 5.0  # seconds at a stop


class Kept(Struct, frozen=True):
    """A record of .incidents: an incident as it stands, and the last alert about it."""

    incident: Incident
    alert: Alert | None


class Remembered(Struct, frozen=True):
    """All that a partition of this stage knows."""

    memory: Memory
    kept: list[Kept]
    version: int = VERSION
    budgets: bytes = b""  # of a version of their own; a program from before them leaves them alone
    commands: bytes = b""  # likewise


_memory_to, _memory_from = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Remembered).decode
_event = msgspec.json.Decoder(Said | Copy)
_kept = msgspec.json.Decoder(Kept)
_alert = alert_decoder = msgspec.json.Decoder(Alert)


def remembered(data: bytes) -> Remembered:
    """What a partition of the stage kept; raises Newer."""
    refuse_newer(data, VERSION, "a correlator's memory")
    return _memory_from(data)


class CorrelateStage:
    """Anomalies of the environments of a partition -> incidents, and alerts about their changes."""

    name, reads_sources, keeps_state, settles_later = "correlate", False, True, False

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.topics: tuple[str, ...] = (wiring.names.anomalies,)
        self._posting = Posting(wiring.outputs.send)
        self._suppressed: Counter[str] = Counter()
        self._kept: dict[int, dict[str, Kept]] = {}  # by partition and dedup_key: what .incidents holds

    def state(self, place: Place) -> Stateful | None:
        """Incidents, and what has been told of them: small enough to be written whole."""
        if self.wiring.was_added(place):
            return None
        self._kept.setdefault(place.partition, {})
        return Whole(lambda: self._dump(place.partition), lambda data: self._load(place.partition, data))

    def _dump(self, partition: int) -> bytes:
        engine = self.wiring.engine
        memory, budgets = engine.correlator(partition).memory(), engine.budgets(partition).dump()
        kept, commands = list(self._kept.get(partition, {}).values()), engine.commands(partition).dump()
        return _memory_to(Remembered(memory, kept, budgets=budgets, commands=commands))

    def _load(self, partition: int, data: bytes) -> None:
        read = remembered(data)
        self.wiring.engine.budgets(partition).load(read.budgets)
        self.wiring.engine.commands(partition).load(read.commands)
        self.wiring.engine.correlator(partition).remember(read.memory)
        self._kept[partition] = {kept.incident.dedup_key: kept for kept in read.kept}

    async def restore(self, places: Sequence[Place]) -> None:
        """Incidents as they stood, with the alerts that were decided, and what people said."""
        ours = [p.partition for p in places if self.wiring.has(p)]
        held = await compacted.read(self.wiring.kafka, self.wiring.names.incidents, ours)
        for partition, by_key in held.items():
            kept = readable(by_key, _kept)
            self._kept[partition] = {k.incident.dedup_key: k for k in kept}
            self.wiring.engine.correlator(partition).restore([k.incident for k in kept])
        for command in await stages_commands.known(self.wiring) if ours else ():
            for partition in ours:
                self.wiring.engine.commands(partition).take(command)

    def drop(self, place: Place) -> None:
        """Another worker's environments."""
        self.wiring.engine.drop_incidents(place.partition)
        self._kept.pop(place.partition, None)

    async def take(self, block: Fetched) -> int:
        """Correlate what a block says; returns the number of events."""
        events, dead = list[Said | Copy](), []
        for i in range(len(block)):
            try:
                events.append(_event.decode(block.value(i)))
            except msgspec.DecodeError as error:
                dead.append(block.dead(i, BadRecord("not_an_event", str(error))))
        kept, alerts = [], []
        for incident, alert in self.wiring.engine.correlate(block.partition, events):
            kept.append(self._kept_as(block.partition, incident, alert))
            alerts += [self._alert(block.partition, alert)] if alert else []
        kept += self._old(block.partition, max((e.time for e in events if isinstance(e, Anomaly | Tick)), default=0))
        await self.wiring.set_aside(dead)
        # The alert goes first: a crash behind it repeats it, by the same id; one behind the incident would have lost it.
        await self._posting.put(alerts, kept)
        return len(events)

    def report(self) -> None:
        """How many incidents are open, why judgements led to no alert, and what is left of the budgets."""
        engine, health = self.wiring.engine, self.wiring.health
        health.incidents(sum(len(engine.correlator(partition).open_incidents) for partition in sorted(self._kept)))
        for reason, n in sorted((engine.dispatcher.suppressed - self._suppressed).items()):
            health.suppressed(reason, n)
        self._suppressed = Counter(engine.dispatcher.suppressed)
        health.budgets(reading for partition in sorted(self._kept) for reading in engine.budgets(partition).readings())

    async def sent(self) -> None:
        """Alerts and incidents have arrived."""
        await self._posting.all()

    async def finish(self) -> None:
        """The same: nothing else is left."""
        await self.sent()

    def _kept_as(self, partition: int, incident: Incident, alert: Alert | None) -> Message:
        held = self._kept.setdefault(partition, {})
        before = held.get(incident.dedup_key)
        kept = held[incident.dedup_key] = Kept(incident, alert or (before.alert if before else None))
        return Message(self.wiring.names.incidents, partition, incident.dedup_key.encode(), to_json(kept))

    def _alert(self, partition: int, alert: Alert) -> Message:
        self.wiring.health.alert(alert)
        headers = list(cloudevent(alert).items())
        return Message(self.wiring.names.alerts, partition, alert.dedup_key.encode(), to_json(alert), headers)

    def _old(self, partition: int, time: int) -> list[Message]:
        """Tombstones of what was resolved long ago."""
        held = self._kept.get(partition, {})
        old = [k for k, v in held.items() if v.incident.state is State.RESOLVED and v.incident.time + KEEP_RESOLVED < time]
        for key in old:
            del held[key]
        return [Message(self.wiring.names.incidents, partition, key.encode(), None) for key in old]


class DeliverStage:
    """Alerts -> receivers. A block is settled when nothing waits in any outbox: a slow receiver holds back commits alone."""

    name, reads_sources, keeps_state, settles_later = "delivery", False, False, True

    def __init__(self, wiring: Wiring, delivery: Delivery, group: str) -> None:
        self.wiring, self.delivery, self.group = wiring, delivery, group
        self.topics: tuple[str, ...] = (wiring.names.alerts,)
        self._handed: list[Fetched] = []
        self._before: dict[int, int] = {}  # partition -> offset up to which another worker may have sent alerts
        self._settling: asyncio.Task[None] | None = None

    def state(self, place: Place) -> None:
        """None: the alerts topic is what survives."""

    async def restore(self, places: Sequence[Place]) -> None:
        """What is firing at the receivers: alerts that were committed, and not one more.

        Those behind the committed offset are about to be read; telling delivery of them would make them repeats.
        """
        topic, partitions = self.wiring.names.alerts, [p.partition for p in places]
        until = await connect.patiently(self._committed, f"reading offsets of {self.group}")
        until = {p: until[p] for p in partitions if p in until}
        held = await compacted.read(self.wiring.kafka, topic, list(until), until)
        alerts = [alert for by_key in held.values() for alert in readable(by_key, _alert)]
        self.delivery.restore([alert for alert in alerts if alert.event is not What.RESOLVE])
        ends = await compacted.ends(self.wiring.kafka, topic, partitions)  # also where nobody came to a first commit
        self._before |= ends

    async def _committed(self) -> dict[int, int]:
        async with connect.admin(self.wiring.kafka) as client:
            found = await client.list_consumer_group_offsets(self.group)
        topic = self.wiring.names.alerts
        return {place.partition: at.offset for place, at in found.items() if place.topic == topic and at.offset >= 0}

    def drop(self, place: Place) -> None:
        """Another worker tells the receivers from now on."""
        self._before.pop(place.partition, None)

    async def take(self, block: Fetched) -> int:
        """Hand the alerts of a block to their receivers."""
        dead, before = [], self._before.get(block.partition, 0)
        for i in range(len(block)):
            try:
                await self.delivery.send(_alert.decode(block.value(i)), perhaps_sent=int(block.offset[i]) < before)
            except msgspec.DecodeError as error:
                dead.append(block.dead(i, BadRecord("not_an_alert", str(error))))
        await self.wiring.set_aside(dead)
        self._handed.append(block)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())
        return len(block)

    async def _settle(self) -> None:
        while self._handed:
            handed = list(self._handed)
            await self.delivery.settled()
            for block in handed:
                block.ticket.settled = True
            del self._handed[: len(handed)]

    def report(self) -> None:
        """Delivery counts for itself."""

    async def sent(self) -> None:
        """Nothing is asked of it: blocks are settled when receivers have them."""

    async def finish(self) -> None:
        """Give the receivers some seconds; what they do not get now, the next start reads again."""
        if self._settling is not None:
            await asyncio.wait([self._settling], timeout=PATIENCE)
            self._settling.cancel()
