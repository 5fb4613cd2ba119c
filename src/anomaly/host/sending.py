"""Blocks of points on their way to anomaly.points: sent as soon as those before are on the brokers, merged meanwhile.

What a record costs, here and for whoever reads it, is nearly the same for one point and for a thousand. So while the brokers
are busy with one block, the next ones of the same partition become one; where nothing is on its way, nothing waits.

Of a partition's points one record is on its way to each partition of anomaly.points, and the next is sent when it has
arrived: whoever reads them may take their offsets for progress, because none overtakes another, whatever is sent twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from anomaly.decode.block import Announced, Block
from anomaly.decode.points import Points
from anomaly.decode.texts import Strung
from anomaly.host.blocks import Fetched
from anomaly.host.wire_points import LARGEST

# Points that wait at most: a record of 1 MB, if all are of one partition. Who brings more waits himself.
MOST = 64_000
FURTHEST = 1 << 30  # offsets that a merged block spans at most: its points' are 32 bits

Place = tuple[str, int, int]  # source, its partition, partition of anomaly.points
Send = Callable[[Sequence[tuple[int, Block]]], Awaitable[None]]


class Sending:
    """Takes decoded blocks and settles the fetched ones they come from. `send` returns when all are on the brokers."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self._waiting: dict[Place, list[Block]] = {}
        self._fetched: list[Fetched] = []
        self._points = 0
        self._picked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def put(self, fetched: Fetched, found: Iterable[tuple[int, Block]]) -> None:
        """Take what a fetched block was decoded to; raises what made an earlier one impossible to send."""
        self._raise()
        self._fetched.append(fetched)
        for partition, block in found:
            self._waiting.setdefault((block.source, block.partition, partition), []).append(block)
            self._points += len(block.points)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        while self._points >= MOST and not self._task.done():
            self._picked.clear()
            await asyncio.wait([self._task, picked := asyncio.create_task(self._picked.wait())],
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            picked.cancel()
        self._raise()

    async def all(self) -> None:
        """Return when nothing waits any more."""
        if self._task is not None:
            await asyncio.wait([self._task])
        self._raise()

    def _raise(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()

    async def _run(self) -> None:
        while self._fetched:
            fetched, waiting = self._fetched, self._waiting
            self._fetched, self._waiting, self._points = [], {}, 0
            self._picked.set()
            merged = [[(place[2], block) for block in merge(blocks)] for place, blocks in waiting.items()]
            for wave in zip_longest(*merged):
                await self.send([each for each in wave if each is not None])
            for block in fetched:
                block.ticket.settled = True


def merge(blocks: Sequence[Block]) -> list[Block]:
    """Blocks of one partition, in order, as few as can be: each goes on where the one before ended."""
    runs: list[list[Block]] = []
    for block in blocks:
        if runs and _follows(runs[-1], block):
            runs[-1].append(block)
        else:
            runs.append([block])
    return [_joined(run) for run in runs]


def _follows(run: Sequence[Block], block: Block) -> bool:
    near = block.next_offset - run[0].offset < FURTHEST
    few = sum(len(b.points) for b in run) + len(block.points) <= MOST
    alike = (run[-1].lateness, run[-1].epoch) == (block.lateness, block.epoch)
    return run[-1].next_offset <= block.offset and near and few and alike


def _joined(run: Sequence[Block]) -> Block:
    first, last = run[0], run[-1]
    if len(run) == 1:
        return first
    points = Points.joined([replace(b.points, record=b.points.record + (b.offset - first.offset)) for b in run])
    series = Announced.joined([b.series for b in run])
    return replace(last, offset=first.offset, points=points, series=series)


def bearable(block: Block) -> bool:
    """Whether each single point and series of a block goes into a record."""
    widest = int(block.points.bucket_len.max(initial=0))
    longest = int(Strung.of(block.series.text).size.max(initial=0))
    return max(longest, 8 * widest) < LARGEST // 2
