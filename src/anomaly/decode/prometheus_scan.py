"""The usual form of a remote write request, scanned on the wire into columns.

body uint8 (size + 8,) is the decompressed request and eight readable bytes. Written are, per series with samples,
key uint64 (k,)  seeded hash of the bytes of its labels; begin, past int64 (k,) where those are
and per sample
series int64 (k,)  the index of its series; time int64 (k,) in ms; bits uint64 (k,) of its value, a double
Usual are series alone, each labels first and then samples; metadata, exemplars, histograms and what is new are refused, as
is more than the columns hold. Labels are only hashed; the first ones with a key must be read by a complete decoder.
Source: Protocol Buffers, "Encoding"; field numbers as in `prometheus`.
"""

import numpy as np

from anomaly.compiled import bare, kernel
from anomaly.decode.wire import BAD, hash_bytes, load8, small, span, varint

# Tags: the number of the field, three bits of wire type.
SERIES, LABEL, SAMPLE, VALUE, TIMESTAMP = 1 << 3 | 2, 1 << 3 | 2, 2 << 3 | 2, 1 << 3 | 1, 2 << 3


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
def samples(body, at, end, n, index, series, time, bits):  # type: ignore[no-untyped-def]
    """Write the samples that fill [at, end) from place `n` on; returns the place after them, or BAD."""
    while at < end:
        tag, at = small(body, at, end)
        first, stop = span(body, at, end) if at != BAD and tag == SAMPLE else (0, BAD)
        if stop == BAD or n == time.size:
            return BAD
        since, value, good = sample(body, first, stop)
        if not good:
            return BAD
        series[n], time[n], bits[n] = index, np.int64(since), value
        n, at = n + 1, stop
    return n


@kernel
def scan(body, size, seed, key, begin, past, series, time, bits):  # type: ignore[no-untyped-def]
    """Scan the request; returns how many series with samples and how many samples it has, the latter BAD if refused."""
    at, count, n = 0, 0, 0
    while at < size:
        tag, at = small(body, at, size)
        first, at = span(body, at, size) if at != BAD and tag == SERIES else (0, BAD)
        labels = labels_end(body, first, at) if at != BAD else BAD
        if labels == BAD or count == key.size:
            return count, BAD
        after = samples(body, labels, at, n, count, series, time, bits)
        if after == BAD:
            return count, BAD
        if after > n:
            key[count], begin[count], past[count] = hash_bytes(body, first, labels, seed), first, labels
            count, n = count + 1, after
    return count, n
