"""New series get their rows, in compiled code, in the order in which they were announced.

What a series needs is planned once for all that no spec can tell apart (`plans`); here one plan is carried out for each: its
group, its family, its row and label, the judged row of its own value, and the aggregate over its instances or its group.
Where Python has to help, the kernel stops: at a series whose plan is not made yet, and behind one that feeds more than its
value: a distribution, or a ratio that nobody feeds yet.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.decode.index import slot_of
from anomaly.decode.wire import hash_bytes, mix
from anomaly.detect.book import (
    AGGREGATE_TEXT,
    AGGREGATES,
    BY_AGGREGATE,
    BY_FAMILY,
    BY_GROUP,
    BY_KEY,
    BY_KIN,
    DONE,
    DONORS,
    FAMILIES,
    FULL,
    GROUP_TEXT,
    GROUPS,
    LABEL_TEXT,
    LANE_PLACES,
    MEMBERS,
    MORE,
    ROWS,
    SUBJECTS,
    UNPLANNED,
    UNREADABLE,
    copied,
    held,
    refuse,
    scope_of,
    taken,
)  # fmt: skip
from anomaly.detect.judge import NEIGHBOUR
from anomaly.detect.rows import AMOUNT, CELLS, LANES, LONG, LONG_LABEL, MEAN, RATE, SUM, VALUE
from anomaly.detect.text import (
    EMPTY,
    ENVIRONMENT,
    GROUP,
    INSTANCE,
    KIND,
    LABELS,
    METRIC,
    PLACE,
    UNIT,
    named,
    outline,
    place,
    to_text,
    unnamed,
)

GAUGE = 0
LONG_LABELS = np.frombuffer(to_text([LONG_LABEL]), np.uint8)  # as `pack` writes labels
INSTANCES, WHOLE, NONE = 0, 1, 2  # over what values are put together: models.Sum

# What a series of a shape needs: `key` the shape, `spec` of its value, -1: none, `name` that spec's hash. Where `more` is
# one ratio and nothing else, `ratio` is that spec's hash, `over` its sum and `role` the member's; else `ratio` is 0.
PLAN = np.dtype(
    [
        ("key", "u8"), ("name", "u8"), ("ratio", "u8"), ("spec", "i2"), ("sum", "u1"), ("members", "u1"), ("averaged", "u1"),
        ("traffic", "u1"), ("ignored", "u1"), ("watched", "u1"), ("more", "u1"), ("over", "u1"), ("role", "u1"),
        ("long", "u1"), ("compared", "u1"),
    ]
)  # fmt: skip

# A ratio that somebody feeds: who does so by `key` (`ratio_of`), its aggregate, and the key that this had then.
FED = np.dtype([("key", "u8"), ("of", "u8"), ("agg", "i4")])


class Ratios(NamedTuple):
    """Those that somebody feeds, with their index, and the names (hashes) of the labels that tell errors from the rest."""

    fed: NDArray[np.void]
    slots: NDArray[np.int32]
    told_by: NDArray[np.uint64]


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
def described(new, parts, least, book):  # type: ignore[no-untyped-def]
    """Write who an aggregate is: a member, which has other labels where the cells are long; where it begins."""
    pool, used = book.aggregate_text, book.used[AGGREGATE_TEXT]
    if least == 0:
        return copied(new.text, parts[METRIC], parts[PLACE], pool, used)
    at = copied(new.text, parts[METRIC], parts[LABELS], pool, used)
    copied(LONG_LABELS, 0, LONG_LABELS.size, pool, used)
    copied(new.text, parts[INSTANCE], parts[PLACE], pool, used)
    return at


@bare
def aggregate_of(key, row, plan, quantity, lateness, least, new, parts, state, book, judges):  # type: ignore[no-untyped-def]
    """The aggregate of a value, in cells of `least` ms at least; a new one is judged as the plan says."""
    slots = book.slots[BY_AGGREGATE]
    slot = slot_of(slots, state.aggregates.key, key)
    if slots[slot] != 0:
        agg = state.aggregates[slots[slot] - 1]
        agg.lateness = max(agg.lateness, lateness)
        agg.asked |= plan.traffic
        state.touched_aggregates[slots[slot] - 1] = 1
        return np.int64(slots[slot] - 1)
    a = taken(book.counts[AGGREGATES], state.aggregates.head)
    slots[slot], book.known[BY_AGGREGATE][0] = a + 1, book.known[BY_AGGREGATE][0] + 1
    agg = state.aggregates[a]
    agg.key, agg.lateness, agg.head, agg.width, agg.group = key, lateness, -1, LANES, row.group
    agg.reading, agg.labelled = MEAN if plan.averaged != 0 else SUM, plan.sum == INSTANCES or least != 0
    agg.asked, agg.least = plan.traffic, least
    agg.fleet = -1 if plan.compared != 0 and least == 0 else 0
    agg.text_at = described(new, parts, least, book)
    agg.text_len = book.used[AGGREGATE_TEXT][0] - agg.text_at
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
    a = aggregate_of(key, row, plan, quantity, lateness, 0, new, parts, state, book, judges)
    if plan.members != 0 and plan.sum == INSTANCES:
        join(label.sibling, a, AMOUNT, 1, 0, state, book.counts[MEMBERS])
    join(r, a, AMOUNT, 1, 0, state, book.counts[MEMBERS])
    if plan.long != 0:
        short = book.judged[a, 0]
        key = mix(key, np.uint64(LONG)) | np.uint64(1)
        a = aggregate_of(key, row, plan, quantity, lateness, LONG, new, parts, state, book, judges)
        n = judges.used[0] - 1
        if n >= 0 and judges.row[n] == book.judged[a, 0]:  # new
            judges.donors[n, 0] = NEIGHBOUR - short  # no donor: who judges the same in short cells
        join(r, a, AMOUNT, 1, 0, state, book.counts[MEMBERS])


@bare
def ratio_of(row, plan, new, parts, told_by, seed, state):  # type: ignore[no-untyped-def]
    """A key of the ratio that a series feeds: equal only where the ratio is the same one."""
    key = mix(state.groups[row.group].key, hash_bytes(new.text, parts[METRIC], parts[LABELS], seed))
    key = mix(key, plan.ratio)
    if plan.over != WHOLE:
        key = mix(key, unnamed(new.text, parts[LABELS], told_by, seed))
    if plan.over == NONE:
        key = mix(key, hash_bytes(new.text, parts[INSTANCE], parts[KIND], seed))
    return key | np.uint64(1)


@bare
def feed_ratio(r, key, plan, lateness, ratios, state, book):  # type: ignore[no-untyped-def]
    """Let a series feed a ratio; False where nobody does yet, or where it has been forgotten since."""
    slot = slot_of(ratios.slots, ratios.fed.key, key)
    if ratios.slots[slot] == 0:
        return False
    fed = ratios.fed[ratios.slots[slot] - 1]
    agg = state.aggregates[fed.agg]
    if agg.key != fed.of:
        return False
    agg.lateness = max(agg.lateness, lateness)
    state.touched_aggregates[fed.agg] = 1
    join(r, fed.agg, plan.role, 1, 0, state, book.counts[MEMBERS])
    return True


@bare
def enter(begin, new, source, lateness, limits, refusing, seed, names, plans, planned, ratios, state, book, judges, parts):  # type: ignore[no-untyped-def]
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
        if new.text[parts[KIND]] != GAUGE:
            row.family = family_of(row.group, new, parts, seed, state, book)
        group = state.groups[row.group]
        group.source, group.rows = source, group.rows + 1
        group.watched = max(group.watched, plan.watched)
        state.touched_rows[r], book.touched_labels[r], state.touched_groups[row.group] = 1, 1, 1
        if plan.spec >= 0:
            feed_value(r, plan, lateness, new, parts, seed, state, book, judges)
        if plan.more != 0:
            key = np.uint64(0)
            if plan.ratio != np.uint64(0):
                key = ratio_of(row, plan, new, parts, ratios.told_by, seed, state)
                if feed_ratio(r, key, plan, lateness, ratios, state, book):
                    continue
            judges.used[1] = MORE
            parts[0], parts[1], parts[2] = r, at, np.int64(key)
            return i
    judges.used[1] = DONE
    return new.key.size
