"""What is usual at this time of the day and of the week: a mean per bucket.

A profile holds the means of 48 half-hours of the UTC day and of 42 four-hour spans of the week, in the unit of the values,
relative to the series' anchor. The two means of the visit that is going on, `day` and `week`, are float32, so that the many
small steps of a visit are not rounded away; when time leaves a bucket its mean goes into `profile`, int16 (DAY + WEEK,), in
steps of `scale`, a power of two that suits the greatest of them: a 30,000th of the profile's own height, below any noise
worth the name. So a point of a visit that goes on touches no profile at all. EMPTY: never visited. The two ages count the
points of the visit that is going on, where it is the bucket's first, and are OLD afterwards: a bucket remembers little more
than one visit, so no count per bucket is kept.
Source: seasonal naive method with exponential smoothing, as in P. Winters (1960) without its trend.
Weak in the first day, when every bucket is new: a new bucket starts from the one before it.
"""

import math

from anomaly.compiled import bare, inlined

DAY, WEEK = 48, 42
DAY_MS, WEEK_MS = 86_400_000, 604_800_000
HALF_HOUR, FOUR_HOURS = DAY_MS // DAY, WEEK_MS // WEEK
EPOCH_SHIFT = 3 * DAY_MS  # 1970-01-01 was a Thursday: weeks begin on Monday
OLD = 255
CARRIED = 2  # points that the value carried over from the bucket before is worth
EMPTY, MOST = -32_768, 32_767  # of 16 bits
FITTING = 14  # bits that the greatest mean of a profile takes when its scale is chosen: it may double before the next choice
COARSE = 8.0  # times finer that a scale must be able to become, to be chosen anew


@inlined
def day_bucket(time):  # type: ignore[no-untyped-def]
    """Which half-hour of the UTC day, time in milliseconds."""
    return time // HALF_HOUR % DAY


@inlined
def week_bucket(time):  # type: ignore[no-untyped-def]
    """Which four hours of the UTC week."""
    return DAY + (time + EPOCH_SHIFT) // FOUR_HOURS % WEEK


@inlined
def goes_on(time, before):  # type: ignore[no-untyped-def]
    """Whether both times belong to one visit of both buckets."""
    return time // HALF_HOUR == before // HALF_HOUR


@inlined
def read(s, bucket):  # type: ignore[no-untyped-def]
    """A bucket's mean, NaN if it was never visited."""
    return math.nan if s.profile[bucket] == EMPTY else s.profile[bucket] * float(s.scale)


@bare
def greatest(s, shift):  # type: ignore[no-untyped-def]
    """The greatest distance from zero in the profile less `shift`."""
    most = 0.0
    for bucket in range(DAY + WEEK):
        if s.profile[bucket] != EMPTY:
            most = max(most, abs(s.profile[bucket] * float(s.scale) - shift))
    return most


@bare
def fitting(most):  # type: ignore[no-untyped-def]
    """The power of two in which `most` takes FITTING bits; not below what float32 can hold, which is what zeros alone get,
    so that whatever comes after them chooses anew."""
    _, exponent = math.frexp(most)
    return math.ldexp(1.0, max(exponent - FITTING, -120) if most > 0.0 else -120)


@bare
def recode(s, scale, shift):  # type: ignore[no-untyped-def]
    """Write the profile less `shift` in steps of `scale`."""
    for bucket in range(DAY + WEEK):
        if s.profile[bucket] != EMPTY:
            s.profile[bucket] = math.floor((s.profile[bucket] * float(s.scale) - shift) / scale + 0.5)
    s.scale = scale


@bare
def store(s, bucket, mean):  # type: ignore[no-untyped-def]
    """Put a bucket's mean into the profile, in other steps than before if it needs them or all may be finer."""
    scale = fitting(max(greatest(s, 0.0), abs(mean)))
    if s.scale == 0.0 or abs(mean) > (MOST - 1.0) * s.scale or scale * COARSE <= s.scale:
        recode(s, scale, 0.0)
    s.profile[bucket] = math.floor(mean / s.scale + 0.5)


@bare
def shifted(s, shift):  # type: ignore[no-untyped-def]
    """Everything of the season less `shift`."""
    recode(s, fitting(greatest(s, shift)), shift)
    s.day -= shift
    s.week -= shift


@bare
def elsewhere(s, time, before):  # type: ignore[no-untyped-def]
    """What day and week expect in another half-hour than `before`, and whether the week's bucket is in its first visit."""
    day, week, fresh = float(s.day), float(s.week), s.week_age < OLD
    if day_bucket(time) != day_bucket(before) and s.profile[day_bucket(time)] != EMPTY:
        day = read(s, day_bucket(time))
    if week_bucket(time) != week_bucket(before):
        week, fresh = read(s, week_bucket(time)), False
    return day, week, fresh


@bare
def set_clock(s, ahead):  # type: ignore[no-untyped-def]
    """The clock is set `ahead` ms forward, or back: the visit that goes on ends, and another time of the day goes on."""
    turn(s, s.last + ahead, s.last)
    s.last += ahead


@bare
def turn(s, time, before):  # type: ignore[no-untyped-def]
    """Leave the buckets of `before` that time has left, and enter those of `time`: a new one goes on as the old ended."""
    again = time - before > DAY_MS // 2
    if again or day_bucket(time) != day_bucket(before):
        store(s, day_bucket(before), float(s.day))
        known = read(s, day_bucket(time))
        s.day, s.day_age = (s.day, CARRIED) if math.isnan(known) else (known, OLD)
    if again or week_bucket(time) != week_bucket(before):
        store(s, week_bucket(before), float(s.week))
        known = read(s, week_bucket(time))
        s.week, s.week_age = (s.week, CARRIED) if math.isnan(known) else (known, OLD)
