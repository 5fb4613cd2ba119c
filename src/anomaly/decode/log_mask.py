"""A log line without its parameters, and a hash of that: the signature by which lines of one kind are known.

A line is cut at its first end of line and after LONGEST bytes. Blanks become one; words are what stands between blanks and
the signs of DELIMITERS, which are kept. Out of a word goes
- all of it, where it is an address with an @, or of LEAST_HEX and more hexadecimal letters, or long and mixed like a key;
- with a digit in it, what comes from the digit on; what is before stays if it holds a letter that no hexadecimal number has
  (`blk_-17` is `blk_<*>`, `a8f3-77` is `<*>`), and so does a name behind (`log4j.Logger`);
  a place in the source (`shop.Cart#145`) stays whole;
and a quoted text, but for the keys of JSON and within a line that is JSON. Parameters in a row, and equal words with
parameters in a row, are one: a list has the same signature however long it is.
buffer uint8 as `wire` has it; room: Scratch. No state, so that every worker gives a line the same signature.
Weak where a parameter is a word without a digit: whether words differ because they are parameters shows only in the many
lines of a service (`detect.templates`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.decode.log_chart import (
    AT,
    CHARTED,
    DIGIT,
    EDGE,
    KINDS,
    LETTER,
    LONGEST,
    UPPER,
    charted,
    copied,
    following,
    is_set,
    plain,
)  # fmt: skip
from anomaly.decode.wire import hash_bytes

ROOM = 4 * LONGEST + 16  # `1=1=…` grows from two bytes to four
LEAST_HEX, LEAST_KEY = 8, 24

DELIMITERS = b"=,;()[]{}<>\"'|`:/"
NUMBER, ALPHA, MAIL, SIGN, BLANK = 1, 2, 4, 8, 16


def _classes() -> np.ndarray:
    """What a byte is; 0: nothing of that."""
    found = np.zeros(256, np.uint8)
    for byte in range(256):
        sign = chr(byte)
        found[byte] |= ALPHA if byte >= 128 or sign.isalpha() else 0
        found[byte] |= NUMBER if sign in "0123456789" else 0
        found[byte] |= BLANK if byte <= 32 or byte == 127 else 0
    found[ord("@")] = MAIL
    found[list(DELIMITERS)] = SIGN
    return found


_CLASS = _classes()
_QUOTE, _TICK, _COLON, _BRACE, _NEWLINE = ord('"'), ord("'"), ord(":"), ord("{"), ord("\n")
_OPEN, _STAR, _CLOSE, _SPACE = ord("<"), ord("*"), ord(">"), ord(" ")
_DOT, _HASH, _AT = ord("."), ord("#"), ord("@")
_MINUS, _PLUS = ord("-"), ord("+")


class Scratch(NamedTuple):
    """Where lines are written without their parameters, uint8 (ROOM,), and their chart (`log_chart`)."""

    out: NDArray[np.uint8]
    bits: NDArray[np.uint64]


def scratch() -> Scratch:
    """Room for a line."""
    return Scratch(np.empty(ROOM, np.uint8), np.empty((KINDS, CHARTED), np.uint64))


@bare
def symbol(out, n):  # type: ignore[no-untyped-def]
    """Write what stands for a parameter."""
    out[n], out[n + 1], out[n + 2] = _OPEN, _STAR, _CLOSE
    return n + 3


@bare
def closing(buffer, at, end, quote):  # type: ignore[no-untyped-def]
    """Where the quote that opens at `at` closes, if it is a text of its own; else -1."""
    for i in range(at + 1, end):
        if buffer[i] == quote:
            if i == at + 1 or (i + 1 < end and (buffer[i + 1] == _COLON or not _CLASS[buffer[i + 1]] & (SIGN | BLANK))):
                return np.int64(-1)
            return np.int64(i)
    return np.int64(-1)


@bare
def tail_of(buffer, line, at, end, bits):  # type: ignore[no-untyped-def]
    """Where the name begins that stands behind a number in a word; `end` if there is none."""
    i = at - line
    at = min(line + min(following(bits, LETTER, i), following(bits, UPPER, i), following(bits, AT, i)), end)
    if at >= end or line + following(bits, DIGIT, at - line) < end:
        return end
    named, letters = is_set(bits, UPPER, at - line), 0
    for i in range(at, end):
        letters += (_CLASS[buffer[i]] & ALPHA) != 0
        named = named or buffer[i] == _DOT
    return at if named and letters >= 3 else end


@bare
def is_place(buffer, at, end):  # type: ignore[no-untyped-def]
    """Whether a word is a dotted name, a # and a line number."""
    dots, first = 0, at
    while at < end and (_CLASS[buffer[at]] & ALPHA or buffer[at] == _DOT):
        dots += buffer[at] == _DOT
        at += 1
    if dots == 0 or at == first or at + 1 >= end or buffer[at] != _HASH or end - at > 6:
        return False
    for i in range(at + 1, end):  # noqa: SIM110 (numba knows no generators)
        if not _CLASS[buffer[i]] & NUMBER:
            return False
    return True


@bare
def word(buffer, line, at, end, address, numbered, room, n):  # type: ignore[no-untyped-def]
    """Write a word that holds a parameter, from `n` on: an address, or one with a digit, or a hexadecimal number."""
    stop, first, bits = end, at, room.bits
    while stop > at and not _CLASS[buffer[stop - 1]]:  # a full stop is no part of it
        stop -= 1
    whole = address or not numbered or (end - at >= LEAST_KEY and line + following(bits, UPPER, at - line) < end)
    if not whole:
        digit = following(bits, DIGIT, at - line)
        first = line + digit if following(bits, LETTER, at - line) < digit else at
        if first > at and (buffer[first - 1] == _MINUS or buffer[first - 1] == _PLUS):  # the number's own
            first -= first - 1 == at or not _CLASS[buffer[first - 2]]
    n = symbol(room.out, copied(buffer, at, first, room.out, n))
    tail = stop if whole else tail_of(buffer, line, first, stop, bits)
    return copied(buffer, tail, end, room.out, n)


@bare
def is_bare(buffer, at, end):  # type: ignore[no-untyped-def]
    """Whether a word has no letter and no digit."""
    for i in range(at, end):  # noqa: SIM110 (numba knows no generators)
        if _CLASS[buffer[i]]:
            return False
    return True


@bare
def is_again(out, last, last_end, begin, n):  # type: ignore[no-untyped-def]
    """Whether the word out[begin:n) is the one before it once more."""
    if n - begin != last_end - last:
        return False
    for i in range(n - begin):  # noqa: SIM110 (numba knows no generators)
        if out[last + i] != out[begin + i]:
            return False
    return True


@bare
def mask(buffer, at, end, room):  # type: ignore[no-untyped-def]
    """Write the line buffer[at:end) without its parameters into `room.out`; returns how many bytes."""
    while at < end and _CLASS[buffer[at]] & BLANK:
        at += 1
    end, line, out = min(end, at + LONGEST), at, room.out
    json = at < end and buffer[at] == _BRACE
    charted(buffer, at, end, not json, out, room.bits)
    n, last, last_end, near = 0, 0, -1, False  # near: only what separates stands since the last word with a parameter
    while at < end:
        if not near:
            stop = line + plain(room.bits, at - line, end - line)
            n, at = copied(buffer, at, stop, out, n), stop
        if at >= end or buffer[at] == _NEWLINE:
            break
        kind = _CLASS[buffer[at]]
        if kind & BLANK:
            if n > 0 and out[n - 1] != _SPACE:
                out[n], n = _SPACE, n + 1
            at += 1
            continue
        begin, stop = n, np.int64(-1)
        if kind & SIGN:
            quote = buffer[at]
            if not json and (quote == _QUOTE or (quote == _TICK and (n == 0 or _CLASS[out[n - 1]] & (SIGN | BLANK)))):
                stop = closing(buffer, at, end, quote)
            if stop < 0:
                out[n], n, at = quote, n + 1, at + 1
                near = near and (quote == ord(":") or quote == ord("/") or quote == ord(",") or quote == ord(";"))
                continue
            n, at = symbol(out, n), stop + 1
        else:
            first, i = at, at - line
            stop, bits = following(room.bits, EDGE, i), room.bits
            at = line + stop
            numbered, letters = following(bits, DIGIT, i) < stop, following(bits, LETTER, i) < stop
            has_at = following(bits, AT, i) < stop
            blank = not (numbered or letters or has_at) and is_bare(buffer, first, at)  # a sign of its own, such as a dash
            hexadecimal = at - first >= LEAST_HEX and not (numbered or letters or has_at or blank)
            address = has_at and buffer[first] != _AT and buffer[at - 1] != _AT
            if not (numbered or hexadecimal or address):
                n, near = copied(buffer, first, at, out, n), near and blank
                continue
            if numbered and is_place(buffer, first, at):
                n, near = copied(buffer, first, at, out, n), False
                continue
            n = word(buffer, line, first, at, address, numbered, room, n)
        if near and is_again(out, last, last_end, begin, n):
            n = last_end
        else:
            last, last_end, near = begin, n, True
    while n > 0 and out[n - 1] == _SPACE:
        n -= 1
    return n


@bare
def signature(buffer, at, end, seed, room):  # type: ignore[no-untyped-def]
    """A seeded hash of the line without its parameters; never 0."""
    return hash_bytes(room.out, 0, mask(buffer, at, end, room), seed) | np.uint64(1)


@bare
def signatures(buffer, at, end, seed, room, found):  # type: ignore[no-untyped-def]
    """The signature of each line buffer[at[i]:end[i])."""
    for i in range(at.size):
        found[i] = signature(buffer, at[i], end[i], seed, room)


def masked(line: bytes) -> bytes:
    """One line without its parameters."""
    room = scratch()
    n = mask(np.frombuffer(line + bytes(8), np.uint8), 0, len(line), room)
    return room.out[:n].tobytes()
