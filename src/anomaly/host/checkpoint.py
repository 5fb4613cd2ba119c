"""When the state of a stage's partitions is written, and what follows when it was.

What changed is copied slice by slice while blocks are taken (`copying`), and between two blocks what changed meanwhile: a
pause of milliseconds. It is packed and written in the background, one checkpoint of a partition at a time. A partition is
due `every` so often, or as much later as keeps what is gathered below `bytes_per_second` in all; partitions take turns.
What no checkpoint covers is read again after a crash: the source offset stands in it, and only what lies below counts as
done.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
from aiokafka.errors import KafkaError

from anomaly import __version__
from anomaly.compiled import VERSION
from anomaly.config.settings import Checkpoint
from anomaly.host.blocks import Place
from anomaly.host.copying import Copying
from anomaly.host.health import Health
from anomaly.host.statelog import Damaged, Fenced, Found, Generation, Manifest, Store, pack, put
from anomaly.state import Newer, Snapshot, Stateful

log = logging.getLogger(__name__)

KERNELS = f"{VERSION} numba-{numba.__version__}"
MOST = 2  # partitions of which checkpoints are written side by side: each is held in memory until then
AT_ONCE = 2  # partitions restored side by side: one is read while the rows of another are put in; bounds memory


class Pending(NamedTuple):
    """What was gathered, up to which offset of which source topic, and what its bytes mean."""

    snapshot: Snapshot
    next_offset: int
    epoch: int
    layouts: dict[str, Any]


@dataclass(slots=True)
class Keeper:
    """The state of a partition and where it is kept. Times are of the monotonic clock, seconds."""

    store: Store
    state: Stateful
    manifest: Manifest | None = None
    due: float = 0.0
    next_offset: int = 0
    epoch: int = 0  # of the topic that it is an offset of
    changed: bool = False
    damaged: bool = False  # what was found could not be read, and was said to be lost
    copying: Copying | None = None
    writing: "asyncio.Task[None] | None" = None
    pending: "Pending | None" = None  # gathered and not kept yet: what it holds is in no later snapshot

    @property
    def generation(self) -> int:
        """The one to be written next."""
        return self.manifest.generation + 1 if self.manifest else 1


class Checkpoints:
    """The keepers of a stage. `done(place, offset)`: what lies below is safe; `fenced(place)`: another one writes by now;
    `sent()`: what was said before is on the brokers, without which nothing is safe.
    """

    def __init__(
        self, stage: str, store: Callable[[Place], Store], settings: Checkpoint, health: Health,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.stage, self.store, self.settings, self.health, self.now = stage, store, settings, health, now
        self.done: Callable[[Place, int], None] = lambda place, offset: None
        self.fenced: Callable[[Place], None] = lambda place: None
        self.sent: Callable[[], Awaitable[None]] = at_once
        self._keepers: dict[Place, Keeper] = {}
        self._closing: set[asyncio.Future[None]] = set()

    async def restore(self, states: Mapping[Place, Stateful]) -> dict[Place, int]:
        """Bring fresh states to their last checkpoints; the offset at which each goes on, those without one left out.

        One that cannot be read is as good as none, and said: nothing is guessed from half a state. Raises Newer for one that
        a later version of ours could read: it must not be written over.
        """
        began = self.now()
        few = asyncio.Semaphore(AT_ONCE)
        for i, (place, state) in enumerate(states.items()):
            keeper = self._keepers[place] = Keeper(self.store(place), state)
            keeper.due = began + self.settings.every * (1.0 + i / len(states))
        await asyncio.gather(*(self._restored(place, self._keepers[place], few) for place in states))
        offsets = {place: keeper.next_offset for place in states if (keeper := self._keepers[place]).manifest}
        if offsets:
            self.health.restored(self.stage, self.now() - began)
            log.info("state restored", extra={"stage": self.stage, "partitions": len(offsets)})
        return offsets

    async def _restored(self, place: Place, keeper: Keeper, few: asyncio.Semaphore) -> None:
        """Nobody else sees the state yet, so rows are put in on another thread: the loop has heartbeats to send."""
        async with few:
            try:
                found = await self._opened(keeper)
                if found is None:
                    return
                await asyncio.to_thread(put, found, keeper.state)
            except Newer as error:
                raise Newer(f"{place.topic}-{place.partition}: {error}") from error
        manifest = found.manifest
        keeper.manifest, keeper.next_offset, keeper.epoch = manifest, manifest.next_offset, manifest.epoch
        if manifest.kernels != KERNELS:
            log.info("what other kernels learned is taken as it is",
                     extra={**place._asdict(), "then": manifest.kernels or "unknown", "now": KERNELS})  # fmt: skip

    async def _opened(self, keeper: Keeper) -> Found | None:
        try:
            return await keeper.store.open()
        except Damaged as error:
            keeper.damaged = True
            self.health.state_lost(self.stage)
            log.error("a checkpoint cannot be read: what was learned is lost", extra={"reason": str(error)})
            return None

    def knows(self, place: Place) -> bool:
        """Whether the partition's state is kept."""
        return place in self._keepers

    def is_fresh(self, place: Place) -> bool:
        """Whether no checkpoint of it was ever written or found."""
        keeper = self._keepers[place]
        return keeper.manifest is None and not keeper.damaged

    def epoch(self, place: Place) -> int:
        """Of the source topic that its offset is one of, 0 where nobody told."""
        return self._keepers[place].epoch

    def took(self, place: Place, next_offset: int, epoch: int = 0) -> None:
        """A block was taken: everything below the offset, of the topic of that epoch, is in the state."""
        keeper = self._keepers[place]
        keeper.next_offset, keeper.epoch, keeper.changed = next_offset, epoch, True
        self.look(place)

    def look(self, place: Place) -> None:
        """Begin a checkpoint if one is due. To be called between two blocks."""
        keeper = self._keepers.get(place)
        if keeper and keeper.changed and self.now() >= keeper.due and (keeper.writing is None or keeper.writing.done()):
            if keeper.pending is None and keeper.copying is None and self._has_room():
                keeper.copying = Copying(keeper.state.ahead(keeper.generation), self._paused)
            if keeper.pending or (keeper.copying and keeper.copying.done):
                self._begin(place, keeper)

    def _has_room(self) -> bool:
        """Whether another copy may begin: one is made at a time, and few wait to be written."""
        writing = sum(k.writing is not None and not k.writing.done() for k in self._keepers.values())
        return writing < MOST and not any(k.copying for k in self._keepers.values())

    def _begin(self, place: Place, keeper: Keeper) -> None:
        if keeper.pending is None:
            copied = keeper.copying.stop() if keeper.copying else []
            began = time.perf_counter()
            last = keeper.state.gather(keeper.generation)
            snapshot = last._replace(parts=[*copied, *last.parts])
            keeper.pending = Pending(snapshot, keeper.next_offset, keeper.epoch, dict(keeper.state.layouts()))
            self._paused(time.perf_counter() - began)
            keeper.changed, keeper.copying = False, None
        keeper.writing = asyncio.create_task(self._write(place, keeper, keeper.pending))

    def _paused(self, seconds: float) -> None:
        self.health.checkpoint_pause(self.stage, seconds)

    async def _write(self, place: Place, keeper: Keeper, pending: Pending) -> None:
        body = await asyncio.to_thread(pack, pending.snapshot, pending.layouts)
        own = Generation(keeper.generation, 0, zlib.crc32(body), len(body))
        manifest = Manifest(
            generation=own.number, next_offset=pending.next_offset, epoch=pending.epoch,
            live=(*(keeper.manifest.live if keeper.manifest else ()), own),
            written_by=__version__, kernels=KERNELS,
        )  # fmt: skip
        try:
            await self.sent()
            keeper.manifest = await keeper.store.write(manifest, body, pending.snapshot.low)
        except Fenced:
            log.warning("another worker writes the state by now", extra={"stage": self.stage, **place._asdict()})
            self.health.checkpoint_failed(self.stage, "fenced")
            self.drop(place)
            self.fenced(place)
        except (KafkaError, OSError) as error:
            log.error("checkpoint not written, tried again", extra={"stage": self.stage, "reason": str(error)})
            self.health.checkpoint_failed(self.stage, "failed")
            keeper.changed, keeper.due = True, self.now() + self.settings.every
        else:
            keeper.pending = None
            self._written(place, keeper, len(body), pending.snapshot)
            self.done(place, pending.next_offset)

    def _written(self, place: Place, keeper: Keeper, size: int, snapshot: Snapshot) -> None:
        """Plan the next one by what was gathered: copying and packing cost as well as writing, however small it packs."""
        assert keeper.manifest is not None
        self.health.checkpoint(self.stage, place.partition, size, keeper.manifest.size)
        share = self.settings.bytes_per_second / max(len(self._keepers), 1)
        gathered = len(snapshot.rest) + sum(len(part.data) for part in snapshot.parts)
        keeper.due = self.now() + max(self.settings.every, gathered / share)

    async def finish(self, places: Iterable[Place], within: float) -> None:
        """Write what is not written yet, of partitions that are about to leave us."""
        leaving = [(place, self._keepers[place]) for place in places if place in self._keepers]
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*(self._last(place, keeper) for place, keeper in leaving))
        except TimeoutError:
            log.warning("no last checkpoint in time; the next owner reads again", extra={"stage": self.stage})

    async def _last(self, place: Place, keeper: Keeper) -> None:
        if keeper.writing is not None:
            await asyncio.shield(keeper.writing)
        if keeper.changed and self._keepers.get(place) is keeper:
            self._begin(place, keeper)
            assert keeper.writing is not None
            await asyncio.shield(keeper.writing)

    def drop(self, place: Place) -> None:
        """Forget a partition; what is being written of it may end as it will."""
        keeper = self._keepers.pop(place, None)
        if keeper is not None:
            if keeper.copying:
                keeper.copying.stop()
            self._closing.add(task := asyncio.ensure_future(_closed(keeper)))
            task.add_done_callback(self._closing.discard)

    async def settled(self) -> None:
        """Return when what was dropped is closed."""
        await asyncio.gather(*self._closing)

    async def close(self) -> None:
        """Let go of all stores."""
        for place in list(self._keepers):
            self.drop(place)
        await self.settled()


async def at_once() -> None:
    """Nothing to wait for."""


async def _closed(keeper: Keeper) -> None:
    if keeper.writing is not None and keeper.writing is not asyncio.current_task():
        await asyncio.wait([keeper.writing])
    await keeper.store.close()
