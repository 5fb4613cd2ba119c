"""Runs of jobs: how far apart they begin and how long they last, as two small series of a series that is mostly idle.

A series runs while its value is above 0 and is idle while it is 0; CALM idle points end a run. Kept are the last KEPT
intervals between starts and lengths of runs, as decimal logarithms of seconds, a ring each. Only starts that are REGULAR can
be missed, doubled or overlong; of what begins at random nothing is said. A new one is judged by Student's t of those before,
whose spread is never below what the spacing of points leaves open: so few runs say little, and many irregular ones nothing.
  score = -log10 P(T > t), T of n - 1 degrees of freedom, by D. Wallace's normal approximation (1959)
Time since the last start is judged at each idle point, and time in a run at each point of one. A start that comes too soon
does not move the calendar, one that comes too late does. What is odd is not learned, but for the third time on end, when all
is learned anew. A gap that was told once and came again is known (`longest`), until KEPT usual starts later: the weekend of
a job of weekdays is told on the first one only. What lies in a window, or behind a gap in the data, is not judged.
State is a row of RUN per judged row that began to run once, 248 bytes. Times int64 ms, `step` s between points.
Sources: A. Gelman et al., Bayesian Data Analysis (3rd ed., 2013), section 3.2: the predictive of a normal.
Weak where idle is not 0 or where nothing is sent meanwhile, where a job has two rhythms, and for the first NEEDED runs.
"""

import math

import numpy as np

from anomaly.compiled import bare, kernel
from anomaly.detect.portable import faded, log10

LN10 = math.log(10.0)
KEPT, NEEDED = 16, 8  # runs remembered; runs before one is judged
CALM = 2  # idle points that end a run
REGULAR = 0.05  # spread of intervals, in decades, up to which they are regular: an eighth
LEAST = 0.01, 0.02  # spread of intervals and of lengths, in decades, that is always believed
BETWEEN = 0.22, 0.3  # of the spacing of points over the usual: what of it is spread, in decades
SURE = 6.0  # score from which a run is told; a record is one more
GAP = 5.0  # usual steps between points after which a start may have been overlooked
AGAIN = 3  # odd ones on end that are the new usual
INTERVAL, LENGTH = 0, 1
IDLE, RUNNING = 0, 1
NOTHING, OPENED, RECORD, CLOSED = 0, 1, 2, 3
NO_REASON, BACK, NEW_NORMAL = 0, 1, 2
UNMET, WAITS, HAS_RUN, NEVER = 0, 1, 2, 3  # of a subject's `runs`: met never, idle by now; has a row; is no job
PERIODS = 3.0  # usual intervals that a job must be overdue before its silence may be the new normal

RUN = np.dtype(
    [
        ("last", "i8"), ("rose", "i8"), ("fell", "i8"), ("base", "i8"), ("first", "i8"), ("started", "i8"),
        ("score", "f8"), ("spoken", "f8"), ("observed", "f8"), ("step", "f4"), ("longest", "f4"),
        ("ring", "f4", (2, KEPT)), ("n", "u1", (2,)), ("at", "u1", (2,)), ("odd", "u1", (2,)), ("phase", "u1"),
        ("calm", "u1"), ("spoiled", "u1"), ("told", "u1"), ("side", "i1"), ("since", "u1"), ("owner", "i4"), ("free", "i4"),
    ],
    align=True,
)  # fmt: skip

# What happened: `what` as above, `of` INTERVAL or LENGTH, and what is to be said of it, seconds.
EVENT = np.dtype(
    [("index", "i8"), ("started", "i8"), ("score", "f8"), ("observed", "f8"), ("low", "f8"), ("high", "f8"), ("first", "i8"),
     ("owner", "i4"), ("what", "i1"), ("of", "i1"), ("side", "i1"), ("reason", "i1")]
)  # fmt: skip


@bare
def usual(j, of):  # type: ignore[no-untyped-def]
    """Mean and spread of a ring, in decades; the spread is infinite while too few are known."""
    n = j.n[of]
    if n < NEEDED:
        return 0.0, math.inf
    total, square = 0.0, 0.0
    for k in range(n):
        total += j.ring[of, k]
    mean = total / n
    for k in range(n):
        square += (j.ring[of, k] - mean) * (j.ring[of, k] - mean)
    return mean, math.sqrt(square / (n - 1))


@bare
def seconds_of(mean):  # type: ignore[no-untyped-def]
    """10 to the mean; no less than 1."""
    return 1.0 / (1.0 - faded(max(mean, 0.0) * LN10))


@bare
def believed(j, of, mean, spread):  # type: ignore[no-untyped-def]
    """The spread, with what the spacing of points leaves open, and with what so few leave open of the mean."""
    floor = max(LEAST[of], BETWEEN[of] * j.step / seconds_of(mean))
    return max(spread, floor) * math.sqrt(1.0 + 1.0 / j.n[of])


@bare
def surprise(t, freedom):  # type: ignore[no-untyped-def]
    """-log10 of the upper tail of Student's t beyond 2; 0 up to there."""
    if t <= 2.0:
        return 0.0
    z2 = freedom * LN10 * log10(1.0 + t * t / freedom)
    shrunk = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
    z2 *= shrunk * shrunk
    return 0.5 * z2 / LN10 + log10(max(math.sqrt(2.0 * math.pi * z2), 1.0))


@bare
def judged(j, of, seconds):  # type: ignore[no-untyped-def]
    """How odd so many seconds are: (score, side); 0 where starts are not regular, or too few are known."""
    mean, spread = usual(j, of)
    if usual(j, INTERVAL)[1] > REGULAR or not math.isfinite(spread) or seconds <= 0.0:
        return 0.0, 0
    t = (log10(seconds) - mean) / believed(j, of, mean, spread)
    return surprise(abs(t), j.n[of] - 1.0), (1 if t > 0.0 else -1)


@bare
def push(j, of, seconds, is_odd):  # type: ignore[no-untyped-def]
    """Learn an interval or a length, if it is usual; the third odd one on end begins anew."""
    if is_odd:
        j.odd[of] += 1
        if j.odd[of] < AGAIN:
            return
        j.n[of] = j.at[of] = 0
    j.odd[of] = 0
    j.ring[of, j.at[of]] = log10(max(seconds, 0.001))
    j.at[of] = (j.at[of] + 1) % KEPT
    j.n[of] = min(j.n[of] + 1, KEPT)


@bare
def forget(j):  # type: ignore[no-untyped-def]
    """The job of before is no more."""
    for of in range(2):
        j.n[of] = j.at[of] = j.odd[of] = 0
    j.told, j.longest, j.base = 0, 0.0, 0


@bare
def follow(j, of, time, seconds, score, new_normal):  # type: ignore[no-untyped-def]
    """What there is to say while it takes longer than usual: (what, reason)."""
    if j.told == 0:
        if score < SURE or seconds <= 1.1 * j.longest:
            return NOTHING, NO_REASON
        j.told, j.side, j.started, j.score, j.spoken, j.observed = of + 1, 1, time, score, score, seconds
        return OPENED, NO_REASON
    if j.told != of + 1 or j.side < 0:
        return NOTHING, NO_REASON
    if (time - j.started) * 1e-3 >= max(new_normal, PERIODS * seconds_of(usual(j, INTERVAL)[0])):
        return CLOSED, NEW_NORMAL
    j.score, j.observed = max(score, j.score), seconds
    if j.score >= j.spoken + 1.0:
        j.spoken = j.score
        return RECORD, NO_REASON
    return NOTHING, NO_REASON


@bare
def start(j, time):  # type: ignore[no-untyped-def]
    """A run begins: (what, reason)."""
    what, since = NOTHING, (time - j.base) * 1e-3
    known = j.base > 0 and j.spoiled == 0
    score, side = judged(j, INTERVAL, since) if known else (0.0, 0)
    early = score >= SURE and side < 0
    if j.told == INTERVAL + 1 and j.side > 0:
        what, j.longest, j.since = CLOSED, since, 0
    elif early and j.told == 0:
        what = OPENED
        j.told, j.side, j.started, j.score, j.spoken, j.observed = INTERVAL + 1, -1, time, score, score, since
    if known:
        push(j, INTERVAL, since, score >= SURE)
    if score < SURE:
        j.since = min(j.since + 1, 255)
        if j.since > KEPT:
            j.longest = 0.0
    if not early or j.odd[INTERVAL] == 0:
        j.base = time
    j.rose, j.phase, j.calm, j.spoiled = time, RUNNING, 0, 0
    return what


@bare
def stop(j):  # type: ignore[no-untyped-def]
    """A run is over: what there is to say."""
    what, length = NOTHING, (j.fell - j.rose) * 1e-3
    if j.spoiled == 0:
        push(j, LENGTH, length, judged(j, LENGTH, length)[0] >= SURE)
    if j.told == LENGTH + 1 or (j.told == INTERVAL + 1 and j.side < 0):
        what = CLOSED
        if j.told == LENGTH + 1:
            j.spoiled = 1  # the next start may have come meanwhile
    j.phase = IDLE
    return what


@bare
def point(j, time, value, counts, new_normal):  # type: ignore[no-untyped-def]
    """Take a point of a job: (what, reason, of)."""
    apart, of = (time - j.last) * 1e-3, max(j.told, 1) - 1
    what, reason = NOTHING, NO_REASON
    if not counts or (j.step > 0.0 and apart > GAP * j.step):
        j.spoiled = 1
    j.step = apart if j.step == 0.0 else j.step + 0.1 * (min(apart, 3.0 * j.step) - j.step)
    j.last = time
    if value > 0.0 and j.phase == IDLE:
        what, reason = start(j, time), BACK
        of = INTERVAL
    elif value > 0.0:
        j.calm = 0
        if j.spoiled == 0:
            seconds = (time - j.rose) * 1e-3
            score, side = judged(j, LENGTH, seconds)
            what, reason = follow(j, LENGTH, time, seconds, score if side > 0 else 0.0, new_normal)
            of = max(j.told, 1) - 1
    elif j.phase == RUNNING:
        j.fell = time if j.calm == 0 else j.fell
        j.calm += 1
        if j.calm >= CALM:
            what, reason = stop(j), BACK
    elif j.base > 0 and j.spoiled == 0:
        seconds = (time - j.base) * 1e-3
        score, side = judged(j, INTERVAL, seconds)
        what, reason = follow(j, INTERVAL, time, seconds, score if side > 0 else 0.0, new_normal)
        of = INTERVAL
    return what, reason, of


@bare
def speak(e, i, j, what, reason, of):  # type: ignore[no-untyped-def]
    """Fill in an event, before what it is about is forgotten."""
    mean, spread = usual(j, of)
    reach = 3.5 * believed(j, of, mean, spread) if math.isfinite(spread) else 0.0
    e.index, e.owner, e.what, e.of, e.reason = i, j.owner, what, of, reason if what == CLOSED else NO_REASON
    e.started, e.score, e.observed, e.side, e.first = j.started, j.score, j.observed, j.side, j.first
    e.low, e.high = seconds_of(mean - reach), seconds_of(mean + reach)


@kernel
def take(row, time, value, counts, place, jobs, touched, new_normal, events):  # type: ignore[no-untyped-def]
    """Take points of judged rows; returns the number of events. `place` (n,): its row among the jobs, -1: none."""
    m = 0
    for i in range(row.size):
        if place[i] < 0 or not math.isfinite(value[i]):
            continue
        j = jobs[place[i]]
        if time[i] <= j.last:
            continue
        touched[place[i]] = 1
        what, reason, of = point(j, time[i], value[i], counts[i], new_normal[i])
        if what != NOTHING:
            speak(events[m], i, j, what, reason, of)
            m += 1
        if what == CLOSED:
            j.told = 0
            if reason == NEW_NORMAL:
                forget(j)
    return m


@kernel
def begun(row, value, subjects, touched, found):  # type: ignore[no-untyped-def]
    """Note who is idle, and find the points at which a row that was begins to run for the first time; how many."""
    m = 0
    for i in range(row.size):
        s = subjects[row[i]]
        if value[i] == 0.0:
            if s.runs == UNMET:
                s.runs, touched[row[i]] = WAITS, 1
        elif s.runs == WAITS:
            s.runs, touched[row[i]] = (HAS_RUN if value[i] > 0.0 else NEVER), 1
            if value[i] > 0.0:
                found[m] = i
                m += 1
    return m
