"""The kernels that walk closed traces: who stands above whom, what follows what, in how many traces, and how long it took.

unit: a span, or what a group says of a trace in lines alone; `inner`: a line or a call of a unit, with its time, ns.
Linear but for the order within a unit, which is sought with gaps (Shell 1959; gaps by Ciura 2001): units are short and
nearly in order, and a very long one costs no square.
"""

import numpy as np

from anomaly.compiled import bare, inlined
from anomaly.decode.spans import CLIENT, NANOSECONDS, PRODUCER

BEGIN, FINISH, NOTHING = (np.uint64(n) for n in (1, 2, 0))  # what stands for `start`, `end`, and no next step
CLIMB = 8  # client spans above each other, at most: ids may go round
_GAPS = (1_636_183, 727_192, 323_197, 143_643, 63_841, 28_374, 12_611, 5_605, 2_491, 1_107, 492, 218, 96, 42, 18, 7, 3, 1)


@bare
def times(rows, of, first, last, begin):  # type: ignore[no-untyped-def]
    """Of each trace, ms: when its first event and its last one ended, and when it began; `of` its number by row."""
    for i in range(rows.size):
        t = of[i]
        first[t] = min(first[t], rows[i]["end"])
        last[t] = max(last[t], rows[i]["end"])
        begin[t] = min(begin[t], rows[i]["start"] // NANOSECONDS)


@bare
def take_out(rows, of, over, out, number):  # type: ignore[no-untyped-def]
    """Moves the rows whose trace is over to `out`, with its number, and those that stay to the front.

    rows, out uint64 (n, words): as words they are moved several at a time, as records they are not.
    """
    kept = gone = 0
    for i in range(of.size):
        if over[of[i]]:
            for w in range(rows.shape[1]):
                out[gone, w] = rows[i, w]
            number[gone] = of[i]
            gone += 1
        else:
            for w in range(rows.shape[1] if kept < i else 0):
                rows[kept, w] = rows[i, w]
            kept += 1


@bare
def lift(spans, parent, call, caller):  # type: ignore[no-untyped-def]
    """The span in whose course each call is: the caller's, or the nearest above it in its service that is no client's."""
    for i in range(call.size):
        at = parent[call[i]]
        up = at
        for _ in range(CLIMB):
            kind = spans[up]["kind"]
            if kind != CLIENT and kind != PRODUCER:
                at = up
                break
            above = parent[up]
            if above < 0 or spans[above]["group"] != spans[up]["group"]:
                break
            up = above
        caller[i] = at


@bare
def group_by(of, begin, order):  # type: ignore[no-untyped-def]
    """Brings what is of one together: that of `k`, in its order, is order[begin[k]:begin[k + 1]]; begin int64 (n + 2,)."""
    begin[:] = 0
    for i in range(of.size):
        begin[of[i] + 2] += 1
    for k in range(2, begin.size):
        begin[k] += begin[k - 1]
    for i in range(of.size):
        order[begin[of[i] + 1]] = i
        begin[of[i] + 1] += 1


@inlined
def _later(a, b, time, step):  # type: ignore[no-untyped-def]
    return time[a] > time[b] or (time[a] == time[b] and step[a] > step[b])


@bare
def sort_within(begin, order, time, step):  # type: ignore[no-untyped-def]
    """Orders the inner ones of each unit by time, and those of one time by hash."""
    for k in range(begin.size - 2):
        low, high = begin[k], begin[k + 1]
        for gap in _GAPS:
            for i in range(low + gap, high):
                held, j = order[i], i
                while j - gap >= low and _later(order[j - gap], held, time, step):
                    order[j] = order[j - gap]
                    j -= gap
                order[j] = held


@bare
def walk(units, spans, turn, begin, order, time, step, of, a, b, ms):  # type: ignore[no-untyped-def]
    """Writes all pairs of what followed what: its unit, the one and the next, and when this was, ms; gives how many.

    `turn` the order in which units are walked; those from `spans` on are no spans, and end with their last line. What a unit
    has twice at one time counts once.
    """
    n = 0
    for u in turn:
        if units[u]["mute"]:
            continue
        last, at, when = BEGIN, np.int64(0), np.int64(-1)
        for i in range(begin[u], begin[u + 1]):
            j = order[i]
            if time[j] == when and step[j] == last:
                continue
            of[n], a[n], b[n], ms[n] = u, last, step[j], time[j] // NANOSECONDS
            last, when, at = step[j], time[j], ms[n]
            n += 1
        of[n], a[n], b[n], ms[n] = u, last, FINISH, units[u]["end"] if u < spans else at
        n += 1
    return n


@bare
def tally(kind, unit, trace, units, ms, n, last, words):  # type: ignore[no-untyped-def]
    """In how many traces each kind of pair came, and the first few of them.

    Pairs come trace by trace, so that a kind need remember but the last. n, last int64 (kinds,), `last` -1 before the first;
    words uint64 (kinds, few, 3).
    """
    for i in range(kind.size):
        k, u = kind[i], unit[i]
        if last[k] == trace[u]:
            continue
        last[k] = trace[u]
        if n[k] < words.shape[1]:
            words[k, n[k], 0], words[k, n[k], 1] = units[u]["trace"], units[u]["low"]
            words[k, n[k], 2] = np.uint64(ms[i])
        n[k] += 1


@bare
def add_up(kind, ns, spans, limits, held, total, slow, words):  # type: ignore[no-untyped-def]
    """Durations in ns by kind: histogram float64 (kinds, buckets), sum int64 (kinds,), and the slowest, those first.

    Of equal ones that whose trace's key is the least. slow int32 (kinds, few): which these are, -1: none.
    """
    few = slow.shape[1]
    for i in range(kind.size):
        k = kind[i]
        total[k] += ns[i]
        held[k, np.searchsorted(limits, ns[i])] += 1.0
        j = few
        while j > 0:
            other = slow[k, j - 1]
            if other >= 0 and (ns[other] > ns[i] or (ns[other] == ns[i] and spans[other]["key"] <= spans[i]["key"])):
                break
            j -= 1
        if j == few:
            continue
        for m in range(few - 1, j, -1):
            slow[k, m] = slow[k, m - 1]
        slow[k, j] = i
    for k in range(slow.shape[0]):
        for j in range(few):
            if slow[k, j] >= 0:
                span = spans[slow[k, j]]
                words[k, j, 0], words[k, j, 1], words[k, j, 2] = span["trace"], span["low"], np.uint64(span["end"])
