"""The usual form of a Telegraf message, one measurement with its fields, scanned on the wire into columns.

text uint8 (m,) holds the messages, eight readable bytes past the last. Written are, per message,
form uint8 (r,)  REFUSED or SCANNED
and per field that is a number or a truth value, in order,
key  uint64 (n,)   seeded hash of the bytes of `name`, `tags` and the field's name, as they stand
time int64 (n,)    milliseconds since the epoch;  value float64 (n,);  record int32 (n,) the index of the message
begin, past int64 (n,)  where the field's name stands
What is read here is read exactly: a message with any other member, an escape, a field twice, a time that is no integer is
refused. Names and tags are only hashed, and the first message with a key must be read by a complete decoder; what no key
holds, a field that is text or null, must be ASCII.
"""

import numpy as np

from anomaly.compiled import bare, inlined, kernel
from anomaly.decode.decimal_scan import DIGIT_0, DIGIT_9, MINUS, decimal
from anomaly.decode.json_scan import CLOSE, COMMA, OPEN, REFUSED, SCANNED, blank, brace, short, word
from anomaly.decode.text_scan import COLON, QUOTE, closing, digits
from anomaly.decode.wire import hash_bytes, load8, mix

FULL = -2  # more fields than the columns hold
BAD = -1

MOST_FIELDS = 256  # of one message: each is compared with those before it

NAME, TAGS, FIELDS, TIMESTAMP = 0, 1, 2, 3
_NAME, _TAGS, _FIELDS, _TIMESTAM = word(b"name"), word(b"tags"), word(b"fields"), word(b"timestam")
_TRUE, _FALSE, _NULL = word(b"true"), word(b"false"), word(b"null")
_P = ord("p")
_HIGH, _ALL = np.uint64(0x8080808080808080), np.uint64(0xFFFFFFFFFFFFFFFF)

# See `text.epoch`: how large seconds, milliseconds and microseconds may be.
_SECONDS, _MILLIS, _MICROS = 10**11, 10**14, 10**17


@inlined
def role(text, at, n):  # type: ignore[no-untyped-def]
    """Which member has this name; -1 if it is none of ours."""
    named = short(text, at, n) if 0 < n < 10 else np.uint64(0)
    if n == 4:
        return NAME if named == _NAME else TAGS if named == _TAGS else -1
    if n == 6 and named == _FIELDS:
        return FIELDS
    return TIMESTAMP if n == 9 and named == _TIMESTAM and text[at + 8] == _P else -1


@bare
def ascii_only(text, at, end):  # type: ignore[no-untyped-def]
    """Whether all bytes of [at, end) are ASCII."""
    while end - at >= 8:
        if load8(text, at) & _HIGH:
            return False
        at += 8
    return end == at or load8(text, at) & _HIGH & (_ALL >> np.uint64(64 - 8 * (end - at))) == np.uint64(0)


@inlined
def unquoted(text, at, end):  # type: ignore[no-untyped-def]
    """Where a number or a word ends that begins at `at`."""
    while at < end and text[at] > COMMA and text[at] != CLOSE:
        at += 1
    return at


@bare
def number(text, at, end):  # type: ignore[no-untyped-def]
    """(the double of a JSON number, or a truth value, that fills [at, end), whether it could be read here)."""
    named = short(text, at, end - at) if 4 <= end - at <= 5 else np.uint64(0)
    if named in (_TRUE, _FALSE) and end - at == (4 if named == _TRUE else 5):
        return (1.0 if named == _TRUE else 0.0), True
    first = at + (text[at] == MINUS)
    if end - first > 1 and text[first] == DIGIT_0 and DIGIT_0 <= text[first + 1] <= DIGIT_9:
        return np.nan, False
    value, good = decimal(text, at, end)
    return value, good and (value != 0.0 or first == at)  # -0 is an integer without a sign, -0.0 is not


@bare
def since(text, at, end):  # type: ignore[no-untyped-def]
    """Milliseconds since the epoch of the integer that fills [at, end), in a unit told by its size; -1 if it is none."""
    if not 0 < end - at <= 18 or (text[at] == DIGIT_0 and end - at > 1):
        return BAD
    given = digits(text, at, end - at)
    if given < _SECONDS:
        return given * 1000 if given >= 0 else BAD
    if given < _MILLIS:
        return given
    return given // (1_000 if given < _MICROS else 1_000_000)


@bare
def fields(text, at, end, seed, n, key, value, begin, past, seen):  # type: ignore[no-untyped-def]
    """The fields of the object at `at` from place `n` on; (where it ends, the next place), BAD or FULL as where it ends."""
    many, place = 0, n
    at = blank(text, at + 1, end)
    if at < end and text[at] == CLOSE:
        return at + 1, place
    while at < end and text[at] == QUOTE:
        name, stop = at + 1, closing(text, at + 1, end)
        if stop < 0 or many == seen.size:
            return BAD, place
        hashed = hash_bytes(text, name, stop, seed)
        for i in range(many):
            if seen[i] == hashed:
                return BAD, place
        seen[many] = hashed
        many += 1
        at = blank(text, stop + 1, end)
        at = blank(text, at + 1, end) if at < end and text[at] == COLON else end
        if at == end:
            return BAD, place
        if text[at] == QUOTE:
            last = closing(text, at + 1, end)
            if last < 0 or not ascii_only(text, name, stop) or not ascii_only(text, at + 1, last):
                return BAD, place
            last += 1
        else:
            last = unquoted(text, at, end)
            if last - at == 4 and short(text, at, 4) == _NULL:
                if not ascii_only(text, name, stop):
                    return BAD, place
            elif place == key.size:
                return FULL, place
            else:
                value[place], good = number(text, at, last)
                if not good:
                    return BAD, place
                key[place], begin[place], past[place] = hashed, name, stop
                place += 1
        at = blank(text, last, end)
        if at == end or text[at] != COMMA:
            return (at + 1 if at < end and text[at] == CLOSE else BAD), place
        at = blank(text, at + 1, end)
    return BAD, place


@bare
def message(text, at, end, seed, n, key, time, value, begin, past, seen):  # type: ignore[no-untyped-def]
    """The message that fills [at, end), its points from place `n` on; the next place, BAD or FULL."""
    at = blank(text, at, end)
    if at == end or text[at] != OPEN:
        return BAD
    found, name, tags, moment, place = 0, np.uint64(0), np.uint64(0), 0, n
    while True:
        at = blank(text, at + 1, end)
        stop = closing(text, at + 1, end) if at < end and text[at] == QUOTE else -1
        which = role(text, at + 1, stop - at - 1) if stop > 0 else -1
        if which < 0 or found >> which & 1:
            return BAD
        found |= 1 << which
        at = blank(text, stop + 1, end)
        at = blank(text, at + 1, end) if at < end and text[at] == COLON else end
        if at == end:
            return BAD
        if which == NAME:
            stop = closing(text, at + 1, end) if text[at] == QUOTE else BAD
            if stop <= at + 1:  # none, or an empty one
                return BAD
            name, at = hash_bytes(text, at + 1, stop, seed), stop + 1
        elif which == TIMESTAMP:
            stop = unquoted(text, at, end)
            moment = since(text, at, stop)
            at = stop if moment != BAD else BAD
        elif text[at] != OPEN:
            return BAD
        elif which == TAGS:
            stop = brace(text, at, end)
            tags, at = hash_bytes(text, at, max(stop, at), seed), stop
        else:
            at, place = fields(text, at, end, seed, n, key, value, begin, past, seen)
        if at < 0:
            return at
        at = blank(text, at, end)
        if at == end or text[at] != COMMA:
            break
    if found != 15 or at == end or text[at] != CLOSE or blank(text, at + 1, end) != end:
        return BAD
    around = mix(name, tags)
    for i in range(n, place):
        key[i], time[i] = mix(around, key[i]), moment
    return place


@kernel
def scan(text, at, size, seed, form, key, time, value, record, begin, past):  # type: ignore[no-untyped-def]
    """Scan every message; returns how many points they have, FULL if those are more than the columns hold."""
    seen, n = np.zeros(MOST_FIELDS, np.uint64), 0
    for i in range(at.size):
        form[i] = REFUSED
        if size[i] <= 0:
            continue
        after = message(text, at[i], at[i] + size[i], seed, n, key, time, value, begin, past, seen)
        if after == FULL:
            return FULL
        if after != BAD:
            record[n:after] = i
            form[i], n = SCANNED, after
    return n
