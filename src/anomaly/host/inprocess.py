"""The engine in one process without Kafka: OTLP over HTTP, files or standard input in, alerts to the same receivers out.

One consumer judges what a bounded queue holds, in a thread of its own, so that the receiver and the health page answer
meanwhile. Whoever puts something in waits until it was judged; when the queue is full a sender is told to come again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from anomaly.command.command import Command
from anomaly.config.settings import SourceSettings
from anomaly.correlate.incident import Incident
from anomaly.decode.block import Block
from anomaly.decode.records import DeadLetter, Records
from anomaly.detect.beside import Said
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine
from anomaly.host.otlp_http import Full

OTLP = "otlp"  # name of the source that senders are
ROOM = 256  # requests: a second or two of a busy sender; more would only make data old before it is judged
TOGETHER = 64  # requests judged as one block of records
UNKNOWN = -1  # when a record of a file was written, nobody knows

Now = Callable[[], int]
Deliver = Callable[[Alert], Awaitable[None]]


def now_ms() -> int:
    """Milliseconds since the epoch, now."""
    return time.time_ns() // 1_000_000


class Request(NamedTuple):
    """Records waiting to be judged, when they arrived (ms), and who waits for them."""

    source: SourceSettings
    bodies: Sequence[bytes]
    arrived: int
    answer: asyncio.Future[list[DeadLetter]]


@dataclass(slots=True)
class Judged:
    """What a block of records gave, stage by stage, for whoever watches; `seconds` is the time of each stage."""

    source: str
    records: int
    blocks: list[tuple[int, Block]]
    dead: list[DeadLetter]
    events: list[Said]
    changed: list[tuple[Incident, Alert | None]]
    seconds: dict[str, float]


class InProcess:
    """A queue, an engine behind it, and where its alerts go. `watch` sees everything that was judged, in order."""

    def __init__(
        self,
        engine: Engine,
        deliver: Deliver,
        watch: Callable[[Judged], None] = lambda judged: None,
        now: Now = now_ms,
        room: int = ROOM,
    ) -> None:
        self.engine, self.deliver, self.watch, self.now = engine, deliver, watch, now
        self._queue: asyncio.Queue[Request] = asyncio.Queue(room)
        self._thread = ThreadPoolExecutor(1, "engine")
        self._offset = 0

    async def offer(self, encoding: str, body: bytes) -> list[DeadLetter]:
        """Judge a sender's body when its turn comes; what of it was set aside. Raises Full if there is no room now."""
        request = self._request(SourceSettings(topic=OTLP, encoding=encoding), [body], self.now())
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            raise Full from None
        return await request.answer

    async def put(self, source: SourceSettings, bodies: Sequence[bytes]) -> list[DeadLetter]:
        """The same, but waiting for room: for what can wait, such as files."""
        request = self._request(source, bodies, UNKNOWN)
        await self._queue.put(request)
        return await request.answer

    async def command(self, command: Command) -> None:
        """Follow a command, between two blocks."""
        changed = await asyncio.get_running_loop().run_in_executor(self._thread, self.engine.command, command)
        await self._tell(Judged(OTLP, 0, [], [], [], changed, {}))

    def commands(self) -> list[Command]:
        """Those that are known."""
        return self.engine.commands(0).all()

    async def run(self) -> None:
        """Judge for ever. An error of the engine ends it, and whoever waits is told."""
        next_one: Request | None = None
        while True:
            requests = [next_one or await self._queue.get()]
            next_one = None
            while len(requests) < TOGETHER and not self._queue.empty():
                next_one = self._queue.get_nowait()
                if next_one.source != requests[0].source:
                    break
                requests.append(next_one)
                next_one = None
            await self._judge(requests)

    def _request(self, source: SourceSettings, bodies: Sequence[bytes], arrived: int) -> Request:
        return Request(source, bodies, arrived, asyncio.get_running_loop().create_future())

    async def _judge(self, requests: list[Request]) -> None:
        first = self._offset
        try:
            judged = await asyncio.get_running_loop().run_in_executor(self._thread, self._walk, requests)
            await self._tell(judged)
        except Exception as error:
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            raise
        answer(requests, first, judged.dead)

    async def _tell(self, judged: Judged) -> None:
        """Whoever watches, and those who are to be alerted."""
        self.watch(judged)
        for _, alert in judged.changed:
            if alert:
                await self.deliver(alert)

    def _walk(self, requests: list[Request]) -> Judged:
        source = requests[0].source
        records = Records.of([b for r in requests for b in r.bodies], source.topic, 0, self._offset)
        records.time[:] = [r.arrived for r in requests for _ in r.bodies]
        self._offset += len(records)
        return walk(self.engine, source, records)


def answer(requests: Sequence[Request], first: int, dead: Sequence[DeadLetter]) -> None:
    """Tell each request, the first of which began at offset `first`, what of it was set aside."""
    for request in requests:
        end = first + len(request.bodies)
        if not request.answer.done():  # the sender may have gone
            request.answer.set_result([letter for letter in dead if first <= letter.offset < end])
        first = end


def walk(engine: Engine, source: SourceSettings, records: Records) -> Judged:
    """All stages over a block of records, and the time that each took."""
    times = [time.perf_counter()]
    blocks, dead = engine.decode(source, records)
    for _, block in blocks:  # numbers of this process: to one that goes on with its state they would be records taken before
        block.offset = block.next_offset = 0
    times.append(time.perf_counter())
    events = [event for partition, block in blocks for event in engine.detect(partition, block)]
    times.append(time.perf_counter())
    changed = engine.correlate(0, events)
    times.append(time.perf_counter())
    seconds = {stage: b - a for stage, a, b in zip(("decode", "detect", "correlate"), times, times[1:], strict=False)}
    return Judged(source.topic, len(records), blocks, dead, events, changed, seconds)
