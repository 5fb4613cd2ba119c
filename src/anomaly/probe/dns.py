"""Ask a name server over UDP (RFC 1035, section 4.1); only answers to our question count."""

import asyncio
import re
import secrets
import struct
from ipaddress import ip_address

from anomaly.config.probes import RCODES, RECORDS, Dns
from anomaly.probe.result import Failed, place

RECURSE, IN, POINTER = 0x0100, 1, 0xC0
ADDRESSES, NAMES, TEXT = ("A", "AAAA"), ("NS", "CNAME"), "TXT"


class Heard(asyncio.DatagramProtocol):
    """The first datagram that answers `number`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        """Anything else is not for us."""
        del addr
        if len(data) >= 12 and data[:2] == struct.pack(">H", self.number) and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there."""
        if not self.answer.done():
            self.answer.set_exception(exc)


async def ask(what: Dns) -> dict[str, float]:
    """How many answers there were; raises Failed."""
    number = secrets.randbelow(1 << 16)
    loop = asyncio.get_running_loop()
    transport, heard = await loop.create_datagram_endpoint(lambda: Heard(number), remote_addr=place(what.server))
    try:
        transport.sendto(question(number, what.name, RECORDS[what.type]))
        rcode, answers = read(await heard.answer, RECORDS[what.type])
    finally:
        transport.close()
    facts = {"probe_dns_answer_rrs": float(len(answers))}
    code = RCODES[rcode] if rcode < len(RCODES) else str(rcode)
    if code != what.rcode:
        raise Failed(f"answered {code}, not {what.rcode}", facts)
    if what.answer is not None and not any(re.search(what.answer, a) for a in answers):
        raise Failed(f"answered {', '.join(answers) or 'nothing'}: none fits {what.answer}", facts)
    return facts


def question(number: int, name: str, kind: int) -> bytes:
    """One question, to be answered recursively."""
    labels = [label.encode("idna") for label in name.rstrip(".").split(".")]
    asked = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack(">6H", number, RECURSE, 1, 0, 0, 0) + asked + struct.pack(">2H", kind, IN)


def read(data: bytes, kind: int) -> tuple[int, list[str]]:
    """The code, and the answers of the kind as text; Failed for what is no answer."""
    try:
        _, flags, questions, answers, _, _ = struct.unpack_from(">6H", data)
        at, found = 12, []
        for _ in range(questions):
            at = name(data, at)[1] + 4
        for _ in range(answers):
            at = name(data, at)[1]
            own, _, _, size = struct.unpack_from(">2HIH", data, at)
            at += 10
            if at + size > len(data):
                raise IndexError
            if own == kind:
                found.append(text(data, at, size, own))
            at += size
    except (struct.error, IndexError, ValueError, RecursionError) as error:
        raise Failed("the answer is none of DNS") from error
    return flags & 0xF, found


def name(data: bytes, at: int) -> tuple[str, int]:
    """A name, and where what follows it begins; a pointer leads only backwards, so that it ends."""
    size = data[at]
    if size & POINTER == POINTER:
        to = (size & ~POINTER) << 8 | data[at + 1]
        if to >= at:
            raise ValueError
        return name(data, to)[0], at + 2
    if size == 0:
        return "", at + 1
    rest, end = name(data, at + 1 + size)
    return data[at + 1 : at + 1 + size].decode("ascii", "replace") + ("." + rest if rest else ""), end


def text(data: bytes, at: int, size: int, kind: int) -> str:
    """What a record holds."""
    record = next(k for k, number in RECORDS.items() if number == kind)
    if record in ADDRESSES:
        return str(ip_address(data[at : at + size]))
    if record in NAMES:
        return name(data, at)[0]
    if record == "MX":
        return name(data, at + 2)[0]
    return data[at + (record == TEXT) : at + size].decode("utf-8", "replace")
