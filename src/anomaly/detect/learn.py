"""How the default model learns a point, once it was scored. All memories are in seconds; `s` is a row as in `layout`.

`weight` is 1, or little while the row has an open episode: what is usual is protected from what is not. How surprising
the series is (its tails, its range) goes on being learned, or a series that alarms would go on for ever.
"""

from typing import NamedTuple

import numpy as np

from anomaly.compiled import bare, inlined
from anomaly.detect import gain, season, tail
from anomaly.detect.layout import LEAST_LEVEL, LEAST_RANGE, LEAST_SEASON, LEAST_SUDDEN, points
from anomaly.detect.portable import log10
from anomaly.detect.season import OLD

DAY_HALF, WEEK_HALF = 7_200.0, 43_200.0  # of time within the bucket: four and three visits
FAST_HALF, MEDIUM_HALF = 1_800.0, 15_000.0  # of the short means
FIRST_VISIT = 40  # points that a bucket's first visit remembers: a young mean stays near a series that drifts
SPREAD_HALF = TAIL_HALF = 600_000.0  # a week
MEAN_HALF = RANGE_HALF = 1_350_000.0  # a fortnight
CLIP = 2.33  # spreads that one point may move an average
FLAT_CLIP = 40.0  # of a flat series, whose spread is only the floor: it may be about to begin to move
SETTLED = 10.0  # points before which nothing is clipped
BLOCK = 66_000.0  # 18 h: at least one a day
BLOCK_PRIOR = 2.0  # blocks of nothing but chance


class Shares(NamedTuple):
    """What a point that stands for so many seconds weighs in old averages, by their half-lives."""

    fast: float
    medium: float
    day: float
    week: float
    slow: float  # spread and tails
    mean: float  # and range


@inlined
def shares(dt):  # type: ignore[no-untyped-def]
    """Worked out once for all that a point moves."""
    return Shares(
        gain.share(dt, FAST_HALF),
        gain.share(dt, MEDIUM_HALF),
        gain.share(dt, DAY_HALF),
        gain.share(dt, WEEK_HALF),
        gain.share(dt, SPREAD_HALF),
        gain.share(dt, MEAN_HALF),
    )


@inlined
def visited(mean, age, y, reach, share, weight):  # type: ignore[no-untyped-def]
    """A bucket's mean and the age of its visit, moved towards the value, at most `reach`."""
    move = min(max(y - mean, -reach), reach)
    young = 0.0 if age == OLD else 1.0 / (age + 1.0)
    return mean + weight * max(share, young) * move, (age + 1 if age < FIRST_VISIT else age)


@inlined
def learn_season(s, time, y, spread, weight, share):  # type: ignore[no-untyped-def]
    """Move the two buckets of this time towards the value, at most `CLIP` spreads from what was expected."""
    if not season.goes_on(time, s.last):
        season.turn(s, time, s.last)
    s.day, s.day_age = visited(s.day, s.day_age, y, CLIP * spread, share.day, weight)
    s.week, s.week_age = visited(s.week, s.week_age, y, CLIP * spread, share.week, weight)


@inlined
def learn_tails(s, share, va, vb, vc, vd, weight):  # type: ignore[no-untyped-def]
    """What is usual for each of the four statistics."""
    all_of_it = max(share, 1.0 / (s.n + tail.PRIOR + 1.0))
    part = all_of_it * weight
    s.season_quantile, s.season_excess = tail.learn(va, part, s.season_quantile, s.season_excess, LEAST_SEASON)
    s.range_quantile, s.range_excess = tail.learn(vb, all_of_it, s.range_quantile, s.range_excess, LEAST_RANGE)
    s.level_quantile, s.level_excess = tail.learn(vc, all_of_it, s.level_quantile, s.level_excess, LEAST_LEVEL)
    s.sudden_quantile, s.sudden_excess = tail.learn(vd, part, s.sudden_quantile, s.sudden_excess, LEAST_SUDDEN)


@inlined
def learn_range(s, fast, share):  # type: ignore[no-untyped-def]
    """Take the short mean into the range, and let the range relax slowly towards it."""
    s.high = fast if fast > s.high else s.high + share * (fast - s.high)
    s.low = fast if fast < s.low else s.low + share * (fast - s.low)


@inlined
def smallest_step(known, change):  # type: ignore[no-untyped-def]
    """The smallest change seen; negative while seen once: a constant that moved for good has no step yet."""
    return -change if known == 0.0 else min(abs(known), change)


@inlined
def learn_level(s, y, level, spread, weight, flat, share, young):  # type: ignore[no-untyped-def]
    """The slow mean, its spread, and how rough and how coarse the values are.

    On the first visit of a bucket, which follows the values it has just seen, the spread is about the slow mean: the
    second day, compared with the first, would otherwise be measured by how little a smooth series does in minutes.
    """
    off, change, n = abs(y - level), abs(y - s.previous), points(s)
    if s.day_age < OLD:
        off = max(off, abs(y - s.mean))
    clip = (FLAT_CLIP if flat else CLIP) * spread if n >= SETTLED else 1e30
    part = weight * max(share.slow, young)
    s.spread += part * (min(off, clip) - s.spread)
    s.rough += part * (min(change, clip) - s.rough)
    far = 1e30 if n < SETTLED else 2.0 * CLIP * spread
    step = weight * max(share.mean, young) * min(max(y - s.mean, -far), far) + s.rest
    mean = np.float32(s.mean + step)
    s.rest = step - (mean - s.mean)
    s.mean = mean
    if change > 0.0:
        s.quantum = smallest_step(s.quantum, change)
    s.previous = y


@inlined
def learn_block(s, dt, score):  # type: ignore[no-untyped-def]
    """The greatest score of each block of time, beyond what chance gives among so many points."""
    s.block_peak = max(s.block_peak, score)
    s.block_age += dt
    if s.block_age >= BLOCK:
        end_block(s)


@bare
def end_block(s):  # type: ignore[no-untyped-def]
    """Take a block's greatest score into their mean, and begin the next."""
    chance = log10(BLOCK / max(s.interval, 1e-3)) + 0.25
    s.blocks = min(s.blocks + 1, 30)
    s.block_mean += (s.block_peak - chance - s.block_mean) / (s.blocks + BLOCK_PRIOR)
    s.block_peak = s.block_age = 0.0


@inlined
def learn_interval(s, time, dt):  # type: ignore[no-untyped-def]
    """Count the point, and how far apart points are."""
    apart = (time - s.last) * 1e-3
    s.interval = apart if s.interval == 0.0 else s.interval + (dt - s.interval) / min(s.n + 1.0, 50.0)
    s.learned += dt
    s.n = min(s.n + 1.0, 1e7)


@inlined
def point(s, time, dt, y, level, spread, fast, medium, weight, flat, share, young):  # type: ignore[no-untyped-def]
    """Everything about the values, in an order in which each part still finds the state before the point."""
    learn_season(s, time, y, spread, weight, share)
    learn_range(s, fast, share.mean)
    learn_level(s, y, level, spread, weight, flat, share, young)
    learn_interval(s, time, dt)
    s.fast, s.medium = fast, medium


@inlined
def keep_near(s):  # type: ignore[no-untyped-def]
    """Move the anchor to the mean where the mean is so far from it that float32 would lose small changes."""
    if abs(s.mean) > 1e3 * s.spread and s.spread > 0.0:
        move_anchor(s)


@bare
def move_anchor(s):  # type: ignore[no-untyped-def]
    """Everything relative to the mean."""
    shift = float(s.mean)
    season.shifted(s, shift)
    s.anchor += shift
    s.mean -= shift
    s.previous -= shift
    s.fast -= shift
    s.low -= shift
    s.high -= shift
    s.medium -= shift
