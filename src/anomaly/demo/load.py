"""Shoppers: requests at random moments (a Poisson process) at a steady rate, whether or not the last ones were answered.

Run: `python -m anomaly.demo.load --seconds 150 frontend=URL cart=URL payment=URL`. It ends after its seconds, or with its
input.
"""

import argparse
import asyncio
import random
import time
from contextlib import suppress
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from anomaly.demo.shop import SERVICES, left

RATE = {"frontend": 18.0, "cart": 6.0, "payment": 16.0}  # requests a second: 40 in all
WAITING = 200  # requests at once; beyond that shoppers turn away, so a dead shop does not fill the memory


async def shop(name: str, urls: list[str], seconds: float) -> None:
    """Call one service until the time is over."""
    chance, service, waiting = random.Random(f"load {name}"), SERVICES[name], set[asyncio.Task[None]]()
    end, due = time.monotonic() + seconds, time.monotonic()
    async with ClientSession(timeout=ClientTimeout(total=5), connector=TCPConnector(limit=0)) as session:
        while due < end:
            due += chance.expovariate(RATE[name])
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            if len(waiting) < WAITING:
                call = asyncio.create_task(request(session, service.method, chance.choice(urls) + service.route))
                waiting.add(call)
                call.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)


async def request(session: ClientSession, method: str, url: str) -> None:
    """One request; what comes of it is the service's to tell."""
    with suppress(ClientError, TimeoutError):
        async with session.request(method, url) as answer:
            await answer.read()


async def run(targets: dict[str, list[str]], seconds: float) -> None:
    """All shoppers, until the time is over or standard input ends."""
    shoppers = asyncio.gather(*(shop(name, urls, seconds) for name, urls in targets.items()))
    tasks: list[asyncio.Future[Any]] = [shoppers, asyncio.create_task(left())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def main() -> None:
    """From the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, required=True)
    options.add_argument("targets", nargs="+", help="name=address, once for each instance")
    given = options.parse_args()
    targets: dict[str, list[str]] = {}
    for target in given.targets:
        name, _, url = target.partition("=")
        targets.setdefault(name, []).append(url)
    asyncio.run(run(targets, given.seconds))


if __name__ == "__main__":
    main()
