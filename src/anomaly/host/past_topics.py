"""History on Kafka: source topics from one time, or offset, to another, read in no group: nobody's place moves, and nothing
is written.

Partitions are merged by the time that their records have at the brokers, in turns of TURN ms: in each first what the first
partition has, then the next one. So the same logs are judged in the same order, however they are fetched; and where they end
is asked once, so that a second pass sees what the first one saw.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiokafka import TopicPartition
from rich.progress import Progress

from anomaly.config.settings import KafkaSettings, SourceSettings
from anomaly.engine import Engine
from anomaly.host import blocks, compacted, topics
from anomaly.host.blocks import BLOCKS, Fetched, Place
from anomaly.host.cuts import part
from anomaly.host.files import NoData
from anomaly.host.past import Step, Stretch
from anomaly.host.source import FETCH_BYTES

TURN = 5_000  # ms: shorter than the points of a series are apart, which may come by any partition of a topic without keys
POLL = 100  # ms

Offsets = dict[Place, int]


@dataclass(slots=True)
class Topics:
    """History in topics. `first` and `past_last` are offsets of each partition, where they are asked for by number."""

    kafka: KafkaSettings
    sources: Sequence[SourceSettings]
    stretch: Stretch = field(default_factory=Stretch)
    first: int | None = None
    past_last: int | None = None
    _begins: Offsets = field(default_factory=dict, init=False)
    _ends: Offsets = field(default_factory=dict, init=False)

    @property
    def names(self) -> Sequence[str]:
        """Of the topics."""
        return [source.topic for source in self.sources]

    @property
    def same_inputs(self) -> bool:
        """A run goes on behind them, if they were read to their ends."""
        return self.stretch.end is None and self.past_last is None

    def steps(self, engine: Engine, bar: Progress) -> Iterator[Step]:
        """All partitions of all topics, in turns. Raises NoData where a topic is not there."""
        of = {source.topic: source for source in self.sources}
        reading = bar.add_task("records", total=None)
        with asyncio.Runner() as runner:
            found = self._read()
            try:
                while (block := runner.run(following(found))) is not None:
                    made, dead = engine.decode(of[block.source], block)
                    yield Step([(p, self.stretch.part(one)) for p, one in made], [*block.damaged, *dead])
                    bar.advance(reading, len(block))
            finally:
                runner.run(found.aclose())  # type: ignore[attr-defined]

    def records(self) -> AsyncIterator[Fetched]:
        """The same as they are, for whoever reads them otherwise."""
        return self._read()

    async def _read(self) -> AsyncIterator[Fetched]:
        blocks.install()
        options = {
            "value_deserializer": BLOCKS,
            "isolation_level": "read_committed",
            "max_partition_fetch_bytes": FETCH_BYTES,
        }
        async with compacted.reader(self.kafka, **options) as consumer:
            if not self._ends:
                await self._find(consumer)
            logs = [Log(consumer, place, self._begins[place], end) for place, end in sorted(self._ends.items())]
            consumer.assign([TopicPartition(*log.place) for log in logs])
            for log in logs:
                consumer.seek(TopicPartition(*log.place), log.next)
            while (first := min([t for log in logs if (t := await log.time()) is not None], default=None)) is not None:
                for log in logs:
                    async for block in log.until((first // TURN + 1) * TURN):
                        yield block

    async def _find(self, consumer: Any) -> None:
        """Which offsets are meant, of which partitions."""
        counts = await topics.counts(self.kafka, self.names)
        if missing := [name for name in self.names if name not in counts]:
            raise NoData(f"{', '.join(missing)}: not on {', '.join(self.kafka.bootstrap)}")
        places = [TopicPartition(name, p) for name in self.names for p in range(counts[name])]
        lateness = {source.topic: round(source.lateness * 1000) for source in self.sources}
        low, high = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        after = {} if self.stretch.end is None else {p: self.stretch.end + lateness[p.topic] for p in places}
        before = dict.fromkeys(places, self.stretch.reads_from) if self.stretch.reads_from > 0 else {}
        begins = await consumer.offsets_for_times(before) if before else {}
        ends = await consumer.offsets_for_times(after) if after else {}
        for p in places:
            place, begin, end = Place(*p), begins.get(p), ends.get(p)
            at = (high[p] if begin is None else begin.offset) if before else low[p]
            self._begins[place] = max(low[p], at, self.first or 0)
            until = high[p] if end is None else end.offset
            self._ends[place] = until if self.past_last is None else min(until, self.past_last)


async def following(found: AsyncIterator[Fetched]) -> Fetched | None:
    """The next block, None at the end."""
    return await anext(found, None)


class Log:
    """A partition that is read from an offset to another one."""

    def __init__(self, consumer: Any, place: Place, begin: int, end: int) -> None:
        self.consumer, self.place, self.next, self.end = consumer, place, begin, end
        self._held: Fetched | None = None

    async def time(self) -> int | None:
        """The time of its next record, ms; None at its end."""
        block = await self._block()
        return None if block is None else int(block.time[0])

    async def until(self, time: int) -> AsyncIterator[Fetched]:
        """Its next records, up to the first that is not before `time`."""
        while (block := await self._block()) is not None and block.time[0] < time:
            late = np.flatnonzero(block.time >= time)
            if not late.size:
                self._held = None
                yield block
                continue
            n, at = int(late[0]), int(block.offset[late[0]])
            self._held = part(block, slice(n, None), at, block.next_offset)
            yield part(block, slice(None, n), block.first_offset, at)

    async def _block(self) -> Fetched | None:
        """Some records that lie before its end and were not given yet."""
        while self._held is None and self.next < self.end:
            got = await self.consumer.getmany(TopicPartition(*self.place), timeout_ms=POLL, max_records=1)
            for found in got.values():
                for block in found:
                    self.next = block.next_offset
                    n = int(np.searchsorted(block.offset, self.end))
                    if n:
                        self._held = part(block, slice(None, n), block.first_offset, min(block.next_offset, self.end))
                        self._held.damaged = block.damaged
        return self._held
