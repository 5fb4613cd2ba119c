"""A frozen baseline beside the adaptive one: days of a service-level series, compared with the same weekdays weeks ago.

State is a row per judged row that has one (`regression`), dtype FROZEN; `owner` is 1 + that row, 0: free. Of the local day
that goes on (`day`, its number since the epoch, 0: none yet) it holds the mean of each half-hour, NaN where nothing came:
`sum` and `n` of the one that goes on, `half`. A day that is over is the mean of the middle half of its half-hours, and
their 90th percentile, STATISTICS, in rings of DAYS days by the day's number, NaN where fewer than LEAST_HALVES were heard.
`trend` is what usually changes from a week to the next, `spread` the mean
absolute deviation of a day's change from that, of `learned` days. Values are in the unit of the series.

A regression is open while `opened`, the day that found it, is not 0: `which` statistic left `base`, what each weekday was
`weeks` before and would be now by the trend, by more than `reach`; `calm` days in a row came within half of that.
Source: the seasonal naive forecast with drift, R. Hyndman and G. Athanasopoulos, Forecasting (3rd ed., 2021), section 5.2.
Weak in its first weeks (a fortnight is needed, and five weeks for what creeps), and on what grows faster and faster.
"""

import math

import numpy as np

from anomaly.compiled import bare, kernel
from anomaly.detect.episode import DEVIATION, RELATIVE, SIDE
from anomaly.detect.gain import gain

HALVES, DAYS, WEEK = 48, 36, 7
HALF_MS, DAY_MS = 1_800_000, 86_400_000
MIDDLE, HIGH, STATISTICS = 0, 1, 2
UPPER = 0.9

FROZEN = np.dtype(
    [
        ("owner", "i4"), ("free", "i4"), ("day", "i4"), ("opened", "i4"), ("sum", "f8"), ("n", "i4"), ("half", "i2"),
        ("which", "i1"), ("weeks", "i1"), ("started", "i8"), ("observed", "f8"), ("then", "f8"), ("centre", "f8"),
        ("reach", "f8"), ("score", "f8"), ("calm", "i2"), ("side", "i2"), ("first", "i4"), ("base", "f4", (WEEK,)),
        ("halves", "f4", (HALVES,)), ("days", "f4", (STATISTICS, DAYS)), ("trend", "f4", (STATISTICS,)),
        ("spread", "f4", (STATISTICS,)), ("learned", "f4", (STATISTICS,)),
    ]
)  # fmt: skip
# What happened at a point: OPENED, or CLOSED for a reason as in `episodes.REASONS`; the others as they stand in the row.
EVENT = np.dtype(
    [
        ("index", "i8"), ("owner", "i4"), ("what", "i1"), ("reason", "i1"), ("weeks", "i1"), ("side", "i2"), ("day", "i4"),
        ("first", "i4"), ("started", "i8"), ("observed", "f8"), ("then", "f8"), ("centre", "f8"), ("reach", "f8"),
        ("score", "f8"),
    ]
)  # fmt: skip
OPENED, CLOSED = 1, 2
BACK, NEW = 1, 2

LEAST_HALVES = 12  # a quarter of a day
LEAST_PAIRS = 4  # of seven weekdays
WEEKS = (4, 1)  # ago; what crept is told by the longer
KNOWN = 7.0  # changes of a day against the week before that must be known
MEMORY = 56.0  # days, half-life of what is usual
CLIP = 2.0  # spreads that one day may teach
SUSPECT = 0.25  # weight of a day whose week has changed by more than a day usually does
FEW = 4.0  # a spread of n days is taken for (1 + FEW / n) of it
WANDERING = 1.5  # spreads of four weeks: 1 of what only jitters, 2 of what wanders
LEAST_SPREAD = 0.01  # of the level
# Of a median of seven at least four lie as far out: 35 ways, each with a tail of 0.5 exp(-z), if days are independent.
DECADES, WAYS = 4.0 / math.log(10.0), 4.0 * math.log10(2.0) - math.log10(35.0)
TELLING, SUREST = 6.0, 30.0  # evidence that opens; at most
NEW_NORMAL, CALM = 28, 2  # days


@bare
def ranked(scratch, n, q):  # type: ignore[no-untyped-def]
    """The q-quantile of the first n of scratch, which is sorted; NaN of none."""
    if n == 0:
        return math.nan
    for i in range(1, n):
        x, j = scratch[i], i - 1
        while j >= 0 and scratch[j] > x:
            scratch[j + 1] = scratch[j]
            j -= 1
        scratch[j + 1] = x
    at = q * (n - 1)
    low = int(at)
    high = min(low + 1, n - 1)
    return scratch[low] + (at - low) * (scratch[high] - scratch[low])


@bare
def begin_day(f, day):  # type: ignore[no-untyped-def]
    """A day of which nothing is known yet; days between, of which nothing came, are not known."""
    for missed in range(max(f.day + 1, day - DAYS), day + 1) if f.day != 0 else range(day - DAYS, day + 1):
        for s in range(STATISTICS):
            f.days[s, missed % DAYS] = math.nan
    for half in range(HALVES):
        f.halves[half] = math.nan
    f.first = day if f.day == 0 else f.first
    f.day, f.n, f.sum = day, 0, 0.0


@bare
def end_half(f):  # type: ignore[no-untyped-def]
    """Keep the mean of the half-hour that went on."""
    if f.n > 0:
        f.halves[f.half] = f.sum / f.n
    f.n, f.sum = 0, 0.0


@bare
def end_day(f, scratch):  # type: ignore[no-untyped-def]
    """Put the day's statistics into their rings."""
    n = 0
    for half in range(HALVES):
        if not math.isnan(f.halves[half]):
            scratch[n] = f.halves[half]
            n += 1
    high = ranked(scratch, n, UPPER)
    first, total = n // 4, 0.0
    for i in range(first, n - first):
        total += scratch[i]
    f.days[MIDDLE, f.day % DAYS] = total / (n - 2 * first) if n >= LEAST_HALVES else math.nan
    f.days[HIGH, f.day % DAYS] = high if n >= LEAST_HALVES else math.nan


@bare
def typical(f, s, ago, scratch):  # type: ignore[no-untyped-def]
    """Median of the week that ended so many days ago, NaN if too little of it is known."""
    n = 0
    for i in range(WEEK):
        x = f.days[s, (f.day - i - ago) % DAYS]
        if not math.isnan(x):
            scratch[n] = x
            n += 1
    return ranked(scratch, n, 0.5) if n >= LEAST_PAIRS else math.nan


@bare
def change(f, s, ago, scratch):  # type: ignore[no-untyped-def]
    """Median change of the last seven days against those so many days before, NaN if too few pairs are known."""
    n = 0
    for i in range(WEEK):
        x = f.days[s, (f.day - i) % DAYS] - f.days[s, (f.day - i - ago) % DAYS]
        if not math.isnan(x):
            scratch[n] = x
            n += 1
    return ranked(scratch, n, 0.5) if n >= LEAST_PAIRS else math.nan


@bare
def compare(f, s, weeks, spec, scratch):  # type: ignore[no-untyped-def]
    """The evidence that a statistic is not what it was some weeks ago, 0 where that is too little to matter to the spec;
    its level then, what it would be by the trend, and how far from that matters: (score, then, centre, reach)."""
    then, off = typical(f, s, weeks * WEEK, scratch), change(f, s, weeks * WEEK, scratch)
    if math.isnan(then) or math.isnan(off) or f.learned[s] < KNOWN:
        return 0.0, then, then, 0.0
    centre, off = then + weeks * f.trend[s], off - weeks * f.trend[s]
    spread = f.spread[s] * (1.0 + FEW / f.learned[s]) * (WANDERING if weeks > 1 else 1.0)
    spread += LEAST_SPREAD * abs(then)
    reach = max(spec[DEVIATION], spec[RELATIVE] * abs(centre))
    if abs(off) < reach or spec[SIDE] * off < 0.0 or spread <= 0.0:
        return 0.0, then, centre, reach
    return min(max(DECADES * abs(off) / spread + WAYS, 0.0), SUREST), then, centre, reach


@bare
def look(f, spec, scratch):  # type: ignore[no-untyped-def]
    """Whether a regression is found at the end of a day."""
    for weeks in WEEKS:
        for s in range(STATISTICS):
            score, then, centre, reach = compare(f, s, weeks, spec, scratch)
            if score < TELLING:
                continue
            f.opened, f.which, f.weeks, f.score, f.calm = f.day, s, weeks, score, 0
            f.observed, f.then, f.centre = typical(f, s, 0, scratch), then, centre
            f.reach, f.side = reach, 1 if change(f, s, weeks * WEEK, scratch) > weeks * f.trend[s] else -1
            for i in range(WEEK):
                day = f.day - i
                f.base[day % WEEK] = f.days[s, (day - weeks * WEEK) % DAYS] + weeks * f.trend[s]
            return True
    return False


@bare
def over(f):  # type: ignore[no-untyped-def]
    """Why an open regression ends with this day, 0: it lasts. The past of what is back is no baseline, and is forgotten."""
    if f.day - f.opened >= NEW_NORMAL:
        f.opened = 0
        return NEW
    off = f.days[f.which, f.day % DAYS] - f.base[f.day % WEEK]
    if math.isnan(off):
        return 0
    f.calm = f.calm + 1 if f.side * off < 0.5 * f.reach else 0
    if f.calm < CALM:
        return 0
    f.opened = 0
    for s in range(STATISTICS):
        for ago in range(CALM, DAYS):
            f.days[s, (f.day - ago) % DAYS] = math.nan
    return BACK


@bare
def learn(f, scratch):  # type: ignore[no-untyped-def]
    """What usually changes in a week, and how much a day differs from that.

    Little of it in a week that may be the begin of a regression, or what creeps would be usual before it matters. Of one
    that was told everything: it may be here to stay.
    """
    for s in range(STATISTICS):
        off = f.days[s, f.day % DAYS] - f.days[s, (f.day - WEEK) % DAYS] - f.trend[s]
        if math.isnan(off):
            continue
        n, far, weight = f.learned[s], 1e300, 1.0
        if n >= KNOWN:
            far = f.spread[s] + LEAST_SPREAD * abs(f.days[s, f.day % DAYS])
            if f.opened == 0 and abs(change(f, s, WEEK, scratch) - f.trend[s]) > far:
                weight = SUSPECT
        share = weight * gain(1.0, MEMORY, n)
        f.spread[s] += share * (min(abs(off), CLIP * far) - f.spread[s])
        f.trend[s] += share * min(max(off, -far), far)
        f.learned[s] = n + 1.0


@bare
def speak(event, i, f, what, reason):  # type: ignore[no-untyped-def]
    """Write what happened at point `i`."""
    event.index, event.what, event.reason, event.owner, event.weeks, event.side = i, what, reason, f.owner, f.weeks, f.side
    event.day, event.first, event.started, event.observed, event.then = f.day, f.first, f.started, f.observed, f.then
    event.centre, event.reach, event.score = f.centre, f.reach, f.score


@kernel
def take(row, local, time, value, spec, frozen, parameters, scratch, events):  # type: ignore[no-untyped-def]
    """Take n points in arrival order, `local` their local ms; returns how many events there are, one a point at most."""
    m = 0
    for i in range(row.size):
        f, day = frozen[row[i]], local[i] // DAY_MS
        if day < f.day:
            continue
        if day > f.day:
            if f.day != 0:
                end_half(f)
                end_day(f, scratch)
                what, reason = 0, 0
                if f.opened != 0:
                    reason = over(f)
                    what = CLOSED if reason != 0 else 0
                elif look(f, parameters[spec[i]], scratch):
                    what, f.started = OPENED, time[i] - (local[i] - day * DAY_MS)
                learn(f, scratch)
                if what != 0:
                    speak(events[m], i, f, what, reason)
                    m += 1
            begin_day(f, day)
        half = local[i] % DAY_MS // HALF_MS
        if half != f.half:
            end_half(f)
            f.half = half
        f.sum += value[i]
        f.n += 1
    return m
