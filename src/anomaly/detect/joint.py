"""The golden signals of a group judged together: how far they are off, each, by how they usually are off together.

A value's surprise, with the side as its sign, is put on the scale of a Gaussian's deviations (`deviations`); the mean of a
minute of them is a signal's part. Four such parts u, over their usual size, have the distance D^2 = u' R^-1 u, with R their
correlation as learned so far, shrunk towards none while little is known; sqrt(2 D^2) - sqrt(2 d - 1) of d signals is about
Gaussian, and the group's own tail says how surprising it is. So what is odd only jointly (latency up while traffic falls) is
found, and a latency that went as far as it usually goes with such traffic is not.
What does no harm is no oddness, but it explains: the distance is that of the harmful parts, given the others. What a signal
adds is the distance less that without it; the one that adds most drives.
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
SHRUNK = 7_200.0  # seconds that no correlation is worth
YOUNG = 3_600.0  # seconds before which nothing is said of a group
LEAST_SCALE, USUAL_SCALE = 0.25, 1.0
CLOSEST = 0.95  # correlation: what is nearer would make a distance of nothing
EDGE, ALONG = 2.2, 0.85  # deviations at the tail's quantile, and a decade further
AWRY = 1.5  # usual sizes from which on a signal is one of those that are odd together
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
# How a group's latency stands to its traffic: `u` of the traffic, their correlation `r`, the usual `size` of the latency,
# and its part of the minute that ends; where a place `at` of the batch was asked about (else -1), NaN.
BESIDE = np.dtype(
    [
        ("point", "i8"), ("time", "i8"), ("at", "i8"), ("golden", "i4"), ("u", "f4"), ("r", "f4"), ("size", "f4"),
        ("latency", "f4"),
    ]
)  # fmt: skip


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
def distance(g, u, order, n, given, work):  # type: ignore[no-untyped-def]
    """D^2 of the first n signals of `order`, less that of the first `given` of them: of the others, given these.

    By Cholesky's factor of R, row by row in `work` (4, 5); its last column is each part's residual, given those before it.
    """
    total = 0.0
    for a in range(n):
        for b in range(a + 1):
            rest = 1.0 if a == b else correlation(g, order[a], order[b])
            for k in range(b):
                rest -= work[a, k] * work[b, k]
            work[a, b] = math.sqrt(max(rest, 1.0 - CLOSEST)) if a == b else rest / work[b, b]
        rest = u[order[a]]
        for k in range(a):
            rest -= work[a, k] * work[k, SIGNALS]
        work[a, SIGNALS] = rest / work[a, a]
        total += work[a, SIGNALS] * work[a, SIGNALS] if a >= given else 0.0
    return total


@bare
def arrange(g, u, order, work):  # type: ignore[no-untyped-def]
    """Put the known signals in order, those first that do no harm: (how many there are, and of these first ones).

    Nor does one that is off to the side of harm, but no further than the first ones let expect.
    """
    n = 0
    for i in range(SIGNALS):
        if not math.isnan(u[i]) and HARM[i] * u[i] <= 0.0:
            order[n] = i
            n += 1
    given, end = n, n
    for i in range(SIGNALS):
        if not math.isnan(u[i]) and HARM[i] * u[i] > 0.0:
            order[end] = i
            end += 1
    for place in range(n, end):
        i = order[place]
        order[place] = order[given]
        order[given] = i
        distance(g, u, order, given + 1, given, work)
        if HARM[i] * work[given, SIGNALS] <= 0.0:
            given += 1
        else:
            order[given] = order[place]
            order[place] = i
    return end, given


@bare
def adds(g, u, order, n, given, place, whole, work):  # type: ignore[no-untyped-def]
    """What the signal at a place of `order` adds to the distance; `order` is as before then."""
    i = order[place]
    for k in range(place, n - 1):
        order[k] = order[k + 1]
    without = distance(g, u, order, n - 1, given, work)
    for k in range(n - 1, place, -1):
        order[k] = order[k - 1]
    order[place] = i
    return whole - without


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
    for i in range(SIGNALS):
        if not math.isnan(u[i]):
            x = min(max(u[i], -CLIP), CLIP)
            g.scale[i] += step * (x * x * max(g.scale[i], LEAST_SCALE) - g.scale[i])
    g.seen += 60.0


@bare
def part(g, u):  # type: ignore[no-untyped-def]
    """The parts of the minute, into `u`; how far they are in what must be felt, together. Saturation is felt by half."""
    felt = 0.0
    for i in range(SIGNALS):
        u[i] = math.nan
        if g.n[i] > 0.0:
            u[i] = g.z[i] / g.n[i] / math.sqrt(max(g.scale[i], LEAST_SCALE))
            felt += (0.5 if i == SATURATION else 1.0) * min(max(g.beyond[i] / g.n[i], 0.0), 1.0)
    return felt


@inlined
def awry(u, order, n, given):  # type: ignore[no-untyped-def]
    """How many signals do harm: what is wrong with one alone, that one tells."""
    found = 0
    for place in range(given, n):
        found += abs(u[order[place]]) >= AWRY
    return found


@bare
def turn(g, row, point, work, out, m):  # type: ignore[no-untyped-def]
    """A minute is over: judge it, learn it, forget its values; returns how many events were written."""
    square, u, order = work
    felt, time, before = part(g, u), (g.minute + 1) * MINUTE, g.phase
    n, given = arrange(g, u, order, square)
    whole, d = distance(g, u, order, n, given, square), n - given
    v = max(math.sqrt(2.0 * whole) - math.sqrt(2.0 * d - 1.0), 0.0) if d > 0 else 0.0
    score = min(tail.surprise(v, g.quantile, g.excess, LEAST), SUREST) if g.seen >= YOUNG else 0.0
    odd = score >= OPENS and felt >= 1.0 and awry(u, order, n, given) > 1
    event, reason = follow(g, 60.0, time, v, score, 1, odd, (LASTS, CALMS), NEW)
    if event != NOTHING:
        e = out[m]
        e.point, e.time, e.started, e.golden, e.event, e.reason = point, time, g.started, row, event, reason
        e.score, e.observed, e.now, e.seen = g.score, g.observed, v, g.seen
        e.band = tail.reach(LEAVES, g.quantile, g.excess, LEAST)
        for i in range(SIGNALS):
            e.u[i], e.adds[i] = u[i], 0.0
        for place in range(given, n):
            e.adds[order[place]] = adds(g, u, order, n, given, place, whole, square)
        m += 1
    weight = HELD if odd or before != CALM else 1.0
    share = weight * max(gain.share(60.0, MEMORY), 60.0 / (g.seen + 60.0 * tail.PRIOR + YOUNG))
    g.quantile, g.excess = tail.learn(v, share, g.quantile, g.excess, LEAST)
    learn(g, u, weight)
    g.past = u[TRAFFIC] if g.n[TRAFFIC] > 0.0 else 0.0
    for i in range(SIGNALS):
        g.z[i] = g.n[i] = g.beyond[i] = 0.0
    return m


@inlined
def traffic_of(g):  # type: ignore[no-untyped-def]
    """The part of the traffic: its newest value in this minute, or the minute before, if that is more."""
    return max(g.newest / math.sqrt(max(g.scale[TRAFFIC], LEAST_SCALE)) if g.n[TRAFFIC] > 0.0 else 0.0, g.past)


@bare
def beside(g, row, point, time, at, out, m):  # type: ignore[no-untyped-def]
    """Write how the latency stands to the traffic."""
    one = out[m]
    one.point, one.time, one.at, one.golden = point, time, at, row
    one.u, one.r, one.size = traffic_of(g), correlation(g, LATENCY, TRAFFIC), math.sqrt(max(g.scale[LATENCY], LEAST_SCALE))
    one.latency = g.z[LATENCY] / g.n[LATENCY] / one.size if at < 0 else math.nan
    return m + 1


@bare
def golden_of(a, signal, aggregates, groups, golden, touched, count, index):  # type: ignore[no-untyped-def]
    """The row of an aggregate's group; a new one knows nothing, and needs latency or errors to begin with. -1: none."""
    key = groups[aggregates[a].group].key
    slot = slot_of(index[0], golden.key, key)
    if index[0][slot] == 0:
        if signal in (TRAFFIC, SATURATION):
            return np.int64(-1)
        row = taken(count, golden.chain)
        g, touched[row] = golden[row], 1
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
    z = z if off >= 0.0 else -z
    g.z[signal] += z
    if signal == TRAFFIC:
        g.newest = z
    g.n[signal] += 1.0
    needed = max(spec[DEVIATION], spec[RELATIVE] * abs(middle))
    g.beyond[signal] += HARM[signal] * (off / needed if needed > 0.0 else math.copysign(1.0, off))


@bare
def combine(batch, verdicts, asked, rows, known, golden, touched, count, index, work, out):  # type: ignore[no-untyped-def]
    """Take the cells of a batch; returns how many (events, standings) were written to `out`.

    `verdicts` values and what was judged; `asked` places of the batch at which the standing is wanted, rising; `rows`
    judged, subjects, aggregates and groups; `known` by spec which golden signal it tells, -1: none, and its parameters;
    `work` (4, 5), u, and their order.
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
        spec, one = table[r].spec, subjects[r]
        if signals[spec] < 0 or one.whole == 0 or aggregates[one.of].instanced != 0:
            continue
        signal, at = signals[spec], golden_of(one.of, signals[spec], aggregates, groups, golden, touched, count, index)
        if at < 0:
            continue
        g, minute = golden[at], (time[i] - 1) // MINUTE
        if aggregates[one.of].least == 0:
            touched[at] = 1
            if minute > g.minute:
                if g.minute >= 0:
                    if g.n[LATENCY] > 0.0 and g.z[LATENCY] >= TOLD_AT * g.n[LATENCY]:
                        k = beside(g, at, point[i], (g.minute + 1) * MINUTE, -1, out[1], k)
                    m = turn(g, at, point[i], work, out[0], m)
                g.minute = minute
            score = judged[i, SCORE]
            if not math.isnan(score) and not math.isnan(seen[i]):
                put(g, signal, score, seen[i], judged[i, LOW], judged[i, HIGH], specs[spec])
        while next_asked < asked.size and asked[next_asked] < i:
            next_asked += 1
        if next_asked < asked.size and asked[next_asked] == i:
            k = beside(g, at, point[i], time[i], i, out[1], k)
    return m, k
