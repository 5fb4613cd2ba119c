"""A log line without its parameters, and a hash of that: the signature by which lines of one kind are known.

A line is cut at its first end of line and after LONGEST bytes. Blanks become one; words are what stands between blanks and
the signs of DELIMITERS, which are kept. Out of a word goes
- all of it, where it is an address with an @, or of LEAST_HEX and more hexadecimal letters, or long and mixed like a key;
- with a digit in it, what comes from the digit on; what is before stays if it holds a letter that no hexadecimal number has
  (`blk_-17` is `blk_<*>`, `a8f3-77` is `<*>`), and so does a name behind (`log4j.Logger`);
  a place in the source (`shop.Cart#145`) stays whole;
and a quoted text, but for the keys of JSON and within a line that is JSON. Parameters in a row, and equal words with
parameters in a row, are one: a list has the same signature however long it is.
buffer uint8 as `wire` has it; out uint8 (ROOM,), scratch. No state, so that every worker gives a line the same signature.
Weak where a parameter is a word without a digit: whether words differ because they are parameters shows only in the many
lines of a service (`detect.templates`).
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.wire import hash_bytes

LONGEST = 1_024  # bytes of a line that are looked at
ROOM = 4 * LONGEST + 16  # `1=1=…` grows from two bytes to four
LEAST_HEX, LEAST_KEY = 8, 24

DELIMITERS = b"=,;()[]{}<>\"'|`:/"
DIGIT, HEX, LETTER, AT, SIGN, BLANK, UPPER = 1, 2, 4, 8, 16, 32, 64


def _classes() -> np.ndarray:
    """What a byte is."""
    found = np.zeros(256, np.uint8)
    for byte in range(256):
        sign = chr(byte)
        if byte >= 128 or (sign.isascii() and sign.isalpha()):
            found[byte] = HEX if sign in "abcdefABCDEF" else LETTER
            found[byte] |= UPPER if "A" <= sign <= "Z" else 0
        found[byte] |= DIGIT if sign in "0123456789" else 0
        found[byte] |= BLANK if byte <= 32 or byte == 127 else 0
    found[ord("@")] = AT
    found[list(DELIMITERS)] = SIGN
    return found


_CLASS = _classes()
_QUOTE, _TICK, _COLON, _BRACE, _NEWLINE = ord('"'), ord("'"), ord(":"), ord("{"), ord("\n")
_OPEN, _STAR, _CLOSE, _SPACE = ord("<"), ord("*"), ord(">"), ord(" ")
_DOT, _HASH = ord("."), ord("#")
_MINUS, _PLUS = ord("-"), ord("+")


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
def tail_of(buffer, at, end):  # type: ignore[no-untyped-def]
    """Where the name begins that stands behind a number in a word; `end` if there is none."""
    while at < end and (_CLASS[buffer[at]] & (DIGIT | HEX) or not _CLASS[buffer[at]]) and not _CLASS[buffer[at]] & UPPER:
        at += 1
    named = at < end and (_CLASS[buffer[at]] & UPPER) != 0
    letters = 0
    for i in range(at, end):
        if _CLASS[buffer[i]] & DIGIT:
            return end
        letters += (_CLASS[buffer[i]] & (HEX | LETTER)) != 0
        named = named or buffer[i] == _DOT
    return at if named and letters >= 3 else end


@bare
def is_place(buffer, at, end):  # type: ignore[no-untyped-def]
    """Whether a word is a dotted name, a # and a line number."""
    dots, first = 0, at
    while at < end and (_CLASS[buffer[at]] & (HEX | LETTER) or buffer[at] == _DOT):
        dots += buffer[at] == _DOT
        at += 1
    if dots == 0 or at == first or at + 1 >= end or buffer[at] != _HASH or end - at > 6:
        return False
    for i in range(at + 1, end):  # noqa: SIM110 (numba knows no generators)
        if not _CLASS[buffer[i]] & DIGIT:
            return False
    return True


@bare
def word(buffer, at, end, seen, out, begin):  # type: ignore[no-untyped-def]
    """Write a word that holds a parameter, from `begin` on; `seen` are the classes of its bytes."""
    stop = end
    while stop > at and not _CLASS[buffer[stop - 1]]:  # a full stop is no part of it
        stop -= 1
    mixed = end - at >= LEAST_KEY and seen & UPPER
    first, keeps = at, False
    while first < stop and not _CLASS[buffer[first]] & DIGIT:
        keeps = keeps or (_CLASS[buffer[first]] & LETTER) != 0
        first += 1
    if not keeps or mixed or seen & AT or not seen & DIGIT:
        first = at
    if first > at and (buffer[first - 1] == _MINUS or buffer[first - 1] == _PLUS):  # the number's own
        first -= first - 1 == at or not _CLASS[buffer[first - 2]]
    n = begin + first - at  # the word was copied as it was read
    n = symbol(out, n)
    tail = stop if seen & AT or mixed or not seen & DIGIT else tail_of(buffer, max(first, at), stop)
    for i in range(tail if tail < stop else stop, end):
        out[n], n = buffer[i], n + 1
    return n


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
def mask(buffer, at, end, out):  # type: ignore[no-untyped-def]
    """Write the line buffer[at:end) without its parameters into `out`; returns how many bytes."""
    while at < end and _CLASS[buffer[at]] & BLANK:
        at += 1
    end = min(end, at + LONGEST)
    json = at < end and buffer[at] == _BRACE
    n, last, last_end, near = 0, 0, -1, False  # near: only what separates stands since the last word with a parameter
    while at < end and buffer[at] != _NEWLINE:
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
            first, seen, digits = at, 0, 0
            while at < end and not kind & (SIGN | BLANK):
                out[n], n, at, seen = buffer[at], n + 1, at + 1, seen | kind
                digits += kind & DIGIT
                kind = _CLASS[buffer[at]]
            hexadecimal = at - first >= LEAST_HEX and seen & ~UPPER == HEX
            address = seen & AT and buffer[first] != ord("@") and buffer[at - 1] != ord("@")
            if not (seen & DIGIT or hexadecimal or address):
                near = near and seen == 0  # a sign of its own, such as a dash
                continue
            if seen & DIGIT and is_place(buffer, first, at):
                near = False
                continue
            n = word(buffer, first, at, seen if address else seen & ~AT, out, begin)
        if near and is_again(out, last, last_end, begin, n):
            n = last_end
        else:
            last, last_end, near = begin, n, True
    while n > 0 and out[n - 1] == _SPACE:
        n -= 1
    return n


@bare
def signature(buffer, at, end, seed, out):  # type: ignore[no-untyped-def]
    """A seeded hash of the line without its parameters; never 0."""
    return hash_bytes(out, 0, mask(buffer, at, end, out), seed) | np.uint64(1)


@bare
def signatures(buffer, at, end, seed, out, found):  # type: ignore[no-untyped-def]
    """The signature of each line buffer[at[i]:end[i])."""
    for i in range(at.size):
        found[i] = signature(buffer, at[i], end[i], seed, out)


def masked(line: bytes) -> bytes:
    """One line without its parameters."""
    out = np.empty(ROOM, np.uint8)
    n = mask(np.frombuffer(line + bytes(8), np.uint8), 0, len(line), out)
    return out[:n].tobytes()
