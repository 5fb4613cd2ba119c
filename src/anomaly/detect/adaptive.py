"""The default model: a value against its season, range, level and last half hour, each measured by what is usual for it.

One point of one row at a time: scored first, then learned. A score is -log10 of a tail probability: NaN before `KNOWN`
points, 0 at the expected value. All memories are in seconds; a point stands for the time since the one before it, at most
three usual intervals, so that neither a gap nor a late sender counts. A row is laid out in `layout`, learned in `learn`.

Structure: seasonal residual, range novelty and level, each calibrated by its own tail, as found to work on NAB, and the
sudden change, without which a series that wanders, or has just moved for good, would be blind to a leap. What is claimed
is capped by the number of independent looks, which for a smooth series are fewer than its points. While they are few, the
surprise of consecutive points on one side adds up: a step is told from a spike by lasting.
Looks are counted as level crossings: S. O. Rice, "Mathematical analysis of random noise" (1944), section 3.3.
What is the same for many points, like the weights of a second, is worked out once a point; nothing of the C library that
could differ between machines is called (`portable`).
Weak where a fault begins with the series, and on shapes: a flat line within its band is not noticed.
"""

import math

from anomaly.compiled import bare, inlined
from anomaly.detect import learn, season, tail
from anomaly.detect.layout import LEAST_LEVEL, LEAST_RANGE, LEAST_SEASON, LEAST_SUDDEN, begin, points
from anomaly.detect.learn import FAST_HALF, MEDIUM_HALF
from anomaly.detect.season import OLD

KNOWN = 10.0  # points, a donor's included, before which nothing is said
OWN = 3.0  # points of its own
RELATIVE_FLOOR = 1e-3  # a spread below this share of the value is none
QUANTUM_FLOOR = 0.5  # nor is one below half the smallest step seen
FEW_SPREAD = 4.0  # a spread of n points is taken for (1 + FEW_SPREAD / n) of it
TINY = 1e-12
SQRT2 = 1.4142  # of the mean absolute difference of two independent values over that of one from its mean
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


@inlined
def expected(s, time, y, seasonal):  # type: ignore[no-untyped-def]
    """The nearer of what the day and the week expect; the week only from a bucket's second visit on."""
    if not seasonal:
        return float(s.mean + s.rest)
    day, week, fresh = float(s.day), float(s.week), s.week_age < OLD
    if not season.goes_on(time, s.last):
        day, week, fresh = season.elsewhere(s, time, s.last)
    if math.isnan(week) or fresh or abs(y - day) <= abs(y - week):
        return day
    return week


@inlined
def floor(s, level):  # type: ignore[no-untyped-def]
    """The smallest spread worth the name: what the values resolve, and a share of their size."""
    return max(RELATIVE_FLOOR * abs(level), QUANTUM_FLOOR * max(s.quantum, 0.0), TINY)


@inlined
def independence(s):  # type: ignore[no-untyped-def]
    """How much of a point is news after the one before it: 1 for noise, near 0 for a smooth line (Rice)."""
    if s.spread <= 0.0:
        return 1.0
    return min(s.rough / (SQRT2 * s.spread), 1.0)


@inlined
def novelty(s, fast):  # type: ignore[no-untyped-def]
    """How far the short mean lies outside the range it has had, over that range."""
    beyond = max(fast - s.high, s.low - fast)
    return beyond / max(s.high - s.low, s.spread + 1e-12) if beyond > 0.0 else 0.0


@inlined
def duration(s, time):  # type: ignore[no-untyped-def]
    """Seconds that the point stands for; 0 for one that is not newer than the last."""
    dt = max((time - s.last) * 1e-3, 0.0)
    return min(dt, 3.0 * s.interval) if s.interval > 0.0 else dt


@inlined
def moved(mean, y, dt, weight):  # type: ignore[no-untyped-def]
    """A short mean with the point taken in; unchanged by a point that stands for no time."""
    return mean + weight * (y - mean) if dt > 0.0 else float(mean)


@inlined
def surprises(s, va, vb, vc, vd, looks, flat):  # type: ignore[no-untyped-def]
    """What each of the four statistics says by its own tail, capped by how often it was looked at."""
    a = tail.surprise(va, s.season_quantile, s.season_excess, LEAST_SEASON)
    b = tail.surprise(vb, s.range_quantile, s.range_excess, LEAST_RANGE)
    c = tail.surprise(vc, s.level_quantile, s.level_excess, LEAST_LEVEL)
    d = tail.surprise(vd, s.sudden_quantile, s.sudden_excess, LEAST_SUDDEN)
    claim = 1.0 if flat else tail.CLAIM
    return (
        tail.capped(a, looks, claim),
        tail.capped(b, s.learned * (1.0 / FAST_HALF), tail.CLAIM),
        tail.capped(c, s.learned * (1.0 / MEDIUM_HALF), tail.CLAIM),
        tail.capped(d, max(looks, s.learned * (SUDDEN_LOOKS / FAST_HALF)), claim),
    )


@inlined
def combined(a, b, c, d):  # type: ignore[no-untyped-def]
    """The four as one: season and range support each other; the level and the sudden change may speak alone."""
    return max((a + RANGE_SHARE * b) * (1.0 / math.sqrt(1.0 + RANGE_SHARE * RANGE_SHARE)), c, SUDDEN_SHARE * d)


@inlined
def youth(s):  # type: ignore[no-untyped-def]
    """1 for a new row, half at FEW points or LONG seconds, and soon nothing."""
    n, age = points(s) / FEW, s.learned / LONG
    return 1.0 / (1.0 + n * n + age * age)


@inlined
def run_before(s, a, side, flat):  # type: ignore[no-untyped-def]
    """What the run of surprising points on this side adds, while few looks keep each of them from saying much."""
    before = side * s.run
    if a < LOW_RUN or before <= 0.0:
        return 0.0
    return before if flat else independence(s) * youth(s) * before


@inlined
def trusted(s, run, raw, flat, held):  # type: ignore[no-untyped-def]
    """How much of the point may be learned: little in an episode, nor in a run that may become one while looks are few."""
    if held:
        return HELD
    if run > 0.0 and raw >= SUSPECT:
        return HELD if flat else 1.0 - (1.0 - HELD) * youth(s)
    return 1.0


@inlined
def trusted_tail(s, weight, flat, held):  # type: ignore[no-untyped-def]
    """The same for the tail: of an old row it learns from episodes too, or a series that alarms does so for ever; of a
    young one it would be blind to the next episode. A flat row's deviations, measured by the floor, teach its tail
    little: after one leap it would call every other leap usual."""
    if flat:
        return HELD
    age = s.learned / LONG
    return max(HELD_TAIL, 1.0 - 1.0 / (1.0 + age * age)) if held else weight


@inlined
def band(s, centre, spread, quantile, excess, least):  # type: ignore[no-untyped-def]
    """The expected values (low, high) by a tail; not below zero for a series that never was."""
    reach = spread * tail.reach(BAND_SCORE, quantile, excess, least)
    low = centre - reach
    return (max(low, 0.0) if s.negative == 0 else low), centre + reach


@inlined
def settle(s, time, value):  # type: ignore[no-untyped-def]
    """The first value of a row a donor primed: the shape is the donor's, the level its own."""
    if not season.goes_on(time, s.last):
        season.turn(s, time, s.last)
    s.last = time
    s.anchor = value - expected(s, time, float(s.mean), True)
    s.last = time - 1000


@bare
def judge_point(state, row, time, value, seasonal, held, teach):  # type: ignore[no-untyped-def]
    """Score one point against its row, then learn it if `teach` and it is new: (score, low, high, seconds learned)."""
    s = state[row]
    if s.n == 0.0 and s.primed == 0:
        if teach:
            begin(s, time, value)
        return math.nan, math.nan, math.nan, 0.0
    if s.n == 0.0 and teach:
        settle(s, time, value)
    y, before, learned = min(max(value - s.anchor, -FAR), FAR), s.last, float(s.learned)
    dt = duration(s, time)
    level, n = expected(s, time, y, seasonal), points(s)
    share, young, few = learn.shares(dt), 1.0 / (n + 1.0), 1.0 + FEW_SPREAD / n
    least = floor(s, s.anchor + level)
    spread, step, flat = max(s.spread * few, least), max(s.rough * few, least), s.spread < FLAT * least
    fast, medium = moved(s.fast, y, dt, max(share.fast, young)), moved(s.medium, y, dt, max(share.medium, young))
    va, vb, vc, vd = abs(y - level) / spread, novelty(s, fast), abs(medium - s.mean) / spread, abs(y - s.fast) / step
    a, b, c, d = surprises(s, va, vb, vc, vd, n * independence(s), flat)
    side = 1.0 if y >= level else -1.0
    run = run_before(s, a, side, flat)
    raw = combined(a, b, c, d) + run
    low, high = band(s, s.anchor + level, spread, s.season_quantile, s.season_excess, LEAST_SEASON)
    near_low, near_high = band(s, s.anchor + s.fast, step, s.sudden_quantile, s.sudden_excess, LEAST_SUDDEN)
    if low <= value <= high and SUDDEN_SHARE * d >= raw - run:  # then what is usual is what the series does within minutes
        low, high = near_low, near_high
    known = n >= KNOWN and s.n >= OWN
    score = max(raw - REPEATED * max(s.block_mean, 0.0), 0.0)
    if teach and time > before:
        weight = trusted(s, run, raw, flat, held)
        learn.learn_tails(s, share.slow, va, vb, vc, vd, trusted_tail(s, weight, flat, held))
        learn.point(s, time, dt, y, level, spread, fast, medium, weight, flat, share, young)
        learn.learn_block(s, dt, raw if known else 0.0)
        s.run = side * min(a + run, MOST_RUN * a) if a >= LOW_RUN else 0.0
        if value < 0.0:
            s.negative = 1
        s.last = time
        learn.keep_near(s)
    if not known:
        return math.nan, math.nan, math.nan, learned
    return score, low, high, learned
