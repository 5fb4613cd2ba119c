"""The usual form of a one-point JSON message, scanned on the wire into columns.

text uint8 (m,) holds the messages, eight readable bytes past the last; at int64 (n,), size int32 (n,) delimit them. Written
per message are
key   uint64 (n,)  seeded hash of the bytes of `name` and `labels`, as they stand
time  int64 (n,)   milliseconds since the epoch
value float64 (n,), and number_at int64 (n,), number_len int32 (n,): where the number's text is
form  uint8 (n,)   REFUSED, SCANNED, or NUMBER where all is scanned but the number, which needs the complete parser
What is read here is read exactly: a message with any other member, an escape, a nested value, another form of time is
refused. Labels are only hashed; the first message with a key must be read by a complete decoder.
"""

import numpy as np

from anomaly.compiled import bare, inlined, kernel
from anomaly.decode.decimal_scan import decimal
from anomaly.decode.text_scan import BLANK, COLON, NEVER, QUOTE, closing, moment
from anomaly.decode.wire import hash_bytes, load8

REFUSED, SCANNED, NUMBER = 0, 1, 2

COMMA, OPEN, CLOSE, BRACKET = 44, 123, 125, 91

TIMESTAMP, VALUE, NAME, LABELS = 0, 1, 2, 3


def word(text: bytes) -> np.uint64:
    """The first eight bytes of a text as `load8` reads them, zeros past its end."""
    return np.uint64(int.from_bytes(text[:8], "little"))


_TIMESTAM, _VALUE, _NAME, _LABELS = word(b"timestam"), word(b"value"), word(b"name"), word(b"labels")
_P = ord("p")
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@inlined
def blank(text, at, end):  # type: ignore[no-untyped-def]
    """Where the next byte that is no white space stands, or `end`."""
    while at < end and text[at] <= BLANK and (text[at] == BLANK or 9 <= text[at] <= 10 or text[at] == 13):
        at += 1
    return at


@bare
def brace(text, at, end):  # type: ignore[no-untyped-def]
    """Past the brace that closes the flat object beginning at `at`; -1: there is none, or it is not flat."""
    at += 1
    while at < end:
        byte = text[at]
        if byte == QUOTE:
            at = closing(text, at + 1, end)
            if at < 0:
                return -1
        elif byte == CLOSE:
            return at + 1
        elif byte in (OPEN, BRACKET):
            return -1
        at += 1
    return -1


@inlined
def short(text, at, n):  # type: ignore[no-untyped-def]
    """The first `n` bytes from `at`, at most eight, as a word with zeros past them; 0 < n."""
    return load8(text, at) & (_ALL >> np.uint64(64 - 8 * min(n, 8)))


@inlined
def role(text, at, n):  # type: ignore[no-untyped-def]
    """Which member has this name; -1 if it is none of ours."""
    named = short(text, at, n) if 0 < n < 10 else np.uint64(0)
    if n == 4 and named == _NAME:
        return NAME
    if n == 5 and named == _VALUE:
        return VALUE
    if n == 6 and named == _LABELS:
        return LABELS
    return TIMESTAMP if n == 9 and named == _TIMESTAM and text[at + 8] == _P else -1


@bare
def members(text, at, end, begin, past):  # type: ignore[no-untyped-def]
    """Where the values of the four members begin and end, quotes left out; False if the message has another form."""
    at = blank(text, at, end)
    if at == end or text[at] != OPEN:
        return False
    seen = 0
    while True:
        at = blank(text, at + 1, end)
        stop = closing(text, at + 1, end) if at < end and text[at] == QUOTE else -1
        which = role(text, at + 1, stop - at - 1) if stop > 0 else -1
        if which < 0 or seen >> which & 1:
            return False
        seen |= 1 << which
        at = blank(text, stop + 1, end)
        at = blank(text, at + 1, end) if at < end and text[at] == COLON else end
        if at == end:
            return False
        if which == LABELS:
            begin[which], past[which] = at, brace(text, at, end) if text[at] == OPEN else -1
            at = past[which]
        else:
            begin[which], past[which] = at + 1, closing(text, at + 1, end) if text[at] == QUOTE else -1
            at = past[which] + 1
        if past[which] < 0:
            return False
        at = blank(text, at, end)
        if at == end or text[at] != COMMA:
            return seen == 15 and at < end and text[at] == CLOSE and blank(text, at + 1, end) == end


@kernel
def scan(text, at, size, seed, key, time, value, number_at, number_len, form):  # type: ignore[no-untyped-def]
    """Scan every message; the last six columns are written."""
    begin, past, read = np.zeros(4, np.int64), np.zeros(4, np.int64), np.full(3, NEVER)
    for i in range(at.size):
        form[i] = REFUSED
        if size[i] <= 0 or not members(text, at[i], at[i] + size[i], begin, past):
            continue
        time[i] = moment(text, begin[TIMESTAMP], past[TIMESTAMP], read)
        if time[i] == NEVER:
            continue
        named = hash_bytes(text, begin[NAME], past[NAME], seed)
        key[i] = hash_bytes(text, begin[LABELS], past[LABELS], named)
        value[i], exact = decimal(text, begin[VALUE], past[VALUE])
        number_at[i], number_len[i] = begin[VALUE], past[VALUE] - begin[VALUE]
        form[i] = SCANNED if exact else NUMBER
