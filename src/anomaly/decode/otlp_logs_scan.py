"""OTLP logs off the wire into counts, without an object per line: how many lines of each kind a record holds.

It is exact or it refuses: a record that holds a rare form (a field twice, a body that is no text, a text that is not UTF-8)
is left to the complete decoder, whole. What is not read is not checked: scopes, attributes of lines.
out uint64 (FIELDS, room)  a column for each kind of line and second in a record:
  WIRE the key of its series, of LEVEL and signature within a resource; REST the key of what has no room; TIME ms, of the
  last of them, 0: not given; COUNT of them; AT, END the first one's body; TEXT, TEXT_END its level in words; the RESOURCE,
  and RECORD
traced uint64 (room, TRACED)  a row for each line with a trace id: the id's halves, the span's, ns, 0: not given, its column
  above, and where it begins and ends
where int64 (WHERE,)  what is said of the line at hand: AT to RECORD as above, its column, where it begins and ends
slots int32 (a power of two,)  columns of the record at hand by their keys; what it holds of earlier records is known by its
  column number, so nobody needs to wipe it
Source: opentelemetry-proto, logs/v1/logs.proto; field numbers below are its.
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.bits import ascii_end
from anomaly.decode.log_mask import signature
from anomaly.decode.otlp_columns import OK, REFUSED
from anomaly.decode.otlp_outline import resource
from anomaly.decode.wire import BAD, load8, mix, only, skip, small, span, varint

WIRE, REST, TIME, COUNT, AT, END, LEVEL, TEXT, TEXT_END, RESOURCE, RESOURCE_END, RECORD = range(12)
FIELDS = 12
TRACED, WHERE = 7, 11
LEAST_TRACED = 12  # bytes of a line with a trace id
FEW = 4  # a verdict on the block: too few columns or slots

# A line of no more than a body of a byte: its tag and length, the body's, the text's.
LEAST_LINE = 7

TRACE, DEBUG, INFO, WARN, ERROR, FATAL, UNSAID = range(7)
PER_LEVEL, MOST_NUMBER = 4, 24  # severity numbers

_FIRST, _SECOND = 10, 18  # tags of the length-delimited fields 1 and 2
_ONE, _TWO = np.int64(1 << 1), np.int64(1 << 2)
_TIME, _NUMBER, _TEXT, _BODY, _TRACE, _SPAN, _OBSERVED = 9, 16, 26, 42, 74, 82, 89  # tags of a line's fields
_IN_LINE = np.int64(1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 11)
_NONE, _MILLISECOND, _SECONDS = np.uint64(0), np.uint64(1_000_000), np.uint64(1_000)
_LATEST = np.uint64(1 << 63)  # a clock that was never set, such as Go's, is before 1970

_LEVELS = np.full(256, UNSAID, np.uint8)  # by the first letter of its name; `emergency` is told apart
for _letters, _level in (("tT", TRACE), ("dDvV", DEBUG), ("iInN", INFO), ("wW", WARN), ("eEsS", ERROR), ("fFcCpPaA", FATAL)):
    _LEVELS[[ord(letter) for letter in _letters]] = _level


@bare
def level_of(buffer, number, at, end):  # type: ignore[no-untyped-def]
    """The level by its number, else by its name."""
    if 0 < number <= MOST_NUMBER:
        return (number - 1) // PER_LEVEL
    if number != 0 or at >= end:
        return np.int64(UNSAID)
    if end - at > 1 and buffer[at] | 32 == ord("e") and buffer[at + 1] | 32 == ord("m"):
        return np.int64(FATAL)
    return np.int64(_LEVELS[buffer[at]])


@bare
def is_utf8(buffer, at, end):  # type: ignore[no-untyped-def]
    """Whether the bytes are UTF-8: RFC 3629."""
    while at < end:
        byte = buffer[at]
        if byte < 0x80:
            at = ascii_end(buffer, at, end)
            continue
        at += 1
        more = 1 if 0xC2 <= byte <= 0xDF else 2 if 0xE0 <= byte <= 0xEF else 3 if 0xF0 <= byte <= 0xF4 else 0
        if more == 0 or at + more > end:
            return False
        low = 0xA0 if byte == 0xE0 else 0x90 if byte == 0xF0 else 0x80
        high = 0x9F if byte == 0xED else 0x8F if byte == 0xF4 else 0xBF
        for i in range(more):
            if not low <= buffer[at + i] <= high:
                return False
            low, high = 0x80, 0xBF
        at += more
    return True


@bare
def slot_of(slots, out, first, used, key, second):  # type: ignore[no-untyped-def]
    """The slot of a key and second among the columns [first, used), or the free one where it would be put."""
    mask = np.uint64(slots.size - 1)
    slot = (key ^ second * np.uint64(0x9E3779B97F4A7C15)) & mask
    while True:
        k = slots[slot] - 1
        if k < first or k >= used or (out[WIRE, k] == key and out[TIME, k] // _SECONDS == second):
            return slot
        slot = (slot + np.uint64(1)) & mask


@bare
def count(key, rest, time, where, slots, out, used, first):  # type: ignore[no-untyped-def]
    """One more line of this kind; FEW if there is no column for it. `where`: body, level, its name, resource, record."""
    slot = slot_of(slots, out, first, used[0], key, time // _SECONDS)
    k = slots[slot] - 1
    if first <= k < used[0]:
        out[COUNT, k] += np.uint64(1)
        out[TIME, k], where[8] = max(out[TIME, k], time), k
        return OK
    k = used[0]
    if k >= out.shape[1] or 2 * (k - first) >= slots.size:
        return FEW
    slots[slot], used[0], where[8] = k + 1, k + 1, k
    out[WIRE, k], out[REST, k], out[TIME, k], out[COUNT, k] = key, rest, time, 1
    for i in range(8):
        out[AT + i, k] = np.uint64(where[i])
    return OK


@bare
def keep(high, low, own, time, where, traced, used):  # type: ignore[no-untyped-def]
    """A line of a trace; FEW if there is no row for it."""
    n = used[1]
    if n >= traced.shape[0]:
        return FEW
    traced[n, 0], traced[n, 1], traced[n, 2], traced[n, 3] = high, low, own, time
    for i in range(3):
        traced[n, 4 + i] = np.uint64(where[8 + i])
    used[1] = n + 1
    return OK


@bare
def line(buffer, at, end, seed, around, where, room, slots, out, traced, used, first):  # type: ignore[no-untyped-def]
    """A LogRecord: counted, or REFUSED if it is not understood."""
    where[9], where[10] = at, end
    high, low, own = _NONE, _NONE, _NONE
    time, observed, number, seen = _NONE, _NONE, np.int64(0), 0
    text, text_end, body, body_end = 0, 0, 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag in (_TIME, _OBSERVED):
            once = 1 if tag == _TIME else 2
            if seen & once or end - at < 8:
                return REFUSED
            word, at, seen = load8(buffer, at), at + 8, seen | once
            if tag == _TIME:
                time = word
            else:
                observed = word
        elif tag == _NUMBER and not seen & 4:
            word, at = varint(buffer, at, end)
            number, seen = np.int64(word) if word < _LATEST else np.int64(-1), seen | 4
        elif tag == _TEXT and not seen & 8:
            text, at = span(buffer, at, end)
            text_end, seen = at, seen | 8
        elif tag in (_TRACE, _SPAN):
            inner, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            if tag == _SPAN:
                own = load8(buffer, inner) if at - inner == 8 else _NONE
            elif at - inner == 16:
                high, low = load8(buffer, inner), load8(buffer, inner + 8)
            else:
                high, low = _NONE, load8(buffer, inner) if at - inner == 8 else _NONE
        elif tag == _BODY and not seen & 16:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            kind, inner = small(buffer, inner, at)
            if inner == BAD or kind != _FIRST:
                return REFUSED
            body, body_end = span(buffer, inner, at)
            if body_end != at:
                return REFUSED
            seen |= 16
        else:
            at = skip(buffer, at, end, tag, _IN_LINE)
        if at == BAD:
            return REFUSED
    if not seen & 16 or not is_utf8(buffer, body, body_end) or not is_utf8(buffer, text, text_end):
        return REFUSED
    time = time if _NONE < time < _LATEST else observed if observed < _LATEST else _NONE
    level = level_of(buffer, number, text, text_end)
    rest = mix(around, np.uint64(level))
    key = mix(rest, signature(buffer, body, body_end, seed, room)) | np.uint64(1)
    where[0], where[1], where[2], where[3], where[4] = body, body_end, level, text, text_end
    verdict = count(key, rest | np.uint64(1), time // _MILLISECOND, where, slots, out, used, first)
    if verdict == OK and high | low != _NONE:
        return keep(high, low, own, time, where, traced, used)
    return verdict


@bare
def lines(buffer, at, end, seed, around, where, room, slots, out, traced, used, first):  # type: ignore[no-untyped-def]
    """The lines of a ScopeLogs."""
    if only(buffer, at, end, 1)[1] == BAD:
        return REFUSED
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _SECOND:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            verdict = line(buffer, inner, at, seed, around, where, room, slots, out, traced, used, first)
            if verdict != OK:
                return verdict
        else:
            at = skip(buffer, at, end, tag, _TWO)
            if at == BAD:
                return REFUSED
    return OK


@bare
def scopes(buffer, at, end, seed, where, room, slots, out, traced, used, first):  # type: ignore[no-untyped-def]
    """The scopes of a ResourceLogs."""
    inner, stop = only(buffer, at, end, 1)
    if stop == BAD:
        return REFUSED
    around, good = resource(buffer, inner, stop, seed)
    if not good:
        return REFUSED
    where[5], where[6] = inner, stop
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _SECOND:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            verdict = lines(buffer, inner, at, seed, around, where, room, slots, out, traced, used, first)
            if verdict != OK:
                return verdict
        else:
            at = skip(buffer, at, end, tag, _TWO)
            if at == BAD:
                return REFUSED
    return OK


@bare
def request(buffer, at, end, seed, where, room, slots, out, traced, used, first):  # type: ignore[no-untyped-def]
    """The resources of an ExportLogsServiceRequest."""
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _FIRST:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            verdict = scopes(buffer, inner, at, seed, where, room, slots, out, traced, used, first)
            if verdict != OK:
                return verdict
        else:
            at = skip(buffer, at, end, tag, _ONE)
            if at == BAD:
                return REFUSED
    return OK


@bare
def scan(buffer, value_at, value_len, seed, where, room, slots, out, traced, used, refused):  # type: ignore[no-untyped-def]
    """The lines of all records of a block; one that is refused leaves none. OK, or FEW: there was no room for all.

    With a column for every LEAST_LINE bytes, and twice as many slots, it is never FEW.
    """
    for record in range(value_at.size):
        at, length, first, before = value_at[record], np.int64(max(value_len[record], 0)), used[0], used[1]
        where[7] = record
        verdict = REFUSED
        if at >= 0 and at + length + 8 <= buffer.size:
            verdict = request(buffer, at, at + length, seed, where, room, slots, out, traced, used, first)
        if verdict == FEW:
            return FEW
        if verdict != OK:
            refused[record], used[0], used[1] = REFUSED, first, before
    return OK
