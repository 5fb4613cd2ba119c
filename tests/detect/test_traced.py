"""What traces tell, as timelines of cells of ten seconds: usual for twenty minutes, then something happens."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.detect.traces import FIRST, GOOD, NORMAL_AFTER, Shop, Walk, changed, series

from anomaly.config.models import Direction, Signal
from anomaly.config.settings import Limits
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import EXAMPLE
from anomaly.decode.points import Points
from anomaly.decode.steps_series import CELL, NEXT, OPERATION, SELF, STEP, STEPS
from anomaly.detect import traced_keep
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.detect.handover import hand_over
from anomaly.detect.one_trace import odd_steps
from anomaly.detect.trace_rows import hash_of
from anomaly.table import Part

USUAL = 120  # cells
FAILS = changed(GOOD, "pay", ("start", "ERROR Pay.java:30", "end"))
HANGS = changed(GOOD, "pay", seconds=0.5)
RETRIES = changed(GOOD, "order", ("start", "INFO Order.java:41", *["call pay Charge"] * 40, "INFO Order.java:55", "end"))


def usual(cell: int) -> list[tuple[Walk, ...]]:
    """Ten good traces a cell."""
    return [GOOD] * 10


def some(bad: tuple[Walk, ...], cell: int) -> list[tuple[Walk, ...]]:
    """Four of ten are bad."""
    return [GOOD] * 6 + [bad] * 4


@cache
def well() -> Shop:
    """A shop that has been well for twenty minutes."""
    shop = Shop()
    assert shop.play(0, USUAL, usual) == []
    return shop


def warm(**more: dict[str, str]) -> Shop:
    """Another one, that goes on from there."""
    return restored(well(), Shop(**more))  # type: ignore[arg-type]


def opened(said: list[Anomaly]) -> list[Anomaly]:
    return [a for a in said if a.event is Event.OPEN]


def test_an_exception_is_an_unusual_step_and_what_it_leaves_out_a_missing_one():
    shop = warm(examples={"ERROR Pay.java:30": "card declined"})

    said = shop.play(USUAL, USUAL + 30, partial(some, FAILS))
    calm = [a for a in shop.play(USUAL + 30, USUAL + 45, usual) if a.event is not Event.RECORD]

    new, gone = opened(said)
    assert (new.group, new.metric, new.quantity, new.signal) == ("pay", STEPS, "unusual step", Signal.ERRORS)
    assert dict(new.labels) == {OPERATION: "Charge", STEP: "start", NEXT: "ERROR Pay.java:30"}
    assert (new.events, new.expected, new.direction) == ((4.0, 20.0), (0.0, 0.0), Direction.ABOVE)
    assert (new.example, new.aggregate, new.pages) == ("card declined", True, False)
    assert (gone.quantity, dict(gone.labels)[NEXT], gone.direction) == ("missing step", "INFO Pay.java:9", Direction.BELOW)
    assert {a.started for a in (new, gone)} == {(FIRST + USUAL) * CELL}
    assert gone.traces == new.traces  # those in which the other step came instead
    assert [a.event for a in calm] == [Event.CLOSE, Event.CLOSE]
    assert {a.reason for a in calm} == {"back to normal"}
    assert {a.id for a in said} == {a.id for a in calm} == {new.id, gone.id}
    assert calm[0].time - (FIRST + USUAL + 30) * CELL < 120_000
    assert 8 >= len(calm[0].traces) > 4


def test_what_lasts_is_told_again_each_minute_with_the_traces_of_now():
    """Its score has long been as great as it can be; who else is ill in the same traces is a question of now."""
    shop = warm()
    said = shop.play(USUAL, USUAL + 40, partial(some, FAILS))

    told = [a for a in said if a.quantity == "unusual step"]
    assert told[0].event is Event.OPEN
    assert {a.event for a in told[1:]} == {Event.RECORD}
    assert max(b.time - a.time for a, b in pairwise(told)) <= 60_000
    assert [a.score for a in told] == sorted(a.score for a in told)
    assert len({a.score for a in told[-3:]}) == 1  # nothing is worse, and it is told all the same
    assert min(time for _, time in told[-1].traces) > told[-1].time - 120_000
    assert len(told[-1].traces) == 8


def test_an_operation_that_nobody_calls_any_more_is_not_seen_and_no_traces_at_all_end_nothing():
    """Missing data is no word on health: the reason says so; and what is still odd when traces come again is told anew."""
    shop = warm()
    opened(shop.play(USUAL, USUAL + 10, partial(some, FAILS)))
    silent = shop.play(USUAL + 10, USUAL + 60, lambda cell: [])
    again = shop.play(USUAL + 60, USUAL + 75, partial(some, FAILS))
    others = shop.play(USUAL + 75, USUAL + 100, lambda cell: [GOOD[:1]] * 20)

    assert not silent
    assert {a.reason for a in again if a.event is Event.CLOSE} == {"no traces any more"}
    assert {(a.group, a.quantity) for a in opened(again)} >= {("pay", "unusual step")}
    assert {a.reason for a in others if a.event is Event.CLOSE and a.group == "pay"} == {"no traces any more"}


def test_a_slow_dependency_is_slow_itself():
    shop = warm()
    said = shop.play(USUAL, USUAL + 12, partial(some, HANGS))

    (a,) = opened(said)
    assert (a.group, a.metric, a.quantity, a.signal) == ("pay", SELF, "duration", Signal.LATENCY)
    assert (a.events, a.expected) == ((4.0, 20.0), (0.0, 0.0))
    assert a.example == "longer than 44 ms, where half take at most 22 ms"
    assert said[-1].score > 12.0


def test_a_loop_is_one_new_step_of_its_trace():
    shop = warm()
    (a,) = opened(shop.play(USUAL, USUAL + 6, partial(some, RETRIES)))
    assert (dict(a.labels)[STEP], dict(a.labels)[NEXT]) == ("call pay Charge", "call pay Charge")
    assert a.events == (4.0, 20.0)


def test_a_disturbance_that_comes_again_and_again_is_discounted():
    shop, scores = warm(), []
    for round_ in range(4):
        at = USUAL + 30 * round_
        said = shop.play(at, at + 2, lambda c: [GOOD] * 8 + [FAILS] * 2)
        said += shop.play(at + 2, at + 30, usual)
        scores.append(max((a.score for a in said), default=0.0))
    assert scores[0] > 6.0
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] == 0.0
    more = shop.play(USUAL + 120, USUAL + 123, lambda c: [FAILS] * 10)
    assert max(a.score for a in more) > scores[0]  # a greater one is news


def test_few_traces_are_enough():
    """One trace in half a minute; then it fails."""
    shop = Shop()
    assert shop.play(0, 240, lambda c: [GOOD] * (c % 3 == 0)) == []
    said = shop.play(240, 270, lambda c: [FAILS] * (c % 3 == 0))

    assert {a.quantity for a in opened(said)} == {"unusual step"}
    assert min(a.time for a in said) <= (FIRST + 240 + 7) * CELL
    assert not any(a.event is Event.CLOSE for a in said)  # silence between two traces is no recovery


def test_a_new_operation_is_no_alarm():
    new: tuple[Walk, ...] = (("pay", "Refund", ("start", "INFO Refund.java:3", "end"), 0.3),)
    rare: tuple[Walk, ...] = (("pay", "Refund", ("start", "INFO Refund.java:3", "INFO Refund.java:8", "end"), 0.3),)
    said = warm().play(USUAL, USUAL + 90, lambda c: [GOOD] * 10 + [new] * 7 + [rare] * 3)
    assert said == []


def test_what_lasts_becomes_the_new_normal():
    shop = warm()
    said = shop.play(USUAL, USUAL + 140, lambda c: [FAILS] * 3)
    assert [a.reason for a in said if a.event is Event.CLOSE] == ["new normal"] * 2
    assert said[-1].time - said[0].started > 1000 * NORMAL_AFTER
    assert len(opened(said)) == 2
    assert {dict(a.labels)[NEXT] for a in opened(shop.play(USUAL + 140, USUAL + 146, usual))} == {
        "INFO Pay.java:9", "ERROR Pay.java:30",
    }  # fmt: skip


def test_healthy_branches_say_nothing_for_an_hour():
    """Thirty contexts of one to four branches each, of any shares."""
    rng = np.random.default_rng(7)
    shares = [rng.dirichlet([0.5] * rng.integers(1, 5)) for _ in range(30)]

    def one(c: int, share: np.ndarray) -> Walk:
        return "web", "GET /", (f"e{c}", f"f{c}.{rng.choice(share.size, p=share)}"), 0.01 * rng.lognormal()

    def healthy(cell: int) -> list[tuple[Walk, ...]]:
        return [tuple(one(c, share) for c, share in enumerate(shares)) for _ in range(rng.poisson(1.0))]

    assert Shop().play(0, 480, healthy) == []


def test_traces_that_two_sources_close_are_judged_when_both_were_heard():
    """Lines lag half a minute behind spans, and close the traces."""
    shop = warm()
    spans = Block("spans", 0, 0, 0, 0, 10_000, Points.empty())
    for cell in range(USUAL, USUAL + 18):
        block = replace(shop.block(cell, some(FAILS, cell) if cell >= USUAL + 6 else usual(cell)), source="lines")
        early = replace(spans, heard=block.heard + 30_000)
        shop.said += [a for b in (early, block) for a in shop.detector.detect(b) if isinstance(a, Anomaly)]
    assert {a.quantity for a in opened(shop.said)} == {"unusual step", "missing step"}
    assert opened(shop.said)[0].events == (4.0, 20.0)
    assert set(shop.detector.traced.sources) == {"spans", "lines"}


def test_lines_that_nobody_hears_are_not_missing():
    mute = tuple((s, o, tuple(e for e in events if not e.startswith("INFO")), t) for s, o, events, t in GOOD)
    assert warm().play(USUAL, USUAL + 30, lambda c: [mute if 121 <= c < 130 else GOOD] * 10) == []


def test_a_storm_opens_a_few_and_counts_the_rest():
    shop = Shop()
    contexts = [(f"e{i}", f"f{i}") for i in range(40)]
    shop.play(0, 60, lambda c: [tuple(("web", "GET /", pair, 0.01) for pair in contexts)] * 10)
    said = shop.play(60, 66, lambda c: [tuple(("web", "GET /", (a, "ERROR x"), 0.01) for a, _ in contexts)] * 10)
    assert len(opened(said)) == 8
    assert opened(said)[0].breadth == (80, 40)


def test_steps_are_bounded_and_it_is_said_whose_they_are():
    shop = Shop(limits=Limits(steps=200))
    shop.play(0, 20, lambda c: [GOOD, (("noisy", "op", tuple(f"{c}-{i}" for i in range(60)), 0.01),)])
    rows = shop.detector.traced.sequences.rows
    assert len(rows) <= 200
    assert [(e, name) for e, name, _ in shop.detector.overflow()] == [("default", "trace.steps of noisy")]
    assert shop.detector.traced.find(np.array([series(STEPS, "pay", "Charge", step="start").hash], np.uint64))[0] >= 0


def test_points_that_make_no_sense_are_counted_and_left_alone():
    shop = warm()
    block = shop.block(USUAL, usual(USUAL))
    block.points.bucket_len[0] += 1
    block.points.value[1] = np.nan
    late = shop.detector.counts["late"]
    shop.detector.detect(block)
    assert shop.detector.counts["late"] == late + 2


def events(shop: Shop, begin: int, end: int, story: list[tuple[int, int, tuple[Walk, ...]]]) -> list[Anomaly]:
    """Play a story: in some cells four of ten traces are others."""

    def traces(cell: int) -> list[tuple[Walk, ...]]:
        return next((some(bad, cell) for a, b, bad in story if a <= cell < b), usual(cell))

    return shop.play(begin, end, traces)


STORY = [(30, 36, FAILS), (40, 46, HANGS), (58, 62, FAILS)]


def restored(shop: Shop, other: Shop | None = None) -> Shop:
    """Another detector that goes on with what this one keeps, all of it."""
    other = other or Shop()
    for table in shop.detector._keep.tables.values():
        table.touched[:] = 1
    parts, rest, _ = shop.detector.gather(1)
    copies = [Part(p.table, p.rows.copy(), bytes(p.data)) for p in parts]
    other.detector.put(1, copies, json.loads(json.dumps(shop.detector.layouts())))
    other.detector.settle(rest)
    other.known, other.traces = set(shop.known), shop.traces
    return other


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(st.lists(st.integers(5, 75), min_size=1, max_size=3, unique=True))
def test_another_process_goes_on_as_if_nothing_had_happened(cuts: list[int]):
    whole, shop = Shop(), Shop()
    said: list[Anomaly] = []
    for begin, end in pairwise([0, *sorted(cuts), 80]):
        said += events(shop, begin, end, STORY)
        other = restored(shop)
        assert other.detector.digest() == shop.detector.digest()
        shop = other
    assert said == events(whole, 0, 80, STORY)
    assert len(opened(said)) >= 4


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(st.integers(1, 30))
def test_where_blocks_are_cut_is_no_state(share: int):
    """Each cell's points in one block, or in two of which the first was heard no further than before."""
    whole, cut = Shop(), Shop()
    said = events(whole, 0, 40, STORY)
    for cell in range(40):
        block = cut.block(cell, some(FAILS, cell) if 30 <= cell < 36 else usual(cell))
        first = replace(block, points=block.points.take(slice(0, share)), heard=(FIRST + cell) * CELL + 20_000)
        rest = replace(block, points=block.points.take(slice(share, None)), series=Announced())
        cut.said += [a for b in (first, rest) for a in cut.detector.detect(b) if isinstance(a, Anomaly)]
    assert cut.said == said
    one, other = whole.detector.traced, cut.detector.traced
    assert traced_keep.dump(one) == traced_keep.dump(other)
    assert [t.digest() for t in one.tables] == [t.digest() for t in other.tables]


def test_under_another_seed_all_that_was_learned_stays():
    shop = Shop()
    events(shop, 0, 34, STORY)
    kept = msgspec.structs.replace(shop.detector._rest())
    assert kept.traced
    other = restored(shop)
    before = [other.detector.traced.sequences.rows.series(r) for r in range(3)]
    other.detector.traced.sequences.rows.load(other.detector.traced.sequences.rows.groups, Counter(), seed=99)
    assert [other.detector.traced.sequences.rows.series(r).labels for r in range(3)] == [s.labels for s in before]
    assert (other.detector.traced.find(np.array([s.hash for s in before], np.uint64)) >= 0).all()


def test_after_a_loss_of_all_state_nothing_is_announced_and_what_was_open_ends():
    shop = Shop()
    said = events(shop, 0, 34, STORY)
    still = {a.id: a for a in said if a.event is not Event.CLOSE}
    fresh = Shop()
    fresh.detector.restore(list(still.values()))
    after = fresh.play(34, 80, lambda c: usual(c))

    assert [a.event for a in after] == [Event.CLOSE] * len(still)
    assert {a.id for a in after} == set(still)
    assert Shop().play(0, 30, partial(some, FAILS)) == []


def test_a_group_that_moves_is_judged_as_if_it_had_stayed():
    whole, shop, there = Shop(), Shop(), Shop()
    assert events(whole, 0, 34, STORY) == events(shop, 0, 34, STORY)
    moved = np.array([s.hash for s in shop.detector.traced.sequences.rows.groups], np.uint64)
    held = hand_over(shop.detector, there.detector, moved, "spans", 0)
    there.known, there.traces = set(shop.known), shop.traces
    there.detector.inputs.heard.update(shop.detector.inputs.heard)

    assert {a.id for a in held} == {a.id for a in whole.said}
    assert events(there, 34, 80, STORY) == events(whole, 34, 80, STORY)


def test_the_steps_of_one_trace_are_scored_by_what_was_learned():
    shop = warm()
    of, who = shop.detector.traced.sequences, series(STEPS, "pay", "Charge", step="start")
    assert odd_steps(of, who, ["start", "INFO Pay.java:9", "end"]) == []
    odd = odd_steps(of, who, ["start", "ERROR Pay.java:30", "end"])
    assert [(s.step, s.next, s.missing) for s in odd] == [
        ("start", "ERROR Pay.java:30", False), ("start", "INFO Pay.java:9", True),
    ]  # fmt: skip


@pytest.mark.parametrize("labels", [{STEP: "start", EXAMPLE: "a line"}, {STEP: "start", "code": "A.java:1"}])
def test_an_example_and_a_place_in_the_program_are_no_part_of_who_it_is(labels: dict[str, str]):
    plain = series(STEPS, "pay", "Charge", step="start")
    assert hash_of(0, series(STEPS, "pay", "Charge", **labels)) == plain.hash
