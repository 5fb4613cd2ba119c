"""Traces that are closed -> which step followed which in how many of them, and how long their spans took.

rows: EVENT, whole traces. Within a span the order is that of time, but `start` is first and `end` is last, whatever clocks
say: lines are written by another clock than spans, and callees' clocks are their hosts'. What is of one time is ordered by
its hash, so that no order of arrival shows. A step is of the cell of its second event, and counted once a trace and cell.
A span's own time is its duration without its children's; children beside each other leave none.
Weak where lines and calls are within a millisecond or two of each other: their order changes, and both are usual then.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.spans import CONSUMER, NANOSECONDS, SERVER, UNKNOWN, UNSPECIFIED
from anomaly.decode.spans_series import BOUNDS, BUCKETS
from anomaly.decode.steps_events import LINE, mix_of
from anomaly.decode.steps_series import BETWEEN, CELL, EXEMPLARS, SELF, STEPS, TOTAL

U8 = NDArray[np.uint64]
BEGIN, FINISH, NOTHING = (np.uint64(n) for n in (1, 2, 0))  # what stands for `start`, `end`, and no next step
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


def closed(rows: NDArray[Any], spanned: U8) -> Closed:
    """Of these rows; `spanned` are the groups whose lines are of spans, or of nothing."""
    spans = rows[rows["type"] != LINE]
    own = mix_of(spans["key"], spans["span"])
    own, first = np.unique(own, return_index=True)
    spans = spans[first]
    parent = _place(own, mix_of(spans["key"], spans["parent"]))
    parent[(spans["parent"] == 0) | (parent == np.arange(parent.size))] = -1
    lines, unit, units, orphans = _lines(rows[rows["type"] == LINE], own, spans, spanned)
    far = _called(spans, parent)
    calls = spans[far]
    called = mix_of(calls["group"], calls["what"])
    steps = _steps(spans, units, (lines, unit), (calls, parent[far], called))
    names = dict(zip(called.tolist(), zip(calls["group"].tolist(), calls["what"].tolist(), strict=True), strict=True))
    return Closed([*steps, *_durations(spans, parent, far)], names, orphans)


def _place(known: U8, wanted: U8) -> NDArray[np.intp]:
    """Where each key is among known ones, which rise; -1: nowhere."""
    if not known.size:
        return np.full(wanted.size, -1)
    at = np.minimum(np.searchsorted(known, wanted), known.size - 1)
    return np.where(known[at] == wanted, at, -1)


def _called(spans: NDArray[Any], parent: NDArray[np.intp]) -> NDArray[np.intp]:
    """The spans that another service called."""
    kind = spans["kind"]
    may = (parent >= 0) & ((kind == SERVER) | (kind == CONSUMER) | (kind == UNSPECIFIED))
    return np.flatnonzero(may & (spans["group"] != spans["group"][parent]))


def _lines(
    lines: NDArray[Any], own: U8, spans: NDArray[Any], spanned: U8
) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[Any], int]:
    """Lines that belong to something, the unit of each, the units that are no span (EVENT), and how many lines are orphans.

    A unit is a span, by its index, or behind those what a group says of a trace in lines without spans.
    """
    unit = _place(own, mix_of(lines["key"], lines["span"]))
    unit[lines["span"] == 0] = -1
    alone = (unit < 0) & ((lines["span"] == 0) | ~np.isin(lines["group"], spanned))
    alone &= ~np.isin(lines["key"], spans["key"])
    _, first, inverse = np.unique(mix_of(lines["key"][alone], lines["group"][alone]), return_index=True, return_inverse=True)
    sessions = lines[alone][first]
    sessions["what"] = NOTHING
    unit[alone] = own.size + inverse.reshape(-1)
    good = unit >= 0
    return lines[good], unit[good], sessions, int(np.count_nonzero(~good))


def _steps(
    spans: NDArray[Any], sessions: NDArray[Any], written: tuple[Any, Any], called: tuple[Any, Any, U8]
) -> Iterator[Found]:
    """The steps of all units."""
    units = np.concatenate([spans, sessions])
    (lines, of), (calls, caller, call) = written, called
    n = units.size
    rank = np.repeat(np.array([0, 1, 2], np.int64), [n, lines.size + calls.size, n])
    unit = np.concatenate([np.arange(n), of, caller, np.arange(n)])
    step = np.concatenate([np.full(n, BEGIN), lines["what"], call, np.full(n, FINISH)])
    time = np.concatenate([units["start"], lines["start"], calls["start"], units["end"] * NANOSECONDS])
    order = np.lexsort((step, time, rank, unit))
    unit, step, rank, time = unit[order], step[order], rank[order], time[order]
    once = np.ones(unit.size, bool)
    once[1:] = (np.diff(unit) != 0) | (np.diff(rank) != 0) | (np.diff(time) != 0) | (step[1:] != step[:-1])
    unit, step, time = unit[once], step[once], time[once]
    a = np.flatnonzero((unit[1:] == unit[:-1]) & (units["mute"][unit[1:]] == 0))
    whose = units[unit[a]]
    ms = time[a + 1] // NANOSECONDS
    ms[step[a + 1] == FINISH] = np.where(  # a session ends with its last line
        unit[a] < spans.size, ms, time[a] // NANOSECONDS
    )[step[a + 1] == FINISH]
    labels = np.stack([whose["group"], whose["what"], step[a], step[a + 1]], axis=1)
    yield _distinct(whose, ms, labels)
    labels = labels.copy()
    labels[:, 3] = NOTHING
    yield _distinct(whose, ms, labels)


def _distinct(whose: NDArray[Any], ms: NDArray[np.int64], labels: U8) -> Found:
    """In how many traces each step came, by cell."""
    key, cell = mix_of(*labels.T), ms // CELL
    of = mix_of(key, cell.astype(np.uint64))
    _, once = np.unique(mix_of(of, whose["key"]), return_index=True)
    kind, first, inverse, n = np.unique(of[once], return_index=True, return_inverse=True, return_counts=True)
    at, place = once[first], inverse.reshape(-1)
    order = np.argsort(place, kind="stable")
    few = order[_rank(place[order]) < EXEMPLARS]
    words = np.stack([whose["trace"][once[few]], whose["low"][once[few]], ms[once[few]].astype(np.uint64)], axis=1)
    many = np.minimum(n, EXEMPLARS)
    empty = np.zeros((kind.size, 0))
    return Found(STEPS, key[at], cell[at], n.astype(float), np.zeros(kind.size), empty, many, words, labels[at])


def _rank(place: NDArray[np.intp]) -> NDArray[np.int64]:
    """The how-manieth of its place each is, 0 first; `place` rises."""
    first = np.flatnonzero(np.diff(place, prepend=-1))
    return np.arange(place.size) - np.repeat(first, np.diff(np.append(first, place.size)))


def _durations(spans: NDArray[Any], parent: NDArray[np.intp], far: NDArray[np.intp]) -> Iterator[Found]:
    """Own time, all time, and of calls the way between."""
    ns = spans["duration"]
    child = np.flatnonzero((parent >= 0) & (ns != UNKNOWN) & (spans["kind"] != CONSUMER))
    below = np.zeros(spans.size, np.int64)
    np.add.at(below, parent[child], ns[child])
    zero = np.zeros(spans.size, np.uint64)
    labels = np.stack([spans["group"], spans["what"], zero, zero], axis=1)
    known = np.flatnonzero(ns != UNKNOWN)
    yield _lasted(SELF, spans[known], np.maximum(ns - below, 0)[known], labels[known])
    yield _lasted(TOTAL, spans[known], ns[known], labels[known])
    call = far[(ns[far] != UNKNOWN) & (ns[parent[far]] != UNKNOWN) & (spans["kind"][far] != CONSUMER)]
    labels = labels[call]
    labels[:, 2] = spans["group"][parent[call]]
    yield _lasted(BETWEEN, spans[call], np.maximum(ns[parent[call]] - ns[call], 0), labels)


def _lasted(metric: str, spans: NDArray[Any], ns: NDArray[np.int64], labels: U8) -> Found:
    """How long, as histograms by series and cell."""
    key, cell = mix_of(*labels.T), spans["end"] // CELL
    kind, first, inverse = np.unique(mix_of(key, cell.astype(np.uint64)), return_index=True, return_inverse=True)
    place, n = inverse.reshape(-1), kind.size
    held = np.bincount(place * BUCKETS + np.searchsorted(_LIMITS, ns), minlength=n * BUCKETS).reshape(n, BUCKETS)
    order = np.lexsort((spans["key"], -ns, place))
    few = order[_rank(place[order]) < EXEMPLARS]
    words = np.stack([spans["trace"][few], spans["low"][few], spans["end"][few].astype(np.uint64)], axis=1)
    count = np.bincount(place, minlength=n)
    total = (np.bincount(place, ns, minlength=n) * 1e-9).astype(np.float64)
    many = np.minimum(count, EXEMPLARS)
    return Found(metric, key[first], cell[first], total, count.astype(float), held.astype(float), many, words, labels[first])
