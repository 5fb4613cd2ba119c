"""The processes of the demo: started in order of who calls whom, and gone with us however we end.

Each child reads its standard input to the end and then stops; we hold the other end, so even a kill -9 of ours ends them.
They are sessions of their own: Ctrl-C reaches us alone, and we stop them in good order.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Any

from aiohttp import ClientError, ClientSession

from anomaly.demo.shop import GOOD, SERVICES
from anomaly.demo.telemetry import ENVIRONMENT, NAMESPACE

START = 30.0  # seconds that a service may take to say its port
STOP = 3.0  # seconds that a child may take to end


class Refused(Exception):
    """What the story said to one of its processes was not taken, so it cannot go on; the text says what, where and why."""


class Crew:
    """Async context manager; `url` has the addresses of each service's instances."""

    def __init__(self, otlp: str) -> None:
        self.otlp = otlp
        self.url: dict[str, list[str]] = {}
        self._running: dict[str, Process] = {}  # the last instance of each service
        self._children: list[Process] = []

    async def __aenter__(self) -> "Crew":
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.gather(*(self._end(child) for child in self._children)))

    async def open(self) -> None:
        """Start the services; each knows the addresses of those it calls."""
        for name, service in SERVICES.items():
            for _ in range(service.instances):
                await self._serve(name, len(self.url.setdefault(name, [])) + 1, GOOD, 0)

    async def deploy(self, name: str, version: str) -> None:
        """Run another version on the last instance of a service: the new one listens before the old one ends. It is
        announced, as whatever deploys does it."""
        number, old = len(self.url[name]), self._running[name]
        change = {
            "kind": "deployment", "what": f"version {version} on one of {number}", "version": version,
            "service": f"{NAMESPACE}/{name}", "environment": ENVIRONMENT,
        }  # fmt: skip
        await say(f"{self.otlp}/v1/changes", change)
        await self._serve(name, number, version, int(self.url[name].pop().rpartition(":")[2]))
        await self._end(old)

    async def load(self, targets: list[str], seconds: float) -> None:
        """Start the shoppers."""
        addresses = (f"{target}={url}" for target in targets for url in self.url[target])
        await self._start("anomaly.demo.load", "--seconds", str(seconds), *addresses)

    async def _serve(self, name: str, number: int, version: str, port: int) -> None:
        peers = [f"--peer={peer.name}={url}" for peer in SERVICES[name].peers for url in self.url[peer.name]]
        which = (f"--instance={number}", f"--version={version}", f"--port={port}")
        child = await self._start("anomaly.demo.shop", name, "--otlp", self.otlp, *which, *peers)
        if child.stdout is None:
            raise RuntimeError("a service has no output to say its port on")
        said = (await asyncio.wait_for(child.stdout.readline(), START)).decode().strip()
        if not said:
            raise RuntimeError(f"the service {name} did not start")
        self.url[name].append(f"http://127.0.0.1:{said}")
        self._running[name] = child

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


async def say(url: str, what: dict[str, Any]) -> None:
    """Post it as JSON; raises Refused where it is not taken, or only in part."""
    try:
        async with ClientSession() as session, session.post(url, json=what) as answer:
            text = await answer.text()
            partly = "partialSuccess" in text and (await answer.json()).get("partialSuccess")
            if answer.status != 200 or partly:
                raise Refused(f"{url} did not take {what}: status {answer.status} {text[:200]}".rstrip())
    except (ClientError, OSError) as error:
        raise Refused(f"{url} did not take {what}: {error or type(error).__name__}") from error
