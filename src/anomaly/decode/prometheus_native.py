"""Native histograms of Prometheus as histograms with fixed bounds.

Of a schema from -4 to 8 it is an exponential histogram whose scale is the schema, but that bucket i holds (b**(i-1), b**i],
one index more than OpenTelemetry's: so both become the same buckets, see `exponential`. Schema -53 names its bounds itself.
Integer histograms send each bucket as the difference to the one before, float histograms as it is; spans say which buckets
are sent. The zero bucket and all that is negative are below the first bound. Gauge histograms are refused: they count no
events since a start, and nothing here could say what their rate is.
Source: Prometheus, prompb/types.proto and "Native histograms" (specification), sections Schema, Buckets, Custom values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.exponential import merged
from anomaly.decode.records import BadRecord

CUSTOM, LEAST, MOST = -53, -4, 8  # schemas
GAUGE = 3  # Histogram.ResetHint


def buckets(histogram: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds and counts of a Histogram: one count more than bounds."""
    if histogram.reset_hint == GAUGE:
        raise BadRecord("gauge_histogram")
    index, counts = _sent(histogram.positive_spans, histogram.positive_deltas, histogram.positive_counts)
    if histogram.schema == CUSTOM:
        return _custom(histogram, index, counts)
    if not LEAST <= histogram.schema <= MOST:
        raise BadRecord("bad_histogram", f"schema {histogram.schema}")
    below = _sent(histogram.negative_spans, histogram.negative_deltas, histogram.negative_counts)[1].sum()
    zeros = histogram.zero_count_float + float(histogram.zero_count_int)  # one of them
    return merged(histogram.schema, index - 1, counts, zeros + float(below))


def observations(histogram: Any) -> float:
    """The number of observations."""
    return float(histogram.count_float + float(histogram.count_int))


def _custom(
    histogram: Any, index: NDArray[np.int64], counts: NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The last bucket, above all bounds, is one of the sent ones."""
    bounds = np.array(histogram.custom_values, np.float64)
    if not np.all(np.isfinite(bounds)) or np.any(np.diff(bounds) <= 0):
        raise BadRecord("bad_histogram", "custom bounds must rise and be finite")
    if index.size and not (index.min() >= 0 and index.max() <= bounds.size):
        raise BadRecord("bad_histogram", "a bucket beyond the custom bounds")
    return tuple(bounds.tolist()), tuple(np.bincount(index, counts, bounds.size + 1).tolist())


def _sent(
    spans: Sequence[Any], deltas: Sequence[int], counts: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index and count of the buckets of one side, (n,) each."""
    held = np.cumsum(np.array(deltas, np.int64)).astype(np.float64) if deltas else np.array(counts, np.float64)
    if (deltas and counts) or sum(span.length for span in spans) != held.size:
        raise BadRecord("bad_histogram", f"{held.size} buckets, and spans of another number")
    if not np.all(held >= 0):
        raise BadRecord("bad_histogram", "a bucket with less than nothing in it")
    index, at = np.zeros(held.size, np.int64), 0
    following = 0
    for span in spans:
        first = following + span.offset
        following = first + span.length
        index[at : at + span.length] = np.arange(first, following)
        at += span.length
    return index, held
