"""The usual series of remote write requests, scanned on the wire into columns.

body uint8 (m,) holds the decompressed requests and eight readable bytes; at, size int64 (r,) delimit them. Written are,
per request
form uint8 (r,)  REFUSED, SCANNED, or METADATA: scanned, and it tells types of metrics
per usual series with samples, k of them
key uint64 (k,)  seeded hash of the bytes of its labels; begin, past int64 (k,) where those are; record int32 (k,)
per sample, n of them
series int64 (n,)  the index of its series; time int64 (n,) in ms; bits uint64 (n,) of its value, a double
and per series of another form, l of them
left int64 (3, l)  where it begins and ends, and its request.
Usual is a series with its labels first and then samples. One with exemplars, histograms or what is new is left to the
complete decoder, alone. Labels are only hashed; the first ones with a key must be read by that decoder. A request is
refused if its own fields cannot be told, or if it has more samples or odd series than its bytes can hold sensible ones.
Source: Protocol Buffers, "Encoding"; field numbers as in `prometheus_messages`.
"""

import numpy as np

from anomaly.compiled import bare, kernel
from anomaly.decode.wire import BAD, hash_bytes, load8, skip, small, span, varint

REFUSED, SCANNED, METADATA = 0, 1, 2
ODD, FULL, FLOOD = -2, -3, -4  # instead of a place: not usual; the columns are too short; too many for so few bytes

# Bytes of a sample: a time and a zero, which is not written. More samples or odd series than these are refused.
LEAST = 8

# Tags: the number of the field, three bits of wire type.
SERIES, TOLD, LABEL, SAMPLE, VALUE, TIMESTAMP = 1 << 3 | 2, 3 << 3 | 2, 1 << 3 | 2, 2 << 3 | 2, 1 << 3 | 1, 2 << 3
_IN_REQUEST = np.int64(1 << 1 | 1 << 3)


@bare
def labels_end(body, at, end):  # type: ignore[no-untyped-def]
    """Where the labels end that begin at `at`, or BAD."""
    while at < end and body[at] == LABEL:
        _, at = span(body, at + 1, end)
        if at == BAD:
            return BAD
    return at


@bare
def sample(body, at, end):  # type: ignore[no-untyped-def]
    """(time, bits of the value, whether they could be read) of the sample that fills [at, end)."""
    time, bits = np.uint64(0), np.uint64(0)
    while at < end:
        tag, at = small(body, at, end)
        if at == BAD:
            return time, bits, False
        if tag == VALUE and end - at >= 8:
            bits = load8(body, at)
            at += 8
        elif tag == TIMESTAMP:
            time, at = varint(body, at, end)
            if at == BAD:
                return time, bits, False
        else:
            return time, bits, False
    return time, bits, True


@bare
def samples(body, at, end, n, most, index, series, time, bits):  # type: ignore[no-untyped-def]
    """Write the samples that fill [at, end) from place `n` on; returns the place after them, ODD, FULL or FLOOD."""
    while at < end:
        tag, at = small(body, at, end)
        first, stop = span(body, at, end) if at != BAD and tag == SAMPLE else (0, BAD)
        if stop == BAD:
            return ODD
        if n == most:
            return FLOOD
        if n == time.size:
            return FULL
        since, value, good = sample(body, first, stop)
        if not good:
            return ODD
        series[n], time[n], bits[n] = index, np.int64(since), value
        n, at = n + 1, stop
    return n


@bare
def request(body, at, end, seed, index, used, key, begin, past, record, series, time, bits, left):  # type: ignore[no-untyped-def]
    """Scan the request that fills [at, end); its form, or FULL. `used` int64 (3,): series, samples, odd series so far."""
    form = REFUSED if at < end else SCANNED
    most, odd_most = used[1] + (end - at) // LEAST + 1, used[2] + (end - at) // LEAST + 1
    while at < end:
        tag, at = small(body, at, end)
        if at == BAD:
            return REFUSED
        if tag != SERIES:
            at = span(body, at, end)[1] if tag == TOLD else skip(body, at, end, tag, _IN_REQUEST)
            if at == BAD:
                return REFUSED
            form = METADATA if tag == TOLD else form
            continue
        first, at = span(body, at, end)
        if at == BAD:
            return REFUSED
        count, n, odd = used[0], used[1], used[2]
        form = max(form, SCANNED)
        labels = labels_end(body, first, at)
        after = samples(body, labels, at, n, most, count, series, time, bits) if labels != BAD else ODD
        if after == ODD:
            if odd == odd_most:
                return REFUSED
            if odd == left.shape[1]:
                return FULL
            left[0, odd], left[1, odd], left[2, odd] = first, at, index
            used[2] += 1
        elif after == FULL:
            return FULL
        elif after == FLOOD:
            return REFUSED
        elif after > n:
            key[count], begin[count], past[count] = hash_bytes(body, first, labels, seed), first, labels
            record[count] = index
            used[0], used[1] = count + 1, after
    return form


@kernel
def scan(body, at, size, seed, form, used, key, begin, past, record, series, time, bits, left):  # type: ignore[no-untyped-def]
    """Scan the requests; False if the columns are too short. `used` is written: how much of them is filled."""
    used[:] = 0
    before = used.copy()
    for i in range(at.size):
        before[:] = used
        verdict = request(body, at[i], at[i] + size[i], seed, i, used, key, begin, past, record, series, time, bits, left)
        if verdict == FULL:
            return False
        if verdict == REFUSED:
            used[:] = before
        form[i] = verdict
    return True
