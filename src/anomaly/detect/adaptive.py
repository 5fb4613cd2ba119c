"""The default model: a value against its season, its range and its level, each measured by what the series does anyway.

One point of one row at a time: `score` reads the state, `learn` changes it. All memories are in seconds; a point stands
for the time since the one before it, at most three usual intervals, so that neither a gap nor a late sender counts.

State per row: float32 (WIDTH,) as laid out below, beside a float64 anchor and an int64 last time (ms, 0: never). Means
and profile are in the unit of the values, relative to the anchor, because float32 could not hold a small change of a
large number; the spread is a mean absolute deviation in that unit. NaN: not known yet.
A score is -log10 of a tail probability: NaN before `KNOWN` points, 0 at the expected value.

Structure: seasonal residual, range novelty and level, each calibrated by its own tail, as found to work on NAB; what is
claimed is capped by the number of independent looks, which for a smooth series are fewer than its points.
Weak where a fault begins with the series, and on shapes: a flat line within its band is not noticed.
"""

import math

import numpy as np

from anomaly.compiled import kernel
from anomaly.detect import season, tail
from anomaly.detect.gain import gain
from anomaly.detect.season import DAY, OLD, WEEK

(
    N,  # points learned
    PRIOR,  # points that the donor's state is worth
    LEARNED,  # seconds
    INTERVAL,  # seconds between points
    MEAN,  # slow mean
    REST,  # of the slow mean: what float32 could not add to it yet
    SPREAD,  # mean absolute residual
    ROUGH,  # mean absolute change from point to point
    PREVIOUS,  # the value before
    QUANTUM,  # smallest change seen
    NEGATIVE,  # 1: the value was below zero once
    DAY_AGE,
    WEEK_AGE,
    FAST,  # mean over half an hour
    LOW,  # of the range of FAST
    HIGH,
    MEDIUM,  # mean over hours
    TAIL_SEASON,  # quantile, then mean excess
    _A,
    TAIL_RANGE,
    _B,
    TAIL_LEVEL,
    _C,
    RUN,  # surprise added up over a run of points on one side, with its sign
    BLOCK_PEAK,  # greatest score of the block that is going on
    BLOCK_AGE,  # seconds
    BLOCK_MEAN,  # mean of the blocks' greatest scores, less what chance gives
    BLOCKS,
    SPARE,
) = range(DAY + WEEK, DAY + WEEK + 29)
WIDTH = DAY + WEEK + 30

DONATED = 20.0  # points that a donor's state is worth
KNOWN = 10.0  # points before which nothing is said
DAY_HALF, WEEK_HALF = 1_200.0, 7_200.0  # of time within the bucket
SPREAD_HALF = 600_000.0
MEAN_HALF = 1_350_000.0
MEDIUM_HALF = 15_000.0
FAST_HALF = 1_800.0
RANGE_HALF = 1_350_000.0
TAIL_HALF = 600_000.0
BLOCK = 66_000.0
BLOCK_PRIOR = 2.0
CLIP = 4.0  # spreads that one point may move an average
HELD = 0.03  # weight of a point while the row has an open episode
RELATIVE_FLOOR = 1e-3  # a spread below this share of the value is none
QUANTUM_FLOOR = 0.5
KEEP_RUN = 0.75
ALONE, RANGE_SHARE, LEVEL_SHARE = 0.85, 0.7, 0.85
BAND_SCORE = 3.0  # the expected band ends where one point would score this


@kernel
def blank(state):  # type: ignore[no-untyped-def]
    """A row that knows nothing."""
    state[:] = np.nan
    state[N : LEARNED + 1] = 0.0
    for at in (TAIL_SEASON, TAIL_RANGE, TAIL_LEVEL):
        state[at], state[at + 1] = tail.USUAL_QUANTILE, tail.USUAL_EXCESS
    for at in (REST, SPREAD, ROUGH, QUANTUM, NEGATIVE, RUN, BLOCK_PEAK, BLOCK_AGE, BLOCK_MEAN, BLOCKS, SPARE, INTERVAL):
        state[at] = 0.0


@kernel
def borrow(state):  # type: ignore[no-untyped-def]
    """Turn a copy of a donor's row into a prior: its shape, wider, worth a few points, with nothing learned of its own."""
    state[PRIOR] = 0.0 if math.isnan(state[MEAN]) else DONATED
    state[N] = state[LEARNED] = state[RUN] = state[BLOCK_PEAK] = state[BLOCK_AGE] = 0.0
    state[SPREAD] *= 1.5
    for at in (TAIL_SEASON, TAIL_RANGE, TAIL_LEVEL):
        state[at + 1] *= 1.3


@kernel
def begin(state, time):  # type: ignore[no-untyped-def]
    """The first value of a row is its anchor: everything relative to it is zero."""
    for at in (MEAN, PREVIOUS, FAST, LOW, HIGH, MEDIUM):
        state[at] = 0.0
    state[season.day_bucket(time)] = state[season.week_bucket(time)] = 0.0
    state[DAY_AGE] = state[WEEK_AGE] = 1.0
    state[N] = 1.0


@kernel
def expected(state, time, last, y, seasonal):  # type: ignore[no-untyped-def]
    """The nearer of what the day and the week expect; the week only from a bucket's second visit on."""
    if not seasonal:
        return state[MEAN] + state[REST]
    day = state[season.day_bucket(time)]
    if math.isnan(day):
        day = state[season.day_bucket(last)]
    week = state[season.week_bucket(time)]
    fresh = season.week_bucket(time) == season.week_bucket(last) and state[WEEK_AGE] < OLD
    if math.isnan(week) or fresh or abs(y - day) <= abs(y - week):
        return day
    return week


@kernel
def width(state, level):  # type: ignore[no-untyped-def]
    """The spread that counts: wider while little is known, and never below what the values can resolve."""
    known = state[N] + state[PRIOR]
    least = max(RELATIVE_FLOOR * abs(level), QUANTUM_FLOOR * state[QUANTUM])
    return max(state[SPREAD] * (1.0 + 4.0 / known), max(least, 1e-12))


@kernel
def freshness(state):  # type: ignore[no-untyped-def]
    """How independent a point is of the one before it: 1 for noise, near 0 for a smooth line."""
    if state[SPREAD] <= 0.0:
        return 1.0
    ratio = state[ROUGH] / (1.4142 * state[SPREAD])
    return min(ratio * ratio, 1.0)


@kernel
def novelty(state, fast):  # type: ignore[no-untyped-def]
    """How far the short mean lies outside the range it has had, over that range."""
    beyond = max(fast - state[HIGH], state[LOW] - fast)
    return max(beyond, 0.0) / max(state[HIGH] - state[LOW], state[SPREAD] + 1e-12)


@kernel
def duration(state, time, last):  # type: ignore[no-untyped-def]
    """Seconds that the point stands for; 0 for one that is not newer than the last."""
    dt = max((time - last) * 1e-3, 0.0)
    return min(dt, 3.0 * state[INTERVAL]) if state[INTERVAL] > 0.0 else dt


@kernel
def looks(state):  # type: ignore[no-untyped-def]
    """How many independent points the row has learned from."""
    fresh = freshness(state)
    return (state[N] + state[PRIOR]) * fresh / (2.0 - fresh)


@kernel
def combined(a, b, c):  # type: ignore[no-untyped-def]
    """The three surprises as one: season and range support each other, each of the three can speak alone."""
    return max((a + RANGE_SHARE * b) / math.sqrt(1.0 + RANGE_SHARE**2), ALONE * a, LEVEL_SHARE * c)


@kernel
def learn_season(s, time, last, dt, y, level, spread, weight):  # type: ignore[no-untyped-def]
    """Move the two buckets of this time towards the value, at most `CLIP` spreads from what was expected."""
    for day in (True, False):
        bucket = season.day_bucket(time) if day else season.week_bucket(time)
        before = season.day_bucket(last) if day else season.week_bucket(last)
        age, half_life = (DAY_AGE, DAY_HALF) if day else (WEEK_AGE, WEEK_HALF)
        if bucket != before or time - last > season.DAY_MS // 2:
            s[age] = season.enter(s, bucket, s[before])
        move = min(max(y - s[bucket], -CLIP * spread), CLIP * spread)
        s[bucket] += weight * gain(dt, half_life, s[age]) * move
        s[age] += 1.0 if s[age] < OLD else 0.0


@kernel
def learn_tails(s, dt, va, vb, vc, weight):  # type: ignore[no-untyped-def]
    """What is usual for each of the three statistics."""
    share = weight * gain(dt, TAIL_HALF, s[N] + tail.PRIOR)
    s[TAIL_SEASON], s[TAIL_SEASON + 1] = tail.learn(va, share, s[TAIL_SEASON], s[TAIL_SEASON + 1])
    s[TAIL_RANGE], s[TAIL_RANGE + 1] = tail.learn(vb, share, s[TAIL_RANGE], s[TAIL_RANGE + 1])
    s[TAIL_LEVEL], s[TAIL_LEVEL + 1] = tail.learn(vc, share, s[TAIL_LEVEL], s[TAIL_LEVEL + 1])


@kernel
def learn_range(s, dt, fast, weight):  # type: ignore[no-untyped-def]
    """Take the short mean into the range, and let the range relax slowly towards it."""
    relax = gain(dt, RANGE_HALF, 1e9)
    s[HIGH] += weight * (fast - s[HIGH]) if fast > s[HIGH] else relax * (fast - s[HIGH])
    s[LOW] += weight * (fast - s[LOW]) if fast < s[LOW] else relax * (fast - s[LOW])


@kernel
def learn_level(s, dt, y, level, spread, weight):  # type: ignore[no-untyped-def]
    """The slow mean, its spread, and how rough and how coarse the values are."""
    n = s[N] + s[PRIOR]
    off, change = abs(y - level), abs(y - s[PREVIOUS])
    clip = CLIP * spread if n >= KNOWN else 1e30
    s[SPREAD] += weight * gain(dt, SPREAD_HALF, n) * (min(off, clip) - s[SPREAD])
    s[ROUGH] += weight * gain(dt, SPREAD_HALF, n) * (min(change, clip) - s[ROUGH])
    far = 1e30 if n < KNOWN else 2.0 * CLIP * spread
    step = weight * gain(dt, MEAN_HALF, n) * min(max(y - s[MEAN], -far), far) + s[REST]
    mean = np.float32(s[MEAN] + step)
    s[REST] = step - (mean - s[MEAN])
    s[MEAN] = mean
    if change > 0.0 and (s[QUANTUM] == 0.0 or change < s[QUANTUM]):
        s[QUANTUM] = change
    s[PREVIOUS] = y


@kernel
def learn_block(s, dt, score):  # type: ignore[no-untyped-def]
    """The greatest score of each block of time, beyond what chance gives among so many points."""
    s[BLOCK_PEAK] = max(s[BLOCK_PEAK], score)
    s[BLOCK_AGE] += dt
    if s[BLOCK_AGE] >= BLOCK:
        chance = math.log10(BLOCK / max(s[INTERVAL], 1e-3)) + 0.25
        s[BLOCKS] = min(s[BLOCKS] + 1.0, 30.0)
        s[BLOCK_MEAN] += (s[BLOCK_PEAK] - chance - s[BLOCK_MEAN]) / (s[BLOCKS] + BLOCK_PRIOR)
        s[BLOCK_PEAK] = s[BLOCK_AGE] = 0.0


@kernel
def learn_interval(s, time, last, dt):  # type: ignore[no-untyped-def]
    """Count the point, and how far apart points are."""
    apart = (time - last) * 1e-3
    s[INTERVAL] = apart if s[INTERVAL] == 0.0 else s[INTERVAL] + (dt - s[INTERVAL]) / min(s[N] + 1.0, 50.0)
    s[LEARNED] += dt
    s[N] = min(s[N] + 1.0, 1e7)


@kernel
def keep_near(s, anchor, row):  # type: ignore[no-untyped-def]
    """Move the anchor to the mean where the mean is so far from it that float32 would lose small changes."""
    if abs(s[MEAN]) > 1e3 * s[SPREAD] and s[SPREAD] > 0.0:
        shift = s[MEAN]
        anchor[row] += shift
        s[: DAY + WEEK] -= shift
        for at in (MEAN, PREVIOUS, FAST, LOW, HIGH, MEDIUM):
            s[at] -= shift


@kernel
def judge_point(state, anchor, last, row, time, value, seasonal, held, teach):  # type: ignore[no-untyped-def]
    """Score one point against its row, then learn it if `teach` and it is new: (score, low, high, seconds learned)."""
    s = state[row]
    if math.isnan(s[MEAN]):
        if teach:
            begin(s, time)
            anchor[row], last[row], s[NEGATIVE] = value, time, 1.0 if value < 0.0 else 0.0
        return math.nan, math.nan, math.nan, 0.0
    y = min(max(value - anchor[row], -1e30), 1e30)
    if s[N] == 0.0 and teach:  # primed by a donor: the shape is the donor's, the level its own
        anchor[row] += y - s[MEAN]
        y, last[row] = s[MEAN], time - 1000
    dt = duration(s, time, last[row])
    level = expected(s, time, last[row], y, seasonal)
    spread = width(s, anchor[row] + level)
    fast = s[FAST] + gain(dt, FAST_HALF, s[N]) * (y - s[FAST]) if dt > 0.0 else s[FAST]
    medium = s[MEDIUM] + gain(dt, MEDIUM_HALF, s[N]) * (y - s[MEDIUM]) if dt > 0.0 else s[MEDIUM]
    va, vb, vc = abs(y - level) / spread, novelty(s, fast), abs(medium - s[MEAN]) / spread
    learned = s[LEARNED]
    a = tail.capped(tail.surprise(va, s[TAIL_SEASON], s[TAIL_SEASON + 1]), looks(s))
    b = tail.capped(tail.surprise(vb, s[TAIL_RANGE], s[TAIL_RANGE + 1]), learned / FAST_HALF)
    c = tail.capped(tail.surprise(vc, s[TAIL_LEVEL], s[TAIL_LEVEL + 1]), learned / MEDIUM_HALF)
    side = 1.0 if y >= level else -1.0
    run = a + (KEEP_RUN * freshness(s) * max(side * s[RUN], 0.0) if a > 1.0 else 0.0)
    raw = combined(run, b, c)
    score = max(raw - max(s[BLOCK_MEAN], 0.0), 0.0)
    reach = spread * tail.reach(BAND_SCORE, s[TAIL_SEASON], s[TAIL_SEASON + 1])
    low, high = anchor[row] + level - reach, anchor[row] + level + reach
    if s[NEGATIVE] == 0.0:
        low = max(low, 0.0)
    known = s[N] + s[PRIOR] >= KNOWN and s[N] >= 3.0
    if teach and time > last[row]:
        weight = HELD if held else 1.0
        learn_season(s, time, last[row], dt, y, level, spread, weight)
        learn_tails(s, dt, va, vb, vc, weight)
        learn_range(s, dt, fast, weight)
        learn_level(s, dt, y, level, spread, weight)
        learn_block(s, dt, raw if known else 0.0)
        learn_interval(s, time, last[row], dt)
        s[FAST], s[MEDIUM] = fast, medium
        s[RUN] = side * min(run, 3.0 * a) if a > 1.0 else 0.0
        s[NEGATIVE] = 1.0 if value < 0.0 else s[NEGATIVE]
        last[row] = time
        keep_near(s, anchor, row)
    if not known:
        return math.nan, math.nan, math.nan, learned
    return score, low, high, learned
