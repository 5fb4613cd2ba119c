"""OTLP metrics off the wire into columns, without an object per point: the points of every kind of metric.

It is exact or it refuses: a record that holds a rare form (a field twice, a wire type that is not the usual one, numbers
not packed) is left to the complete decoder, whole. What is not read is not checked: descriptions, exemplars, schema URLs,
minima and maxima. `otlp_outline` has found the metrics; here are their points, into columns as in `otlp_columns`.
Source: opentelemetry-proto, metrics/v1/metrics.proto; field numbers below are its.
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.otlp_columns import (
    AT,
    BUCKET_AT,
    BUCKET_LEN,
    BUCKETS,
    CONTEXT,
    COUNT,
    END,
    FEW_BUCKETS,
    FEW_POINTS,
    FLAGS,
    FLOOD,
    KIND,
    LEAST_POINT,
    MILLISECOND,
    MOST_BUCKETS,
    NAN,
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
from anomaly.decode.otlp_histogram_scan import exponential_point, histogram_point
from anomaly.decode.otlp_outline import DATA, DATA_AT, DATA_END, EXPONENTIAL, GAUGE, HISTOGRAM, KEY, RECORD, SUMMARY
from anomaly.decode.otlp_summary_scan import summary_point
from anomaly.decode.points import Kind
from anomaly.decode.wire import BAD, hash_bytes, load8, mix, skip, small, span, varint

_POINT, _TEMPORALITY, _MONOTONIC = 10, 16, 24  # tags in the messages of data
_IN_DATA = np.int64(1 << 1 | 1 << 2 | 1 << 3)
_NUMBER_ATTRIBUTE, _NUMBER_FLAGS = 58, 64
_NUMBER_FIXED = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6  # start, time, as_double, as_int

_KINDS = (int(Kind.GAUGE), int(Kind.COUNTER), int(Kind.DELTA), int(Kind.HISTOGRAM), int(Kind.HISTOGRAM_DELTA))


@bare
def number_point(buffer, at, end, seed, key, out, k):  # type: ignore[no-untyped-def]
    """A NumberDataPoint into column k; OK, or REFUSED if it is not understood."""
    attributes, flags, seen = NO, NO, 0
    time, start, value = NO, NO, NAN
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _NUMBER_ATTRIBUTE:
            first, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            attributes += hash_bytes(buffer, first, at, seed)
        elif tag < 64 and tag & 7 == 1 and (_NUMBER_FIXED >> (tag >> 3)) & 1:
            field = tag >> 3
            once = 1 << (4 if field == 6 else field)  # as_double and as_int exclude each other
            if seen & once or end - at < 8:
                return REFUSED
            word, at, seen = load8(buffer, at), at + 8, seen | once
            if field == 3:
                time = word
            elif field == 2:
                start = word
            elif field == 4:
                value = word
            else:
                value = np.float64(np.int64(word)).view(np.uint64)
        elif tag == _NUMBER_FLAGS and not seen & 256:
            flags, at = varint(buffer, at, end)
            seen |= 256
        else:
            at = skip(buffer, at, end, tag, _NUMBER_FIXED | 1 << 7 | 1 << 8)
        if at == BAD:
            return REFUSED
    out[WIRE, k], out[TIME, k], out[START, k] = mix(key, attributes), time // MILLISECOND, start // MILLISECOND
    out[VALUE, k], out[COUNT, k], out[FLAGS, k] = value, NO, flags & ONE
    out[BUCKET_AT, k], out[BUCKET_LEN, k] = NO, NO
    return OK


@bare
def kind_of(data, temporality, monotonic):  # type: ignore[no-untyped-def]
    """The Kind of a metric; a temporality that is not given (0) is taken for cumulative."""
    gauge, counter, delta, histogram, histogram_delta = _KINDS
    if data in (HISTOGRAM, EXPONENTIAL):
        return histogram_delta if temporality == 1 else histogram
    if data == GAUGE:
        return gauge
    if temporality == 1:
        return delta
    return counter if monotonic else gauge


@bare
def points(buffer, at, end, data, seed, key, limit, last, out, buckets, used):  # type: ignore[no-untyped-def]
    """The points of a metric's data; but in a summary, what they are is known only after the last of them."""
    begin, temporality, monotonic, seen = used[POINTS], NO, False, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return REFUSED
        if tag == _POINT:
            first, at = span(buffer, at, end)
            if at == BAD:
                return REFUSED
            k = used[POINTS]
            if k >= limit:
                return FLOOD
            if data == HISTOGRAM:
                verdict = histogram_point(buffer, first, at, seed, key, out, k, buckets, used)
            elif data == EXPONENTIAL:
                verdict = exponential_point(buffer, first, at, seed, key, out, k, buckets, last, used)
            elif data == SUMMARY:
                verdict = summary_point(buffer, first, at, seed, key, limit, out, used)
            else:
                verdict = number_point(buffer, first, at, seed, key, out, k)
            if verdict != OK:
                return verdict
            used[POINTS] = max(used[POINTS], k + 1)
            for each in range(k, used[POINTS]):
                out[AT, each], out[END, each] = np.uint64(first), np.uint64(at)
        elif tag == _TEMPORALITY and not seen & 1:
            temporality, at = varint(buffer, at, end)
            seen |= 1
        elif tag == _MONOTONIC and not seen & 2:
            word, at = varint(buffer, at, end)
            monotonic, seen = word != NO, seen | 2
        else:
            at = skip(buffer, at, end, tag, _IN_DATA)
        if at == BAD or temporality > np.uint64(2):
            return REFUSED
    if data != SUMMARY:
        kind = np.uint64(kind_of(data, temporality, monotonic))
        for k in range(begin, used[POINTS]):
            out[KIND, k] = kind
            out[WIRE, k] = mix(out[WIRE, k], kind)
    return OK


@bare
def scan(buffer, value_len, seed, contexts, many, out, buckets, used, refused):  # type: ignore[no-untyped-def]
    """The points of the `many` metrics of an outline, in order; a record that is refused leaves none.

    OK, or FEW_POINTS or FEW_BUCKETS where a column is too short: it never is with a point for every LEAST_POINT bytes of
    each record, and a bucket for every eight bytes and MOST_BUCKETS for each exponential one.
    """
    before, first, filled, limit, most = -1, 0, 0, 0, 0
    for context in range(many):
        record = contexts[RECORD, context]
        if record != before:
            before, first, filled = record, used[POINTS], used[BUCKETS]
            most = first + value_len[record] // LEAST_POINT
            limit = min(most, out.shape[1])
        if refused[record] != OK:
            continue
        data, at, end = contexts[DATA, context], contexts[DATA_AT, context], contexts[DATA_END, context]
        begin, key, last = used[POINTS], np.uint64(contexts[KEY, context]), filled + MOST_BUCKETS
        verdict = points(buffer, at, end, data, seed, key, limit, last, out, buckets, used)
        if verdict == FLOOD and limit < most:
            return FEW_POINTS
        if verdict == FEW_BUCKETS:
            return FEW_BUCKETS
        refused[record] = verdict
        if verdict != OK:
            used[POINTS], used[BUCKETS] = first, filled
        for k in range(begin, used[POINTS]):
            out[CONTEXT, k] = np.uint64(context)
    return OK
