"""The processes of the demo: started in order of who calls whom, and gone with us however we end.

Each child reads its standard input to the end and then stops; we hold the other end, so even a kill -9 of ours ends them.
They are sessions of their own: Ctrl-C reaches us alone, and we stop them in good order.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress

from anomaly.demo.shop import SERVICES

START = 30.0  # seconds that a service may take to say its port
STOP = 3.0  # seconds that a child may take to end


class Crew:
    """Async context manager; `url` has the address of each service."""

    def __init__(self, otlp: str) -> None:
        self.otlp = otlp
        self.url: dict[str, str] = {}
        self._children: list[Process] = []

    async def __aenter__(self) -> "Crew":
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.gather(*(self._end(child) for child in self._children)))

    async def open(self) -> None:
        """Start the services; each knows the addresses of those it calls."""
        for name, service in SERVICES.items():
            peers = [f"--peer={peer}={self.url[peer]}" for peer, _ in service.peers]
            child = await self._start("anomaly.demo.shop", name, "--otlp", self.otlp, *peers)
            if child.stdout is None:
                raise RuntimeError("a service has no output to say its port on")
            port = (await asyncio.wait_for(child.stdout.readline(), START)).decode().strip()
            if not port:
                raise RuntimeError(f"the service {name} did not start")
            self.url[name] = f"http://127.0.0.1:{port}"

    async def load(self, targets: list[str], seconds: float) -> None:
        """Start the shoppers."""
        await self._start("anomaly.demo.load", "--seconds", str(seconds), *(f"{t}={self.url[t]}" for t in targets))

    async def _start(self, module: str, *arguments: str) -> Process:
        command = (sys.executable, "-m", module, *arguments)
        child = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        self._children.append(child)
        return child

    async def _end(self, child: Process) -> None:
        if child.stdin:
            child.stdin.close()
        with suppress(ProcessLookupError):
            try:
                await asyncio.wait_for(child.wait(), STOP)
            except TimeoutError:
                child.kill()
                await child.wait()
