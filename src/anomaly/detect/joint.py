"""The golden signals of a group judged together: how far they are off, each, by how they usually are off together.

A value's surprise, with the side as its sign, is put on the scale of a Gaussian's deviations (`deviations`); the mean of a
minute of them is a signal's part. Four such parts u, over their usual size, have the distance D^2 = u' R^-1 u, with R their
correlation as learned so far, shrunk towards none while little is known; sqrt(2 D^2) - sqrt(2 d - 1) of d signals is about
Gaussian, and the group's own tail says how surprising it is. So what is odd only jointly (latency up while traffic falls) is
found, and a latency that went as far as it usually goes with such traffic is not.
A part is not counted twice: what a signal adds is the distance less that of the others alone; the one that adds most drives.
State is rows of `rows.GOLDEN`, one a group; parts have no unit, a signal that said nothing in a minute is left out of it.
Scored first, learned afterwards, with little weight where it is odd; memories in seconds.
Sources: P. Mahalanobis, "On the generalised distance in statistics" (1936); R. Fisher's normal approximation of chi-square
(Statistical Methods for Research Workers, 1925); shrinkage, O. Ledoit and M. Wolf (2004), here by time instead of by fit.
Weak where a relation is not a straight line: twice the traffic may be four times the queue.
"""

import math

import numpy as np

from anomaly.compiled import bare, inlined
from anomaly.decode.index import slot_of
from anomaly.detect import gain, tail
from anomaly.detect.book import taken
from anomaly.detect.episode import CALM, DEVIATION, NOTHING, RELATIVE
from anomaly.detect.judge import HIGH, LOW, SCORE
from anomaly.detect.peers import follow
from anomaly.detect.rows import SIGNALS

LATENCY, TRAFFIC, ERRORS, SATURATION = range(SIGNALS)
HARM = (1.0, -1.0, 1.0, 1.0)  # to which side each is a fault
MINUTE = 60_000  # ms
MEMORY = 604_800.0  # half-life in seconds of what is usual
SHRUNK = 21_600.0  # seconds that no correlation is worth
YOUNG = 3_600.0  # seconds before which nothing is said of a group
LEAST_SCALE, USUAL_SCALE = 0.25, 1.0
CLOSEST = 0.95  # correlation: what is nearer would make a distance of nothing
EDGE, ALONG = 2.2, 0.85  # deviations at the tail's quantile, and a decade further
CLIP = 3.5  # usual sizes that one minute may teach
HELD = 0.03  # weight of a minute that is odd
USUAL, LEAST = (2.2, 0.5), (1.9, 0.4)  # tail before anything is known, and a Gaussian's, the least
OPENS, LEAVES, SUREST = 4.0, 2.5, 30.0  # scores
LASTS, CALMS, NEW = 120.0, 180.0, 21_600.0  # s: odd before it is told, usual until it is over, and the new normal
TOLD_AT = 1.5  # usual sizes of latency from which on what explains it is told each minute

# What happened to a group's episode; `u` the parts, `adds` what each adds to the distance; `band` the usual distance.
JOINT = np.dtype(
    [
        ("point", "i8"), ("time", "i8"), ("started", "i8"), ("score", "f8"), ("observed", "f8"), ("now", "f8"),
        ("band", "f8"), ("seen", "f8"), ("u", "f8", (SIGNALS,)), ("adds", "f8", (SIGNALS,)), ("golden", "i4"),
        ("event", "i1"), ("reason", "i1"),
    ]
)  # fmt: skip
# How a group's latency stands to its traffic: `u` of the traffic, their correlation `r`, the usual `size` of the latency. At
# a place `at` of the batch that was asked about, or -1: at the end of a minute.
BESIDE = np.dtype(
    [("point", "i8"), ("time", "i8"), ("at", "i8"), ("golden", "i4"), ("u", "f4"), ("r", "f4"), ("size", "f4")]
)


@bare
def deviations(score):  # type: ignore[no-untyped-def]
    """How many deviations of a Gaussian are about as surprising: straight to its 0.972 quantile, and along its tail."""
    at = tail.AT_QUANTILE
    return EDGE / at * score if score <= at else EDGE + ALONG * (score - at)


@inlined
def pair(i, j):  # type: ignore[no-untyped-def]
    """The place of a pair of signals, i < j, among all pairs."""
    return i * (2 * SIGNALS - i - 1) // 2 + j - i - 1


@inlined
def correlation(g, i, j):  # type: ignore[no-untyped-def]
    """Of two signals, as far as is known."""
    if i > j:
        i, j = j, i
    scales = max(g.scale[i], LEAST_SCALE) * max(g.scale[j], LEAST_SCALE)
    r = g.along[pair(i, j)] / math.sqrt(scales) * g.seen / (g.seen + SHRUNK)
    return min(max(r, -CLOSEST), CLOSEST)


@bare
def distance(g, u, left_out, work):  # type: ignore[no-untyped-def]
    """D^2 of the parts that are known (not NaN), without one of them, -1: of all; by elimination in `work` (5, 4)."""
    n = 0
    for i in range(SIGNALS):
        if i != left_out and not math.isnan(u[i]):
            work[SIGNALS, n] = i
            n += 1
    for a in range(n):
        i = int(work[SIGNALS, a])
        for b in range(n):
            j = int(work[SIGNALS, b])
            work[a, b] = 1.0 if a == b else correlation(g, i, j)
    total = 0.0
    for a in range(n):  # Cholesky's factor row by row, and along with it the solution
        for b in range(a + 1):
            rest = work[a, b]
            for k in range(b):
                rest -= work[a, k] * work[b, k]
            work[a, b] = math.sqrt(max(rest, 1.0 - CLOSEST)) if a == b else rest / work[b, b]
    for a in range(n):
        rest = u[int(work[SIGNALS, a])]
        for k in range(a):
            rest -= work[a, k] * work[k, SIGNALS]
        work[a, SIGNALS] = rest / work[a, a]
        total += work[a, SIGNALS] * work[a, SIGNALS]
    return total


@bare
def learn(g, u, weight):  # type: ignore[no-untyped-def]
    """What is usual of a minute's parts, which come over their usual size."""
    step = weight * max(gain.share(60.0, MEMORY), 60.0 / (g.seen + YOUNG))
    for i in range(SIGNALS):
        if math.isnan(u[i]):
            continue
        size = math.sqrt(max(g.scale[i], LEAST_SCALE))
        x = min(max(u[i], -CLIP), CLIP) * size
        for j in range(i + 1, SIGNALS):
            if not math.isnan(u[j]):
                y = min(max(u[j], -CLIP), CLIP) * math.sqrt(max(g.scale[j], LEAST_SCALE))
                g.along[pair(i, j)] += step * (x * y - g.along[pair(i, j)])
        g.past[i] = u[i]
    for i in range(SIGNALS):
        if not math.isnan(u[i]):
            x = min(max(u[i], -CLIP), CLIP)
            g.scale[i] += step * (x * x * max(g.scale[i], LEAST_SCALE) - g.scale[i])
    g.seen += 60.0


@bare
def turn(g, row, point, work, u, out, m):  # type: ignore[no-untyped-def]
    """A minute is over: judge it, learn it, forget its values; returns how many events were written."""
    d, felt = 0, 0.0
    for i in range(SIGNALS):
        u[i] = math.nan
        if g.n[i] > 0.0:
            u[i] = g.z[i] / g.n[i] / math.sqrt(max(g.scale[i], LEAST_SCALE))
            felt += min(max(g.beyond[i] / g.n[i], 0.0), 1.0)
            d += 1
    time = (g.minute + 1) * MINUTE
    whole = distance(g, u, -1, work)
    v = max(math.sqrt(2.0 * whole) - math.sqrt(2.0 * d - 1.0), 0.0) if d > 0 else 0.0
    score = min(tail.surprise(v, g.quantile, g.excess, LEAST), SUREST) if g.seen >= YOUNG else 0.0
    odd = score >= OPENS and felt >= 1.0 and d > 1
    before = g.phase
    event, reason = follow(g, 60.0, time, v, score, 1, odd, (LASTS, CALMS), NEW)
    if event != NOTHING:
        e = out[m]
        e.point, e.time, e.started, e.golden, e.event, e.reason = point, time, g.started, row, event, reason
        e.score, e.observed, e.now, e.seen = g.score, g.observed, v, g.seen
        e.band = tail.reach(LEAVES, g.quantile, g.excess, LEAST)
        for i in range(SIGNALS):
            e.u[i] = u[i]
            e.adds[i] = 0.0 if math.isnan(u[i]) else whole - distance(g, u, i, work)
        m += 1
    weight = HELD if odd or before != CALM else 1.0
    share = weight * max(gain.share(60.0, MEMORY), 60.0 / (g.seen + 60.0 * tail.PRIOR + YOUNG))
    g.quantile, g.excess = tail.learn(v, share, g.quantile, g.excess, LEAST)
    for i in range(SIGNALS):
        g.past[i] = 0.0
    learn(g, u, weight)
    for i in range(SIGNALS):
        g.z[i] = g.n[i] = g.beyond[i] = 0.0
    return m


@inlined
def traffic_of(g):  # type: ignore[no-untyped-def]
    """The part of the traffic: in this minute, or in the one before if that is more."""
    now = 0.0
    if g.n[TRAFFIC] > 0.0:
        now = g.z[TRAFFIC] / g.n[TRAFFIC] / math.sqrt(max(g.scale[TRAFFIC], LEAST_SCALE))
    return max(now, g.past[TRAFFIC])


@bare
def beside(g, row, point, time, at, out, m):  # type: ignore[no-untyped-def]
    """Write how the latency stands to the traffic."""
    one = out[m]
    one.point, one.time, one.at, one.golden = point, time, at, row
    one.u, one.r, one.size = traffic_of(g), correlation(g, LATENCY, TRAFFIC), math.sqrt(max(g.scale[LATENCY], LEAST_SCALE))
    return m + 1


@bare
def golden_of(a, signal, aggregates, groups, golden, count, index):  # type: ignore[no-untyped-def]
    """The row of an aggregate's group; a new one knows nothing, and needs latency or errors to begin with. -1: none."""
    key = groups[aggregates[a].group].key
    slot = slot_of(index[0], golden.key, key)
    if index[0][slot] == 0:
        if signal in (TRAFFIC, SATURATION):
            return np.int64(-1)
        row = taken(count, golden.chain)
        g = golden[row]
        g.key, g.chain, g.minute = key, 0, -1
        g.quantile, g.excess = USUAL
        for i in range(SIGNALS):
            g.scale[i] = USUAL_SCALE
        index[0][slot], index[1][0] = row + 1, index[1][0] + 1
    return np.int64(index[0][slot] - 1)


@bare
def put(g, signal, score, value, low, high, spec):  # type: ignore[no-untyped-def]
    """Add a value to the minute."""
    middle = 0.5 * (low + high)
    off = value - middle
    z = deviations(score)
    g.z[signal] += z if off >= 0.0 else -z
    g.n[signal] += 1.0
    needed = max(spec[DEVIATION], spec[RELATIVE] * abs(middle))
    g.beyond[signal] += HARM[signal] * (off / needed if needed > 0.0 else math.copysign(1.0, off))


@bare
def combine(batch, verdicts, asked, rows, known, golden, touched, count, index, work, out):  # type: ignore[no-untyped-def]
    """Take the cells of a batch; returns how many (events, standings) were written to `out`.

    `verdicts` values and what was judged; `asked` places of the batch at which the standing is wanted, rising; `rows`
    judged, subjects, aggregates and groups; `known` by spec which golden signal it tells, -1: none, and its parameters;
    `work` (5, 5) and u.
    """
    point, row, time, mark = batch
    seen, judged = verdicts
    table, subjects, aggregates, groups = rows
    signals, specs = known
    m, k, next_asked = 0, 0, 0
    for i in range(row.size):
        if mark[i] >= 0:
            continue
        r = row[i]
        spec = table[r].spec
        signal, one = signals[spec], subjects[r]
        if signal >= 0 and one.whole != 0 and aggregates[one.of].least == 0 and aggregates[one.of].instanced == 0:
            at = golden_of(one.of, signal, aggregates, groups, golden, count, index)
            if at >= 0:
                g, minute = golden[at], (time[i] - 1) // MINUTE
                touched[at] = 1
                if minute > g.minute:
                    if g.minute >= 0:
                        high = g.n[LATENCY] > 0.0 and g.z[LATENCY] >= TOLD_AT * g.n[LATENCY]
                        if high:
                            k = beside(g, at, point[i], (g.minute + 1) * MINUTE, -1, out[1], k)
                        m = turn(g, at, point[i], work[0], work[1], out[0], m)
                    g.minute = minute
                score = judged[i, SCORE]
                if not math.isnan(score) and not math.isnan(seen[i]):
                    put(g, signal, score, seen[i], judged[i, LOW], judged[i, HIGH], specs[spec])
                while next_asked < asked.size and asked[next_asked] < i:
                    next_asked += 1
                if next_asked < asked.size and asked[next_asked] == i:
                    k = beside(g, at, point[i], time[i], i, out[1], k)
    return m, k
