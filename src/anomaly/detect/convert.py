"""Points as they were sent -> values that can be judged, and contributions to aggregates.

One pass in arrival order; state is `rows.State`. A gauge is its value. A counter becomes a rate per second; a drop or a
changed start is a reset, after which it counts from its start if that is known and new, else one point is skipped: a
reset is never an anomaly and a rate never negative. A delta is divided by its own span. Histograms give what was gained in
count, sum and buckets to their aggregates; they have no value of their own (NaN sums stay NaN: the mean is not known).
A counter seen for the first time counts from zero since its siblings' export before, where the siblings were heard then:
so the first error of a status code that never occurred counts as one.
Source of the reset rule: OpenTelemetry, "Metrics Data Model", section "Resets and Gaps".
Weak where a series without a start resets and passes its old value within one interval: the rate is then too low, once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, fetch, inlined
from anomaly.decode.points import Flag
from anomaly.detect.grid import MOST_CLOSED, MOST_SHOWN, ONCE, PARTS, contribute
from anomaly.detect.writer import of_another

# What became of a point: exactly one of these.
OUTCOMES = ("scored", "warming", "converted", "ignored", "duplicate", "late", "not_finite", "stale", "other_writer")
SCORED, WARMING, CONVERTED, IGNORED, DUPLICATE, LATE, NOT_FINITE, STALE, OTHER_WRITER = range(9)

# Two exports of a counter closer than this share of their interval (a flush at shutdown) are taken as one.
TOO_CLOSE = 0.1

# Times of one export differ by no more than this, ms; two arrivals of a group closer than this are one.
MOMENT = 500
LONG, FEW = 600_000, 10  # ms between points of a group that are an outage, but for so many first ones

# Aggregates that a row feeds at most: one or two for each of five signals.
MEMBERSHIPS = 8

# A counter whose start is no longer ago than this counts from it even if no sibling was heard before, ms; so does one of a
# group that was heard before that start: what joins a known group is missed from its first second on.
JUST_STARTED = 10_000

# Moments of a group's own, after the last beat, in which it is still a giant: more than there are between two beats.
SPREAD = 20

GAUGE, COUNTER, DELTA, COUNTS, COUNTS_DELTA = 0, 1, 2, 3, 4
STALE_FLAG, BEAT, PART = int(Flag.STALE), int(Flag.BEAT), int(Flag.PART)

AHEAD = 12  # points by which a row is asked for before its turn


class Columns(NamedTuple):
    """The points of a batch with their rows (int32), as in `decode.points`."""

    row: NDArray[np.int32]
    time: NDArray[np.int64]
    start: NDArray[np.int64]
    value: NDArray[np.float64]
    observations: NDArray[np.float64]
    kind: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    bucket_at: NDArray[np.int64]
    bucket_len: NDArray[np.int32]
    buckets: NDArray[np.float64]
    writer: NDArray[np.uint16]


class Values(NamedTuple):
    """Values to be judged in arrival order: position in the batch, judged row, time ms, value."""

    point: NDArray[np.int64]
    row: NDArray[np.int32]
    time: NDArray[np.int64]
    value: NDArray[np.float64]


@inlined
def hear(state, r, time, through, beat):  # type: ignore[no-untyped-def]
    """The group of this row was heard, through this input: by a beat, which is of no living series, or by another point."""
    row, group = state.rows[r], state.groups[state.rows[r].group]
    group.through = through
    state.touched_groups[row.group] = 1
    if beat:
        group.spread = SPREAD
    elif row.alive == 0:
        row.alive = 1
        group.alive += 1
    arrive(group, time, beat)


@inlined
def arrive(group, time, beat):  # type: ignore[no-untyped-def]
    """Note when a group was heard. A gap of LONG ms is an outage, unless it is of one that has hardly begun."""
    if group.last == 0:
        group.since, group.last, group.back, group.arrivals = time, time, time, 1
    elif time > group.last:
        gap = time - group.last
        if gap > MOMENT:
            if gap < LONG or group.arrivals < FEW:
                group.usual += (0.5 if gap > group.usual else 0.05) * (gap - group.usual)
            group.arrivals += 1
            group.spread -= group.spread > 0 and not beat
        if gap > 30_000:
            group.back = time
        group.last = time


@bare
def passed(time, look, every, at):  # type: ignore[no-untyped-def]
    """Where time passes a multiple of `every` after number `look`, into `at`; returns how often."""
    n = 0
    for i in range(time.size):
        if time[i] >= (look + 1) * every:
            at[n], look = i, time[i] // every
            n += 1
    return n


@bare
def born(state, r, time, start):  # type: ignore[no-untyped-def]
    """Since when a counter seen for the first time has counted from zero, ms; 0 where that is not known."""
    row, since = state.rows[r], np.int64(0)
    if row.family >= 0 and row.fresh != 0:
        family = state.families[row.family]
        if family.last > 0 and time > family.last + MOMENT:
            since = family.last
        elif family.last > 0 and time > family.last - MOMENT:
            since = family.before
    missed_nothing = row.fresh != 0 and start > state.groups[row.group].since
    if since == 0 and start > 0 and (missed_nothing or time - start <= JUST_STARTED):
        return start
    return max(since, start) if since > 0 and start < time else since


@inlined
def export(state, f, time):  # type: ignore[no-untyped-def]
    """A family was exported at `time`."""
    if f >= 0 and time > state.families[f].last + MOMENT:
        family = state.families[f]
        if family.last == 0:
            family.born = time
        family.before, family.last = family.last, time
        state.touched_families[f] = 1


@bare
def rise(new, old, from_zero):  # type: ignore[no-untyped-def]
    """What a cumulative number rose by."""
    return new if from_zero else new - old


@bare
def base_of(state, r, i, points, shrunk):  # type: ignore[no-untyped-def]
    """Since when a cumulative point gained what it did, and whether it counts from zero; base 0: cannot be known."""
    row = state.rows[r]
    start = points.start[i]
    if row.last == 0:
        return born(state, r, points.time[i], start), True
    restarted = start != 0 and row.start != 0 and start != row.start
    if row.primed != 0 and not (shrunk or restarted):
        return row.last, False
    return (start, True) if row.last < start < points.time[i] else (np.int64(0), True)


@bare
def has_shrunk(state, r, i, points):  # type: ignore[no-untyped-def]
    """Whether a histogram has fewer observations than before, anywhere, or other buckets."""
    side, length, at = state.histograms[state.rows[r].histogram], points.bucket_len[i], points.bucket_at[i]
    if points.observations[i] < side.count or length != side.used:
        return True
    for j in range(length):  # noqa: SIM110 (numba knows no generators)
        if points.buckets[at + j] < state.buckets[side.buckets_at + j]:
            return True
    return False


@bare
def bucket_gains(state, r, i, points, from_zero, delta):  # type: ignore[no-untyped-def]
    """What each bucket gained, into `delta`."""
    begin = np.int64(0) if from_zero else state.histograms[state.rows[r].histogram].buckets_at
    at = points.bucket_at[i]
    for j in range(points.bucket_len[i]):
        old = 0.0 if from_zero else state.buckets[begin + j]
        delta[j] = points.buckets[at + j] - old


@inlined
def remember(state, r, i, points):  # type: ignore[no-untyped-def]
    """Keep what the next point is converted against."""
    row = state.rows[r]
    row.value, row.start, row.primed = points.value[i], points.start[i], 1
    if points.kind[i] == COUNTS:
        side = state.histograms[row.histogram]
        side.count, side.used = points.observations[i], points.bucket_len[i]
        state.touched_histograms[row.histogram] = 1
        for j in range(side.used):
            state.buckets[side.buckets_at + j] = points.buckets[points.bucket_at[i] + j]


@inlined
def pace(row, time):  # type: ignore[no-untyped-def]
    """Learn the spacing of a row; a gap counts as three intervals at most. Of parts only a newer one is a step."""
    if row.last > 0 and time > row.last:
        gap = float(time - row.last)
        row.interval = gap if row.intervals == 0 else row.interval + 0.2 * (min(gap, 3.0 * row.interval) - row.interval)
        row.intervals = min(row.intervals + 1, 255)


@inlined
def gains(state, r, i, points, delta):  # type: ignore[no-untyped-def]
    """(base, gained, summed, buckets) of a point: what was gained over (base, time]; base 0 where that is not known."""
    if points.kind[i] != GAUGE:
        return counted(state, r, i, points, delta)
    row, time = state.rows[r], points.time[i]
    base = time - np.int64(row.interval) if row.stale != 0 else row.last
    return base, points.value[i] * (time - base) / 1000.0, 0.0, 0


@bare
def counted(state, r, i, points, delta):  # type: ignore[no-untyped-def]
    """`gains` of what counts: deltas, counters and histograms."""
    row, time, kind = state.rows[r], points.time[i], points.kind[i]
    if kind in (DELTA, COUNTS_DELTA):
        base = points.start[i] if 0 < points.start[i] < time else row.last
        row.delta = PARTS if points.flags[i] & PART else ONCE
        if kind == DELTA:
            return base, points.value[i], 0.0, 0
        bucket_gains(state, r, i, points, True, delta)
        return base, points.observations[i], points.value[i], points.bucket_len[i]
    if kind == COUNTER:
        base, from_zero = base_of(state, r, i, points, points.value[i] < row.value)
        return base, rise(points.value[i], row.value, from_zero), 0.0, 0
    base, from_zero = base_of(state, r, i, points, has_shrunk(state, r, i, points))
    bucket_gains(state, r, i, points, from_zero, delta)
    gained = rise(points.observations[i], state.histograms[row.histogram].count, from_zero)
    return base, gained, rise(points.value[i], row.value, from_zero), points.bucket_len[i]


@inlined
def is_closed(state, row, time):  # type: ignore[no-untyped-def]
    """Whether a part comes too late for the first sum that the row feeds."""
    agg = state.aggregates[state.members[row.members].agg]
    return agg.step > 0 and time <= agg.first * agg.step


@inlined
def refused(row, i, points):  # type: ignore[no-untyped-def]
    """Why a point says nothing about its series, or -1; one of another writer still says that its group is there."""
    time, kind = points.time[i], points.kind[i]
    if row.ignored != 0 or points.flags[i] & BEAT:
        return IGNORED
    if of_another(row, i, points):
        return OTHER_WRITER
    if time <= row.last and points.flags[i] & PART == 0:
        return DUPLICATE if time == row.last else LATE
    if points.flags[i] & STALE_FLAG:
        return STALE
    if not np.isfinite(points.observations[i] if kind >= COUNTS else points.value[i]):
        return NOT_FINITE
    return -1


@bare
def pause(state, r):  # type: ignore[no-untyped-def]
    """A stale marker: the series ends or pauses here, and nobody waits for it."""
    row = state.rows[r]
    if row.alive != 0:
        row.alive = 0
        state.groups[row.group].alive -= 1
    row.stale, row.primed, m = 1, 0, row.members
    while m >= 0:
        member = state.members[m]
        if member.counted != 0:
            member.counted = 0
            state.aggregates[member.agg].pending -= 1
            state.touched_members[m], state.touched_aggregates[member.agg] = 1, 1
        m = member.next_of_row


@bare
def convert(begin, points, state, through, outcome, values, used, closed, delta, widest):  # type: ignore[no-untyped-def]
    """Convert points[begin:] until done or until `closed` may be too small; returns how far it came.

    Writes `outcome` per point, appends to `values` (`used[0]` so far) and to `closed`. In one piece: numba counts the uses
    of every array that goes from kernel to kernel, and each more such call per point halves the speed.
    """
    for i in range(begin, points.row.size):
        if i + AHEAD < points.row.size:
            fetch(state.rows, points.row[i + AHEAD], 0)
        r = points.row[i]
        row = state.rows[r]
        time = points.time[i]
        reason = refused(row, i, points)
        if points.flags[i] & STALE_FLAG == 0:
            hear(state, r, time, through, points.flags[i] & BEAT != 0)
            state.touched_rows[r] = 1
        if reason >= 0:
            outcome[i] = reason
            if reason == IGNORED:
                row.last = max(row.last, time)  # it is there, though nobody judges it
            elif reason == STALE:
                state.touched_rows[r] = 1
                pause(state, r)
            continue
        if row.members >= 0:
            room = closed.agg.size - closed.used[0], closed.lanes.size - closed.used[1]
            if room[0] < MEMBERSHIPS * MOST_CLOSED or room[1] < MEMBERSHIPS * MOST_CLOSED * widest:
                return i
            if closed.shown.size - closed.used[2] < MEMBERSHIPS * MOST_SHOWN:
                return i
        outcome[i] = CONVERTED
        kind = points.kind[i]
        cumulative = kind in (COUNTER, COUNTS)
        if cumulative and row.primed != 0 and time - row.last < TOO_CLOSE * row.interval:
            continue
        base, gained, summed, buckets = gains(state, r, i, points, delta)
        if cumulative or row.delta == ONCE:
            export(state, row.family, time)
        pace(row, time)
        if row.delta == PARTS and row.members >= 0 and is_closed(state, row, time):
            outcome[i] = LATE
        if row.judged >= 0 and row.delta != PARTS and (kind == GAUGE or (base > 0 and base < time)):
            n = used[0]
            values.point[n], values.row[n], values.time[n] = i, row.judged, time
            values.value[n] = points.value[i] if kind == GAUGE else gained * 1000.0 / (time - base)
            used[0] = n + 1
        row.last, row.stale = max(row.last, time), 0
        remember(state, r, i, points)
        m = row.members
        while m >= 0:
            contribute(state, m, base, time, gained, summed, delta, buckets, closed, i)
            m = state.members[m].next_of_row
    return points.row.size


def room(n: int) -> Values:
    """Room for n values."""
    return Values(np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n))
