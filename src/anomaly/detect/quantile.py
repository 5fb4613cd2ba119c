"""What a closed histogram cell says: rate, mean and quantiles.

Buckets are observations per bucket, one more than bounds; bucket j holds (bounds[j-1], bounds[j]]. Within its bucket a
quantile is interpolated linearly, as Prometheus does (`histogram_quantile`).
A quantile is NaN where the buckets do not resolve it: in the first bucket (its lower edge is a guess), in the last (it has
no upper one), in one wider than a factor of COARSEST (all durations in seconds fall into (0, 5] of the SDKs' default
bounds, and any quantile there is an artefact), and when fewer than BEYOND observations lie above it: the p99 of 200
requests is the second slowest, and two slow requests are no slow service.
The mean is NaN without observations. Observations of members that have just begun (`grid.WARM_UP`) count in the rate alone.
"""

import numpy as np

from anomaly.compiled import kernel
from anomaly.detect.rows import LANES

COARSEST = 3.0
BEYOND = 5.0
FEWEST = 1e-100  # observations: less is the sign that a cell was heard (`grid.HEARD`)


@kernel
def quantile(q, counts, bounds):  # type: ignore[no-untyped-def]
    """The q-quantile of bucket counts (n + 1,) over rising bounds (n,); NaN where it is not resolved."""
    total = counts.sum()
    if not total * (1.0 - q) >= BEYOND or bounds.size == 0:
        return np.nan
    rank, below = q * total, 0.0
    for j in range(counts.size):
        if below + counts[j] >= rank and counts[j] > 0.0:
            if j == 0 or j == bounds.size:
                return np.nan
            low, high = bounds[j - 1], bounds[j]
            if not (low > 0.0 and high <= COARSEST * low):
                return np.nan
            return low + (high - low) * (rank - below) / counts[j]
        below += counts[j]
    return np.nan


@kernel
def bucket_counts(agg, bounds, cell, at):  # type: ignore[no-untyped-def]
    """Observations per bucket of a cell whose lanes begin at `at`; classic buckets are cumulated and in any order."""
    n = bounds.size
    counts = np.zeros(n + 1)
    before = 0.0
    for j in range(n):
        held = cell[at + bounds[j].lane]
        counts[j] = max(held - before, 0.0) if agg.cumulated != 0 else held
        before = held
    last = cell[at + 1] - before if agg.cumulated != 0 else cell[at + LANES + n] if n > 0 else 0.0
    counts[n] = max(last, 0.0)
    return counts


@kernel
def read(aggregates, bounds, aggs, at, lanes, out):  # type: ignore[no-untyped-def]
    """Rate, mean, p95 and p99 of histogram cells into out (cells, 4); an aggregate's `fewest` observations make a mean."""
    for i in range(aggs.size):
        agg = aggregates[aggs[i]]
        count, total = lanes[at[i] + 1], lanes[at[i] + 2]
        beginners = lanes[at[i]] if lanes[at[i]] >= FEWEST else 0.0
        out[i, 0] = (count + beginners) * 1000.0 / agg.step
        out[i, 1] = total / count if count > 0.0 and count >= agg.fewest else np.nan
        own = bounds[agg.bounds_at : agg.bounds_at + agg.bounds_len]
        counts, upper = bucket_counts(agg, own, lanes, at[i]), own.upper
        out[i, 2] = quantile(0.95, counts, upper) if count >= agg.fewest else np.nan
        out[i, 3] = quantile(0.99, counts, upper) if count >= agg.fewest else np.nan
