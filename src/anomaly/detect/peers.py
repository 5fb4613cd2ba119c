"""The instances of a group compared with one another: who is odd among its peers, though it was always like that.

Of each instance what its series said in the last minutes is put together (a value, a mean, or k of n), whenever its
aggregate's cells have closed, every half a minute at most. One is compared with the median of the others, by the median
deviation of the others, on a scale on which what multiplies is added: y = sign(x) log10(1 + |x| / c), with c what is too
small to matter; k of n as 2 sqrt(k + 3/8), less what the peers' ratio lets expect. So a fleet that is spread says nothing of
one that is no further off than the others are from each other, and no common shift is anybody's oddness.
How surprising it is says the fleet's own tail (`tail`); medians, deviations and the scale are those of `medians`. Odd for
long is told once: it is ACCEPTED then, and silent until it was like its peers for QUIET.
State is rows of `rows.PEER` and `rows.FLEET`; y has no unit, NaN does not occur. What an instance is too young or too little
asked to say (`is_heard_enough`) is not compared, nor are fewer than FEWEST instances.
Source: F. Anscombe, "The transformation of Poisson, binomial and negative-binomial data" (1948).
Weak where more than a third of the instances are odd in the same way: then nobody knows which ones are.
"""

import math

import numpy as np

from anomaly.compiled import bare, inlined
from anomaly.decode.index import slot_of
from anomaly.decode.wire import hash_bytes, mix
from anomaly.detect import gain, tail
from anomaly.detect.book import taken
from anomaly.detect.episode import (
    ACCEPTED,
    BACK_TO_NORMAL,
    CALM,
    CLOSE_AFTER,
    CLOSED,
    DEVIATION,
    DURATION,
    NEW_NORMAL,
    NEW_NORMAL_AFTER,
    NOTHING,
    OPEN,
    OPENED,
    PENDING,
    RECORD,
    RELATIVE,
    SIDE,
    is_record,
)
from anomaly.detect.medians import PRIOR_SPREAD, TINY, middle, off_scale, on_scale, sort, spread
from anomaly.detect.rows import DISTRIBUTION, ERROR, MEAN, RATIO
from anomaly.detect.text import after

FEWEST = 6  # instances, the one that is compared included
WINDOW = 120.0  # half-life in seconds of what an instance said
YOUNG = 60.0  # seconds that an instance must have been heard
REQUESTS = 4.0  # times a spec's `min_events` that a mean is made of at least
ONE_BY_ONE = 64  # instances up to which each is left out of the spread that it is measured by; of more one is nothing
USUAL, LEAST = (2.75, 0.45), (2.2, 0.37)  # tail before anything is known, and a Gaussian's, the least
TAIL_HALF = 86_400.0  # s: a fleet shows in a day how far its instances usually are off
OPENS, LEAVES = 4.0, 2.5  # scores: half as odd as what would be told is what ends it
SUREST = 30.0
LASTS, CALMS, QUIET = 60.0, 120.0, 21_600.0  # s: odd before it is told, and like its peers until it is over, or forgotten

# What happened to a peer's episode, as in `episodes.EVENT`; `peers`: with how many others it was compared, `now` its value.
TOLD_OF = np.dtype(
    [
        ("point", "i8"), ("time", "i8"), ("started", "i8"), ("score", "f8"), ("observed", "f8"), ("now", "f8"),
        ("low", "f8"), ("high", "f8"), ("centre", "f8"), ("known", "f8"), ("k", "f8"), ("n", "f8"), ("peer", "i4"),
        ("peers", "i4"), ("event", "i1"), ("side", "i1"), ("reason", "i1"),
    ]
)  # fmt: skip


@bare
def instance_of(r, labels, text, seed):  # type: ignore[no-untyped-def]
    """A hash of the instance labels of a series."""
    label = labels[r]
    at, end = label.text_at, label.text_at + label.text_len
    for _ in range(3):  # metric, unit, labels
        at = after(text, at, end)
    return hash_bytes(text, at, after(text, at, end), seed)


@bare
def peer_of(m, fleet, f, state, labels, text, seed, peers, touched, count, index):  # type: ignore[no-untyped-def]
    """The row of the instance that a member is of; a new one knows nothing."""
    member = state.members[m]
    if member.peer != 0:
        return np.int64(member.peer - 1)
    key = mix(fleet.key, instance_of(member.row, labels, text, seed)) | np.uint64(1)
    slot = slot_of(index[0], peers.key, key)
    if index[0][slot] == 0:
        p = taken(count, peers.row)
        one = peers[p]
        one.key, one.of, one.fleet = key, fleet.key, f
        index[0][slot], index[1][0] = p + 1, index[1][0] + 1
    p = np.int64(index[0][slot] - 1)
    member.peer, peers[p].row, touched[p], state.touched_members[m] = p + 1, member.row, 1, 1
    return p


@inlined
def hear(one, role, lane, gained, summed, dt, reading):  # type: ignore[no-untyped-def]
    """Add what a series of an instance said for `dt` seconds."""
    if reading == DISTRIBUTION:  # observations, and their sum
        one.a += gained * dt if lane == 1 else 0.0
        one.b += summed * dt if lane == 1 else gained * dt
    elif reading == RATIO:  # events, and the errors among them
        one.a += gained * dt
        one.b += gained * dt if role == ERROR else 0.0
    else:
        one.a += gained * dt
        one.w += dt if reading == MEAN else 0.0


@inlined
def begin(one, end, dt, reading):  # type: ignore[no-untyped-def]
    """An instance says something for `dt` more seconds: what it said before fades."""
    keep = 1.0 - gain.share(max((end - one.last) * 1e-3, dt), WINDOW)
    one.a, one.b, one.w = one.a * keep, one.b * keep, one.w * keep
    one.known, one.last = one.known + dt, end
    if reading != MEAN:
        one.w += dt


@inlined
def is_heard_enough(one, reading, fewest):  # type: ignore[no-untyped-def]
    """Whether an instance can be compared."""
    if one.known < YOUNG:
        return False
    return one.a >= max(REQUESTS * fewest, 1.0) if reading in (DISTRIBUTION, RATIO) else one.w > 0.0


@inlined
def value_of(one, reading):  # type: ignore[no-untyped-def]
    """What an instance said: a mean of its observations, a ratio, a value."""
    if reading in (DISTRIBUTION, RATIO):
        return float(one.b) / float(one.a)
    return float(one.a) / float(one.w)


@bare
def shared_ratio(rows, n, y, along, peers):  # type: ignore[no-untyped-def]
    """The ratio of the three quarters of the instances that have the smallest, as if one in two hundred had been seen."""
    for i in range(n):
        one = peers[rows[i]]
        y[i], along[i] = float(one.b) / float(one.a), i
    sort(y, along, n)
    k, events = 0.5, 100.0
    for i in range(n - n // 4):
        one = peers[rows[along[i]]]
        k, events = k + one.b, events + one.a
    return k / events


@bare
def place(rows, n, reading, least, y, along, peers):  # type: ignore[no-untyped-def]
    """Put n instances on the scale, sorted: (c, or the peers' ratio of k of n); `along` their places in `rows`."""
    if reading == RATIO:
        p = shared_ratio(rows, n, y, along, peers)
        for i in range(n):
            one = peers[rows[i]]
            y[i], along[i] = 2.0 * (math.sqrt(one.b + 0.375) - math.sqrt(one.a * p + 0.375)), i
        sort(y, along, n)
        return p
    for i in range(n):
        y[i], along[i] = value_of(peers[rows[i]], reading), i
    sort(y, along, n)
    c = max(least, 0.1 * abs(middle(y, n, -1)), TINY)
    for i in range(n):
        y[i] = on_scale(y[i], c)
    return c


@inlined
def bounds(one, reading, c, centre, reach):  # type: ignore[no-untyped-def]
    """What is usual of the peers: (the middle, low, high), in the unit of the values."""
    if reading == RATIO:
        root, n = math.sqrt(one.a * c + 0.375), float(one.a)
        low, high = max(root - 0.5 * reach, 0.0), root + 0.5 * (centre + reach)
        return c, max((low * low - 0.375) / n, 0.0), min((high * high - 0.375) / n, 1.0)
    return off_scale(centre, c), off_scale(centre - reach, c), off_scale(centre + reach, c)


@inlined
def follow(one, dt, time, x, score, side, odd, least, until):  # type: ignore[no-untyped-def]
    """What a look does to an episode: (what, reason of a close). `least`: seconds until it is told, and until it is over."""
    still = score >= LEAVES and side == one.side
    if one.phase == CALM or (one.phase == PENDING and not (odd and still)):
        one.phase = CALM
        if odd:
            one.phase, one.started, one.side, one.score, one.observed = PENDING, time, side, score, x
            one.spoken, one.lasted, one.calm = -1.0, 0.0, 0.0
        return NOTHING, 0
    one.lasted += dt
    one.calm = 0.0 if still else one.calm + dt
    if one.phase == ACCEPTED:
        one.phase = CALM if one.calm >= QUIET else ACCEPTED
        return NOTHING, 0
    if score > one.score:
        one.score, one.observed = score, x
    if one.phase == PENDING:
        if one.lasted < least[0]:
            return NOTHING, 0
        one.phase, one.spoken = OPEN, one.score
        return OPENED, 0
    if one.calm >= least[1]:
        one.phase = CALM
        return CLOSED, BACK_TO_NORMAL
    if (time - one.started) * 1e-3 >= until:
        one.phase = ACCEPTED
        return CLOSED, NEW_NORMAL
    if is_record(one):
        one.spoken = one.score
        return RECORD, 0
    return NOTHING, 0


@bare
def look(rows, n, end, point, dt, reading, spec, fleet, peers, y, along, out, m):  # type: ignore[no-untyped-def]
    """Compare n instances with one another; writes what happened behind the first m of `out`, and returns how many then."""
    c = place(rows, n, reading, spec[DEVIATION], y, along, peers)
    if fleet.excess <= 0.0:
        fleet.quantile, fleet.excess = USUAL
    quantile, excess = float(fleet.quantile), float(fleet.excess)
    prior, weight = 1.0 if reading == RATIO else PRIOR_SPREAD, gain.share(dt, TAIL_HALF) / n
    centre = middle(y, n, -1)
    width = spread(y, n, -1, centre, prior)
    for i in range(n):
        if n <= ONE_BY_ONE:
            centre = middle(y, n, i)
            width = spread(y, n, i, centre, prior)
        width = max(width, 1.0) if reading == RATIO else width
        one = peers[rows[along[i]]]
        z, x = (y[i] - centre) / width, value_of(one, reading)
        score = min(tail.surprise(abs(z), quantile, excess, LEAST), SUREST)
        usual, low, high = bounds(one, reading, c, centre, width * tail.reach(LEAVES, quantile, excess, LEAST))
        side, off = 1 if z > 0.0 else -1, x - usual
        fits = spec[SIDE] == 0.0 or spec[SIDE] * off > 0.0
        odd = score >= OPENS and fits and abs(off) >= max(spec[DEVIATION], spec[RELATIVE] * abs(usual))
        if one.phase == CALM and not odd:
            fleet.quantile, fleet.excess = tail.learn(abs(z), weight, fleet.quantile, fleet.excess, LEAST)
        one.looked = end
        least = max(spec[DURATION], LASTS), max(spec[CLOSE_AFTER], CALMS)
        event, reason = follow(one, dt, end, x, score, side, odd, least, spec[NEW_NORMAL_AFTER])
        if event != NOTHING:
            e = out[m]
            e.point, e.time, e.started, e.peer, e.event, e.reason = point, end, one.started, rows[along[i]], event, reason
            e.score, e.observed, e.now, e.low, e.high, e.centre = one.score, one.observed, x, low, high, usual
            e.known, e.k, e.n, e.peers, e.side = one.known, one.b, one.a, n - 1, one.side
            m += 1
    return m


@bare
def compare(shown, n, state, judged, specs, limits, known, peers, fleets, touched, counts, index, scratch, out):  # type: ignore[no-untyped-def]
    """Compare the instances of each aggregate in what members have `shown`; returns how many events were written to `out`.

    `judged` (rows that judge an aggregate, their table), `specs` (specs, episode.PARAMETERS), `limits` (specs, 3), `known`
    (labels, their text, seed), `touched` and `counts` of (peers, fleets), `index` of peers by key,
    `scratch` (rows, y, along).
    """
    rows, y, along = scratch
    i, m = 0, 0
    while i < n:
        a, end, point = shown[i].agg, shown[i].end, shown[i].point
        agg = state.aggregates[a]
        reading, which = agg.reading, 1 if agg.reading == DISTRIBUTION else 0
        if agg.fleet < 0:
            f = taken(counts[1], fleets.chain)
            fleets[f].key, fleets[f].agg, fleets[f].chain = agg.key, a, 0
            agg.fleet, state.touched_aggregates[a], touched[1][f] = f + 1, 1, 1
        f = agg.fleet - 1
        fleet, found, dt = fleets[f], 0, shown[i].seconds
        while i < n and shown[i].agg == a and shown[i].end == end:
            s = shown[i]
            member = state.members[s.member]
            p = peer_of(s.member, fleet, f, state, known[0], known[1], known[2], peers, touched[0], counts[0], index)
            one = peers[p]
            if one.last < end:
                begin(one, end, dt, reading)
                rows[found], found = p, found + 1
            hear(one, member.role, member.lane, s.gained, s.summed, dt, reading)
            touched[0][p] = 1
            i += 1
        row = judged[0][a, which]
        if row < 0:
            continue
        spec, enough = judged[1][row].spec, 0
        for j in range(found):
            if is_heard_enough(peers[rows[j]], reading, limits[spec, 0]):
                rows[enough], enough = rows[j], enough + 1
        if enough >= FEWEST:
            touched[1][f] = 1
            m = look(rows, enough, end, point, dt, reading, specs[spec], fleet, peers, y, along, out, m)
    return m
