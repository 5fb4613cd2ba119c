"""New series get their rows, in compiled code, in the order in which they were announced.

What a series needs is planned once for all that no spec can tell apart (`plans`); here one plan is carried out for each: its
group, its family, its row and label, the judged row of its own value, and the aggregate over its instances or its group.
Where Python has to help, the kernel stops: at a series whose plan is not made yet, and behind one that feeds more than its
value (a ratio, a histogram).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, inlined
from anomaly.decode.wire import hash_bytes, mix
from anomaly.detect.index import slot_of
from anomaly.detect.rows import AMOUNT, CELLS, LANES, MEAN, RATE, SUM, VALUE
from anomaly.detect.text import EMPTY, ENVIRONMENT, GROUP, INSTANCE, KIND, LABELS, METRIC, PLACE, UNIT, named, outline, place
from anomaly.state import FREE, USED

DONORS = 8  # siblings asked for what they know
GAUGE, COUNTER, COUNTS = 0, 1, 3
INSTANCES, WHOLE, NONE = 0, 1, 2  # over what values are put together: models.Sum
DONE, UNPLANNED, UNREADABLE, MORE, FULL = 0, 1, 2, 3, 4  # why the kernel stopped

# What a series of a shape needs: `key` the shape, `spec` of its value, -1: none, `name` that spec's hash.
PLAN = np.dtype(
    [
        ("key", "u8"), ("name", "u8"), ("spec", "i2"), ("sum", "u1"), ("members", "u1"), ("averaged", "u1"),
        ("traffic", "u1"), ("ignored", "u1"), ("watched", "u1"), ("more", "u1"), ("season", "u1"),
    ]
)  # fmt: skip


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
    ]  # as in state.Table: rows, members, aggregates, groups, families, subjects, scopes, refused
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


@bare
def group_of(new, parts, state, book):  # type: ignore[no-untyped-def]
    """The group's row; a new one has nobody watching it yet."""
    key = place(new.text, parts)
    key = key if key != np.uint64(0) else np.uint64(1)
    slots = book.slots[BY_GROUP]
    slot = slot_of(slots, state.groups.key, key)
    if slots[slot] != 0:
        return np.int64(slots[slot] - 1)
    g = taken(book.counts[GROUPS], state.groups.source)
    group = state.groups[g]
    group.key, group.source = key, 0
    group.text_at = copied(new.text, parts[ENVIRONMENT], parts[METRIC], book.group_text, book.used[GROUP_TEXT])
    group.text_len = parts[METRIC] - parts[ENVIRONMENT]
    slots[slot], book.known[BY_GROUP][0] = g + 1, book.known[BY_GROUP][0] + 1
    return g


@bare
def family_of(group, new, parts, seed, state, book):  # type: ignore[no-untyped-def]
    """The row of the series that are exported with this one."""
    key = mix(state.groups[group].key, hash_bytes(new.text, parts[METRIC], parts[UNIT], seed))
    key = mix(key, hash_bytes(new.text, parts[INSTANCE], parts[KIND], seed)) | np.uint64(1)
    slots = book.slots[BY_FAMILY]
    slot = slot_of(slots, state.families.key, key)
    if slots[slot] == 0:
        f = taken(book.counts[FAMILIES], state.families.next)
        state.families[f].key, state.families[f].next = key, 0
        slots[slot], book.known[BY_FAMILY][0] = f + 1, book.known[BY_FAMILY][0] + 1
    f = np.int64(slots[slot] - 1)
    state.families[f].rows += 1
    state.touched_families[f] = 1
    return f


@bare
def subject(of, whole, quantity, spec, traffic, book, judges):  # type: ignore[no-untyped-def]
    """A new judged row."""
    j = taken(book.counts[SUBJECTS], book.subjects.of)
    one = book.subjects[j]
    one.of, one.whole, one.quantity = of, whole, quantity
    book.touched_subjects[j] = 1
    n = judges.used[0]
    judges.row[n], judges.spec[n], judges.traffic[n] = j, spec, traffic
    judges.donors[n, :] = -1
    judges.used[0] = n + 1
    return j


@bare
def join(r, a, role, lane, resolved, state, count):  # type: ignore[no-untyped-def]
    """Make a row a member of an aggregate, once."""
    m = state.rows[r].members
    while m >= 0:
        if state.members[m].agg == a:
            return
        m = state.members[m].next_of_row
    m = taken(count, state.members.next_of_row)
    one, row, agg = state.members[m], state.rows[r], state.aggregates[a]
    one.gained, one.summed, one.counted = 0.0, 0.0, 0
    one.row, one.agg, one.next_of_row, one.next_of_agg = r, a, row.members, agg.head
    one.lane, one.role, one.resolved = lane, role, resolved
    row.members, agg.head = m, m
    state.touched_rows[r], state.touched_aggregates[a], state.touched_members[m] = 1, 1, 1


@bare
def aggregate_of(key, row, plan, quantity, lateness, new, parts, state, book, judges):  # type: ignore[no-untyped-def]
    """The aggregate of a value; a new one is judged as the plan says."""
    slots = book.slots[BY_AGGREGATE]
    slot = slot_of(slots, state.aggregates.key, key)
    if slots[slot] != 0:
        agg = state.aggregates[slots[slot] - 1]
        agg.lateness = max(agg.lateness, lateness)
        state.touched_aggregates[slots[slot] - 1] = 1
        return np.int64(slots[slot] - 1)
    a = taken(book.counts[AGGREGATES], state.aggregates.head)
    slots[slot], book.known[BY_AGGREGATE][0] = a + 1, book.known[BY_AGGREGATE][0] + 1
    agg = state.aggregates[a]
    agg.key, agg.lateness, agg.head, agg.width, agg.group = key, lateness, -1, LANES, row.group
    agg.reading, agg.labelled = MEAN if plan.averaged != 0 else SUM, plan.sum == INSTANCES
    agg.text_at = copied(new.text, parts[METRIC], parts[PLACE], book.aggregate_text, book.used[AGGREGATE_TEXT])
    agg.text_len = parts[PLACE] - parts[METRIC]
    agg.lanes_at, agg.lanes_len = book.used[LANE_PLACES][0], CELLS * LANES
    book.used[LANE_PLACES][0] += CELLS * LANES
    for q in range(4):
        book.judged[a, q] = -1
    book.judged[a, 0] = subject(a, 1, quantity, plan.spec, plan.traffic != 0 and quantity == RATE, book, judges)
    state.touched_aggregates[a] = 1
    return a


@bare
def ask_siblings(sibling, state, book, judges):  # type: ignore[no-untyped-def]
    """Note for the newest judged row which siblings may know something."""
    n, found = judges.used[0] - 1, 0
    for _ in range(DONORS):
        if sibling < 0:
            return
        if state.rows[sibling].last > 0:
            judges.donors[n, found] = state.rows[sibling].judged
            found += 1
        sibling = book.labels[sibling].sibling


@bare
def feed_value(r, plan, lateness, new, parts, seed, state, book, judges):  # type: ignore[no-untyped-def]
    """Judge a gauge or a counter by itself, in its aggregate, or both: alone, the aggregate would say the same."""
    row, label, kind = state.rows[r], book.labels[r], new.text[parts[KIND]]
    quantity = VALUE if kind == GAUGE else RATE
    key = mix(state.groups[row.group].key, hash_bytes(new.text, parts[METRIC], parts[LABELS], seed))
    key = mix(key, plan.name ^ np.uint64(kind))
    if plan.sum != WHOLE:
        key = mix(key, hash_bytes(new.text, parts[LABELS], parts[INSTANCE], seed))
    key |= np.uint64(1)
    if plan.members != 0 or plan.sum == NONE:
        slots = book.slots[BY_KIN]
        slot = slot_of(slots, book.labels.kin, key)
        label.kin, label.sibling = key, slots[slot] - 1
        book.known[BY_KIN][0] += slots[slot] == 0
        slots[slot] = r + 1
        row.judged = subject(r, 0, quantity, plan.spec, 0, book, judges)
        if new.text[parts[INSTANCE]] != EMPTY:
            ask_siblings(label.sibling, state, book, judges)
        if plan.sum == NONE or (plan.sum == INSTANCES and label.sibling < 0):
            return
    a = aggregate_of(key, row, plan, quantity, lateness, new, parts, state, book, judges)
    if plan.members != 0 and plan.sum == INSTANCES:
        join(label.sibling, a, AMOUNT, 1, 0, state, book.counts[MEMBERS])
    join(r, a, AMOUNT, 1, 0, state, book.counts[MEMBERS])


@bare
def enter(begin, new, source, lateness, limits, refusing, seed, names, plans, planned, state, book, judges, parts):  # type: ignore[no-untyped-def]
    """Enter the series from `begin` on; returns the one at which, or MORE: behind which, Python has to help."""
    for i in range(begin, new.key.size):
        key = new.key[i] if new.key[i] != np.uint64(0) else np.uint64(1)
        slots = book.slots[BY_KEY]
        slot = slot_of(slots, state.rows.key, key)
        if slots[slot] != 0:
            continue  # announced twice at once
        judges.used[1] = UNREADABLE
        if not outline(new.text, new.at[i], new.end[i], parts):
            return i
        shape = hash_bytes(new.text, parts[METRIC], parts[LABELS], seed) ^ named(new.text, parts[LABELS], names, seed)
        shape = mix(shape, named(new.text, parts[INSTANCE], names, seed) ^ np.uint64(new.text[parts[KIND]])) | np.uint64(1)
        at = planned[slot_of(planned, plans.key, shape)] - 1
        judges.used[1] = UNPLANNED
        if at < 0:
            parts[0] = np.int64(shape)
            return i
        plan = plans[at]
        environment = hash_bytes(new.text, parts[ENVIRONMENT], parts[GROUP], seed) | np.uint64(1)
        metric = mix(environment, hash_bytes(new.text, parts[METRIC], parts[UNIT], seed)) | np.uint64(1)
        in_environment, in_metric = held(environment, book), held(metric, book)
        if book.known[BY_KEY][0] >= limits[0] or in_environment[1] >= limits[1] or in_metric[1] >= limits[2]:
            if refusing:
                refuse(key, in_environment[0], in_metric[0], book)
                continue
            judges.used[1] = FULL
            return i
        r = taken(book.counts[ROWS], state.rows.members)
        slots[slot], book.known[BY_KEY][0] = r + 1, book.known[BY_KEY][0] + 1
        row, label = state.rows[r], book.labels[r]
        row.key, row.judged, row.members, row.family, row.histogram = key, -1, -1, -1, -1
        row.fresh, row.ignored = new.fresh[i], plan.ignored
        above = scope_of(environment, -1, new.text, parts[ENVIRONMENT], parts[GROUP], book)
        label.scope = scope_of(metric, above, new.text, parts[METRIC], parts[UNIT], book)
        book.scopes[above].rows += 1
        book.scopes[label.scope].rows += 1
        row.group = group_of(new, parts, state, book)
        label.text_at = copied(new.text, parts[METRIC], parts[PLACE], book.label_text, book.used[LABEL_TEXT])
        label.text_len, label.kin, label.sibling = parts[PLACE] - parts[METRIC], 0, -1
        if new.text[parts[KIND]] in (COUNTER, COUNTS):
            row.family = family_of(row.group, new, parts, seed, state, book)
        group = state.groups[row.group]
        group.source, group.rows = source, group.rows + 1
        group.watched = max(group.watched, plan.watched)
        state.touched_rows[r], book.touched_labels[r], state.touched_groups[row.group] = 1, 1, 1
        if plan.spec >= 0:
            feed_value(r, plan, lateness, new, parts, seed, state, book, judges)
        if plan.more != 0:
            judges.used[1] = MORE
            parts[0], parts[1] = r, at
            return i
    judges.used[1] = DONE
    return new.key.size
