"""The default model: a value against its season, range, level and last half hour, each measured by what is usual for it.

One point of one row at a time: scored first, then learned. A score is -log10 of a tail probability: NaN before `KNOWN`
points, 0 at the expected value. All memories are in seconds; a point stands for the time since the one before it, at most
three usual intervals, so that neither a gap nor a late sender counts. A row is laid out in `layout`, learned in `learn`.

Structure: seasonal residual, range novelty and level, each calibrated by its own tail, as found to work on NAB, and the
sudden change, without which a series that wanders, or has just moved for good, would be blind to a leap. What is claimed
is capped by the number of independent looks, which for a smooth series are fewer than its points. While they are few, the
surprise of consecutive points on one side adds up: a step is told from a spike by lasting.
Looks are counted as level crossings: S. O. Rice, "Mathematical analysis of random noise" (1944), section 3.3.
Weak where a fault begins with the series, and on shapes: a flat line within its band is not noticed.
"""

import math

from anomaly.compiled import bare
from anomaly.detect import learn, season, tail
from anomaly.detect.gain import gain
from anomaly.detect.layout import (
    BLOCK_MEAN,
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
    NEGATIVE,
    PRIOR,
    QUANTUM,
    REST,
    ROUGH,
    RUN,
    SPREAD,
    TAIL_LEVEL,
    TAIL_RANGE,
    TAIL_SEASON,
    TAIL_SUDDEN,
    WEEK_AGE,
    N,
    begin,
)  # fmt: skip
from anomaly.detect.season import OLD

KNOWN = 10.0  # points, a donor's included, before which nothing is said
OWN = 3.0  # points of its own
FAST_HALF, MEDIUM_HALF = 1_800.0, 15_000.0
RELATIVE_FLOOR = 1e-3  # a spread below this share of the value is none
QUANTUM_FLOOR = 0.5  # nor is one below half the smallest step seen
FEW_SPREAD = 4.0  # a spread of n points is taken for (1 + FEW_SPREAD / n) of it
TINY = 1e-12
FLAT = 0.1  # of the smallest spread worth the name
RANGE_SHARE = 0.7
SUDDEN_SHARE = 0.85  # a sudden change is told also of series whose usual noise it resembles: it counts for a little less
SUDDEN_LOOKS = 3.0  # independent looks at sudden changes in a half-life of the short mean
FEW, LONG = 300.0, 21_600.0  # points and seconds at which a series is no longer quite young
LOW_RUN, MOST_RUN = 1.0, 4.0  # surprise of a point that belongs to a run; points that a run may be worth
HELD, HELD_TAIL = 0.03, 0.1  # weight of a point while the row has an open episode
SUSPECT = 3.0  # a run of points that score this may become an episode
REPEATED = 1.0  # share of what the series does all the time that is taken off
BAND_SCORE = 2.5  # the expected band ends where one point would score this
FAR = 1e30  # float32 ends a little further out


@bare
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


@bare
def floor(s, level):  # type: ignore[no-untyped-def]
    """The smallest spread worth the name: what the values resolve, and a share of their size."""
    return max(RELATIVE_FLOOR * abs(level), QUANTUM_FLOOR * max(s[QUANTUM], 0.0), TINY)


@bare
def is_flat(s, least):  # type: ignore[no-untyped-def]
    """Whether the series hardly ever moves: a constant, or one with a rare blip."""
    return s[SPREAD] < FLAT * least


@bare
def freshness(state):  # type: ignore[no-untyped-def]
    """How independent a point is of the one before it: 1 for noise, near 0 for a smooth line."""
    if state[SPREAD] <= 0.0:
        return 1.0
    ratio = state[ROUGH] / (1.4142 * state[SPREAD])
    return min(ratio * ratio, 1.0)


@bare
def novelty(state, fast):  # type: ignore[no-untyped-def]
    """How far the short mean lies outside the range it has had, over that range."""
    beyond = max(fast - state[HIGH], state[LOW] - fast)
    return max(beyond, 0.0) / max(state[HIGH] - state[LOW], state[SPREAD] + 1e-12)


@bare
def suddenness(state, y, n, least):  # type: ignore[no-untyped-def]
    """How far the value is from the last half hour's mean, in usual changes from point to point."""
    return abs(y - state[FAST]) / max(state[ROUGH] * (1.0 + FEW_SPREAD / n), least)


@bare
def duration(state, time, last):  # type: ignore[no-untyped-def]
    """Seconds that the point stands for; 0 for one that is not newer than the last."""
    dt = max((time - last) * 1e-3, 0.0)
    return min(dt, 3.0 * state[INTERVAL]) if state[INTERVAL] > 0.0 else dt


@bare
def looks(s):  # type: ignore[no-untyped-def]
    """How many independent extremes the row could have shown: as often as a line so smooth crosses a level (Rice)."""
    return (s[N] + s[PRIOR]) * math.sqrt(freshness(s))


@bare
def moved(mean, y, dt, half_life, n):  # type: ignore[no-untyped-def]
    """A short mean with the point taken in; unchanged by a point that stands for no time."""
    return mean + gain(dt, half_life, n) * (y - mean) if dt > 0.0 else mean


@bare
def surprises(s, va, vb, vc, vd, independent, flat):  # type: ignore[no-untyped-def]
    """What each of the four statistics says by its own tail, capped by how often it was looked at."""
    a = tail.surprise(va, s[TAIL_SEASON], s[TAIL_SEASON + 1], LEAST_SEASON)
    b = tail.surprise(vb, s[TAIL_RANGE], s[TAIL_RANGE + 1], LEAST_RANGE)
    c = tail.surprise(vc, s[TAIL_LEVEL], s[TAIL_LEVEL + 1], LEAST_LEVEL)
    d = tail.surprise(vd, s[TAIL_SUDDEN], s[TAIL_SUDDEN + 1], LEAST_SUDDEN)
    known, claim = s[LEARNED], 1.0 if flat else tail.CLAIM
    return (
        tail.capped(a, independent, claim),
        tail.capped(b, known / FAST_HALF, tail.CLAIM),
        tail.capped(c, known / MEDIUM_HALF, tail.CLAIM),
        tail.capped(d, max(independent, SUDDEN_LOOKS * known / FAST_HALF), claim),
    )


@bare
def combined(a, b, c, d):  # type: ignore[no-untyped-def]
    """The four as one: season and range support each other; the level and the sudden change may speak alone."""
    return max((a + RANGE_SHARE * b) / math.sqrt(1.0 + RANGE_SHARE * RANGE_SHARE), c, SUDDEN_SHARE * d)


@bare
def youth(s):  # type: ignore[no-untyped-def]
    """1 for a new row, half at FEW points or LONG seconds, and soon nothing."""
    return 1.0 / (1.0 + ((s[N] + s[PRIOR]) / FEW) ** 2 + (s[LEARNED] / LONG) ** 2)


@bare
def run_before(s, a, side, flat):  # type: ignore[no-untyped-def]
    """What the run of surprising points on this side adds, while few looks keep each of them from saying much."""
    if a < LOW_RUN:
        return 0.0
    return (1.0 if flat else math.sqrt(freshness(s)) * youth(s)) * max(side * s[RUN], 0.0)


@bare
def trusted(s, run, raw, flat, held):  # type: ignore[no-untyped-def]
    """How much of the point may be learned: little in an episode, nor in a run that may become one while looks are few."""
    if held:
        return HELD
    if run > 0.0 and raw >= SUSPECT:
        return HELD if flat else 1.0 - (1.0 - HELD) * youth(s)
    return 1.0


@bare
def trusted_tail(s, weight, flat, held):  # type: ignore[no-untyped-def]
    """The same for the tail: of an old row it learns from episodes too, or a series that alarms does so for ever; of a
    young one it would be blind to the next episode. A flat row's deviations, measured by the floor, teach its tail
    little: after one leap it would call every other leap usual."""
    if flat:
        return HELD
    return max(HELD_TAIL, 1.0 - 1.0 / (1.0 + (s[LEARNED] / LONG) ** 2)) if held else weight


@bare
def band(s, centre, spread, at, least):  # type: ignore[no-untyped-def]
    """The expected values (low, high) by the tail at `at`; not below zero for a series that never was."""
    reach = spread * tail.reach(BAND_SCORE, s[at], s[at + 1], least)
    low = centre - reach
    return (max(low, 0.0) if s[NEGATIVE] == 0.0 else low), centre + reach


@bare
def settle(s, anchor, last, row, time, value):  # type: ignore[no-untyped-def]
    """The first value of a row a donor primed: the shape is the donor's, the level its own."""
    anchor[row] = value - expected(s, time, time, s[MEAN], True)
    last[row] = time - 1000


@bare
def judge_point(state, anchor, last, row, time, value, seasonal, held, teach):  # type: ignore[no-untyped-def]
    """Score one point against its row, then learn it if `teach` and it is new: (score, low, high, seconds learned)."""
    s = state[row]
    if math.isnan(s[MEAN]):
        if teach:
            begin(s, time)
            anchor[row], last[row], s[NEGATIVE] = value, time, 1.0 if value < 0.0 else 0.0
        return math.nan, math.nan, math.nan, 0.0
    if s[N] == 0.0 and teach:
        settle(s, anchor, last, row, time, value)
    y, before, learned = min(max(value - anchor[row], -FAR), FAR), last[row], s[LEARNED]
    dt = duration(s, time, before)
    level = expected(s, time, before, y, seasonal)
    n, least = s[N] + s[PRIOR], floor(s, anchor[row] + level)
    spread, flat = max(s[SPREAD] * (1.0 + FEW_SPREAD / n), least), is_flat(s, least)
    fast, medium = moved(s[FAST], y, dt, FAST_HALF, n), moved(s[MEDIUM], y, dt, MEDIUM_HALF, n)
    va, vb, vc = abs(y - level) / spread, novelty(s, fast), abs(medium - s[MEAN]) / spread
    vd, side = suddenness(s, y, n, least), 1.0 if y >= level else -1.0
    a, b, c, d = surprises(s, va, vb, vc, vd, looks(s), flat)
    run = run_before(s, a, side, flat)
    raw = combined(a, b, c, d) + run
    low, high = band(s, anchor[row] + level, spread, TAIL_SEASON, LEAST_SEASON)
    if low <= value <= high and SUDDEN_SHARE * d >= raw - run:  # then what is usual is what the series does within minutes
        step = max(s[ROUGH] * (1.0 + FEW_SPREAD / n), least)
        low, high = band(s, anchor[row] + s[FAST], step, TAIL_SUDDEN, LEAST_SUDDEN)
    known = n >= KNOWN and s[N] >= OWN
    score = max(raw - REPEATED * max(s[BLOCK_MEAN], 0.0), 0.0)
    if teach and time > before:
        weight = trusted(s, run, raw, flat, held)
        learn.learn_tails(s, dt, va, vb, vc, vd, trusted_tail(s, weight, flat, held))
        learn.point(s, time, before, dt, y, level, spread, fast, medium, weight, flat)
        learn.learn_block(s, dt, raw if known else 0.0)
        s[RUN] = side * min(a + run, MOST_RUN * a) if a >= LOW_RUN else 0.0
        s[NEGATIVE] = 1.0 if value < 0.0 else s[NEGATIVE]
        last[row] = time
        learn.keep_near(s, anchor, row)
    if not known:
        return math.nan, math.nan, math.nan, learned
    return score, low, high, learned
