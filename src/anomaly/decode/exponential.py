"""Exponential histograms as histograms with fixed bounds, so that a series keeps its buckets while its data move.

A sender picks the scale by the spread of what it has seen, and bucket i of scale s holds (b**i, b**(i+1)], b = 2**2**-s.
Every scale is a merge of neighbours of any finer one, so bringing all to one scale is exact. Ours is 1: half-octaves from
2**-20 (a microsecond in seconds) to 2**44 (five hours in nanoseconds, 16 TiB), 129 bounds. A quantile is right to a bucket,
a factor of 1.41; with the 160 buckets that SDKs hold, a sender goes below scale 1 only if its data span over 80 octaves.
Then the bounds are those of its own scale, a subset of ours: a new description of the series, never a guess within a bucket.
The first bucket takes all that is not above the first bound: zeros, negative values, and what is smaller than that.
Source: OpenTelemetry Metrics Data Model, "ExponentialHistogram".
"""

from math import ceil, floor, ldexp, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE = 1
LOWEST, HIGHEST = -20, 44  # octaves
COARSEST = -6  # one bucket below 1 and one above: from here on all scales look the same in our range


def edges(scale: int) -> tuple[int, int]:
    """The first and the last bound at `scale` as powers of its base."""
    return ceil(ldexp(LOWEST, scale)), floor(ldexp(HIGHEST, scale))


def _power(k: int, scale: int) -> float:
    if scale <= 0:
        return ldexp(1.0, k << -scale)
    return ldexp(sqrt(2.0) if k % 2 else 1.0, k // 2)


BOUNDS: dict[int, tuple[float, ...]] = {
    s: tuple(_power(k, s) for k in range(edges(s)[0], edges(s)[1] + 1)) for s in range(COARSEST, SCALE + 1)
}


def canonical(point: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds and counts of an ExponentialHistogramDataPoint: one count more than bounds."""
    found = np.asarray(point.positive.bucket_counts, np.float64)
    index = point.positive.offset + np.arange(found.size)
    return merged(point.scale, index, found, float(point.zero_count + sum(point.negative.bucket_counts)))


def merged(
    scale: int, index: NDArray[np.int64], counts: NDArray[np.float64], below: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Canonical bounds and counts of buckets (b**index, b**(index + 1)] of a scale; `below` are below all of them."""
    held = min(max(scale, COARSEST), SCALE)
    low, high = edges(held)
    at = np.clip((index >> _merges(scale)) + 1 - low, 0, high - low + 1)
    found = np.bincount(at, counts, high - low + 2).astype(np.float64)
    found[0] += below
    return BOUNDS[held], tuple(found.tolist())


def _merges(scale: int) -> int:
    """How often two neighbours become one; past 62 an index is its sign."""
    return min(max(scale - SCALE, 0), 62)
