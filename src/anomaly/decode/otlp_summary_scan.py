"""Summary points of OTLP off the wire: a histogram without buckets, and a gauge for each quantile. Columns: `otlp_columns`.

The attributes stand behind the quantiles on the wire, so a point is walked twice.
Source: opentelemetry-proto, metrics/v1/metrics.proto; field numbers below are its.
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.otlp_columns import (
    BUCKET_AT,
    BUCKET_LEN,
    COUNT,
    DETAIL,
    FLAGS,
    FLOOD,
    KIND,
    MILLISECOND,
    NO,
    OK,
    ONE,
    POINTS,
    REFUSED,
    START,
    TIME,
    VALUE,
    WIRE,
)
from anomaly.decode.points import Kind
from anomaly.decode.wire import BAD, hash_bytes, load8, mix, skip, small, span, varint

_QUANTILE, _ATTRIBUTE, _FLAGS = 50, 58, 64  # tags of SummaryDataPoint
_FIXED = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5  # start, time, count, sum
_IN_SUMMARY = np.int64(_FIXED | 1 << 6 | 1 << 7 | 1 << 8)
_Q_QUANTILE, _Q_VALUE = 9, 17  # tags of ValueAtQuantile
_IN_QUANTILE = np.int64(1 << 1 | 1 << 2)
_GAUGE, _HISTOGRAM = np.uint64(Kind.GAUGE), np.uint64(Kind.HISTOGRAM)


@bare
def at_quantile(buffer, at, end):  # type: ignore[no-untyped-def]
    """(bits of the quantile, bits of its value, whether the ValueAtQuantile could be read)."""
    quantile, value, seen = NO, NO, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return NO, NO, False
        if tag in (_Q_QUANTILE, _Q_VALUE):
            once = 1 << (tag >> 3)
            if seen & once or end - at < 8:
                return NO, NO, False
            word, at, seen = load8(buffer, at), at + 8, seen | once
            if tag == _Q_QUANTILE:
                quantile = word
            else:
                value = word
        else:
            at = skip(buffer, at, end, tag, _IN_QUANTILE)
            if at == BAD:
                return NO, NO, False
    return quantile, value, True


@bare
def write(out, k, key, kind, time, start, value, count, flags, detail):  # type: ignore[no-untyped-def]
    """A point without buckets into column k."""
    out[WIRE, k], out[KIND, k], out[DETAIL, k] = mix(key, kind), kind, detail
    out[TIME, k], out[START, k] = time // MILLISECOND, start // MILLISECOND
    out[VALUE, k], out[COUNT, k], out[FLAGS, k] = value, count, flags & ONE
    out[BUCKET_AT, k], out[BUCKET_LEN, k] = NO, NO


@bare
def summary_point(buffer, begin, end, seed, key, limit, out, used):  # type: ignore[no-untyped-def]
    """A SummaryDataPoint into the next columns; OK, REFUSED if it is not understood, FLOOD past column `limit`."""
    attributes, flags, seen, many, at = NO, NO, 0, 0, begin
    time, start, count, total = NO, NO, NO, NO
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
        elif tag == _QUANTILE:
            _, at = span(buffer, at, end)
            many += 1
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
        elif tag == _FLAGS and not seen & 256:
            flags, at = varint(buffer, at, end)
            seen |= 256
        else:
            at = skip(buffer, at, end, tag, _IN_SUMMARY)
        if at == BAD:
            return REFUSED
    k, key = used[POINTS], mix(key, attributes)
    if k + many >= limit:
        return FLOOD
    write(out, k, key, _HISTOGRAM, time, start, total, np.float64(count).view(np.uint64), flags, NO)
    at = begin
    while at < end:
        tag, at = small(buffer, at, end)
        if tag == _QUANTILE:
            first, at = span(buffer, at, end)
            quantile, value, good = at_quantile(buffer, first, at)
            if not good:
                return REFUSED
            k += 1
            write(out, k, mix(key, quantile), _GAUGE, time, start, value, NO, flags, quantile)
        else:
            at = skip(buffer, at, end, tag, np.int64(0))
    used[POINTS] = k + 1
    return OK
