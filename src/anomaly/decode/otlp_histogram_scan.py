"""Histogram points of OTLP off the wire: explicit bounds as they are, exponential ones brought to those of `exponential`.

Counts are added as doubles in the order of the wire, as the complete decoder adds them, so that both agree to the bit; a
count past 2^53, which a double may not hold, is left to that one. Columns as in `otlp_columns`.
Source: opentelemetry-proto, metrics/v1/metrics.proto; field numbers below are its.
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.exponential import COARSEST, SCALE, edges
from anomaly.decode.otlp_columns import (
    BUCKET_AT,
    BUCKET_LEN,
    BUCKETS,
    COUNT,
    DETAIL,
    FEW_BUCKETS,
    FLAGS,
    MILLISECOND,
    NAN,
    NO,
    OK,
    ONE,
    REFUSED,
    START,
    TIME,
    VALUE,
    WIRE,
)
from anomaly.decode.wire import BAD, hash_bytes, load8, mix, skip, small, span, varint

_ATTRIBUTE, _FLAGS, _COUNTS, _BOUNDS = 74, 80, 50, 58  # tags of HistogramDataPoint
_FIXED = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5  # start, time, count, sum; of both kinds
_IN_HISTOGRAM = np.int64(_FIXED | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 10)

_E_ATTRIBUTE, _E_SCALE, _E_POSITIVE, _E_NEGATIVE, _E_FLAGS = 10, 48, 66, 74, 80  # tags of ExponentialHistogramDataPoint
_E_FIXED = _FIXED | 1 << 7  # and zero_count
_IN_EXPONENTIAL = np.int64(_E_FIXED | 1 << 1 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10)
_B_OFFSET, _B_COUNTS = 8, 18  # tags of Buckets
_IN_BUCKETS = np.int64(1 << 1 | 1 << 2)

_EDGES = np.array([edges(scale) for scale in range(COARSEST, SCALE + 1)], np.int64)
_KEY = np.uint64(0x45585048)  # so that no list of bounds has the key of a scale
_EXACT = np.uint64(1 << 53)
_NEGATIVES = 1 << 62


@bare
def histogram_point(buffer, at, end, seed, key, out, k, buckets, used):  # type: ignore[no-untyped-def]
    """A HistogramDataPoint into column k and `buckets`; OK, or REFUSED if it is not understood."""
    attributes, flags, seen = NO, NO, 0
    time, start, count, total = NO, NO, NO, NAN
    counts, counts_end, bounds, bounds_end = 0, 0, 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        field = tag >> 3
        if tag == _ATTRIBUTE:
            first, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            attributes += hash_bytes(buffer, first, at, seed)
        elif tag < 64 and tag & 7 == 1 and (_FIXED >> field) & 1:
            if seen & (1 << field) or end - at < 8:
                return REFUSED
            word, at, seen = load8(buffer, at), at + 8, seen | 1 << field
            if field == 3:
                time = word
            elif field == 2:
                start = word
            elif field == 4:
                count = word
            else:
                total = word
        elif tag == _COUNTS and not seen & 64:
            counts, at = span(buffer, at, end)
            counts_end, seen = at, seen | 64
        elif tag == _BOUNDS and not seen & 128:
            bounds, at = span(buffer, at, end)
            bounds_end, seen = at, seen | 128
        elif tag == _FLAGS and not seen & 1024:
            flags, at = varint(buffer, at, end)
            seen |= 1024
        else:
            at = skip(buffer, at, end, tag, _IN_HISTOGRAM)
        if at == BAD:
            return REFUSED
    many, inner = counts_end - counts, bounds_end - bounds
    if many % 8 or inner % 8 or (many != inner + 8 and many + inner > 0):
        return REFUSED
    at = used[BUCKETS]
    if at + many // 8 > buckets.size:
        return FEW_BUCKETS
    for i in range(many // 8):
        buckets[at + i] = np.float64(load8(buffer, counts + 8 * i))
    used[BUCKETS] += many // 8
    out[WIRE, k] = mix(mix(key, attributes), hash_bytes(buffer, bounds, bounds_end, seed))
    out[TIME, k], out[START, k] = time // MILLISECOND, start // MILLISECOND
    out[VALUE, k], out[COUNT, k], out[FLAGS, k] = total, np.float64(count).view(np.uint64), flags & ONE
    out[BUCKET_AT, k], out[BUCKET_LEN, k] = np.uint64(at), np.uint64(many // 8)
    return OK


@bare
def signed(buffer, at, end):  # type: ignore[no-untyped-def]
    """A sint32 and the position after it; BAD also for what is longer than 32 bits, which a parser would cut."""
    word, at = varint(buffer, at, end)
    if word >> np.uint64(32):
        return 0, BAD
    return np.int64(word >> ONE) ^ -np.int64(word & ONE), at


@bare
def side(buffer, at, end):  # type: ignore[no-untyped-def]
    """(offset, where the packed counts begin and end) of a Buckets message; the end is BAD if it is not understood."""
    offset, first, stop, seen = 0, 0, 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return offset, first, BAD
        if tag == _B_OFFSET and not seen & 1:
            offset, at = signed(buffer, at, end)
            seen |= 1
        elif tag == _B_COUNTS and not seen & 2:
            first, at = span(buffer, at, end)
            stop, seen = at, seen | 2
        else:
            at = skip(buffer, at, end, tag, _IN_BUCKETS)
        if at == BAD:
            return offset, first, BAD
    return offset, first, stop


@bare
def spread(buffer, at, end, offset, merges, low, high, buckets, place):  # type: ignore[no-untyped-def]
    """Add the counts packed in [at, end) to the buckets from `place` on; False if one cannot be read exactly."""
    index = offset
    while at < end:
        count, at = varint(buffer, at, end)
        if at == BAD or count > _EXACT:
            return False
        slot = min(max((index >> merges) + 1 - low, 0), high - low + 1)
        buckets[place + slot] += np.float64(count)
        index += 1
    return True


@bare
def together(buffer, at, end, begun):  # type: ignore[no-untyped-def]
    """`begun` and the counts packed in [at, end), added up; BAD if that cannot be read exactly."""
    while at < end:
        count, at = varint(buffer, at, end)
        if at == BAD or count > _EXACT:
            return BAD
        begun += np.int64(count)
        if begun > _NEGATIVES:
            return BAD
    return begun


@bare
def exponential_point(buffer, at, end, seed, key, out, k, buckets, last, used):  # type: ignore[no-untyped-def]
    """An ExponentialHistogramDataPoint into column k and `buckets`, of which it may use those before `last`."""
    attributes, flags, seen, scale = NO, NO, 0, 0
    time, start, count, total, zeros = NO, NO, NO, NAN, NO
    positive, positive_end, negative, negative_end = 0, 0, 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        field = tag >> 3
        if tag == _E_ATTRIBUTE:
            first, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            attributes += hash_bytes(buffer, first, at, seed)
        elif tag < 64 and tag & 7 == 1 and (_E_FIXED >> field) & 1:
            if seen & (1 << field) or end - at < 8:
                return REFUSED
            word, at, seen = load8(buffer, at), at + 8, seen | 1 << field
            if field == 3:
                time = word
            elif field == 2:
                start = word
            elif field == 4:
                count = word
            elif field == 5:
                total = word
            else:
                zeros = word
        elif tag == _E_SCALE and not seen & 64:
            scale, at = signed(buffer, at, end)
            seen |= 64
        elif tag == _E_POSITIVE and not seen & 256:
            positive, at = span(buffer, at, end)
            positive_end, seen = at, seen | 256
        elif tag == _E_NEGATIVE and not seen & 512:
            negative, at = span(buffer, at, end)
            negative_end, seen = at, seen | 512
        elif tag == _E_FLAGS and not seen & 1024:
            flags, at = varint(buffer, at, end)
            seen |= 1024
        else:
            at = skip(buffer, at, end, tag, _IN_EXPONENTIAL)
        if at == BAD:
            return REFUSED
    canonical, merges = min(max(scale, COARSEST), SCALE) - COARSEST, min(max(scale - SCALE, 0), 62)
    low, high = _EDGES[canonical, 0], _EDGES[canonical, 1]
    place, many = used[BUCKETS], high - low + 2
    if place + many > last:
        return REFUSED
    if place + many > buckets.size:
        return FEW_BUCKETS
    buckets[place : place + many] = 0.0
    offset, first, stop = side(buffer, positive, positive_end)
    if stop == BAD or not spread(buffer, first, stop, offset, merges, low, high, buckets, place):
        return REFUSED
    _, first, stop = side(buffer, negative, negative_end)
    below = together(buffer, first, stop, np.int64(zeros)) if stop != BAD and zeros <= _EXACT else BAD
    if below == BAD:
        return REFUSED
    buckets[place] += np.float64(below)
    used[BUCKETS] += many
    out[WIRE, k], out[DETAIL, k] = mix(mix(key, attributes), mix(_KEY, np.uint64(canonical))), np.uint64(canonical)
    out[TIME, k], out[START, k] = time // MILLISECOND, start // MILLISECOND
    out[VALUE, k], out[COUNT, k], out[FLAGS, k] = total, np.float64(count).view(np.uint64), flags & ONE
    out[BUCKET_AT, k], out[BUCKET_LEN, k] = np.uint64(place), np.uint64(many)
    return OK
