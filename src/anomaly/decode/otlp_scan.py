"""OTLP metrics off the wire into columns, without an object per point: gauges, sums and explicit-bucket histograms.

It is exact or it refuses: a record that holds anything else (another kind, a field twice, a wire type that is not the
usual one, numbers not packed) is left to the complete decoder, whole. What is not read is not checked: descriptions,
exemplars, schema URLs, minima and maxima. `otlp_outline` has found the metrics; here are their points.

out       uint64 (FIELDS, n)  a column per field below; VALUE and COUNT hold the bits of a float64, NaN: not given;
                              times in ms; AT and END delimit the point's message in the buffer
buckets   float64 (m,)        bucket counts; BUCKET_AT and BUCKET_LEN delimit a point's
The wire key is a seeded hash of everything that makes a series; attributes are added up, so that their order is nothing.
Source: opentelemetry-proto, metrics/v1/metrics.proto; field numbers below are its.
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.otlp_outline import DATA, DATA_AT, DATA_END, FLOOD, GAUGE, HISTOGRAM, KEY, OK, RECORD, REFUSED
from anomaly.decode.points import Kind
from anomaly.decode.wire import BAD, hash_bytes, load8, mix, skip, small, span, varint

WIRE, TIME, START, VALUE, COUNT, KIND, FLAGS, BUCKET_AT, BUCKET_LEN, CONTEXT, AT, END = range(12)
FIELDS = 12
POINTS, BUCKETS = range(2)  # of `used`: how much of each output is filled

# A point that is one has a tag, a length, and a time of nine bytes. More points than that are empty messages, of which a
# small record could hold millions.
LEAST_POINT = 11

_POINT, _TEMPORALITY, _MONOTONIC = 10, 16, 24  # tags in Gauge, Sum and Histogram
_IN_DATA = np.int64(1 << 1 | 1 << 2 | 1 << 3)
_NUMBER_ATTRIBUTE, _NUMBER_FLAGS = 58, 64
_NUMBER_FIXED = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6  # start, time, as_double, as_int
_HISTOGRAM_ATTRIBUTE, _HISTOGRAM_FLAGS, _HISTOGRAM_COUNTS, _HISTOGRAM_BOUNDS = 74, 80, 50, 58
_HISTOGRAM_FIXED = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5  # start, time, count, sum

_NAN = np.float64(np.nan).view(np.uint64)
_MILLISECOND = np.uint64(1_000_000)
_ONE, _NO = np.uint64(1), np.uint64(0)
_KINDS = (int(Kind.GAUGE), int(Kind.COUNTER), int(Kind.DELTA), int(Kind.HISTOGRAM), int(Kind.HISTOGRAM_DELTA))


@bare
def number_point(buffer, at, end, seed, key, out, k):  # type: ignore[no-untyped-def]
    """A NumberDataPoint into column k; False if it is not understood."""
    attributes, flags, seen = _NO, _NO, 0
    time, start, value = _NO, _NO, _NAN
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return False
        if tag == _NUMBER_ATTRIBUTE:
            first, at = span(buffer, at, end)
            if at == BAD:
                return False
            attributes += hash_bytes(buffer, first, at, seed)
        elif tag < 64 and tag & 7 == 1 and (_NUMBER_FIXED >> (tag >> 3)) & 1:
            field = tag >> 3
            once = 1 << (4 if field == 6 else field)  # as_double and as_int exclude each other
            if seen & once or end - at < 8:
                return False
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
            return False
    out[WIRE, k], out[TIME, k], out[START, k] = mix(key, attributes), time // _MILLISECOND, start // _MILLISECOND
    out[VALUE, k], out[COUNT, k], out[FLAGS, k] = value, _NO, flags & _ONE
    out[BUCKET_AT, k], out[BUCKET_LEN, k] = _NO, _NO
    return True


@bare
def histogram_point(buffer, at, end, seed, key, out, k, buckets, used):  # type: ignore[no-untyped-def]
    """A HistogramDataPoint into column k and `buckets`; False if it is not understood."""
    attributes, flags, seen = _NO, _NO, 0
    time, start, count, total = _NO, _NO, _NO, _NAN
    counts, counts_end, bounds, bounds_end = 0, 0, 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return False
        field = tag >> 3
        if tag == _HISTOGRAM_ATTRIBUTE:
            first, at = span(buffer, at, end)
            if at == BAD:
                return False
            attributes += hash_bytes(buffer, first, at, seed)
        elif tag < 64 and tag & 7 == 1 and (_HISTOGRAM_FIXED >> field) & 1:
            if seen & (1 << field) or end - at < 8:
                return False
            word, at, seen = load8(buffer, at), at + 8, seen | 1 << field
            if field == 3:
                time = word
            elif field == 2:
                start = word
            elif field == 4:
                count = word
            else:
                total = word
        elif tag == _HISTOGRAM_COUNTS and not seen & 64:
            counts, at = span(buffer, at, end)
            counts_end, seen = at, seen | 64
        elif tag == _HISTOGRAM_BOUNDS and not seen & 128:
            bounds, at = span(buffer, at, end)
            bounds_end, seen = at, seen | 128
        elif tag == _HISTOGRAM_FLAGS and not seen & 1024:
            flags, at = varint(buffer, at, end)
            seen |= 1024
        else:
            at = skip(buffer, at, end, tag, _HISTOGRAM_FIXED | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 10)
        if at == BAD:
            return False
    many, inner = counts_end - counts, bounds_end - bounds
    if many % 8 or inner % 8 or (many != inner + 8 and many + inner > 0):
        return False
    at = used[BUCKETS]
    for i in range(many // 8):
        buckets[at + i] = np.float64(load8(buffer, counts + 8 * i))
    used[BUCKETS] += many // 8
    out[WIRE, k] = mix(mix(key, attributes), hash_bytes(buffer, bounds, bounds_end, seed))
    out[TIME, k], out[START, k] = time // _MILLISECOND, start // _MILLISECOND
    out[VALUE, k], out[COUNT, k], out[FLAGS, k] = total, np.float64(count).view(np.uint64), flags & _ONE
    out[BUCKET_AT, k], out[BUCKET_LEN, k] = np.uint64(at), np.uint64(many // 8)
    return True


@bare
def kind_of(data, temporality, monotonic):  # type: ignore[no-untyped-def]
    """The Kind of a metric; a temporality that is not given (0) is taken for cumulative."""
    gauge, counter, delta, histogram, histogram_delta = _KINDS
    if data == HISTOGRAM:
        return histogram_delta if temporality == 1 else histogram
    if data == GAUGE:
        return gauge
    if temporality == 1:
        return delta
    return counter if monotonic else gauge


@bare
def points(buffer, at, end, data, seed, key, limit, out, buckets, used):  # type: ignore[no-untyped-def]
    """The points of a Gauge, Sum or Histogram; what they are is known only after the last of them."""
    begin, temporality, monotonic, seen = used[POINTS], _NO, False, 0
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
                good = histogram_point(buffer, first, at, seed, key, out, k, buckets, used)
            else:
                good = number_point(buffer, first, at, seed, key, out, k)
            if not good:
                return REFUSED
            out[AT, k], out[END, k] = np.uint64(first), np.uint64(at)
            used[POINTS] = k + 1
        elif tag == _TEMPORALITY and not seen & 1:
            temporality, at = varint(buffer, at, end)
            seen |= 1
        elif tag == _MONOTONIC and not seen & 2:
            word, at = varint(buffer, at, end)
            monotonic, seen = word != _NO, seen | 2
        else:
            at = skip(buffer, at, end, tag, _IN_DATA)
        if at == BAD or temporality > np.uint64(2):
            return REFUSED
    kind = np.uint64(kind_of(data, temporality, monotonic))
    for k in range(begin, used[POINTS]):
        out[KIND, k] = kind
        out[WIRE, k] = mix(out[WIRE, k], kind)
    return OK


@bare
def scan(buffer, value_len, seed, contexts, many, out, buckets, used, refused):  # type: ignore[no-untyped-def]
    """The points of the `many` metrics of an outline, in order; a record that is refused leaves none.

    `buckets` must have room for one in eight bytes. False if `out` is full, which it never is with a point for every
    LEAST_POINT bytes of each record.
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
        begin, key = used[POINTS], np.uint64(contexts[KEY, context])
        refused[record] = points(buffer, at, end, data, seed, key, limit, out, buckets, used)
        if refused[record] == FLOOD and limit < most:
            return False
        if refused[record] != OK:
            used[POINTS], used[BUCKETS] = first, filled
        for k in range(begin, used[POINTS]):
            out[CONTEXT, k] = np.uint64(context)
    return True
