"""What reads Kafka, and what is done with a block, apart from which client reads.

An adapter (Faust transport or plain consumer) tells an Intake what it is assigned and hands it blocks. A block is settled
when its outputs are on the brokers; then, and not before, its offset may be committed. State belongs to a
partition: it is restored before the partition's first block, and dropped when another worker owns it.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import KafkaError

from anomaly.decode.records import BadRecord, DeadLetter
from anomaly.host.blocks import Fetched
from anomaly.host.health import Health

log = logging.getLogger(__name__)

COMMIT_EVERY = 1.0  # seconds: what is read again after a crash
WAITING_BLOCKS = 4  # per topic, read and not taken yet: keeps a stage busy, bounds memory to some tens of megabytes
# The longest a fetch waits at the broker. While one is out, aiokafka sends no other to that broker: a long wait for
# quiet partitions would hold back the busy ones.
FETCH_WAIT = 0.05
FETCH_BYTES = 4 << 20  # of a partition, at once
# Without a sign of life for so long a worker is dead, and its partitions go to others; a block takes tens of milliseconds.
SESSION, HEARTBEAT = 10.0, 3.0
REBALANCE = 60.0  # what a worker has to finish its blocks in hand when another joins


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Stage(Protocol):
    """A step of the walk: blocks of some topics in, records of other topics out."""

    name: str
    topics: tuple[str, ...]
    reads_sources: bool  # not ours but the users' topics: their silence is blindness
    settles_later: bool  # sets `settled` of a block itself, some time after it was taken

    async def restore(self, places: Sequence[Place]) -> None:
        """Bring back what must be remembered about these partitions, before their first block."""

    def drop(self, place: Place) -> None:
        """Forget a partition."""

    async def take(self, block: Fetched) -> int:
        """Work off a block; returns its number of points (or events, alerts) when all outputs are on the brokers."""

    def report(self) -> None:
        """Tell health, now and then, what is nobody's event."""

    async def finish(self) -> None:
        """No other block will come: settle what can be settled, before the last commit."""


class Source(Protocol):
    """Reads the topics of an Intake's stage in a consumer group of its own, until stopped."""

    async def run(self) -> None:
        """Read until `stop`; raises what made it impossible to go on."""

    async def stop(self) -> None:
        """Finish the blocks in hand, commit and leave the group."""

    def lag(self) -> dict[Place, int]:
        """Records not yet read, by assigned partition."""


class Progress:
    """Which offsets may be committed: those below the first delivered block that is not settled."""

    def __init__(self) -> None:
        self._delivered: dict[Place, deque[Fetched]] = defaultdict(deque)
        self._done: dict[Place, int] = {}

    def deliver(self, block: Fetched) -> None:
        """A block was read. After a seek, blocks come again with other borders: a new one replaces what it covers."""
        place = Place(block.source, block.partition)
        self._prune(place)
        waiting = self._delivered[place]
        while waiting and waiting[-1].next_offset > block.first_offset:
            waiting.pop()
        waiting.append(block)

    def committable(self, place: Place) -> int | None:
        """The offset to commit, None if nothing was settled."""
        self._prune(place)
        return self._done.get(place)

    def places(self) -> set[Place]:
        """Partitions with blocks delivered or settled."""
        return {place for place, waiting in self._delivered.items() if waiting} | set(self._done)

    def forget(self, places: Iterable[Place]) -> None:
        """Other workers' partitions now."""
        for place in places:
            self._delivered.pop(place, None)
            self._done.pop(place, None)

    def _prune(self, place: Place) -> None:
        """A settled block is let go at once, it is megabytes."""
        waiting = self._delivered[place]
        while waiting and waiting[0].is_settled():
            self._done[place] = waiting.popleft().next_offset


def positions(consumer: Any, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
    """(the offset that a consumer reads next, the end), of its partitions, as far as it knows them."""
    subscription = consumer._subscription.subscription if consumer else None
    if subscription is None or subscription.assignment is None:
        return {}
    found = {}
    for tp in subscription.assignment.tps:
        state = subscription.assignment.state_value(tp)
        if state and state.has_valid_position and state.highwater is not None and tp.topic in topics:
            found[Place(tp.topic, tp.partition)] = state.position, state.highwater
    return found


def unread(consumer: Any, topics: Sequence[str]) -> dict[Place, int]:
    """Records between a consumer's positions and the ends of its partitions."""
    return {place: max(end - at, 0) for place, (at, end) in positions(consumer, topics).items()}


SetAside = Callable[[Sequence[DeadLetter]], Awaitable[None]]


class Intake:
    """Hands blocks to a stage: one at a time, each partition restored first, nothing lost to a fault."""

    def __init__(self, stage: Stage, set_aside: SetAside, health: Health) -> None:
        self.stage, self.set_aside, self.health = stage, set_aside, health
        self._turn = asyncio.Lock()
        self._held: set[Place] = set()
        self._next: dict[Place, int] = {}  # the offset that must come next, where it is known
        self._stale: set[Place] = set()  # what we remember of these is too old: another worker went on meanwhile
        self._refused: dict[Place, tuple[int, int]] = {}  # (offset that had to come, offset that came)
        self._closed = False

    async def assigned(self, places: Iterable[Place]) -> None:
        """From now on exactly these partitions are ours."""
        now = {p for p in places if p.topic in self.stage.topics}
        async with self._turn:
            for place in sorted(self._held - now):
                self._forget(place)
            if new := sorted(now - self._held):
                await self.stage.restore(new)
            self._held = now
        if self.stage.reads_sources:
            self.health.assigned({p.topic for p in now}, self.stage.name)

    def _forget(self, place: Place) -> None:
        self.stage.drop(place)
        self._next.pop(place, None)
        self._stale.discard(place)

    def begin(self, committed: Mapping[Place, int | None]) -> None:
        """After a rebalance, where each partition is read from; None: nobody has committed yet."""
        for place, offset in committed.items():
            if offset is None:
                self._next.pop(place, None)
            elif place in self._held:
                if offset > self._next.get(place, offset):
                    self._stale.add(place)
                self._next[place] = offset

    def expected(self) -> dict[Place, int]:
        """The offset that must come next, of our partitions where it is known; nothing while a block is in hand."""
        return {} if self._turn.locked() else {p: n for p, n in self._next.items() if p in self._held}

    async def take(self, block: Fetched) -> bool:
        """Work off a block; False if it is not ours to take. Raises if the brokers refuse what follows from it."""
        place = Place(block.source, block.partition)
        async with self._turn:
            if self._closed or place not in self._held or not self._follows(place, block):
                return False
            if place in self._stale:
                self._stale.discard(place)
                await self._afresh(place)
            if block.damaged:
                await self.set_aside(block.damaged)
            began = time.perf_counter()
            points = await self._safely(place, block)
            self.health.batch(self.stage.name, *place, len(block), points, time.perf_counter() - began)
            self._next[place] = block.next_offset
            block.settled |= not self.stage.settles_later
            return True

    def _follows(self, place: Place, block: Fetched) -> bool:
        """Whether nothing is missing before the block.

        Clients drop what they read around a rebalance, and read it again; a block that comes in between must not be taken.
        The same gap a second time is one in the topic: what was there is past its retention.
        """
        wanted, came = self._next.get(place, block.first_offset), block.first_offset
        if came <= wanted or self._refused.pop(place, None) == (wanted, came):
            return True
        self._refused[place] = wanted, came
        return False

    async def _afresh(self, place: Place) -> None:
        self.stage.drop(place)
        await self.stage.restore([place])

    async def _safely(self, place: Place, block: Fetched) -> int:
        try:
            return await self.stage.take(block)
        except (KafkaError, OSError):
            raise
        except Exception:
            log.exception("%s failed on %s [%d, %d)", self.stage.name, place, block.first_offset, block.next_offset)
            await self._afresh(place)
            return await self._one_by_one(place, block)

    async def _one_by_one(self, place: Place, block: Fetched) -> int:
        """A fault of ours must not stop a partition for ever: the record that meets it is set aside, with its bytes."""
        points, dead, failed = 0, [], []
        block.parts = [single(block, i) for i in range(len(block))]
        for i, part in enumerate(block.parts):
            try:
                points += await self.stage.take(part)
            except (KafkaError, OSError):
                raise
            except Exception as error:
                bad = error if isinstance(error, BadRecord) else BadRecord("internal_error", repr(error))
                dead.append(block.dead(i, bad))
                failed.append(part)
                await self._afresh(place)
        await self.set_aside(dead)
        for part in failed:
            part.settled = True
        return points

    def refuse(self) -> None:
        """Take no other block."""
        self._closed = True

    async def idle(self) -> None:
        """Return when no block is in hand."""
        async with self._turn:
            pass

    async def close(self) -> None:
        """Finish the block in hand and take no other."""
        self.refuse()
        await self.idle()
        await self.stage.finish()


def single(block: Fetched, i: int) -> Fetched:
    """Record `i` of a block as a block of its own."""
    at = slice(i, i + 1)
    columns = (block.offset[at], block.time[at], block.value_at[at], block.value_len[at])
    offset = int(block.offset[i])
    return Fetched(block.source, block.partition, block.buffer, *columns, offset + 1, offset)
