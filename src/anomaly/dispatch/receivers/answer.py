"""A send answers two questions: did it fail, and may another try help."""

from typing import NamedTuple, Protocol

import aiohttp

from anomaly.dispatch.alert import Alert
from anomaly.dispatch.amounts import plain

LATER = frozenset({408, 425, 429})  # with all of 5xx: the receiver is busy or ill, the request is not at fault


class Sent(NamedTuple):
    """What became of one send; `detail` is for the log and holds no secret."""

    ok: bool
    retry: bool
    detail: str


class Request(NamedTuple):
    """What is to be posted."""

    url: str
    body: bytes
    headers: dict[str, str]


class Receiver(Protocol):
    """Somebody who is told. `pace` is the least time between two sends, in seconds."""

    pace: float

    async def send(self, session: aiohttp.ClientSession, alert: Alert) -> Sent:
        """Tell them, once; never raises."""


async def post(session: aiohttp.ClientSession, request: Request) -> Sent:
    """Post and read the answer. A redirect is not followed: it would carry our secrets to wherever it points."""
    headers = {"Content-Type": "application/json"} | request.headers
    try:
        async with session.post(request.url, data=request.body, headers=headers, allow_redirects=False) as response:
            said = await response.content.read(400)
            return judged(response.status, said.decode("utf-8", "replace"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Sent(False, True, plain(f"{type(error).__name__}: {error}", 200))
    except ValueError as error:  # an address or a header that cannot be sent at all
        return Sent(False, False, plain(f"{type(error).__name__}: {error}", 200))


def judged(status: int, said: str) -> Sent:
    """By the status code."""
    ok = 200 <= status < 300
    return Sent(ok, not ok and (status in LATER or status >= 500), plain(f"{status} {said}".strip(), 300))
