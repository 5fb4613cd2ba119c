"""Connect, say something, and look at the first bytes of the answer."""

import asyncio
import re

from anomaly.config.probes import Tcp
from anomaly.probe.result import Failed, place

MOST = 1 << 16  # bytes of the answer that are waited for


async def ask(what: Tcp) -> dict[str, float]:
    """Nothing besides success; raises Failed."""
    reader, writer = await asyncio.open_connection(*place(what.address))
    try:
        writer.write(what.send.encode())
        await writer.drain()
        if what.expect is not None:
            await expect(reader, what.expect)
    finally:
        writer.close()
    return {}


async def expect(reader: asyncio.StreamReader, pattern: str) -> None:
    """Read until it is there."""
    heard = b""
    while len(heard) < MOST and (more := await reader.read(MOST - len(heard))):
        heard += more
        if re.search(pattern, heard.decode("utf-8", "replace")):
            return
    raise Failed(f"the answer {heard[:40]!r} has nothing that fits {pattern}")
