"""What is usual at this time of the day and of the week: a mean per bucket.

State is float32 (DAY + WEEK,) per series: means of 48 half-hours of the UTC day and of 42 four-hour spans of the week, in
the unit of the values, relative to the series' anchor; NaN before the first visit. The two ages count the points of the
visit that is going on, where it is the bucket's first, and are OLD afterwards: a bucket remembers little more than one
visit, so no count per bucket is kept.
Source: seasonal naive method with exponential smoothing, as in P. Winters (1960) without its trend.
Weak in the first day, when every bucket is new: a new bucket starts from the one before it.
"""

import math

from anomaly.compiled import bare

DAY, WEEK = 48, 42
DAY_MS, WEEK_MS = 86_400_000, 604_800_000
EPOCH_SHIFT = 3 * DAY_MS  # 1970-01-01 was a Thursday: weeks begin on Monday
OLD = 1e9
CARRIED = 2.0  # points that the value carried over from the bucket before is worth


@bare
def day_bucket(time):  # type: ignore[no-untyped-def]
    """Which half-hour of the UTC day, time in milliseconds."""
    return (time % DAY_MS) * DAY // DAY_MS


@bare
def week_bucket(time):  # type: ignore[no-untyped-def]
    """Which four hours of the UTC week."""
    return DAY + ((time + EPOCH_SHIFT) % WEEK_MS) * WEEK // WEEK_MS


@bare
def enter(profile, bucket, before):  # type: ignore[no-untyped-def]
    """Begin a visit: the age to count on from; a bucket never visited starts from `before`."""
    if not math.isnan(profile[bucket]):
        return OLD
    profile[bucket] = before
    return CARRIED
