"""OTLP spans off the wire into columns, without an object per span.

It is exact or it refuses: a record that holds a rare form (a field twice, a wire type that is not the usual one) is left to
the complete decoder, whole. What is not read is not checked: attributes of spans, events, links, trace state, messages.
out        uint64 (FIELDS, n)  a column per field below; times in ns, NAME_AT and NAME_END delimit the operation's name
resources  int64 (PLACES, r)   where a Resource stands in the buffer, and the bits of the hash of its attributes
used       int64 (2,)          how much of each is filled
Source: opentelemetry-proto, trace/v1/trace.proto; field numbers below are its.
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.otlp_outline import resource
from anomaly.decode.wire import BAD, hash_bytes, load8, only, skip, small, span, varint

RECORD, RESOURCE, NAME, NAME_AT, NAME_END, TRACE, TRACE_LOW, SPAN, PARENT, KIND, STATUS, START, END = range(13)
FIELDS = 13
AT, STOP, KEY = range(3)
PLACES = 3
SPANS, RESOURCES = range(2)

# Tag and length of a span, and one time: what has no time holds nothing, and a small record could hold millions.
LEAST_SPAN = 11

OK, REFUSED, FLOOD, FEW = range(4)

_NO = np.uint64(0)
_FIRST, _SECOND = 10, 18  # tags of the length-delimited fields 1, 2
_ONE, _TWO, _THREE = np.int64(1 << 1), np.int64(1 << 2), np.int64(1 << 3)
_TRACE, _SPAN, _PARENT, _NAME, _KIND, _START, _END, _STATUS, _CODE = 10, 18, 34, 42, 48, 57, 65, 122, 24
_IN_SPAN = np.int64((1 << 17) - 2)  # all that are known; those below may come with their wire type alone
_ATTRIBUTES, _EVENTS, _LINKS, _STATE = 74, 90, 106, 26
_DROPPED = (80, 96, 112)
_FLAGS = 133  # fixed32
_LAST_KIND, _LAST_STATUS = np.uint64(5), np.uint64(2)


@bare
def status_of(buffer, at, end):  # type: ignore[no-untyped-def]
    """The code of a Status, and the end; BAD if it is not understood."""
    code, seen = _NO, False
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return code, BAD
        if tag == _CODE and not seen:
            code, at = varint(buffer, at, end)
            seen = True
        else:
            at = skip(buffer, at, end, tag, _THREE)
        if at == BAD:
            return code, BAD
    return code, at


@bare
def one_span(buffer, at, end, seed, out, k):  # type: ignore[no-untyped-def]
    """A Span into column k; OK, or REFUSED if it is not understood."""
    high, low, own, parent, kind, status, start, stop = _NO, _NO, _NO, _NO, _NO, _NO, _NO, _NO
    name, name_end, seen = 0, 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        once = 1 << (tag >> 3) if tag < 128 else 0
        if tag in (_ATTRIBUTES, _EVENTS, _LINKS, _STATE):
            _, at = span(buffer, at, end)
        elif tag in (_START, _END):
            if seen & once or end - at < 8:
                return REFUSED
            word, at, seen = load8(buffer, at), at + 8, seen | once
            if tag == _START:
                start = word
            else:
                stop = word
        elif tag == _KIND:
            if seen & once:
                return REFUSED
            kind, at = varint(buffer, at, end)
            seen |= once
        elif tag in (_TRACE, _SPAN, _PARENT, _NAME, _STATUS):
            first, at = span(buffer, at, end)
            if at == BAD or seen & once:
                return REFUSED
            seen |= once
            if tag == _NAME:
                name, name_end = first, at
            elif tag == _STATUS:
                status, good = status_of(buffer, first, at)
                if good == BAD:
                    return REFUSED
            elif tag == _TRACE and at - first == 16:
                high, low = load8(buffer, first), load8(buffer, first + 8)
            elif tag == _TRACE and at - first == 8:
                low = load8(buffer, first)
            elif tag == _SPAN and at - first == 8:
                own = load8(buffer, first)
            elif tag == _PARENT and at - first == 8:
                parent = load8(buffer, first)
        elif tag in _DROPPED:
            _, at = varint(buffer, at, end)
        elif tag == _FLAGS:
            at = at + 4 if end - at >= 4 else BAD
        else:
            at = skip(buffer, at, end, tag, _IN_SPAN)
        if at == BAD:
            return REFUSED
    out[NAME, k], out[NAME_AT, k], out[NAME_END, k] = hash_bytes(buffer, name, name_end, seed), name, name_end
    out[TRACE, k], out[TRACE_LOW, k], out[SPAN, k], out[PARENT, k] = high, low, own, parent
    out[KIND, k] = kind if kind <= _LAST_KIND else _NO
    out[STATUS, k] = status if status <= _LAST_STATUS else _NO
    out[START, k], out[END, k] = start, stop
    return OK


@bare
def scope(buffer, at, end, seed, limit, out, used):  # type: ignore[no-untyped-def]
    """The spans of a ScopeSpans; RESOURCE is set by the caller."""
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _SECOND:
            first, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            if used[SPANS] >= limit:
                return FLOOD
            if one_span(buffer, first, at, seed, out, used[SPANS]) != OK:
                return REFUSED
            used[SPANS] += 1
        else:
            at = skip(buffer, at, end, tag, _TWO)
            if at == BAD:
                return REFUSED
    return OK


@bare
def resource_spans(buffer, at, end, seed, limit, out, resources, used):  # type: ignore[no-untyped-def]
    """The scopes of a ResourceSpans."""
    first, stop = only(buffer, at, end, 1)
    if stop == BAD:
        return REFUSED
    key, good = resource(buffer, first, stop, seed)
    if not good:
        return REFUSED
    begin, r = used[SPANS], used[RESOURCES]
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _SECOND:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            verdict = scope(buffer, inner, at, seed, limit, out, used)
            if verdict != OK:
                return verdict
        else:
            at = skip(buffer, at, end, tag, _TWO)
            if at == BAD:
                return REFUSED
    for k in range(begin, used[SPANS]):
        out[RESOURCE, k] = r
    if used[SPANS] > begin:
        resources[AT, r], resources[STOP, r], resources[KEY, r] = first, stop, np.int64(key)
        used[RESOURCES] += 1
    return OK


@bare
def request(buffer, at, end, seed, limit, out, resources, used):  # type: ignore[no-untyped-def]
    """The resources of an ExportTraceServiceRequest."""
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _FIRST:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            verdict = resource_spans(buffer, inner, at, seed, limit, out, resources, used)
            if verdict != OK:
                return verdict
        else:
            at = skip(buffer, at, end, tag, _ONE)
            if at == BAD:
                return REFUSED
    return OK


@bare
def scan(buffer, value_at, value_len, seed, out, resources, used, refused):  # type: ignore[no-untyped-def]
    """The spans of all records of a block, in order; a record that is refused leaves none.

    OK, or FEW where `out` is too short: it never is with a span for every LEAST_SPAN bytes of each record. `resources` is
    as long as `out`.
    """
    for record in range(value_at.size):
        at, length = value_at[record], np.int64(max(value_len[record], 0))
        if at < 0 or at + length + 8 > buffer.size:
            refused[record] = REFUSED
            continue
        first, held = used[SPANS], used[RESOURCES]
        most = first + length // LEAST_SPAN
        limit = min(most, out.shape[1])
        verdict = request(buffer, at, at + length, seed, limit, out, resources, used)
        if verdict == FLOOD and limit < most:
            return FEW
        refused[record] = verdict
        if verdict != OK:
            used[SPANS], used[RESOURCES] = first, held
        for k in range(first, used[SPANS]):
            out[RECORD, k] = record
    return OK
