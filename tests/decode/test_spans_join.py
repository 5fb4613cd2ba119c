"""Calls joined of their two halves, against a dict that forgets nothing."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decode.otlp_requests import NANO, NOW

from anomaly import state
from anomaly.decode.spans import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER, UNKNOWN, UNSPECIFIED, Span
from anomaly.decode.spans_join import CALLS, LET_GO, REPEATED, Join
from anomaly.decode.spans_parsed import columns

EARLIEST = 10**12
Half = tuple[int, int, int, int, int]  # trace, id, parent, group, kind


def spans(halves: list[Half], record: list[int] | None = None, at: list[float] | None = None, lasted: float = 0.1) -> Any:
    """Halves as columns; one that ends `at` seconds after NOW."""
    made = []
    for i, (trace, own, parent, group, kind) in enumerate(halves):
        end = round((NOW + (at[i] if at else 0.0) * 1000) * NANO)
        made.append(Span({}, str(group), (trace, 1), own, parent, kind, 0, end - round(lasted * 1e9), end))
    return columns(made, record or [0] * len(halves), 7)


def take(
    join: Join, halves: list[Half], offset: int = 0, at: list[float] | None = None, **more: Any
) -> Counter[tuple[int, int]]:
    """Calls (caller, callee) that the halves complete; each half is a record of its own."""
    found = spans(halves, list(range(len(halves))), at, **more)
    groups = np.array([h[3] for h in halves], np.int32)
    environment = np.zeros(3, np.int32)
    offsets = offset + np.arange(len(halves))
    calls, _ = join.take(found, groups, groups, offsets, environment, EARLIEST)
    return Counter(zip(calls["caller"].tolist(), calls["group"].tolist(), strict=True))


def expected(halves: list[Half]) -> Counter[tuple[int, int]]:
    """What a plain join gives: first sight of each id counts; a call goes to another group's span that may be called."""
    first: dict[tuple[int, int], Half] = {}
    for half in halves:
        first.setdefault(half[:2], half)
    calls: Counter[tuple[int, int]] = Counter()
    for trace, _, parent, group, kind in first.values():
        caller = first.get((trace, parent))
        if parent and caller and caller[3] != group and kind in (UNSPECIFIED, SERVER, CONSUMER):
            calls[caller[3], group] += 1
    return calls


halves = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(0, 6), st.integers(0, 2), st.sampled_from(range(6))),
    max_size=25,
)


@settings(max_examples=50, deadline=None)
@given(halves, st.integers(1, 25))
def test_halves_are_joined_in_whatever_order_and_blocks_they_come(drawn: list[Half], cut: int):
    """Doubled ones, missing ones and loops among them."""
    whole, parted = Join(4096, 30_000), Join(4096, 30_000)
    drawn = [h for h in drawn if h[1] != h[2]]
    found = take(whole, drawn)
    assert found == expected(drawn)
    pieces: Counter[tuple[int, int]] = Counter()
    for begin in range(0, len(drawn), cut):
        pieces += take(parted, drawn[begin : begin + cut], begin)
    assert pieces == found
    np.testing.assert_array_equal(parted.seen.keys, whole.seen.keys)
    np.testing.assert_array_equal(parted.waiting.keys, whole.waiting.keys)


def test_a_half_that_comes_too_late_is_as_one_that_never_came():
    for order in ([0, 1], [1, 0]):
        pair = [(1, 1, 0, 0, CLIENT), (1, 2, 1, 1, SERVER)]
        for late, calls in ((29.0, 1), (31.0, 0)):
            assert sum(take(Join(4096, 30_000), [pair[i] for i in order], at=[0.0, late]).values()) == calls


def test_a_record_that_is_decoded_again_gives_the_same_and_is_no_repeat():
    join, caller, callee = Join(4096, 30_000), (1, 1, 0, 0, CLIENT), (1, 2, 1, 1, SERVER)
    assert take(join, [caller], 10) == {}
    assert take(join, [callee], 11) == {(0, 1): 1}
    assert take(join, [callee], 11) == {(0, 1): 1}
    assert join.counts[REPEATED] == 0
    assert take(join, [callee], 12) == {}
    assert join.counts[REPEATED] == 1


def test_a_child_that_waits_and_is_decoded_again_is_joined_once():
    join = Join(4096, 30_000)
    for _ in range(2):
        assert take(join, [(1, 2, 1, 1, SERVER)], 10) == {}
    assert take(join, [(1, 1, 0, 0, CLIENT)], 11) == {(0, 1): 1}


def test_the_same_span_twice_in_one_record_counts_once():
    join = Join(4096, 30_000)
    found = spans([(1, 1, 0, 0, SERVER)] * 2)
    group = np.zeros(2, np.int32)
    _, repeated = join.take(found, group, group, np.zeros(1, np.int64), np.zeros(1, np.int32), EARLIEST)
    assert repeated.tolist() == [0, 1]


def test_nothing_crosses_an_environment_and_nobody_calls_himself():
    found, groups = spans([(1, 1, 0, 0, CLIENT), (1, 2, 1, 1, SERVER), (1, 3, 1, 0, SERVER)]), np.array([0, 1, 0], np.int32)
    calls, _ = Join(4096, 30_000).take(found, groups, groups, np.zeros(1, np.int64), np.array([0, 1], np.int32), EARLIEST)
    assert not len(calls)


@pytest.mark.parametrize(("kind", "called"), [(INTERNAL, 0), (CLIENT, 0), (PRODUCER, 0), (UNSPECIFIED, 1), (CONSUMER, 1)])
def test_a_missing_kind_is_taken_for_the_side_that_was_called(kind: int, called: int):
    assert sum(take(Join(4096, 30_000), [(1, 1, 0, 0, UNSPECIFIED), (1, 2, 1, 1, kind)]).values()) == called


def test_the_way_between_is_what_the_caller_waited_and_the_callee_did_not_work():
    """By durations alone, so that two clocks may differ; of a message by the clocks, since the sender does not wait."""
    ms = 1_000_000
    for kind, end, between in ((SERVER, 5_000, 70), (CONSUMER, 900, 770)):
        caller = Span({}, "a", (1, 1), 1, 0, CLIENT, 0, NOW * NANO, (NOW + 100) * NANO)
        callee = Span({}, "b", (1, 1), 2, 1, kind, 2, (NOW + end - 30) * NANO, (NOW + end) * NANO)
        groups = np.array([0, 1], np.int32)
        found = columns([caller, callee], [0, 0], 7)
        calls, _ = Join(4096, 30_000).take(found, groups, groups, np.zeros(1, np.int64), np.zeros(2, np.int32), EARLIEST)
        assert (calls["waited"][0] // ms, calls["between"][0] // ms, calls["status"][0]) == (100, between, 2)
        assert calls["time"][0] == NOW + max(end, 100)


def test_without_a_duration_a_call_is_counted_and_not_timed():
    calls = Join(4096, 30_000)
    found, groups = spans([(1, 1, 0, 0, CLIENT), (1, 2, 1, 1, SERVER)], lasted=-0.1), np.array([0, 1], np.int32)
    made, _ = calls.take(found, groups, groups, np.zeros(1, np.int64), np.zeros(2, np.int32), EARLIEST)
    assert made[["waited", "between"]].tolist() == [(UNKNOWN, UNKNOWN)]


def test_a_million_traces_at_once_are_held_to_the_limit_and_it_is_said():
    """Of a million traces whose callees come last of all, those that are still held are joined, and the others counted."""
    n, most = 1_000_000, 1 << 14
    join = Join(most, 3_600_000)

    def column(kind: str, fill: int = 0) -> Any:
        return np.full(n, fill, kind)

    found = spans([(1, 1, 0, 0, CLIENT)])
    callers = found.take(np.zeros(n, np.intp))
    callers.trace, callers.record = np.arange(1, n + 1, dtype=np.uint64), np.arange(n, dtype=np.int32)
    groups, offset, environment = column("i4"), np.arange(n), np.zeros(2, np.int32)
    calls, _ = join.take(callers, groups, groups, offset, environment, EARLIEST)
    assert join.seen.rows.size == most
    assert join.held <= most
    assert join.counts[LET_GO] == n - join.held
    callees = spans([(1, 2, 1, 1, SERVER)]).take(np.zeros(n, np.intp))
    callees.trace, callees.record = callers.trace[::-1].copy(), callers.record
    groups = column("i4", 1)
    held = join.held
    calls, _ = join.take(callees, groups, groups, n + offset, environment, EARLIEST)
    assert 0 < len(calls) <= held
    assert join.counts[CALLS] == len(calls)
    assert join.seen.rows.nbytes + join.waiting.rows.nbytes < 3_000_000


def test_tables_grow_by_what_came_and_not_by_the_blocks_it_came_in():
    many = [(t, 1, 0, 0, CLIENT) for t in range(1, 5_000)]
    whole, parted = Join(1 << 15, 30_000), Join(1 << 15, 30_000)
    take(whole, many)
    for begin in range(0, len(many), 777):
        take(parted, many[begin : begin + 777], begin)
    assert whole.seen.keys.shape == parted.seen.keys.shape
    np.testing.assert_array_equal(whole.seen.keys, parted.seen.keys)
    assert whole.counts[LET_GO] == 0


def test_what_a_checkpoint_holds_goes_on_to_the_bit_though_tables_grow_between_two():
    """Generation by generation, the second one half copied before a table doubles."""
    first, second = [(t, 1, 0, 0, CLIENT) for t in range(1, 3_000)], [(t, 2, 1, 1, SERVER) for t in range(2_000, 6_000)]
    join, again = Join(1 << 15, 30_000), Join(1 << 15, 30_000)
    take(join, first)
    written = [(1, state.gather(join.tables, 1)[0], {t.name: t.layout() for t in join.tables})]
    take(join, [(t, 3, 0, 0, CLIENT) for t in range(1, 500)], 5_000)
    before = join.tables[0].used
    copying = state.ahead(join.tables, 2, 1 << 12)
    parts = [next(copying)]
    take(join, second, 10_000)
    assert join.tables[0].used > before
    parts += [*copying, *state.gather(join.tables, 2)[0]]
    written.append((2, parts, written[0][2]))
    for generation, held, layouts in written:
        for part in held:
            next(t for t in again.tables if t.name == part.table).put(generation, part, layouts[part.table])
    for ours, theirs in zip(join.tables, again.tables, strict=True):
        theirs.settle(ours.rest())
        for name in ("keys", "held", "hand"):
            np.testing.assert_array_equal(ours[name][: ours.used], theirs[name][: theirs.used])
