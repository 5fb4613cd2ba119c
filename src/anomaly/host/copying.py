"""Rows of a state that are copied before its checkpoint, a slice at a time, while blocks are taken.

All of it between two blocks would hold up all partitions of a worker: for sixty thousand series some tens of milliseconds.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from anomaly.state import SLICE
from anomaly.table import Part

REST = 0.008  # seconds between two slices: others have nine tenths of the time


class Copying:
    """The parts so far; `done` when there is no other. `paused` is told how long each took."""

    def __init__(self, slices: Iterator[Part], paused: Callable[[float], None]) -> None:
        self.parts: list[Part] = []
        self.done = False
        self._slices, self._paused = slices, paused
        self._task: asyncio.Task[None] | None = None
        self._step()
        if not self.done:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self.done:
            await asyncio.sleep(REST)
            self._step()

    def _step(self) -> None:
        """A slice, or as many small ones as make one."""
        began, size = time.perf_counter(), 0
        while size < SLICE and not self.done:
            part = next(self._slices, None)
            if part is None:
                self.done = True
            else:
                self.parts.append(part)
                size += len(part.data)
        self._paused(time.perf_counter() - began)

    def stop(self) -> list[Part]:
        """Copy no more; the parts so far."""
        if self._task is not None:
            self._task.cancel()
        self.done = True
        return self.parts
