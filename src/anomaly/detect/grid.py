"""Aggregates on a time grid: what the members of a group gained, put into cells of equal length.

A contribution is an amount gained over (base, time] ms: what a counter rose by, or a gauge's value times the seconds it
stood for. It is spread evenly over the cells that the span touches, so that exports every 1.027 s, late ones and uneven
ones give the same sums as punctual ones. Counts of errors and totals are not spread: they go whole into the cell of their
time, because a third of an error is none.

A cell closes when every member that is still heard has passed its end (early, the usual case), or when the aggregate's
newest point is a lateness and a step past it; then what a member has not said yet is filled with its last contribution, for
up to MISSING of its intervals, so that a sum never halves because one sender is late. Time is that of the aggregate's own
points: what other groups and inputs do changes nothing.

A new member of a known group is slow at first, and that is no fault: caches are empty, code is not compiled yet. For WARM_UP
its requests are counted, but not asked how long they take.
What it gained before it was first heard may not be known (a counter without a start). Where that is so of more than a share
of the members, a sum would be one of the others only, and its cell is not handed out: two pods that become twenty have not
lost nine tenths of their traffic.
An aggregate may have cells of a length of its own (`least`), for what is too seldom to be judged more often.
A delta is said once, so it is never filled and never dropped: one that comes after its cell was closed, by no more than a
lateness, goes whole into what is still open. A sender of deltas may leave out what is zero: who does is not waited for, and
who always spoke is, for a step.
A delta may be said in parts, by several senders and in any order: cells that take parts stay open for a lateness.
Weak where all leave out what is zero: a cell then closes with the first who passes it, and the others are a cell late.
"""

import numpy as np

from anomaly.compiled import bare, inlined
from anomaly.detect.rows import CELLS, DISTRIBUTION, ERROR, HISTOGRAM, LANES, RATIO, SUM

WARM_UP = 90_000  # ms
HEARD = 1e-300  # in the first lane of a distribution: something was heard, and nothing is added to any count

KNOWN = 10  # members of which one may have gained what is not known
SHORT = 60_000  # ms that a cell of a length of its own waits for a member that is late

# `delta` of a row whose deltas are said once, or come in parts; of an aggregate that has such members
ONCE, PARTS = 1, 2

# Intervals after which a silent member no longer counts as one.
MISSING = 3.0

SLACK = 1.1  # an export "every 10 s" comes every 10.02 s

# Members are compared so often at most, ms: what they have in common lasts longer. So many of one sum at most.
COMPARED, MOST_SHOWN = 30_000, 4_096

# A contribution reaches back over so many cells at most, which bounds what one point can close.
REACH = 32
MOST_CLOSED = REACH + 3 * CELLS


@bare
def step_for(interval):  # type: ignore[no-untyped-def]
    """Length of a cell in ms for members that come every `interval` ms."""
    for step in (5_000, 10_000, 15_000, 30_000, 60_000, 300_000, 900_000):
        if interval <= SLACK * step:
            return step
    return 3_600_000


@inlined
def pace(agg, row):  # type: ignore[no-untyped-def]
    """How often a member is expected, ms."""
    return max(float(agg.step) if agg.least == 0 else float(step_for(row.interval)), row.interval)


@inlined
def is_heard(state, m, end):  # type: ignore[no-untyped-def]
    """Whether a member counts for a cell that ends at `end`: seen, not stale, and not silent for too long."""
    row, agg = state.rows[state.members[m].row], state.aggregates[state.members[m].agg]
    if row.last == 0 or row.stale != 0 or row.delta == PARTS:
        return False
    if row.delta == ONCE and row.interval > SLACK * agg.step:
        return False  # it leaves out what is zero
    return end - row.last <= MISSING * pace(agg, row)


@inlined
def is_warming(state, row, base):  # type: ignore[no-untyped-def]
    """Whether what a row gained from `base` on is of an instance that has just begun, in a group known for longer."""
    born = state.families[row.family].born if row.family >= 0 else np.int64(0)
    if row.delta == 0:
        born = max(born, row.start)
    return base < born + WARM_UP and born > state.groups[row.group].since + WARM_UP


@bare
def recount(state, a):  # type: ignore[no-untyped-def]
    """Count again who has not passed the oldest open cell."""
    agg = state.aggregates[a]
    end, m, pending = (agg.first + 1) * agg.step, agg.head, 0
    while m >= 0:
        member = state.members[m]
        late = state.rows[member.row].last < end and is_heard(state, m, end)
        if late != (member.counted != 0):
            member.counted = 1 if late else 0
            state.touched_members[m] = 1
        pending += late
        m = member.next_of_agg
    agg.pending = pending


@bare
def fill(state, a, slot):  # type: ignore[no-untyped-def]
    """Let the last contribution of each late member stand for what it has not said about the oldest cell."""
    agg = state.aggregates[a]
    begin, end, m = agg.first * agg.step, (agg.first + 1) * agg.step, agg.head
    while m >= 0:
        member = state.members[m]
        last = state.rows[member.row].last
        if last < end and state.rows[member.row].delta == 0 and is_heard(state, m, end):
            missing = (end - max(last, begin)) / 1000.0
            if agg.reading == DISTRIBUTION and is_warming(state, state.rows[member.row], last):
                state.lanes[slot] += member.gained * missing if member.lane == 1 else 0.0
            else:
                state.lanes[slot + member.lane] += member.gained * missing
                if member.role == HISTOGRAM:
                    state.lanes[slot + 2] += member.summed * missing
        m = member.next_of_agg


@inlined
def is_short(state, agg):  # type: ignore[no-untyped-def]
    """Whether the oldest open cell is a long one in which its group woke: a part of it would be taken for little."""
    return agg.least != 0 and state.groups[agg.group].woke > agg.first * agg.step


@bare
def close(state, a, cells, index):  # type: ignore[no-untyped-def]
    """Hand out the oldest open cell, if anything fell into it, and go on to the next."""
    agg = state.aggregates[a]
    slot = agg.lanes_at + (agg.first % CELLS) * agg.width
    if state.lanes[slot] > 0.0 and not is_short(state, agg):
        if agg.reading == SUM or agg.reading == DISTRIBUTION:
            fill(state, a, slot)
        n, at = cells.used[0], cells.used[1]
        cells.agg[n], cells.end[n], cells.point[n], cells.at[n] = a, (agg.first + 1) * agg.step, index, at
        for lane in range(agg.width):
            cells.lanes[at + lane] = state.lanes[slot + lane]
            state.lanes[slot + lane] = 0.0
        cells.used[0], cells.used[1] = n + 1, at + agg.width
    elif state.lanes[slot] != 0.0:  # a part of it is not known
        for lane in range(agg.width):
            state.lanes[slot + lane] = 0.0
    agg.first += 1
    agg.unknown = 0
    recount(state, a)


@bare
def reach(state, a, cell, cells, index):  # type: ignore[no-untyped-def]
    """Close until `cell` is among the open ones; after a gap, leap over the empty cells."""
    agg = state.aggregates[a]
    closed = 0
    while cell >= agg.first + CELLS and closed < CELLS:
        close(state, a, cells, index)
        closed += 1
    if cell >= agg.first + CELLS:
        agg.first = cell - CELLS + 1
        recount(state, a)


@inlined
def leeway(agg):  # type: ignore[no-untyped-def]
    """How much longer than a step a cell waits for members that are late, ms: no delta is lost by being late."""
    return np.int64(0) if agg.delta == ONCE else agg.lateness


@inlined
def may_settle(agg):  # type: ignore[no-untyped-def]
    """Whether the oldest open cell may be complete or overdue: nearly always not, and that is quickly said."""
    return agg.newest >= (agg.first + 1) * agg.step and (
        agg.pending == 0 or agg.newest >= (agg.first + 2) * agg.step + leeway(agg)
    )


@bare
def settle(state, a, cells, index):  # type: ignore[no-untyped-def]
    """Close every cell that is complete or overdue."""
    agg = state.aggregates[a]
    patience = (agg.step if agg.least == 0 else SHORT) + leeway(agg)
    while True:
        end = (agg.first + 1) * agg.step
        grace = max(agg.step, agg.lateness) if agg.delta == PARTS else 0
        complete = agg.pending == 0 and agg.newest >= end + grace
        if not (complete or agg.newest >= end + patience):
            return
        if agg.newest - end > 2 * CELLS * agg.step + patience:
            reach(state, a, agg.newest // agg.step, cells, index)
        else:
            close(state, a, cells, index)


@bare
def leave_open(state, a, time):  # type: ignore[no-untyped-def]
    """A member's gain is not known: where such are many, the cells that it may be in are left out."""
    agg = state.aggregates[a]
    agg.unknown = min(agg.unknown + 1, 6_000)
    heard, m = 0, agg.head
    while m >= 0 and heard < KNOWN * agg.unknown:
        heard += is_heard(state, m, time)
        m = state.members[m].next_of_agg
    last = (time - 1) // agg.step
    if heard < KNOWN * agg.unknown:
        for c in range(max(last - 1, agg.first), min(last + 1, agg.first + CELLS)):
            state.lanes[agg.lanes_at + (c % CELLS) * agg.width] = -np.inf


@inlined
def put(state, m, slot, share, gained, summed, seconds, delta, buckets, warming):  # type: ignore[no-untyped-def]
    """Add a share of a contribution to a cell."""
    member = state.members[m]
    if warming:
        state.lanes[slot] += share * gained if member.lane == 1 else HEARD
        return
    state.lanes[slot] += seconds
    state.lanes[slot + member.lane] += share * gained
    if member.role == ERROR:
        state.lanes[slot + 2] += share * gained
    elif member.role == HISTOGRAM:
        state.lanes[slot + 2] += share * summed
        for j in range(buckets):
            state.lanes[slot + LANES + j] += share * delta[j]


@inlined
def spread(state, m, base, time, gained, summed, delta, buckets, cells, index):  # type: ignore[no-untyped-def]
    """Spread a contribution over the cells that (base, time] touches; cells that are closed keep what they had."""
    member = state.members[m]
    row, a = state.rows[member.row], member.agg
    agg = state.aggregates[a]
    span, of_times = time - base, agg.reading == DISTRIBUTION
    warming = of_times and is_warming(state, row, base)
    begin = max(base, time - int(MISSING * pace(agg, row)), time - REACH * agg.step)
    opened = agg.first * agg.step
    late = agg.lateness if row.delta == ONCE else -1
    if row.delta != 0 and begin < opened and time >= opened - late:
        begin, time = opened, max(time, opened + 1)  # a delta is said once: it goes into what is still open, whole
        span = time - begin
    for c in range(max(begin // agg.step, agg.first), (time - 1) // agg.step + 1):
        if c >= agg.first + CELLS:
            reach(state, a, c, cells, index)
        if c >= agg.first:
            held = min(time, (c + 1) * agg.step) - max(begin, c * agg.step)
            slot = agg.lanes_at + (c % CELLS) * agg.width
            seconds = HEARD if of_times else held / 1000.0
            put(state, m, slot, held / span, gained, summed, seconds, delta, buckets, warming)


@bare
def show(state, a, cells, index):  # type: ignore[no-untyped-def]
    """Hand out what each member said, so that its instance can be compared with its peers: of what counts all of it, because
    a sample that stands for the rest would make many of one; of a value the last.
    """
    agg = state.aggregates[a]
    end, m, left, n = agg.first * agg.step, agg.head, MOST_SHOWN, cells.used[2]
    seconds = min((end - agg.compared) / 1000.0, MISSING * max(agg.step, COMPARED) / 1000.0)
    agg.compared, is_counted = end, agg.reading in (DISTRIBUTION, RATIO)
    while m >= 0 and left > 0:
        member, row = state.members[m], state.rows[state.members[m].row]
        patience = seconds * 1000.0 if row.delta != 0 else MISSING * pace(agg, row)  # who is seldom may be gone
        heard = row.last > 0 and row.stale == 0 and end - row.last <= patience
        if heard and 0 < member.lane < LANES and not is_warming(state, row, row.last):
            one = cells.shown[n]
            one.end, one.point, one.agg, one.member = end, index, a, m
            one.gained, one.summed, one.seconds = member.gained, member.summed, seconds
            if is_counted:
                one.gained, one.summed = member.counts / seconds, member.sums / seconds
            n, left = n + 1, left - 1
        member.counts, member.sums, state.touched_members[m] = 0.0, 0.0, 1
        m = member.next_of_agg
    cells.used[2] = n


@inlined
def contribute(state, m, base, time, gained, summed, delta, buckets, cells, index):  # type: ignore[no-untyped-def]
    """What a row gained over (base, time], as one of its memberships sees it; base 0: nothing is known to be gained."""
    member = state.members[m]
    row, a = state.rows[member.row], member.agg
    agg = state.aggregates[a]
    if agg.step == 0:
        if row.intervals < 2:
            return
        agg.step = max(step_for(row.interval), agg.least)
        agg.first = time // agg.step + 1  # the cell under way has begun without us
        if row.delta == ONCE and agg.least == 0:  # what is said of it goes into the next
            state.lanes[agg.lanes_at + (agg.first % CELLS) * agg.width] = -np.inf
        recount(state, a)
    agg.newest = max(agg.newest, time)
    agg.delta = max(agg.delta, row.delta)
    state.touched_members[m], state.touched_aggregates[a] = 1, 1
    if buckets != agg.width - LANES or member.resolved == 0:
        buckets = 0  # other bounds than the aggregate's: count and sum only
    if 0 < base < time:
        member.gained, member.summed = gained * 1000.0 / (time - base), summed * 1000.0 / (time - base)
        if agg.fleet != 0:
            member.counts, member.sums = member.counts + gained, member.sums + summed
        if agg.reading == RATIO:
            c = max((time - 1) // agg.step, agg.first)
            if c >= agg.first + CELLS:
                reach(state, a, c, cells, index)
            slot = agg.lanes_at + (c % CELLS) * agg.width
            put(state, m, slot, 1.0, gained, summed, (time - base) / 1000.0, delta, 0, False)
        else:
            spread(state, m, base, time, gained, summed, delta, buckets, cells, index)
        if agg.asked != 0 and gained > 0.0:
            state.groups[row.group].busy = time
    elif agg.least == 0 and (agg.reading == SUM or agg.reading == DISTRIBUTION):
        leave_open(state, a, time)
    if member.counted != 0 and time >= (agg.first + 1) * agg.step:
        member.counted = 0
        agg.pending -= 1
    if may_settle(agg):
        settle(state, a, cells, index)
        if agg.fleet != 0 and agg.first * agg.step - agg.compared >= COMPARED:
            show(state, a, cells, index)
