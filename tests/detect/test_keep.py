"""A detector's state survives: another process goes on with it, to the bit."""

import json
from collections.abc import Sequence
from functools import partial
from itertools import islice, pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.feed import Feed, P, columns, ms, series
from tests.detect.test_detector import SPECS, STORY

from anomaly.config.settings import Limits
from anomaly.decode.block import Block
from anomaly.decode.points import Kind
from anomaly.detect import keep
from anomaly.state import Newer, Snapshot, ahead
from anomaly.table import Part

CUTS = st.lists(st.integers(1, len(STORY) - 1), min_size=1, max_size=6)


def blocks(feed: Feed, edges: Sequence[int]) -> list[Block]:
    """The story in blocks, each with its offsets: a record is a point."""
    made = []
    for a, b in pairwise(edges):
        block = feed.block(STORY[a:b])
        block.offset, block.next_offset = 100 + a, 100 + b
        block.points.record[:] = range(b - a)
        made.append(block)
    return made


def again(feed: Feed, generations: Sequence[tuple[Snapshot, str]], limits: Limits | None = None) -> Feed:
    """A fresh detector with what the generations hold, from the lowest that is still needed on."""
    other = Feed(feed.specs, limits=limits)
    last = generations[-1][0]
    for g, (snapshot, layouts) in enumerate(generations, 1):
        if g >= last.low:
            copies = [Part(p.table, p.rows.copy(), bytes(p.data)) for p in snapshot.parts]
            other.detector.put(g, copies, json.loads(layouts))
    other.detector.settle(last.rest)
    return other


def gathered(feed: Feed, generation: int) -> tuple[Snapshot, str]:
    """A checkpoint, with layouts as the manifest holds them."""
    copied = list(feed.detector.ahead(generation))
    last = feed.detector.gather(generation)
    return last._replace(parts=[*copied, *last.parts]), json.dumps(feed.detector.layouts())


@settings(max_examples=12, deadline=None)
@given(CUTS)
def test_what_was_gathered_goes_on_as_if_nothing_had_happened(cuts: list[int]):
    """A checkpoint between any two blocks, another detector that goes on from the last: same events, same state."""
    edges = [0, *sorted(set(cuts)), len(STORY)]
    feed = Feed(SPECS)
    generations: list[tuple[Snapshot, str]] = []
    story = blocks(feed, edges)
    for block in story[:-1]:
        feed.take(block)
        generations.append(gathered(feed, len(generations) + 1))
    other = again(feed, generations)

    assert other.detector.digest() == feed.detector.digest()
    assert other.take(story[-1]) == feed.take(story[-1])
    assert other.detector.digest() == feed.detector.digest()
    assert other.detector.series == feed.detector.series


def crowd(second: int, services: Sequence[int]) -> list[P]:
    """What some services say: a gauge, and requests by code, of which half fail in the last minute."""
    failed = 50 * max(0, second - 120)
    said = []
    for n in services:
        answers = {"200": 100 * second - failed, "500": failed}
        codes = [series("d", Kind.HISTOGRAM, "s", (1.0,), service=f"s{n}", code=c) for c in answers]
        said += [
            P(c, second, 0.1 * total, observations=total, buckets=(total, 0.0))
            for c, total in zip(codes, map(float, answers.values()), strict=True)
        ]
        said.append(P(series("load", service=f"s{n}"), second, float((n * 31 + second * 17) % 10 + failed)))
    return said


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_what_changes_while_it_is_copied_is_copied_again(data: st.DataObject):
    """Blocks are taken between two slices, of which the last need not be read: what is kept is the state at its end."""
    feed, generations = Feed(SPECS), list[tuple[Snapshot, str]]()
    some = st.lists(st.integers(0, 29), min_size=1, max_size=3, unique=True)
    for second in range(0, 150, 10):
        feed.send(*crowd(second, range(30)))
    generations.append(gathered(feed, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomaly.detect.keep.ahead", partial(ahead, size=data.draw(st.sampled_from([300, 3_000]))))
        for second in range(150, 200, 10):
            feed.send(*crowd(second, data.draw(some)))
            slices = feed.detector.ahead(len(generations) + 1)
            copied = list(islice(slices, data.draw(st.integers(1, 60))))
            feed.send(*crowd(second + 5, data.draw(some)))
            copied += islice(slices, data.draw(st.sampled_from([0, 5, 1000])))
            last = feed.detector.gather(len(generations) + 1)
            generations.append((last._replace(parts=[*copied, *last.parts]), json.dumps(feed.detector.layouts())))
    other = again(feed, generations)

    assert other.detector.digest() == feed.detector.digest()
    assert other.detector.judge.slots >= 30


@settings(max_examples=8, deadline=None)
@given(CUTS)
def test_where_blocks_are_cut_is_no_state(cuts: list[int]):
    """The same points in one block and in several leave the same state, given that the same was announced and heard."""
    feed, one = Feed(SPECS), Feed(SPECS)
    for block in blocks(feed, [0, *sorted(set(cuts)), len(STORY)]):
        feed.take(block)
    for block in blocks(one, [0, len(STORY)]):
        one.take(block)

    assert feed.detector.digest() == one.detector.digest()


@settings(max_examples=8, deadline=None)
@given(CUTS, CUTS)
def test_what_comes_again_is_taken_once_however_it_is_cut(first: list[int], second: list[int]):
    """A decoder that was restarted sends from an earlier record on, in other blocks."""
    feed, once = Feed(SPECS), Feed(SPECS)
    for block in blocks(once, [0, len(STORY)]):
        once.take(block)
    until = sorted(set(first))
    for block in blocks(feed, [0, *until]):
        feed.take(block)
    begin = min(min(second), until[-1])
    for block in blocks(feed, sorted({begin, *(c for c in second if c > begin), len(STORY)})):
        feed.take(block)

    assert feed.detector.digest() == once.detector.digest()
    assert sorted(msgspec.json.encode(a) for a in feed.said) == sorted(msgspec.json.encode(a) for a in once.said)


def test_the_rest_of_a_later_version_is_refused_whatever_it_holds() -> None:
    """After a rollback: not taken for damaged, which would begin anew."""
    with pytest.raises(Newer, match="format 99"):
        keep.read(msgspec.msgpack.encode({"version": 99, "seed": "of another type"}))


def test_each_epoch_of_a_topic_counts_its_offsets_anew_and_one_that_is_over_teaches_nothing() -> None:
    """A decoder that was asleep goes on with a topic that is gone; the state knows which that was, also after a restart."""

    def block(epoch: int, offset: int) -> Block:
        points = columns([P(series(), 1.0, 1.0)])
        return Block("t", 0, offset, offset + 1, 0, 0, points, epoch=epoch)

    feed = Feed(SPECS)
    inputs = feed.detector.inputs
    taken = [(e, o) for e, o in [(0, 7), (5, 7), (5, 8), (9, 0), (5, 9), (9, 0), (9, 1)] if inputs.unseen(block(e, o))]
    assert taken == [(0, 7), (5, 8), (9, 0), (9, 1)]
    other = again(feed, [gathered(feed, 1)]).detector.inputs
    assert other.unseen(block(5, 100)) is None
    assert other.unseen(block(9, 1)) is None
    assert other.unseen(block(11, 0)) is not None


@pytest.mark.parametrize("size", [3, 700])
def test_a_topic_made_anew_is_not_taken_for_records_that_come_again(size: int):
    """Its offsets begin again; what it brings is newer than all that was taken."""
    feed, undisturbed = Feed(SPECS), Feed(SPECS)
    half = len(STORY) // 2
    first = blocks(feed, [0, half])
    blocks(undisturbed, [0, half])
    for block in first:
        feed.take(block)
        undisturbed.take(block)
    edges = [*range(half, len(STORY), size), len(STORY)]
    for block in blocks(feed, edges):
        block.offset, block.next_offset = block.offset - half - 100, block.next_offset - half - 100
        feed.take(block)
        feed.take(block)  # and those come twice as well
    for block in blocks(undisturbed, edges):
        undisturbed.take(block)
    assert [msgspec.json.encode(a) for a in feed.said] == [msgspec.json.encode(a) for a in undisturbed.said]
    assert feed.detector.counts["scored"] == undisturbed.detector.counts["scored"]


def test_nothing_touched_is_nothing_gathered():
    """An idle partition costs nothing; its rest alone is written."""
    feed = Feed(SPECS)
    for block in blocks(feed, [0, 1000]):
        feed.take(block)
    assert gathered(feed, 1)[0].parts
    assert gathered(feed, 2)[0].parts == []


def test_every_row_is_written_again_by_the_time_that_as_much_was_touched_as_there_is():
    """So what lies before can be thrown away: nothing that is needed is older than a few generations."""
    feed = Feed(SPECS)
    lows = []
    for g, block in enumerate(blocks(feed, [*range(0, 1500, 100)]), 1):
        feed.take(block)
        lows.append(g - gathered(feed, g)[0].low)

    assert max(lows) <= 4


def test_points_that_wait_for_their_labels_wait_in_the_next_process_too():
    """So does the knowledge that some were lost."""
    gauge = STORY[-1].series
    feed = Feed(waiting=3)
    for t in range(5):
        feed.send(P(gauge, t, 1.0 * t), announce=False)
    other = again(feed, [gathered(feed, 1)])

    assert other.detector.digest() == feed.detector.digest()
    for each in (feed, other):
        each.waiting = 3
        each.send(P(gauge, 5, 5.0))
    assert other.detector.digest() == feed.detector.digest()
    assert other.values(gauge.metric) == feed.values(gauge.metric) != {}


@pytest.mark.parametrize("field", ["last", "text"])
def test_the_digest_sees_every_difference(field: str):
    """One bit of one row, or of one text."""
    feed = Feed(SPECS)
    for block in blocks(feed, [0, 500]):
        feed.take(block)
    before, tables = feed.detector.digest(), feed.detector.register.tables
    if field == "text":
        tables.label_text.array[3] ^= 1
    else:
        tables.rows["row"]["last"][2] = ms(7)

    assert feed.detector.digest() != before
