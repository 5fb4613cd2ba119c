"""How long the certificate of a server is valid yet, and whether it is believed.

The end is read from the certificate itself (X.509, RFC 5280, section 4.1), because Python tells it only of one that it
believes, and an expired one is what we look for.
"""

import asyncio
import ssl
import time
from datetime import UTC, datetime

from anomaly.config.probes import Tls
from anomaly.probe.result import Failed, place

EXPIRY = "probe_ssl_earliest_cert_expiry"
LEFT = "probe_certificate_days_left"
DAY = 86_400.0
VERSION, SEQUENCE, UTC_TIME = 0xA0, 0x30, 0x17


async def ask(what: Tls) -> dict[str, float]:
    """End (s since the epoch) and days left; raises Failed."""
    unseen = ssl.create_default_context()
    unseen.check_hostname, unseen.verify_mode = False, ssl.CERT_NONE
    ends = expiry(await certificate(what, unseen))
    left = (ends - time.time()) / DAY
    facts = {EXPIRY: ends, LEFT: left}
    if left * DAY < what.left:
        when = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
        raise Failed(f"the certificate {'ends' if left > 0 else 'has ended'} {when} ({left:.1f} days left)", facts)
    if what.verify:
        try:
            await certificate(what, ssl.create_default_context(cafile=what.ca))
        except ssl.SSLCertVerificationError as error:
            raise Failed(f"the certificate is not believed: {error.verify_message}", facts) from error
    return facts


async def certificate(what: Tls, context: ssl.SSLContext) -> bytes:
    """The server's own, in DER."""
    host, port = place(what.address)
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=what.server_name or host)
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    if found is None:
        raise Failed("the server shows no certificate")
    return found


def expiry(der: bytes) -> float:
    """Its end, seconds since the epoch."""
    at, _ = inside(der, 0)  # the certificate
    at, _ = inside(der, at)  # what is signed of it
    if der[at] == VERSION:
        at = after(der, at)
    for _ in ("serial", "algorithm", "issuer"):
        at = after(der, at)
    begin, _ = inside(der, at)  # the validity: from, to
    end = after(der, begin)
    first, size = inside(der, end)
    text = der[first : first + size].decode("ascii")
    if der[end] == UTC_TIME:  # two digits of the year: from 50 on of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def inside(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins, and its bytes."""
    size = der[at + 1]
    if size < 0x80:
        return at + 2, size
    digits = size & 0x7F
    return at + 2 + digits, int.from_bytes(der[at + 2 : at + 2 + digits], "big")


def after(der: bytes, at: int) -> int:
    """The element behind the one at `at`."""
    first, size = inside(der, at)
    return first + size
