"""What is done with a block, whichever client has read it.

A block is settled when its outputs are on the brokers and, where the stage's state is kept, a checkpoint covers it; then,
and not before, its offset may be committed. State belongs to a partition: it is restored before the partition's first block,
and dropped when another worker owns it. What a checkpoint says was judged is not judged again: records below its offset are
cut off, and what lies ahead of it has to wait until everything before it was read. Offsets that begin anew are another
topic's.
"""

import asyncio
import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from anomaly.decode.records import BadRecord, DeadLetter
from anomaly.host.blocks import Fetched, Place, Ticket
from anomaly.host.checkpoint import Checkpoints
from anomaly.host.cuts import cut, single
from anomaly.host.gate import Gate
from anomaly.host.health import Health
from anomaly.host.source import REBALANCE, SESSION, Stage

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds between looks at partitions on which nothing comes
ASK_EVERY = 15.0  # seconds between questions whether the topics are still the same

SetAside = Callable[[Sequence[DeadLetter]], Awaitable[None]]


class InHand(NamedTuple):
    """What a stage is at, since when (monotonic seconds), and the task that waits for it."""

    what: str
    place: Place | None
    offset: int | None
    since: float
    task: "asyncio.Task[Any] | None"


class Intake:
    """Hands blocks to a stage: one at a time, each partition restored first, nothing lost to a fault."""

    def __init__(self, stage: Stage, set_aside: SetAside, health: Health, checkpoints: Checkpoints | None = None) -> None:
        self.stage, self.set_aside, self.health, self.checkpoints = stage, set_aside, health, checkpoints
        self._turn = asyncio.Lock()
        self._held: set[Place] = set()
        self.gate = Gate(stage.name, health)
        self.gate.anew = self._began_anew
        self._stale: dict[Place, int] = {}  # what we remember of these is too old: by then others had committed so much
        self._lost: set[Place] = set()  # there was a checkpoint of these, and it is gone
        self._fenced: dict[Place, float] = {}  # another worker writes their state; since when we know
        self._taken: defaultdict[Place, deque[Ticket]] = defaultdict(deque)  # and not covered by a checkpoint yet
        self._one_by_one_until: dict[Place, int] = {}  # a block below this offset met a fault: which record of it?
        self._poison: defaultdict[Place, set[int]] = defaultdict(set)  # offsets of records that were set aside
        self._closed = False
        self.in_hand: InHand | None = None
        self.moved = time.monotonic()  # when something was last taken in hand, or done
        self.blocks = 0  # taken
        self._watching: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        if checkpoints:
            checkpoints.done, checkpoints.fenced, checkpoints.sent = self._covered, self._shut_out, stage.sent

    async def assigned(self, places: Iterable[Place]) -> None:
        """From now on exactly these partitions are ours."""
        now = {p for p in places if p.topic in self.stage.topics}
        async with self._turn:
            ours = self._held - set(self._fenced)
            for place in sorted(self._held - (now & ours)):
                self._forget(place)
            if new := sorted(now - ours):
                with self._busy("restoring"):
                    await self._restore(new)
            await self.gate.ask(sorted(now & ours))
            self._held = set() if self._closed else now
        if self.stage.reads_sources:
            self.health.assigned({p.topic for p in now}, self.stage.name)
        if self.checkpoints and self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    async def _restore(self, places: Sequence[Place]) -> None:
        """From their checkpoints, and where there is none, by what the stage itself remembers."""
        offsets: dict[Place, int] = {}
        if self.checkpoints:
            states = {place: state for place in places if (state := self.stage.state(place)) is not None}
            offsets = await self.checkpoints.restore(states)
            self.gate.epochs |= {place: self.checkpoints.epoch(place) for place in offsets}
        self.gate.next |= {place: self.gate.began[place] for place in places if place in self.gate.began} | offsets
        if without := [place for place in places if place not in offsets]:
            await self.stage.restore(without)
        await self.gate.ask(places)

    def _forget(self, place: Place) -> None:
        self.stage.drop(place)
        if self.checkpoints:
            self.checkpoints.drop(place)
        self.gate.forget(place)
        for known in (self._fenced, self._taken, self._one_by_one_until, self._poison, self._stale):
            known.pop(place, None)
        self._lost.discard(place)

    def begin(self, committed: Mapping[Place, int | None]) -> None:
        """After a rebalance, where each partition is read from; None: nobody has committed yet.

        A checkpoint knows better: the group's offset follows it.
        """
        for place, offset in committed.items():
            kept = self._is_kept(place)
            if offset is None:
                if not kept:
                    self.gate.next.pop(place, None)
            elif place in self._held:
                if offset > self.gate.next.get(place, offset) or (offset and self._is_missing(place)):
                    self._stale[place] = offset
                if not (kept and place in self.gate.next):
                    self.gate.next[place] = offset

    def _is_missing(self, place: Place) -> bool:
        """Whether no checkpoint was there when we looked, and it is not known yet that there is none."""
        kept = self.checkpoints if self._is_kept(place) and place not in self._lost else None
        return kept is not None and kept.is_fresh(place)

    async def _overtaken(self, place: Place) -> None:
        """Another worker went on with a partition that we took to be ours: begin again from what it left."""
        committed = self._stale.pop(place)
        await self._afresh(place)
        if committed and self._is_missing(place):
            self._lost.add(place)
            self.health.state_lost(self.stage.name)
            log.error("no checkpoint where there was one: what was learned is lost", extra=place._asdict())

    def expected(self) -> dict[Place, int]:
        """The offset that must come next, of our partitions where it is known; nothing while a block is in hand."""
        return {} if self._turn.locked() else {p: n for p, n in self.gate.next.items() if p in self._held}

    async def take(self, block: Fetched) -> bool:
        """Work off a block; False if it is not ours to take. Raises if the brokers refuse what follows from it."""
        place = block.place
        async with self._turn:
            if place in self._stale and place in self._held:
                await self._overtaken(place)
            if self._closed or place not in self._held or place in self._fenced or not await self.gate.admits(place, block):
                return False
            block.epoch = self.gate.epoch(place)
            if block.damaged:
                await self.set_aside(block.damaged)
            with self._busy("a block of", place, block.first_offset):
                return await self._take(place, block)

    async def _take(self, place: Place, block: Fetched) -> bool:
        if self._is_kept(place):
            return await self._take_once(place, block)
        await self._work(place, block, self._safely)
        await self.stage.sent()
        block.ticket.settled |= not self.stage.settles_later
        return True

    @contextmanager
    def _busy(self, what: str, place: Place | None = None, offset: int | None = None) -> Iterator[None]:
        self.moved = time.monotonic()
        self.in_hand = InHand(what, place, offset, self.moved, asyncio.current_task())
        try:
            yield
            self.moved = time.monotonic()
        finally:
            self.in_hand = None

    def _is_kept(self, place: Place) -> bool:
        return self.checkpoints is not None and self.checkpoints.knows(place)

    async def _work(self, place: Place, block: Fetched, work: Callable[[Place, Fetched], Awaitable[int]]) -> None:
        """Have a block worked off, and count it."""
        began = time.perf_counter()
        points = await work(place, block)
        self.health.batch(self.stage.name, *place, len(block), points, time.perf_counter() - began)
        self.gate.next[place] = block.next_offset
        self.blocks += 1

    async def _take_once(self, place: Place, block: Fetched) -> bool:
        """Take what the state does not hold yet; what it holds need not be judged again, and settles with the rest."""
        wanted = self.gate.next.setdefault(place, block.first_offset)
        self.gate.began.setdefault(place, wanted)
        fresh = block if wanted <= block.first_offset else cut(block, wanted)
        try:
            if block.next_offset > wanted:
                await self._work(place, fresh, self._strictly)
        except (KafkaError, OSError):
            raise
        except Exception:
            log.exception("%s failed on %s [%d, %d)", self.stage.name, place, block.first_offset, block.next_offset)
            self._one_by_one_until[place] = max(block.next_offset, self._one_by_one_until.get(place, 0))
            await self._afresh(place)
            return False
        self._taken[place].append(block.ticket)
        assert self.checkpoints is not None
        self.checkpoints.took(place, max(block.next_offset, wanted), block.epoch)
        return True

    async def _strictly(self, place: Place, block: Fetched) -> int:
        """A fault leaves the state half changed: it is restored, and everything since is read again, this time record by
        record; the one that meets the fault again is set aside, and skipped the third time."""
        if self._one_by_one_until.get(place, 0) <= block.first_offset:
            return await self.stage.take(block)
        points = 0
        for one in (single(block, i) for i in range(len(block)) if int(block.offset[i]) not in self._poison[place]):
            try:
                points += await self.stage.take(one)
            except (KafkaError, OSError):
                raise
            except Exception as error:
                await self.set_aside([one.dead(0, fault(error))])
                self._poison[place].add(one.first_offset)
                raise
        return points

    async def _afresh(self, place: Place) -> None:
        """Forget what we think we know of a partition, and begin again from what was kept."""
        self.stage.drop(place)
        self._taken.pop(place, None)
        if self.checkpoints:
            self.checkpoints.drop(place)
            await self.checkpoints.settled()
        await self._restore([place])

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
        parts = [single(block, i) for i in range(len(block))]
        block.ticket.parts = [one.ticket for one in parts]
        for i, one in enumerate(parts):
            try:
                points += await self.stage.take(one)
            except (KafkaError, OSError):
                raise
            except Exception as error:
                dead.append(block.dead(i, fault(error)))
                failed.append(one)
                await self._afresh(place)
        await self.set_aside(dead)
        for one in failed:
            one.ticket.settled = True
        return points

    def _began_anew(self, place: Place) -> None:
        """What we knew by offsets of the log before."""
        for known in (self._taken, self._one_by_one_until, self._poison):
            known.pop(place, None)

    def _covered(self, place: Place, offset: int) -> None:
        """A checkpoint covers everything below the offset."""
        taken = self._taken[place]
        while taken and taken[0].next_offset <= offset:
            taken.popleft().settled = True

    def _shut_out(self, place: Place) -> None:
        """Another worker has opened the partition's state. Our group will tell us, unless it is we who own it."""
        self._fenced[place] = time.monotonic()

    async def _watch(self) -> None:
        """Checkpoints of partitions on which nothing comes any more, and partitions that are ours after all."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            async with self._turn:
                for place in sorted(self._held):
                    if self.checkpoints:
                        self.checkpoints.look(place)
                    if time.monotonic() - self._fenced.get(place, math.inf) > SESSION:
                        # Who was thought dead learns within a session that he is out; who is still in, is the owner.
                        del self._fenced[place]
                        await self._afresh(place)

    async def _ask(self) -> None:
        """A topic that was made anew, and has passed the offset where we read on, brings no block out of turn."""
        while True:
            await asyncio.sleep(ASK_EVERY)
            if changed := await self.gate.changed(self._held):
                async with self._turn:
                    await self.gate.ask(place for place in changed if place in self._held)

    async def keep(self, places: Iterable[Place]) -> None:
        """These partitions are about to leave us: a last checkpoint of each."""
        async with self._turn:
            if self.checkpoints:
                await self.checkpoints.finish(places, REBALANCE / 2)

    def refuse(self) -> None:
        """Take no other block."""
        self._closed = True

    def abandon(self) -> None:
        """Take no other block, give up the one in hand, and forget what it may have left half done."""
        self.refuse()
        if self.in_hand and self.in_hand.task:
            self.in_hand.task.cancel()
        for place in self._held:
            self._forget(place)
        self._held = set()

    async def idle(self) -> None:
        """Return when no block is in hand."""
        async with self._turn:
            pass

    async def close(self) -> None:
        """Finish the block in hand and take no other; a last checkpoint."""
        self.refuse()
        await self.idle()
        for task in (self._watching, self._asking):
            if task:
                task.cancel()
        await self.stage.finish()
        if self.checkpoints:
            await self.keep(self._held)
            await self.checkpoints.close()


def fault(error: Exception) -> BadRecord:
    """What a record is set aside for."""
    return error if isinstance(error, BadRecord) else BadRecord("internal_error", repr(error))
