"""How the default model learns a point, once it was scored. All memories are in seconds; `s` is a row as in `layout`.

`weight` is 1, or little while the row has an open episode: what is usual is protected from what is not. How surprising
the series is (its tails, its range) goes on being learned, or a series that alarms would go on for ever.
"""

import math

import numpy as np

from anomaly.compiled import bare
from anomaly.detect import season, tail
from anomaly.detect.gain import gain
from anomaly.detect.layout import (
    BLOCK_AGE,
    BLOCK_MEAN,
    BLOCK_PEAK,
    BLOCKS,
    DAY_AGE,
    FAST,
    HIGH,
    INTERVAL,
    LEARNED,
    LEAST_LEVEL,
    LEAST_RANGE,
    LEAST_SEASON,
    LEAST_SUDDEN,
    LOW,
    MEAN,
    MEDIUM,
    PREVIOUS,
    PRIOR,
    QUANTUM,
    REST,
    ROUGH,
    SPREAD,
    TAIL_LEVEL,
    TAIL_RANGE,
    TAIL_SEASON,
    TAIL_SUDDEN,
    WEEK_AGE,
    N,
)
from anomaly.detect.season import DAY, WEEK

DAY_HALF, WEEK_HALF = 7_200.0, 43_200.0  # of time within the bucket: four and three visits
FIRST_VISIT = 40.0  # points that a bucket's first visit remembers: a young mean stays near a series that drifts
SPREAD_HALF = 600_000.0  # a week
MEAN_HALF = RANGE_HALF = 1_350_000.0  # a fortnight
TAIL_HALF = 600_000.0
CLIP = 4.0  # spreads that one point may move an average
FLAT_CLIP = 40.0  # of a flat series, whose spread is only the floor: it may be about to begin to move
SETTLED = 10.0  # points before which nothing is clipped
BLOCK = 66_000.0  # 18 h: at least one a day
BLOCK_PRIOR = 2.0  # blocks of nothing but chance


@bare
def learn_season(s, time, last, dt, y, spread, weight):  # type: ignore[no-untyped-def]
    """Move the two buckets of this time towards the value, at most `CLIP` spreads from what was expected."""
    for day in (True, False):
        bucket = season.day_bucket(time) if day else season.week_bucket(time)
        before = season.day_bucket(last) if day else season.week_bucket(last)
        age, half_life = (DAY_AGE, DAY_HALF) if day else (WEEK_AGE, WEEK_HALF)
        if bucket != before or time - last > season.DAY_MS // 2:
            s[age] = season.enter(s, bucket, s[before])
        move = min(max(y - s[bucket], -CLIP * spread), CLIP * spread)
        s[bucket] += weight * gain(dt, half_life, s[age]) * move
        s[age] += 1.0 if s[age] < FIRST_VISIT else 0.0


@bare
def learn_tails(s, dt, va, vb, vc, vd, weight):  # type: ignore[no-untyped-def]
    """What is usual for each of the four statistics."""
    share = gain(dt, TAIL_HALF, s[N] + tail.PRIOR)
    first = share * weight
    s[TAIL_SEASON], s[TAIL_SEASON + 1] = tail.learn(va, first, s[TAIL_SEASON], s[TAIL_SEASON + 1], LEAST_SEASON)
    s[TAIL_RANGE], s[TAIL_RANGE + 1] = tail.learn(vb, share, s[TAIL_RANGE], s[TAIL_RANGE + 1], LEAST_RANGE)
    s[TAIL_LEVEL], s[TAIL_LEVEL + 1] = tail.learn(vc, share, s[TAIL_LEVEL], s[TAIL_LEVEL + 1], LEAST_LEVEL)
    s[TAIL_SUDDEN], s[TAIL_SUDDEN + 1] = tail.learn(vd, first, s[TAIL_SUDDEN], s[TAIL_SUDDEN + 1], LEAST_SUDDEN)


@bare
def learn_range(s, dt, fast):  # type: ignore[no-untyped-def]
    """Take the short mean into the range, and let the range relax slowly towards it."""
    relax = gain(dt, RANGE_HALF, 1e9)
    s[HIGH] = fast if fast > s[HIGH] else s[HIGH] + relax * (fast - s[HIGH])
    s[LOW] = fast if fast < s[LOW] else s[LOW] + relax * (fast - s[LOW])


@bare
def smallest_step(known, change):  # type: ignore[no-untyped-def]
    """The smallest change seen; negative while seen once: a constant that moved for good has no step yet."""
    return -change if known == 0.0 else min(abs(known), change)


@bare
def learn_level(s, dt, y, level, spread, weight, flat):  # type: ignore[no-untyped-def]
    """The slow mean, its spread, and how rough and how coarse the values are.

    On the first visit of a bucket, which follows the values it has just seen, the spread is about the slow mean: the
    second day, compared with the first, would otherwise be measured by how little a smooth series does in minutes.
    """
    n = s[N] + s[PRIOR]
    off, change = abs(y - level), abs(y - s[PREVIOUS])
    if s[DAY_AGE] < season.OLD:
        off = max(off, abs(y - s[MEAN]))
    clip = (FLAT_CLIP if flat else CLIP) * spread if n >= SETTLED else 1e30
    s[SPREAD] += weight * gain(dt, SPREAD_HALF, n) * (min(off, clip) - s[SPREAD])
    s[ROUGH] += weight * gain(dt, SPREAD_HALF, n) * (min(change, clip) - s[ROUGH])
    far = 1e30 if n < SETTLED else 2.0 * CLIP * spread
    step = weight * gain(dt, MEAN_HALF, n) * min(max(y - s[MEAN], -far), far) + s[REST]
    mean = np.float32(s[MEAN] + step)
    s[REST] = step - (mean - s[MEAN])
    s[MEAN] = mean
    if change > 0.0:
        s[QUANTUM] = smallest_step(s[QUANTUM], change)
    s[PREVIOUS] = y


@bare
def learn_block(s, dt, score):  # type: ignore[no-untyped-def]
    """The greatest score of each block of time, beyond what chance gives among so many points."""
    s[BLOCK_PEAK] = max(s[BLOCK_PEAK], score)
    s[BLOCK_AGE] += dt
    if s[BLOCK_AGE] >= BLOCK:
        chance = math.log10(BLOCK / max(s[INTERVAL], 1e-3)) + 0.25
        s[BLOCKS] = min(s[BLOCKS] + 1.0, 30.0)
        s[BLOCK_MEAN] += (s[BLOCK_PEAK] - chance - s[BLOCK_MEAN]) / (s[BLOCKS] + BLOCK_PRIOR)
        s[BLOCK_PEAK] = s[BLOCK_AGE] = 0.0


@bare
def learn_interval(s, time, last, dt):  # type: ignore[no-untyped-def]
    """Count the point, and how far apart points are."""
    apart = (time - last) * 1e-3
    s[INTERVAL] = apart if s[INTERVAL] == 0.0 else s[INTERVAL] + (dt - s[INTERVAL]) / min(s[N] + 1.0, 50.0)
    s[LEARNED] += dt
    s[N] = min(s[N] + 1.0, 1e7)


@bare
def point(s, time, last, dt, y, level, spread, fast, medium, weight, flat):  # type: ignore[no-untyped-def]
    """Everything about the values, in an order in which each part still finds the state before the point."""
    learn_season(s, time, last, dt, y, spread, weight)
    learn_range(s, dt, fast)
    learn_level(s, dt, y, level, spread, weight, flat)
    learn_interval(s, time, last, dt)
    s[FAST], s[MEDIUM] = fast, medium


@bare
def keep_near(s, anchor, row):  # type: ignore[no-untyped-def]
    """Move the anchor to the mean where the mean is so far from it that float32 would lose small changes."""
    if abs(s[MEAN]) > 1e3 * s[SPREAD] and s[SPREAD] > 0.0:
        shift = s[MEAN]
        anchor[row] += shift
        for bucket in range(DAY + WEEK):  # a slice would be an array of its own, and those are counted
            s[bucket] -= shift
        for at in (MEAN, PREVIOUS, FAST, LOW, HIGH, MEDIUM):
            s[at] -= shift
