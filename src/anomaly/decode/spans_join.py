"""Caller and callee of a call, joined by span id: which service calls which, how long it waits, and how much of that is
the way between them.

Spans are held for `wait` ms of their own time in two tables: `seen` by their own id, and `waiting` by their parent's, where
that has not come yet. A table is sets of WAYS places; a set that is full lets go of what it has held longest. Tables double
while what they let go of is younger than `wait`, up to `most` spans each, and then count it: the limit holds, and is said.
What comes a second time, in another record, is a repeat. A record that is decoded again is none: it finds itself. A half
that never comes (sampling, a lost record, another partition) leaves nothing behind.

A call goes from a span to a child of another service of the same environment; a child whose kind is not known counts as one
that was called, an internal one does not.
keys   uint64 (sets, WAYS)  0: free;  rows  HELD (sets * WAYS,);  hand  uint8 (sets,), where the next one goes
counts int64 (3,)  CALLS, REPEATED, LET_GO
Source of the tables: set-associative caches with first-in first-out replacement, as in J. Hennessy, D. Patterson, "Computer
Architecture", appendix B.
Weak where traces of a source are spread over partitions: each joins its own.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, fetch, inlined
from anomaly.decode.spans import CONSUMER, SERVER, UNKNOWN, UNSPECIFIED, Spans
from anomaly.decode.wire import mix
from anomaly.table import USED, Table

WAYS = 8
LEAST = 1 << 9  # sets of a new table
AHEAD = 12  # spans by which a set is asked for before its turn

CALLS, REPEATED, LET_GO = range(3)

# A span as it is held. `offset` of its record, `run` the call of the kernel that put it there.
HELD = np.dtype([
    ("time", "i8"), ("start", "i8"), ("duration", "i8"), ("offset", "i8"), ("group", "i4"), ("operation", "i4"),
    ("run", "u4"), ("kind", "u1"), ("status", "u1"), ("spare", "u2"),
])  # fmt: skip

# A call: caller's group, callee's group and operation, whether either of them failed; in ns how long the caller waited, and
# for how much of that the callee did not work on it (of what went through a queue: for how long it lay there), UNKNOWN where
# a time is missing.
CALL = np.dtype([
    ("time", "i8"), ("waited", "i8"), ("between", "i8"), ("record", "i4"), ("caller", "i4"), ("group", "i4"),
    ("operation", "i4"), ("status", "u1"), ("spare", "u1", 3),
])  # fmt: skip
_SERVER, _CONSUMER, _UNSPECIFIED, _UNKNOWN, _ERROR = SERVER, CONSUMER, UNSPECIFIED, UNKNOWN, 2
_NO = np.uint64(0)


class Halves(NamedTuple):
    """One table."""

    keys: NDArray[np.uint64]
    rows: NDArray[Any]
    hand: NDArray[np.uint8]
    touched: NDArray[np.uint8]  # by set, as in `table.Table`


class Columns(NamedTuple):
    """The spans of a block as the kernel wants them; `own` and `above` are keys of (trace, id), 0: none."""

    own: NDArray[np.uint64]
    above: NDArray[np.uint64]
    time: NDArray[np.int64]
    start: NDArray[np.int64]
    duration: NDArray[np.int64]
    record: NDArray[np.int32]
    group: NDArray[np.int32]
    operation: NDArray[np.int32]
    kind: NDArray[np.uint8]
    status: NDArray[np.uint8]


@bare
def keys_of(trace, trace_low, span, parent, own, above):  # type: ignore[no-untyped-def]
    """Keys of a span and of its parent."""
    for i in range(span.size):
        known = trace[i] | trace_low[i]
        whole = mix(trace[i], trace_low[i])
        own[i] = mix(whole, span[i]) if known != _NO and span[i] != _NO else _NO
        above[i] = mix(whole, parent[i]) if known != _NO and parent[i] != _NO else _NO


@inlined
def place_of(halves, key):  # type: ignore[no-untyped-def]
    """Where a key is, or -1."""
    s = np.int64(key & np.uint64(halves.keys.shape[0] - 1))
    for w in range(WAYS):
        if halves.keys[s, w] == key:
            return s * WAYS + w
    return np.int64(-1)


@inlined
def loses(halves, key, time, wait):  # type: ignore[no-untyped-def]
    """Whether room for a key would be made by letting go of a span that is still waited for."""
    s = np.int64(key & np.uint64(halves.keys.shape[0] - 1))
    w = halves.hand[s]
    return halves.keys[s, w] != _NO and abs(time - halves.rows[s * WAYS + w].time) < wait


@inlined
def put(halves, key, columns, i, offset, run):  # type: ignore[no-untyped-def]
    """Hold span i under a key."""
    s = np.int64(key & np.uint64(halves.keys.shape[0] - 1))
    w = np.int64(halves.hand[s])
    halves.keys[s, w] = key
    halves.hand[s], halves.touched[s] = (w + 1) % WAYS, 1
    row = halves.rows[s * WAYS + w]
    row.time, row.start, row.duration, row.offset = columns.time[i], columns.start[i], columns.duration[i], offset
    row.group, row.operation, row.run = columns.group[i], columns.operation[i], run
    row.kind, row.status = columns.kind[i], columns.status[i]


@inlined
def can_be_called(kind):  # type: ignore[no-untyped-def]
    """Whether a span may be the far side of a call."""
    return kind in (_SERVER, _CONSUMER, _UNSPECIFIED)


@inlined
def joined(caller, callee, record, environment, wait, call):  # type: ignore[no-untyped-def]
    """Write the call of two spans; False if it is none. Both have the fields of HELD."""
    if caller.group == callee.group or abs(caller.time - callee.time) > wait or not can_be_called(callee.kind):
        return False
    if environment[caller.group] != environment[callee.group]:
        return False
    call.record, call.caller, call.group, call.operation = record, caller.group, callee.group, callee.operation
    call.time, call.status = max(caller.time, callee.time), callee.status
    if caller.status == _ERROR:
        call.status = _ERROR
    call.waited, call.between = caller.duration, _UNKNOWN
    if callee.kind == _CONSUMER:
        if caller.start > 0 and caller.duration >= 0 and callee.start > 0:
            call.between = max(callee.start - caller.start - caller.duration, 0)
    elif caller.duration >= 0 and callee.duration >= 0:
        call.between = max(caller.duration - callee.duration, 0)
    return True


@bare
def join(begin, columns, first, offset, run, wait, grows, environment, seen, waiting, me, repeated, calls, counts):  # type: ignore[no-untyped-def]
    """Join the spans from `begin` on; returns how far it came: `grows` and a table is to be doubled, or `calls` is full.

    `offset` int64 by record; `environment` int32 by group; `me` HELD (1,), room for one; `repeated` uint8 per span is
    written. Time before `first`, ms, is none.
    """
    sets, others = np.uint64(seen.keys.shape[0] - 1), np.uint64(waiting.keys.shape[0] - 1)
    one = me[0]
    for i in range(begin, columns.own.size):
        if i + AHEAD < columns.own.size:
            fetch(seen.keys, np.int64(columns.own[i + AHEAD] & sets), 0)
            fetch(seen.keys, np.int64(columns.above[i + AHEAD] & sets), 0)
            fetch(waiting.keys, np.int64(columns.own[i + AHEAD] & others), 0)
        if calls.size - counts[CALLS] <= WAYS:
            return i
        own, above, time, record = columns.own[i], columns.above[i], columns.time[i], columns.record[i]
        repeated[i] = 0
        if own == _NO or time < first or columns.group[i] < 0:
            continue
        at = place_of(seen, own)
        if at >= 0 and (seen.rows[at].offset != offset[record] or seen.rows[at].run == run):
            repeated[i] = 1
            counts[REPEATED] += 1
            continue
        one.time, one.duration, one.start, one.group = time, columns.duration[i], columns.start[i], columns.group[i]
        one.operation, one.kind, one.status = columns.operation[i], columns.kind[i], columns.status[i]
        parent = place_of(seen, above) if above != _NO else np.int64(-1)
        waits = at < 0 and above != _NO and parent < 0 and can_be_called(columns.kind[i])
        if at < 0 and loses(seen, own, time, wait):
            if grows:
                return i
            counts[LET_GO] += 1
        if waits and loses(waiting, above, time, wait):
            if grows:
                return i
            counts[LET_GO] += 1
        if at >= 0:
            seen.rows[at].run = run
        else:
            put(seen, own, columns, i, offset[record], run)
        if parent >= 0:
            counts[CALLS] += joined(seen.rows[parent], one, record, environment, wait, calls[counts[CALLS]])
        elif waits:
            put(waiting, above, columns, i, offset[record], run)
        s = np.int64(own & others)
        for w in range(WAYS):
            if waiting.keys[s, w] == own:
                waiting.keys[s, w], waiting.touched[s] = _NO, 1
                callee = waiting.rows[s * WAYS + w]
                counts[CALLS] += joined(one, callee, record, environment, wait, calls[counts[CALLS]])
    return columns.own.size


@bare
def spread(old, new):  # type: ignore[no-untyped-def]
    """Put what a table holds into one of twice as many sets, the longest held first."""
    for s in range(old.keys.shape[0]):
        for k in range(WAYS):
            w = (old.hand[s] + k) % WAYS
            key = old.keys[s, w]
            if key != _NO:
                t = np.int64(key & np.uint64(new.keys.shape[0] - 1))
                to = np.int64(new.hand[t])
                new.keys[t, to] = key
                new.rows[t * WAYS + to] = old.rows[s * WAYS + w]
                new.hand[t] = (to + 1) % WAYS


def table(name: str, sets: int) -> Table:
    """A table that holds nothing: a row for each set."""
    made = Table(name, {"keys": (np.uint64, WAYS), "held": (HELD, WAYS), "hand": (np.uint8, 0)})
    made.count[USED] = sets
    made.reserve(sets)
    return made


def halves(of: Table) -> Halves:
    """The same as the kernels want it."""
    n = of.used
    return Halves(of["keys"][:n], of["held"][:n].reshape(-1), of["hand"][:n], of.touched[:n])


def doubled(old: Table) -> Table:
    """The same with room for twice as many."""
    new = table(old.name, 2 * old.used)
    spread(halves(old), halves(new))
    new.touched[: new.used] = 1
    return new


class Join:
    """The halves of one input partition; `most` spans in each table, `wait` ms."""

    def __init__(self, most: int, wait: int) -> None:
        self.most, self.wait = most, wait
        self.clear()
        self.counts = np.zeros(3, np.int64)
        self._run = 0

    @property
    def seen(self) -> Halves:
        """Spans by their own id."""
        return halves(self.tables[0])

    @property
    def waiting(self) -> Halves:
        """Spans by their parent's, which has not come."""
        return halves(self.tables[1])

    @property
    def held(self) -> int:
        """Spans held."""
        return int(np.count_nonzero(self.seen.keys) + np.count_nonzero(self.waiting.keys))

    def clear(self) -> None:
        """Hold nothing."""
        self.tables = [table("seen", LEAST), table("waiting", LEAST)]

    def take(
        self, spans: Spans, group: NDArray[np.int32], operation: NDArray[np.int32], offset: NDArray[np.int64],
        environment: NDArray[np.int32], earliest: int,
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:  # fmt: skip
        """The calls that these spans complete, as CALL, and which of the spans (uint8) are repeats."""
        n = len(spans)
        own, above = np.empty(n, np.uint64), np.empty(n, np.uint64)
        keys_of(spans.trace, spans.trace_low, spans.span, spans.parent, own, above)
        columns = Columns(
            own, above, spans.time, spans.start, spans.duration, spans.record, group, operation, spans.kind, spans.status
        )
        self._run = (self._run + 1) & 0xFFFFFFFF
        repeated, calls, me = np.zeros(n, np.uint8), np.zeros(n + 4 * WAYS, CALL), np.zeros(1, HELD)
        self.counts[CALLS] = done = 0
        while done < n:
            seen, waiting = self.seen, self.waiting
            grows = 2 * seen.rows.size <= self.most
            done = join(
                done, columns, earliest, offset, np.uint32(self._run), self.wait, grows, environment, seen, waiting, me,
                repeated, calls, self.counts,
            )  # fmt: skip
            if done < n and calls.size - self.counts[CALLS] <= WAYS:
                calls = np.concatenate([calls, np.zeros(calls.size, CALL)])
            elif done < n:
                self.tables = [doubled(each) for each in self.tables]
        return calls[: self.counts[CALLS]], repeated
