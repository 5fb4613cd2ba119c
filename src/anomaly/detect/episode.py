"""One point of one row's episode: does it open, grow or end here? Compiled; `episodes` holds the rows.

A row is CALM, PENDING (it violates, not yet for long enough), OPEN, or ACCEPTED (the episode lasted so long that its level
is the new normal; silent until the model agrees or things get worse). A point violates if its score reaches `open_at`, its
deviation matters to the spec and lies on the spec's side, or while it stays outside the band that was frozen when the
violation began. Time is counted in points: each stands for the time since the one before, at most three usual intervals,
so that missing data neither prolongs nor ends anything.
"""

import math

import numpy as np

from anomaly.compiled import bare, inlined

CALM, PENDING, OPEN, ACCEPTED = 0, 1, 2, 3
NOTHING, OPENED, RECORD, CLOSED = 0, 1, 2, 3
NO_REASON, BACK_TO_NORMAL, NEW_NORMAL = 0, 1, 2
NO_FAULT, BAD, WARNED = 0, 1, 2  # what is a fault whatever was usual: a page, or a ticket
# A spec's parameters, as columns.
# TOLD_AT comes from the threshold. CONFIRMED 1: one value, however bad, is a blip; it takes a second, and the duration.
SIDE, DEVIATION, RELATIVE, DURATION, CLOSE_AFTER, NEW_NORMAL_AFTER, CONFIRMED, TOLD_AT, PARAMETERS = range(9)

# What every row has: 16 bytes, for few rows are ever anything but calm.
ROW = np.dtype(
    [
        ("last", np.int64),  # ms: the last point, 0 before the first
        ("interval", np.float32),  # s between points
        ("at", np.int32),  # 1 + its place among the live ones, 0: calm
    ],
    align=True,
)
# What a row has while it is not calm.
LIVE = np.dtype(
    [
        ("started", np.int64),  # ms: the first violating point
        ("until", np.int64),  # ms to which an episode from before a restart was told, 0: none
        ("score", np.float64),  # greatest so far
        ("spoken", np.float64),  # the score last spoken of
        ("observed", np.float64),  # value at the greatest score
        ("low", np.float64),  # frozen band; NaN where none was known
        ("high", np.float64),
        ("lasted", np.float32),  # s of violation
        ("calm", np.float32),  # s since the last violation, in points
        ("row", np.int32),
        ("calm_points", np.int16),
        ("phase", np.int8),
        ("side", np.int8),  # 1 above, -1 below
        ("bad", np.int32),  # BAD, WARNED: the worst of the spec's levels that was reached
        ("points", np.int32),  # violating ones
    ],
    align=True,
)
EVER, SPARE = 0, 1  # of the counts of places: used at all, free again

MARGIN, GREATER, MORE = 0.05, 1.25, 1.0  # a record: by a quarter or by one decade; never by a rounding
TOLERATED = 2  # calm points within a violation that is still to last
CALM_POINTS = 3  # fewer are no recovery, however far apart
WIDER = 0.05  # of its width, by which the frozen band is widened for the way back
RELEARNED = 0.5  # of `new_normal_after`: from then on the model's present band counts as well
LONGEST = 3.0  # usual intervals that a point can stand for


@bare
def stands_for(e, time):  # type: ignore[no-untyped-def]
    """Seconds that this point stands for; notes its arrival."""
    if e.last == 0:
        e.last = time
        return 0.0
    apart = (time - e.last) * 1e-3
    if e.interval == 0.0:
        e.interval = apart
    dt = min(apart, LONGEST * e.interval)
    e.interval += 0.1 * (dt - e.interval)
    e.last = time
    return dt


@bare
def matters(value, centre, spec):  # type: ignore[no-untyped-def]
    """Whether the deviation is large enough for the spec, and on its side."""
    off = value - centre
    fits = spec[SIDE] == 0.0 or spec[SIDE] * off > 0.0
    return fits and abs(off) >= max(spec[DEVIATION], spec[RELATIVE] * abs(centre))


@bare
def outside(e, value, spec, wider):  # type: ignore[no-untyped-def]
    """Whether the value lies beyond the frozen band, widened, on the side of the episode."""
    room = wider * (e.high - e.low)
    beyond = value > e.high + room if e.side > 0 else value < e.low - room
    return beyond and matters(value, 0.5 * (e.low + e.high), spec)


@bare
def begin(e, time, value, score, low, high, spec):  # type: ignore[no-untyped-def]
    """A violation begins: freeze the band that was expected."""
    centre = 0.5 * (low + high)
    e.phase, e.started, e.low, e.high = PENDING, time, low, high
    e.side = (1 if value > centre else -1) if not math.isnan(centre) else (-1 if spec[SIDE] < 0.0 else 1)
    e.score, e.observed, e.spoken = 0.0 if math.isnan(score) else score, value, -1.0
    e.lasted, e.calm, e.calm_points, e.until, e.bad, e.points = 0.0, 0.0, 0, 0, 0, 0


@bare
def grow(e, value, score):  # type: ignore[no-untyped-def]
    """Keep the greatest score and where it was reached."""
    if score > e.score:
        e.score, e.observed = score, value


@bare
def is_record(e):  # type: ignore[no-untyped-def]
    """Whether the greatest score is worth speaking of again."""
    return e.score >= e.spoken + MARGIN and (e.score >= GREATER * e.spoken or e.score >= e.spoken + MORE)


@bare
def follow(e, dt, violating):  # type: ignore[no-untyped-def]
    """Count the points and seconds of violation, or of calm after it."""
    if violating:
        e.lasted += dt
        e.points = min(e.points + 1, 30_000)
        e.calm, e.calm_points = 0.0, 0
    else:
        e.calm += dt
        e.calm_points = min(e.calm_points + 1, 30_000)


@bare
def is_confirmed(e, violating, spec):  # type: ignore[no-untyped-def]
    """Whether a second value has just said what people are told of: it may not have grown, and is news all the same."""
    return violating and e.points == 2 and e.score >= spec[TOLD_AT]


@bare
def occupy(e, r, live, spare, places):  # type: ignore[no-untyped-def]
    """Give a row a place among the live ones; returns its number."""
    if places[SPARE] > 0:
        places[SPARE] -= 1
        at = spare[places[SPARE]]
    else:
        at = places[EVER]
        places[EVER] += 1
    e.at, live[at].row = at + 1, r
    return at


@bare
def leave(e, live, spare, places):  # type: ignore[no-untyped-def]
    """Make a row calm; what was said of its episode can be read until the place is given away."""
    at = e.at - 1
    live[at].phase = CALM
    spare[places[SPARE]] = at
    places[SPARE] += 1
    e.at = 0


@bare
def end(e, time, spec):  # type: ignore[no-untyped-def]
    """Whether an open episode ends here, and why."""
    if e.calm >= spec[CLOSE_AFTER] and e.calm_points >= CALM_POINTS:
        e.phase = CALM
        return BACK_TO_NORMAL
    if (time - e.started) * 1e-3 >= spec[NEW_NORMAL_AFTER]:
        e.phase = ACCEPTED
        return NEW_NORMAL
    return NO_REASON


@bare
def worst(fault, before):  # type: ignore[no-untyped-def]
    """The worse of two faults."""
    if fault == BAD or before == BAD:
        return BAD
    return WARNED if fault != NO_FAULT or before != NO_FAULT else NO_FAULT


@bare
def is_settled(e, time, spec, bad):  # type: ignore[no-untyped-def]
    """Whether a violation has lasted so long that it opens the episode. A bad share has many events behind it already."""
    if spec[CONFIRMED] != 0.0:
        return e.lasted >= spec[DURATION] and time > e.started
    return bad != NO_FAULT or e.lasted >= spec[DURATION]


@bare
def live_point(e, dt, time, value, score, low, high, spec, bad, sharp):  # type: ignore[no-untyped-def]
    """What happens at a point of a row that is not calm: (what, reason of a close)."""
    if e.phase == ACCEPTED:  # silent until the model agrees
        e.phase = ACCEPTED if sharp else CALM
        return NOTHING, NO_REASON
    violating = sharp or outside(e, value, spec, 0.0 if e.phase == PENDING else WIDER)
    if e.phase == OPEN and not sharp and (time - e.started) * 1e-3 >= RELEARNED * spec[NEW_NORMAL_AFTER]:
        violating = violating and not low <= value <= high
    follow(e, dt, violating)
    grow(e, value, score)
    worse, e.bad = worst(bad, e.bad) != e.bad, worst(bad, e.bad)
    if e.phase == PENDING:
        if is_settled(e, time, spec, bad):
            e.phase, e.spoken = OPEN, e.score
            return OPENED, NO_REASON
        if e.calm_points > TOLERATED:
            e.phase = CALM
        return NOTHING, NO_REASON
    reason = end(e, time, spec)
    if reason != NO_REASON:
        return CLOSED, reason
    if worse or is_record(e) or e.spoken < spec[TOLD_AT] <= e.score or is_confirmed(e, violating, spec):
        e.spoken = e.score
        return RECORD, NO_REASON
    return NOTHING, NO_REASON


@inlined
def step_point(episodes, r, time, value, score, low, high, spec, bad, open_at):  # type: ignore[no-untyped-def]
    """What happens at a point, NOTHING if it is not newer than the last: (what, reason of a close, place).

    `bad`: NO_FAULT, BAD or WARNED.
    """
    table, live, spare, places = episodes
    row = table[r]
    if row.last != 0 and time <= row.last:
        return NOTHING, NO_REASON, -1
    dt = stands_for(row, time)
    sharp = bad != NO_FAULT or (score >= open_at and matters(value, 0.5 * (low + high), spec))
    if row.at == 0:
        if not sharp:
            return NOTHING, NO_REASON, -1
        begin(live[occupy(row, r, live, spare, places)], time, value, score, low, high, spec)
    at = row.at - 1
    event, reason = live_point(live[at], dt, time, value, score, low, high, spec, bad, sharp)
    if live[at].phase != OPEN:
        live[at].until = 0
    if live[at].phase == CALM:
        leave(row, live, spare, places)
    return event, reason, at
