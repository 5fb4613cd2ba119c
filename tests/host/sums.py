"""A stage small enough to be checked by hand: by key, the sum of the numbers that its records hold, and their order."""

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from anomaly.host.blocks import Fetched, Place
from anomaly.state import Snapshot, ahead, gather
from anomaly.table import Layout, Part, Table

KEYS = 16


class Sums:
    """Row k: the sum of the numbers n with n % KEYS == k, how many there were, and a hash of their order."""

    def __init__(self) -> None:
        self.table = Table("sums", {"row": (np.dtype([("sum", "i8"), ("n", "i8"), ("order", "u4")]), 0)})
        self.table.reserve(KEYS)
        while self.table.used < KEYS:
            self.table.new()

    def add(self, number: int) -> None:
        """Take a number in."""
        row = self.table["row"][number % KEYS]
        row["sum"], row["n"] = row["sum"] + number, row["n"] + 1
        row["order"] = zlib.crc32(str(number).encode(), int(row["order"]))
        self.table.touched[number % KEYS] = 1

    def digest(self) -> list[Any]:
        """All of it."""
        return [tuple(row) for row in self.table["row"][:KEYS].tolist()]

    def layouts(self) -> dict[str, Layout]:
        return {"sums": self.table.layout()}

    def ahead(self, generation: int) -> Iterator[Part]:
        return ahead([self.table], generation)

    def gather(self, generation: int) -> Snapshot:
        parts, low = gather([self.table], generation)
        return Snapshot(parts, b"", low)

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        for part in parts:
            self.table.put(generation, part, layouts["sums"])

    def settle(self, rest: bytes) -> None:
        """The rows are always all in use."""


class Summing:
    """The stage."""

    name, reads_sources, keeps_state, settles_later = "sums", False, True, False

    def __init__(self, topic: str) -> None:
        self.topics: tuple[str, ...] = (topic,)
        self.sums: dict[Place, Sums] = {}
        self.restored: list[Place] = []
        self.taken: list[tuple[Place, int]] = []
        self.fault: Callable[[bytes], None] = lambda value: None
        self.changed = asyncio.Event()

    def state(self, place: Place) -> Sums:
        self.sums[place] = Sums()
        return self.sums[place]

    async def restore(self, places: Sequence[Place]) -> None:
        self.restored += places

    def drop(self, place: Place) -> None:
        self.sums.pop(place, None)

    async def take(self, block: Fetched) -> int:
        for i in range(len(block)):
            self.sums[block.place].add(int(block.value(i)))
            self.taken.append((block.place, int(block.offset[i])))
            self.fault(block.value(i))
        self.changed.set()
        return len(block)

    def report(self) -> None: ...

    async def sent(self) -> None: ...

    async def finish(self) -> None: ...

    async def until(self, n: int) -> None:
        """Return when the state holds `n` records."""
        async with asyncio.timeout(60):
            while sum(row[1] for sums in self.sums.values() for row in sums.digest()) < n:
                self.changed.clear()
                await asyncio.wait_for(self.changed.wait(), 60)
