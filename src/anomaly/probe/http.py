"""Ask over HTTP: status, body, how long it took."""

import re
import ssl
import time
from pathlib import Path

import aiohttp

from anomaly.config.probes import Http
from anomaly.probe.result import Failed

STATUS = "probe_http_status_code"
MOST = 1 << 20  # bytes of a body that are looked at


async def ask(what: Http) -> dict[str, float]:
    """What was seen; raises Failed."""
    before = time.monotonic()
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            what.method, what.url, headers=headers(what), allow_redirects=what.redirects, ssl=trust(what)
        ) as answer,
    ):
        body = await read(answer.content)
        facts = {STATUS: float(answer.status)}
        if not any(fits(answer.status, s) for s in what.status):
            raise Failed(f"status {answer.status}, not {' or '.join(what.status)}", facts)
    took = time.monotonic() - before
    if what.body is not None and not re.search(what.body, body.decode("utf-8", "replace")):
        raise Failed(f"the body has nothing that fits {what.body}", facts)
    if what.slowest is not None and took > what.slowest:
        raise Failed(f"took {took:.3g} s, more than {what.slowest:g} s", facts)
    return facts


async def read(content: aiohttp.StreamReader) -> bytes:
    """The body, or its beginning."""
    body = b""
    while len(body) < MOST and (more := await content.read(MOST - len(body))):
        body += more
    return body


def fits(status: int, wanted: str) -> bool:
    """Whether it is this status, or of this class."""
    return str(status) == wanted or (wanted.endswith("xx") and str(status)[0] == wanted[0])


def headers(what: Http) -> dict[str, str]:
    """Those of the configuration, and of the file."""
    lines = Path(what.headers_file).read_text().splitlines() if what.headers_file else []
    pairs = [line.partition(":") for line in lines if ":" in line]
    return what.headers | {name.strip(): value.strip() for name, _, value in pairs}


def trust(what: Http) -> ssl.SSLContext | bool:
    """Whose certificates are believed."""
    return ssl.create_default_context(cafile=what.ca) if what.verify else False
