"""Which offset must come next, partition by partition, and of which log it is one.

An offset says nothing by itself: it is one of a topic's log as that was when it was noted. Whatever comes out of turn is
reason to ask how the log lies now. Three things may have happened to it, and each is said and counted: the topic was deleted
and made again under its name (its epoch is another one), or it was cut off (it ends below what we took): it is read from
where it begins; or what we have not read yet is past its retention: that is lost, and jumped over. Else nothing is missing
there, and a block out of turn is the client's doing, which drops what it read around a rebalance and reads it again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from anomaly.host.blocks import Fetched, Place
from anomaly.host.extent import UNKNOWN, Extent, Look, unseen
from anomaly.host.health import Health

log = logging.getLogger(__name__)

SURE = 3.0  # seconds for which a log must end below what we took: where a broker has just taken over it may, for a moment


class Gate:
    """Admits what follows. `look` is set by whoever knows the brokers; `anew` is told of a log that begins anew."""

    def __init__(self, stage: str, health: Health) -> None:
        self.stage, self.health = stage, health
        self.look: Look = unseen
        self.anew: Callable[[Place], None] = lambda place: None
        self.next: dict[Place, int] = {}  # the offset that must come next, where it is known
        self.began: dict[Place, int] = {}  # where a state began of which there is no checkpoint yet
        self.epochs: dict[Place, int] = {}  # of the topics that those are offsets of
        self._told: dict[Place, int] = {}  # the epoch that was said to be another one
        self._asked: dict[Place, int] = {}  # the offset that was expected when we asked last

    def epoch(self, place: Place) -> int:
        """Of the topic as we read it, UNKNOWN where nobody told."""
        return self.epochs.get(place, UNKNOWN)

    def forget(self, place: Place) -> None:
        """Another worker's partition now."""
        for known in (self.next, self.began, self.epochs, self._asked):
            known.pop(place, None)

    async def admits(self, place: Place, block: Fetched) -> bool:
        """Whether nothing is missing before the block. What lies below the offset that must come next was taken before."""
        came = block.first_offset
        wanted = self.next.get(place, came)
        if came > wanted or (came < wanted and self._asked.get(place) != wanted):
            await self.ask([place])
            wanted = self.next.get(place, came)
            self._asked[place] = wanted
        return came <= wanted

    async def ask(self, places: Iterable[Place]) -> None:
        """Compare what is expected with how the logs lie; to be called where no block of these can be taken meanwhile."""
        held = list(places)
        found = await self.look(held)
        if any(extent.ends < self.next.get(place, 0) for place, extent in found.items() if not self._other(place, extent)):
            await asyncio.sleep(SURE)
            found = await self.look(held)
        for place, extent in found.items():
            self._compare(place, extent)

    async def changed(self, places: Iterable[Place]) -> list[Place]:
        """Which of the topics were made anew without a block out of turn; may be called at any time."""
        return [place for place, extent in (await self.look(places)).items() if self._other(place, extent)]

    def _other(self, place: Place, extent: Extent) -> bool:
        return UNKNOWN not in (self.epoch(place), extent.epoch) and self.epoch(place) != extent.epoch

    def _compare(self, place: Place, extent: Extent) -> None:
        wanted, other = self.next.get(place), self._other(place, extent)
        self.epochs[place] = extent.epoch or self.epoch(place)
        if wanted is None:
            return
        if other or extent.ends < wanted:
            if not other or self._told.get(place) != extent.epoch:  # a checkpoint from before may be restored once more
                self.health.anew(self.stage)
                log.error("the topic was made anew, or cut off, and is read from where it begins",
                          extra={**place._asdict(), "taken": wanted, **extent._asdict()})  # fmt: skip
            self._told[place] = extent.epoch
            self.next[place] = self.began[place] = extent.begins
            self.anew(place)
        elif extent.begins > wanted:
            n = extent.begins - wanted
            self.health.lost(self.stage, n)
            log.error("records are gone from the topic before they were read", extra={**place._asdict(), "n": n})
            self.next[place] = extent.begins
