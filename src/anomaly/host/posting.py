"""What a stage says, on its way to the brokers while the next block is worked off.

To wait for the brokers after each block would let one anomaly a block hold up all others: an outage is hundreds of them in a
second. So there is always one wave on its way, and what comes meanwhile is the next. A checkpoint waits until what was said
before it is on the brokers (`all`); a crash before that repeats it, by the same ids.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest

from anomaly.decode.records import BadRecord
from anomaly.host.outputs import Message
from anomaly.host.topics import LARGEST_MESSAGE

MOST = 10_000  # messages that wait at most: who brings more waits himself
HEAD = 1_000  # bytes of a message beside key, value and headers, at most

Steps = tuple[Sequence[Message], ...]


class Posting:
    """Sends messages in the order in which they come. `send` returns when all are on the brokers, or raises."""

    def __init__(self, send: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
        self.send = send
        self._waiting: list[Steps] = []
        self._asked: list[asyncio.Future[None]] = []  # who waits for what waits
        self._many = 0
        self._task: asyncio.Task[None] | None = None

    async def put(self, *steps: Sequence[Message]) -> None:
        """Take messages in steps: none of a step goes before all of the step before it have arrived.

        Raises BadRecord for one that no broker would take, and whatever made earlier ones impossible to send.
        """
        self._raise()
        if not any(steps):
            return
        if any(size(m) > LARGEST_MESSAGE for step in steps for m in step):
            raise BadRecord("too_large", "what follows from it does not go into one record")
        self._waiting.append(steps)
        self._many += sum(map(len, steps))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        if self._many > MOST:
            await self.all()

    async def all(self) -> None:
        """Return when everything that was put so far has arrived; raises what made that impossible."""
        if self._task is not None and not self._task.done():
            arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(())
            self._asked.append(arrived)
            await asyncio.wait([self._task, arrived], return_when=asyncio.FIRST_COMPLETED)
        self._raise()

    def _raise(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()

    async def _run(self) -> None:
        while self._waiting:
            wave, asked = self._waiting, self._asked
            self._waiting, self._asked, self._many = [], [], 0
            for step in zip_longest(*wave, fillvalue=()):
                if messages := [message for some in step for message in some]:
                    await self.send(messages)
            for arrived in asked:
                arrived.set_result(None)


def size(message: Message) -> int:
    """Bytes of a message, at most."""
    headers = sum(len(name) + len(value) for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers + HEAD
