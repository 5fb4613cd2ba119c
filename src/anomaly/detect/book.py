"""What `enter` writes new series into, and whether there is room for them.

A scope is an environment, or a metric in one. Where a scope has as many series as it may, a new one is refused: counted
once, and remembered, so that its points are known to be past a limit.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, inlined
from anomaly.decode.index import slot_of
from anomaly.table import FREE, USED

DONORS = 8  # siblings asked for what they know
DONE, UNPLANNED, UNREADABLE, MORE, FULL = 0, 1, 2, 3, 4  # why the kernel stopped


class New(NamedTuple):
    """Announced series: key uint64 (n,), texts one after the other, `fresh` (n,) whether no point can have been missed."""

    key: NDArray[np.uint64]
    text: NDArray[np.uint8]
    at: NDArray[np.int64]
    end: NDArray[np.int64]
    fresh: NDArray[np.uint8]


class Book(NamedTuple):
    """What the kernel enters series into, beside `rows.State`: columns, counts of rows, pools, indexes."""

    labels: NDArray[Any]
    judged: NDArray[np.int32]
    subjects: NDArray[Any]
    label_text: NDArray[np.uint8]
    group_text: NDArray[np.uint8]
    aggregate_text: NDArray[np.uint8]
    scopes: NDArray[Any]
    scope_text: NDArray[np.uint8]
    refused: NDArray[np.uint64]
    touched_labels: NDArray[np.uint8]
    touched_subjects: NDArray[np.uint8]
    touched_scopes: NDArray[np.uint8]
    touched_refused: NDArray[np.uint8]
    counts: tuple[
        NDArray[np.int64], ...
    ]  # as in table.Table: rows, members, aggregates, groups, families, subjects, scopes, refused
    used: tuple[NDArray[np.int64], ...]  # as in state.Pool: texts of labels, groups, aggregates and scopes, and lanes
    slots: tuple[NDArray[np.int32], ...]  # of Index: rows, kin, aggregates, groups, families, scopes, refused
    known: tuple[NDArray[np.int64], ...]  # how many each of these knows


class Judges(NamedTuple):
    """New judged rows in order, and for those that have them the judged rows of siblings that were heard, newest first."""

    row: NDArray[np.int32]
    spec: NDArray[np.int16]
    traffic: NDArray[np.uint8]
    donors: NDArray[np.int32]  # (n, DONORS), -1: none
    used: NDArray[np.int64]  # (2,): how many there are, and why the kernel stopped


ROWS, MEMBERS, AGGREGATES, GROUPS, FAMILIES, SUBJECTS, SCOPES, REFUSED = range(8)
LABEL_TEXT, GROUP_TEXT, AGGREGATE_TEXT, SCOPE_TEXT, LANE_PLACES = range(5)
BY_KEY, BY_KIN, BY_AGGREGATE, BY_GROUP, BY_FAMILY, BY_SCOPE, BY_REFUSED = range(7)


@inlined
def taken(count, chain):  # type: ignore[no-untyped-def]
    """A row to use: the one set free last, or one more."""
    row = count[FREE]
    if row >= 0:
        count[FREE] = chain[row]
        return row
    count[USED] += 1
    return count[USED] - 1


@bare
def copied(text, begin, end, pool, used):  # type: ignore[no-untyped-def]
    """Copy bytes to the end of a pool; where they begin there."""
    at = used[0]
    for i in range(end - begin):
        pool[at + i] = text[begin + i]
    used[0] = at + end - begin
    return at


@bare
def scope_of(key, above, text, begin, end, book):  # type: ignore[no-untyped-def]
    """The row of a scope; a new one is empty."""
    slots = book.slots[BY_SCOPE]
    slot = slot_of(slots, book.scopes.key, key)
    if slots[slot] == 0:
        s = taken(book.counts[SCOPES], book.scopes.above)
        one = book.scopes[s]
        one.key, one.above, one.rows, one.refused = key, above, 0, 0
        one.text_at, one.text_len = copied(text, begin, end, book.scope_text, book.used[SCOPE_TEXT]), end - begin
        slots[slot], book.known[BY_SCOPE][0] = s + 1, book.known[BY_SCOPE][0] + 1
    s = np.int64(slots[slot] - 1)
    book.touched_scopes[s] = 1
    return s


@inlined
def held(key, book):  # type: ignore[no-untyped-def]
    """(row of a scope or -1, how many series it has)."""
    s = np.int64(book.slots[BY_SCOPE][slot_of(book.slots[BY_SCOPE], book.scopes.key, key)]) - 1
    return s, book.scopes[s].rows if s >= 0 else 0


@bare
def refuse(key, environment, metric, book):  # type: ignore[no-untyped-def]
    """Count a series that there is no room for, once: with its metric, or with its environment if the metric is new too."""
    slots = book.slots[BY_REFUSED]
    slot = slot_of(slots, book.refused, key)
    if slots[slot] != 0:
        return
    n = book.counts[REFUSED][USED]
    book.refused[n], slots[slot], book.touched_refused[n] = key, n + 1, 1
    book.counts[REFUSED][USED], book.known[BY_REFUSED][0] = n + 1, book.known[BY_REFUSED][0] + 1
    s = metric if metric >= 0 else environment
    if s >= 0:
        book.scopes[s].refused += 1
        book.touched_scopes[s] = 1
