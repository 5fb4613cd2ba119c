"""Traces that are closed -> which step followed which in how many of them, and how long their spans took.

rows: EVENT, whole traces. Within a span the order is that of time, but `start` is first and `end` is last, whatever clocks
say: lines are written by another clock than spans, and callees' clocks are their hosts'. What is of one time is ordered by
its hash, so that no order of arrival shows. A step is of the cell of its second event, and counted once a trace and cell.
A call is a step of the span in whose course it is: instrumented services have a client's span between. That one tells when
the call began, by the caller's own clock, and the call is of the nearest span above it in its service that is no client's.
A span's own time is its duration without its children's; children beside each other leave none.
Weak where lines and calls are within a millisecond or two of each other: their order changes, and both are usual then. Weak,
too, where one client's span has several calls below it, such as retries: they are of one time, and the same one counts once.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.spans import CONSUMER, SERVER, UNKNOWN, UNSPECIFIED
from anomaly.decode.spans_series import BOUNDS, BUCKETS
from anomaly.decode.steps_events import LINE, mix_of
from anomaly.decode.steps_numbers import Numbers, numbered
from anomaly.decode.steps_series import BETWEEN, CELL, EXEMPLARS, SELF, STEPS, TOTAL, WORDS
from anomaly.decode.steps_walk import NOTHING, add_up, group_by, lift, sort_within, tally, walk

U8 = NDArray[np.uint64]
_LIMITS = np.array([int(b * 1e9) for b in BOUNDS], np.int64)


class Found(NamedTuple):
    """What closed traces say of one metric, a row each: series key, cell, value, histogram and exemplars.

    labels uint64 (n, 4): group, operation (0: none), and step and next, or the caller's group
    words  uint64 (sum of many, WORDS)
    """

    metric: str
    key: U8
    cell: NDArray[np.int64]
    value: NDArray[np.float64]
    observed: NDArray[np.float64]
    held: NDArray[np.float64]
    many: NDArray[np.int64]
    words: U8
    labels: U8


class Closed(NamedTuple):
    """All that they say; `calls`: the hash of a step that is a call -> the callee's group and operation."""

    found: list[Found]
    calls: dict[int, tuple[int, int]]
    orphans: int  # lines of spans that nobody heard of


class Inner(NamedTuple):
    """Lines or calls, a row each: the unit they are of, what step they are, and when, ns."""

    unit: NDArray[np.int32]
    step: U8
    time: NDArray[np.int64]


def closed(rows: NDArray[Any], spanned: U8) -> Closed:
    """Of these rows; `spanned` are the groups whose lines are of spans, or of nothing."""
    is_line = rows["type"] == LINE
    spans = rows[~is_line] if is_line.any() else rows
    own = numbered(mix_of(spans["key"], spans["span"]))
    if own.first.size < spans.size:  # some came twice
        spans = spans[own.first]
    parent = own.find(mix_of(spans["key"], spans["parent"]))
    parent[(spans["parent"] == 0) | (parent == np.arange(parent.size))] = -1
    lines, sessions, orphans = _lines(rows[is_line], own, spans, spanned)
    far = _called(spans, parent)
    calls, names = _calls(spans, parent, far)
    return Closed([*_steps(spans, sessions, lines, calls), *_durations(spans, parent, far)], names, orphans)


def _called(spans: NDArray[Any], parent: NDArray[np.int32]) -> NDArray[np.intp]:
    """The spans that another service called."""
    kind = spans["kind"]
    may = (parent >= 0) & ((kind == SERVER) | (kind == CONSUMER) | (kind == UNSPECIFIED))
    return np.flatnonzero(may & (spans["group"] != spans["group"][parent])) if parent.size else np.zeros(0, np.intp)


def _calls(
    spans: NDArray[Any], parent: NDArray[np.int32], far: NDArray[np.intp]
) -> tuple[Inner, dict[int, tuple[int, int]]]:
    """Calls as steps of whoever is busy with them, and what these steps mean."""
    caller = np.empty(far.size, np.int32)
    lift(spans, parent, far, caller)
    between = caller != parent[far]
    begun = np.where(between, spans["start"][parent[far]], spans["start"][far])
    group, what = spans["group"][far], spans["what"][far]
    step = mix_of(group, what)
    once = numbered(step).first
    meant = zip(group[once].tolist(), what[once].tolist(), strict=True)
    return Inner(caller, step, begun), dict(zip(step[once].tolist(), meant, strict=True))


def _lines(lines: NDArray[Any], own: Numbers, spans: NDArray[Any], spanned: U8) -> tuple[Inner, NDArray[Any], int]:
    """Lines that belong to something, the units that are no span (EVENT), and how many lines are orphans.

    A unit is a span, by its number, or behind those what a group says of a trace in lines without spans.
    """
    unit = own.find(mix_of(lines["key"], lines["span"]))
    unit[lines["span"] == 0] = -1
    alone = (unit < 0) & ((lines["span"] == 0) | ~np.isin(lines["group"], spanned))
    alone &= numbered(spans["key"]).find(lines["key"]) < 0
    session = numbered(mix_of(lines["key"][alone], lines["group"][alone]))
    sessions = lines[alone][session.first]
    sessions["what"] = NOTHING
    unit[alone] = spans.size + session.of
    good = unit >= 0
    return Inner(unit[good], lines["what"][good], lines["start"][good]), sessions, int(np.count_nonzero(~good))


def _steps(spans: NDArray[Any], sessions: NDArray[Any], *inner: Inner) -> Iterator[Found]:
    """The steps of all units."""
    units = np.concatenate([spans, sessions]) if sessions.size else spans
    unit, step, time = (np.concatenate(columns) for columns in zip(*inner, strict=True))
    begin, order = _grouped(unit, units.size)
    sort_within(begin, order, time, step)
    trace = numbered(units["key"]).of
    _, turn = _grouped(trace, int(trace.max(initial=-1)) + 1)
    room = units.size + unit.size
    of, ms = np.empty(room, np.int32), np.empty(room, np.int64)
    a, b = np.empty(room, np.uint64), np.empty(room, np.uint64)
    n = walk(units, spans.size, turn, begin, order, time, step, of, a, b, ms)
    of, a, b, ms = of[:n], a[:n], b[:n], ms[:n]
    whose, cell = mix_of(units["group"], units["what"]), ms // CELL
    context = mix_of(whose[of], a, cell.astype(np.uint64))
    for following, kinds in ((b, numbered(mix_of(context, b))), (np.full(n, NOTHING), numbered(context))):
        first = kinds.first
        found, last = np.zeros(first.size, np.int64), np.full(first.size, -1)
        words = np.empty((first.size, EXEMPLARS, WORDS), np.uint64)
        tally(kinds.of, of, trace, units, ms, found, last, words)
        group, what = units["group"][of[first]], units["what"][of[first]]
        labels = np.stack([group, what, a[first], following[first]], axis=1)
        no, none = np.zeros(first.size), np.zeros((first.size, 0))
        yield Found(STEPS, mix_of(*labels.T), cell[first], found.astype(float), no, none, *_few(found, words), labels)


def _grouped(of: NDArray[np.int32], n: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """As `group_by`."""
    begin, order = np.empty(n + 2, np.int64), np.empty(of.size, np.int32)
    group_by(of, begin, order)
    return begin, order


def _few(n: NDArray[np.int64], words: U8) -> tuple[NDArray[np.int64], U8]:
    """How many exemplars there are of n, and those alone."""
    many = np.minimum(n, words.shape[1])
    return many, words[np.arange(words.shape[1]) < many[:, np.newaxis]]


def _durations(spans: NDArray[Any], parent: NDArray[np.int32], far: NDArray[np.intp]) -> Iterator[Found]:
    """Own time, all time, and of calls the way between."""
    ns = spans["duration"]
    child = np.flatnonzero((parent >= 0) & (ns != UNKNOWN) & (spans["kind"] != CONSUMER))
    below = np.zeros(spans.size, np.int64)
    np.add.at(below, parent[child], ns[child])
    known = ns != UNKNOWN
    some, nobody = (spans, slice(None)) if known.all() else (spans[known], known)
    client = np.zeros(some.size, np.uint64)
    yield from _lasted({SELF: np.maximum(ns - below, 0)[nobody], TOTAL: ns[nobody]}, some, client)
    call = far[known[far] & known[parent[far]] & (spans["kind"][far] != CONSUMER)]
    between = np.maximum(ns[parent[call]] - ns[call], 0)
    yield from _lasted({BETWEEN: between}, spans[call], spans["group"][parent[call]])


def _lasted(durations: dict[str, NDArray[np.int64]], spans: NDArray[Any], client: U8) -> Iterator[Found]:
    """How long, by metric, as histograms by series and cell."""
    cell = spans["end"] // CELL
    kinds = numbered(mix_of(spans["group"], spans["what"], client, cell.astype(np.uint64)))
    first = kinds.first
    labels = np.stack([spans["group"][first], spans["what"][first], client[first], np.zeros(first.size, np.uint64)], axis=1)
    key = mix_of(*labels.T)
    for metric, ns in durations.items():
        held, total = np.zeros((first.size, BUCKETS)), np.zeros(first.size, np.int64)
        slow = np.full((first.size, EXEMPLARS), -1, np.int32)
        words = np.empty((first.size, EXEMPLARS, WORDS), np.uint64)
        add_up(kinds.of, np.ascontiguousarray(ns), spans, _LIMITS, held, total, slow, words)
        count = held.sum(axis=1)
        yield Found(
            metric,
            key,
            cell[first],
            (total * 1e-9).astype(np.float64),
            count,
            held,
            *_few(count.astype(np.int64), words),
            labels,
        )
