"""Reading the text of a series (`decode.identity.pack`, MessagePack) in compiled code: where its parts are, and who it is.

The text is an array of nine: environment, group, metric, unit, labels, instance, kind, bounds, hash of the group. Parts are
positions in a buffer, int64 (10,): part k lies in [parts[k], parts[k + 1]). Equal parts are equal bytes, since one program
writes them in one way; so they are hashed and compared as they stand.
Source: MessagePack specification (2013), "Formats"; extension types do not occur and are BAD.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, inlined
from anomaly.decode.wire import hash_bytes

ENVIRONMENT, GROUP, METRIC, UNIT, LABELS, INSTANCE, KIND, BOUNDS, PLACE, END = range(10)
BAD = -1
PADDING = 16  # readable bytes behind a buffer
EMPTY = 0x90  # an array of nothing

to_text, from_text = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(str).decode


@inlined
def number(text, at, size):  # type: ignore[no-untyped-def]
    """A big-endian number of `size` bytes."""
    found = np.uint64(0)
    for i in range(size):
        found = found << np.uint64(8) | np.uint64(text[at + i])
    return found


@bare
def head(text, at):  # type: ignore[no-untyped-def]
    """(bytes to the end of the thing at `at` but for what it holds, how many things it holds); BAD: not known."""
    b = text[at]
    if b < 0x80 or b >= 0xE0 or b in (0xC0, 0xC2, 0xC3):
        return 1, 0
    if b < 0x90 or b in (0xDE, 0xDF) or 0xC4 <= b <= 0xC9 or 0xD4 <= b <= 0xD8 or b == 0xC1:
        return BAD, 0  # mappings, binary, extensions
    if b < 0xA0:
        return 1, np.int64(b & 15)
    if b < 0xC0:
        return 1 + np.int64(b & 31), 0
    if b in (0xDC, 0xDD):
        size = 2 if b == 0xDC else 4
        return 1 + size, np.int64(number(text, at + 1, size))
    if b >= 0xD9:
        size = 1 << (b - 0xD9)
        return 1 + size + np.int64(number(text, at + 1, size)), 0
    if b in (0xCA, 0xCB):
        return (5 if b == 0xCA else 9), 0
    return 1 + (1 << (b & 3)), 0


@bare
def after(text, at, end):  # type: ignore[no-untyped-def]
    """The position after the thing at `at`, or BAD."""
    due = 1
    while due > 0:
        if at >= end:
            return BAD
        size, held = head(text, at)
        if size == BAD or size > end - at or held > end:
            return BAD
        at, due = at + size, due - 1 + held
    return at


@bare
def outline(text, at, end, parts):  # type: ignore[no-untyped-def]
    """Find the parts; False if this is no text of a series."""
    if at >= end or text[at] != 0x99:
        return False
    at += 1
    for k in range(END):
        parts[k] = at
        at = after(text, at, end)
        if at == BAD:
            return False
    parts[END] = at
    return at == end and parts[BOUNDS] - parts[KIND] == 1


@bare
def place(text, parts):  # type: ignore[no-untyped-def]
    """The hash of environment and group."""
    at, size = parts[PLACE], parts[END] - parts[PLACE]
    return np.uint64(text[at]) if size == 1 else number(text, at + 1, size - 1)


@bare
def picked(text, at, names, among, seed):  # type: ignore[no-untyped-def]
    """A hash of those of the labels at `at` whose name is, or is not, among `names` (hashes)."""
    size, held = head(text, at)
    at, found = at + size, np.uint64(0)
    for _ in range(held):
        begin = at + 1
        middle = begin + head(text, begin)[0]
        at = middle + head(text, middle)[0]
        name, known = hash_bytes(text, begin, middle, seed), False
        for each in names:
            known |= name == each
        if known == among:
            found = hash_bytes(text, begin, at, seed ^ found)
    return found


@bare
def named(text, at, names, seed):  # type: ignore[no-untyped-def]
    """A hash of those of the labels at `at` whose name is among `names` (hashes)."""
    return picked(text, at, names, True, seed)


@bare
def unnamed(text, at, names, seed):  # type: ignore[no-untyped-def]
    """A hash of the other ones."""
    return picked(text, at, names, False, seed)


def key_of(seed: int, *parts: object) -> int:
    """A seeded key of whatever MessagePack can hold; never 0."""
    text = to_text(parts)
    return int(hash_bytes(buffer(text), 0, len(text), np.uint64(seed))) or 1


def buffer(text: bytes) -> NDArray[np.uint8]:
    """The bytes with readable ones behind them."""
    return np.frombuffer(text + bytes(PADDING), np.uint8)
