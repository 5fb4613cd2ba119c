"""Where the metrics of a block of OTLP requests stand, found on the wire without looking at their points.

contexts  int64 (PLACES, c)  a column per metric that the scanner takes and that has data: where its resource, scope, name,
                             unit and data stand in the buffer, its record, its kind of data, the bits of its wire key
refused   uint8 (records,)   OK, REFUSED (left to the complete decoder) or FLOOD; a record that is not OK has no contexts
The key hashes resource, scope, name and unit. Resource and scope may stand behind what they describe, so they are looked
up before.
Source: opentelemetry-proto, metrics/v1/metrics.proto; field numbers below are its.
"""

import numpy as np

from anomaly.compiled import bare
from anomaly.decode.otlp_columns import FLOOD, REFUSED
from anomaly.decode.wire import BAD, BYTES, hash_bytes, mix, only, skip, small, span

RESOURCE, RESOURCE_END, SCOPE, SCOPE_END, NAME, NAME_END, UNIT, UNIT_END, DATA, DATA_AT, DATA_END, RECORD, KEY = range(13)
PLACES = 13

# Tag and length of a metric, of its data and of one point, and that point's time: more metrics than that hold nothing.
LEAST_METRIC = 15

GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 5, 7, 9, 10, 11  # the fields of Metric.data
# Fields of which another wire type is not understood; numpy integers, because numba compiles anew for each literal.
_IN_METRIC = np.int64(1 << 1 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 11)
_ONE, _TWO = np.int64(1 << 1), np.int64(1 << 2)
_FIRST, _SECOND, _THIRD = 10, 18, 26  # tags of the length-delimited fields 1, 2, 3


@bare
def resource(buffer, at, end, seed):  # type: ignore[no-untyped-def]
    """The hash of a Resource's attributes, in whatever order; False with it if it is not understood."""
    attributes = np.uint64(0)
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return attributes, False
        if tag == _FIRST:
            first, at = span(buffer, at, end)
            if at == BAD:
                return attributes, False
            attributes += hash_bytes(buffer, first, at, seed)
        else:
            at = skip(buffer, at, end, tag, _ONE)
            if at == BAD:
                return attributes, False
    return attributes, True


@bare
def metric(buffer, at, end, seed, key, contexts, context):  # type: ignore[no-untyped-def]
    """A Metric into a column of `contexts`; BAD if it is not understood, else the number of the next free column."""
    name, name_end, unit, unit_end, data, first, stop, seen = 0, 0, 0, 0, 0, 0, 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return BAD
        field = tag >> 3
        if tag == _FIRST and not seen & 1:
            name, at = span(buffer, at, end)
            name_end, seen = at, seen | 1
        elif tag == _THIRD and not seen & 2:
            unit, at = span(buffer, at, end)
            unit_end, seen = at, seen | 2
        elif tag & 7 == BYTES and field in (GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY) and not seen & 4:
            first, at = span(buffer, at, end)
            data, stop, seen = field, at, seen | 4
        else:
            at = skip(buffer, at, end, tag, _IN_METRIC)
        if at == BAD:
            return BAD
    if stop == first:
        return context
    key = mix(mix(key, hash_bytes(buffer, name, name_end, seed)), hash_bytes(buffer, unit, unit_end, seed))
    contexts[NAME, context], contexts[NAME_END, context] = name, name_end
    contexts[UNIT, context], contexts[UNIT_END, context] = unit, unit_end
    contexts[DATA, context], contexts[DATA_AT, context], contexts[DATA_END, context] = data, first, stop
    contexts[KEY, context] = np.int64(key)
    return context + 1


@bare
def metrics(buffer, at, end, seed, key, limit, contexts, context):  # type: ignore[no-untyped-def]
    """The metrics of a ScopeMetrics; `key` hashes the resource. BAD, or the next free column; `limit` ends it early."""
    scope, scope_end = only(buffer, at, end, 1)
    if scope_end == BAD:
        return BAD
    key = mix(key, hash_bytes(buffer, scope, scope_end, seed))
    while at < end and context < limit:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return BAD
        if tag == _SECOND:
            first, at = span(buffer, at, end)
            if at == BAD:
                return BAD
            contexts[SCOPE, context], contexts[SCOPE_END, context] = scope, scope_end
            context = metric(buffer, first, at, seed, key, contexts, context)
            if context == BAD:
                return BAD
        else:
            at = skip(buffer, at, end, tag, _TWO)
            if at == BAD:
                return BAD
    return context


@bare
def scopes(buffer, at, end, seed, limit, contexts, context):  # type: ignore[no-untyped-def]
    """The scopes of a ResourceMetrics; BAD, or the next free column."""
    first, stop = only(buffer, at, end, 1)
    if stop == BAD:
        return BAD
    key, good = resource(buffer, first, stop, seed)
    if not good:
        return BAD
    begin = context
    while at < end and context < limit:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return BAD
        if tag == _SECOND:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return BAD
            context = metrics(buffer, inner, at, seed, key, limit, contexts, context)
            if context == BAD:
                return BAD
        else:
            at = skip(buffer, at, end, tag, _TWO)
            if at == BAD:
                return BAD
    for c in range(begin, context):
        contexts[RESOURCE, c], contexts[RESOURCE_END, c] = first, stop
    return context


@bare
def request(buffer, at, end, seed, limit, contexts, context):  # type: ignore[no-untyped-def]
    """The resources of an ExportMetricsServiceRequest; BAD, or the next free column."""
    while at < end and context < limit:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return BAD
        if tag == _FIRST:
            inner, at = span(buffer, at, end)
            if at == BAD:
                return BAD
            context = scopes(buffer, inner, at, seed, limit, contexts, context)
            if context == BAD:
                return BAD
        else:
            at = skip(buffer, at, end, tag, _ONE)
            if at == BAD:
                return BAD
    return context


@bare
def outline(buffer, value_at, value_len, seed, contexts, refused):  # type: ignore[no-untyped-def]
    """The metrics of all records of a block; returns how many.

    `contexts` must have two columns for each record and one more for every LEAST_METRIC bytes of it.
    """
    context = np.int64(0)
    for record in range(value_at.size):
        at, length = value_at[record], np.int64(max(value_len[record], 0))
        if at < 0 or at + length + 8 > buffer.size:
            refused[record] = REFUSED
            continue
        limit = context + length // LEAST_METRIC + 1
        after = request(buffer, at, at + length, seed, limit, contexts, context)
        if after in (BAD, limit):
            refused[record] = REFUSED if after == BAD else FLOOD
            continue
        for c in range(context, after):
            contexts[RECORD, c] = record
        context = after
    return context
