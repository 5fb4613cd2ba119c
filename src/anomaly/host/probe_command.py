"""`anomaly probe`: make the synthetic checks of a configuration, and send what came of them; or once, as a table."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp

from anomaly.config.probes import Check
from anomaly.config.settings import Settings
from anomaly.host.otlp_http import PROTOBUF
from anomaly.host.outputs import Message, Outputs
from anomaly.probe.report import request
from anomaly.probe.result import Result
from anomaly.probe.runner import made, run

log = logging.getLogger(__name__)
FAILED = 1
ROW = "{:24} {:20} {:5} {:7} {:>9}  {}"
PATIENCE = aiohttp.ClientTimeout(total=10.0)  # a detector that does not answer holds up no check

Send = Callable[[str, bytes], Awaitable[None]]


def command(settings: Settings, once: bool) -> int:
    """The exit code."""
    return asyncio.run(show(settings.probes.checks) if once else send(settings))


async def show(checks: Sequence[Check]) -> int:
    """All at once, a line each; 1 if one failed."""
    results = await asyncio.gather(*(made(check) for check in checks))
    print(ROW.format("CHECK", "SERVICE", "KIND", "RESULT", "SECONDS", "WHY"))
    for check, result in zip(checks, results, strict=True):
        outcome = "failed" if result.why else "ok"
        print(ROW.format(check.name, check.service, check.kind, outcome, f"{result.seconds:.3f}", result.why).rstrip())
    return FAILED if any(r.why for r in results) else 0


async def send(settings: Settings) -> int:
    """Until stopped."""
    async with (to_kafka if settings.probes.topic else to_url)(settings) as sent:

        async def tell(check: Check, result: Result) -> None:
            if result.why:
                log.warning("%s: %s", check.name, result.why)
            await sent(check.service, request(settings.probes, check, result))

        await run(settings.probes.checks, tell)
    return 0


@asynccontextmanager
async def to_url(settings: Settings) -> AsyncIterator[Send]:
    """By OTLP over HTTP. A result that does not arrive is logged and gone: the next one is newer."""
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:

        async def sent(key: str, body: bytes) -> None:
            del key
            try:
                headers = {"Content-Type": PROTOBUF}
                async with session.post(settings.probes.url, data=body, headers=headers) as answer:
                    if answer.status != 200:
                        log.warning("%s answers %d; the result is lost", settings.probes.url, answer.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                log.warning("%s: %s; the result is lost", settings.probes.url, error or type(error).__name__)

        yield sent


@asynccontextmanager
async def to_kafka(settings: Settings) -> AsyncIterator[Send]:
    """To the topic, keyed by service."""
    assert settings.kafka is not None  # sources, of which the topic is one, need it
    outputs = Outputs(settings.kafka)
    await outputs.start()

    async def sent(key: str, body: bytes) -> None:
        await outputs.send([Message(settings.probes.topic, None, key.encode(), body)])

    try:
        yield sent
    finally:
        await outputs.stop()
