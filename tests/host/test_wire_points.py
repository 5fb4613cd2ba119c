"""A block of points arrives as it was sent, or is refused."""

import base64
import zlib
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import BadRecord
from anomaly.host import wire_points as wire
from anomaly.host.wire_columns import Reader, packed

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
uint64 = st.integers(0, (1 << 64) - 1)
text = st.text(st.characters(codec="utf-8"), max_size=8)
labels = st.lists(st.tuples(text, text), max_size=3).map(tuple)
bounds = st.lists(st.floats(allow_nan=False), max_size=3).map(tuple)
series = st.builds(Series, uint64, uint64, text, text, text, text, labels, labels, st.sampled_from(Kind), bounds)
point = st.tuples(
    uint64, int64, int64, st.floats(), st.floats(), st.integers(0, 4), st.integers(0, 1), st.integers(0, 1 << 30),
    st.integers(0, 65_535), st.lists(st.floats(), max_size=3),
)  # fmt: skip
FIRST_RELEASE = (
    "QVBCAS8WG4UCAAAAKAAAAAAAAAAtAAAAAAAAABCP5c+LAQAAiBMAAAAAAAADAAAABQAAAAQA6QAAALgBAABEACi1L/1guAC1BwByjCwvkKlZA3"
    "C6Apq1ctNvGwnSQQtQEyIgDT8RO0gp/Y3Ugsgum2nHEQFs70NZyG3bTgFO9v9O9vMvGMa/PDPz/NM8xOIj2TsVTmAhIFL8ohAxAW++8dVVxfBo"
    "ziKVJZyKVZ2kJoQxTkaD2y436cSSvEg2W2WkOBwEk+dmdC1JlR7UJKxeNkrquiuKk30QDHoIA3TCSmlwc6LXygeRc4oH8j0AwNpgAaXm9HBowN"
    "rgTbD+qWRnHgBzIALqgiBwQWUcyOxm9kAHwWUQBAQBgXIDgIHBwCsDZy4AbaRk1HAPkt3RxA99CJMMtBI4lzAYQCMHJ8bgUno="
)
COLUMNS = ("series", "time", "start", "value", "count", "kind", "flags", "record", "writer")


def points(rows: list[tuple]) -> Points:  # type: ignore[type-arg]
    """Columns of point tuples; buckets are laid out backwards, as `take` may leave them."""
    made = Points.empty(len(rows), sum(len(r[9]) for r in rows))
    at = made.buckets.size
    for i, row in enumerate(rows):
        for name, value in zip(COLUMNS, row, strict=False):
            getattr(made, name)[i] = value
        at -= len(row[9])
        made.bucket_at[i], made.bucket_len[i] = at, len(row[9])
        made.buckets[at : at + len(row[9])] = row[9]
    return made


def plain(block: Block) -> list[object]:
    """Everything in a block as plain values, floats by their bits."""
    p = block.points
    columns = [getattr(p, f.name).tobytes() for f in fields(p) if f.name not in ("bucket_at", "buckets")]
    buckets = [p.buckets[a : a + n].tobytes() for a, n in zip(p.bucket_at, p.bucket_len, strict=True)]
    return [getattr(block, f.name) for f in fields(block) if f.name not in ("points", "series")] + columns + buckets


blocks = st.builds(
    Block, text, st.integers(0, 1 << 30), int64, int64, int64, int64, st.lists(point, max_size=6).map(points),
    st.lists(series, max_size=3).map(Announced.of),
)  # fmt: skip


@given(blocks)
@settings(max_examples=150, deadline=None)
def test_a_block_arrives_as_it_was_sent(block: Block) -> None:
    """Columns to the bit, NaN included; series equal."""
    (record,) = wire.encode(block)
    received = wire.decode(record)
    assert plain(received) == plain(block)
    assert list(received.series) == list(block.series)


@given(blocks)
@settings(max_examples=150, deadline=None)
def test_a_block_in_the_version_before_arrives_but_for_its_writers(block: Block) -> None:
    """During an upgrade workers of both versions write, and those of the new one read both."""
    (record,) = wire.encode(block, version=1)
    received = wire.decode(record)
    block.points.writer[:] = 0
    assert record[3] == 1
    assert plain(received) == plain(block)
    assert list(received.series) == list(block.series)


def test_a_record_that_the_first_release_wrote_is_read() -> None:
    """The bytes are of its own encoder: three points of two series, a histogram with five buckets among them."""
    block = wire.decode(base64.b64decode(FIRST_RELEASE))
    place = block.source, block.partition, block.offset, block.next_offset, block.heard, block.lateness
    assert place == ("otlp", 2, 40, 45, 1_700_000_010_000, 5000)
    p = block.points
    assert (p.series.tolist(), p.record.tolist(), p.kind.tolist()) == ([7, 8, 7], [0, 1, 4], [3, 0, 3])
    assert (p.value.tolist(), p.count.tolist(), p.writer.tolist()) == ([1.5, np.inf, -2.25], [3, 0, 2], [0, 0, 0])
    assert [p.buckets[a : a + n].tolist() for a, n in zip(p.bucket_at, p.bucket_len, strict=True)] == [[2, 0, 1], [], [1, 1]]
    bounds = (0.5, float("inf"))
    one = Series(7, 9, "prod", "shop/web", "d", "s", (("code", "200"),), (("pod", "a"),), Kind.HISTOGRAM, bounds)
    assert list(block.series) == [one, Series(8, 9, "prod", "shop/web", "g", "", (), (), Kind.GAUGE)]


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 300), max_size=50), st.booleans())
@settings(max_examples=200, deadline=None)
def test_whole_numbers_arrive_as_they_were_sent_rising_or_not(numbers: list[int], rising: bool) -> None:
    """In whatever width they are written."""
    column = np.array(sorted(numbers) if rising else numbers, np.int64)
    how, parts = packed(column)
    read = Reader(np.frombuffer(b"".join(parts), np.uint8)).column(how, column.size, "i8")
    np.testing.assert_array_equal(read, column)


@given(blocks, st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_record_is_refused(block: Block, data: st.DataObject) -> None:
    """One flipped bit anywhere, or a cut: BadRecord, nothing else."""
    (record,) = wire.encode(block)
    at = data.draw(st.integers(0, len(record) * 8 - 1))
    flipped = bytearray(record)
    flipped[at // 8] ^= 1 << at % 8
    for damaged in (bytes(flipped), record[: at // 8]):
        with pytest.raises(BadRecord):
            wire.decode(damaged)


def test_a_version_from_the_future_is_refused_by_name() -> None:
    """An old worker beside a new one sets blocks aside; it does not guess."""
    (record,) = wire.encode(Block("s", 0, 0, 1, 0, 0, Points.empty()))
    with pytest.raises(BadRecord, match="unknown_version"):
        wire.decode(record[:3] + b"\x03" + record[4:])


def large(records: int) -> Block:
    """A block of 300,000 points of 50,000 series out of so many input records, from offset 2 on."""
    rng, n = np.random.default_rng(1), 300_000
    big = Points.empty(n)
    big.value[:], big.series[:] = rng.normal(size=n), rng.integers(0, 50_000, n, np.uint64)
    big.record[:] = np.sort(rng.integers(0, records, n))
    known = [Series(i, i, "prod", f"g{rng.integers(1 << 60)}", "m", "", (), (), Kind.GAUGE) for i in range(50_000)]
    return Block("s", 1, 2, 2 + records, 4, 5, big, Announced.of(known))


@pytest.mark.parametrize("records", [1, 3, 1000])
def test_a_block_too_large_for_a_record_is_cut_and_only_its_last_part_was_heard(records: int) -> None:
    """Points in order, each series once and not after its points; ranges that follow each other, each with its records."""
    block = large(records)
    written = wire.encode(block)
    assert len(written) > 2
    assert max(len(r) for r in written) <= wire.LARGEST
    parts = [wire.decode(r) for r in written]
    np.testing.assert_array_equal(np.concatenate([p.points.value for p in parts]), block.points.value)
    offsets = np.concatenate([p.offset + p.points.record for p in parts])
    np.testing.assert_array_equal(offsets, block.offset + block.points.record)
    assert [p.heard for p in parts] == [0] * (len(parts) - 1) + [4]
    edges = [(p.offset, p.next_offset) for p in parts]
    assert (edges[0][0], edges[-1][1]) == (block.offset, block.next_offset)
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    told = [int(h) for p in parts for h in p.series.hash]
    assert sorted(told) == list(range(50_000))
    met: set[int] = set()
    for part in parts:
        assert not met & set(part.series.hash.tolist())
        met |= set(part.points.series.tolist())


def test_whoever_gets_only_the_first_parts_and_then_everything_again_misses_nothing() -> None:
    """As a receiver does that drops what lies below the offset that it expects: also where a record was cut in two."""
    block = large(3)
    parts = [wire.decode(r) for r in wire.encode(block)]
    for got in range(len(parts)):
        expected, taken = 0, list[Any]()
        for part in [*parts[:got], *parts]:
            at = part.offset + part.points.record
            taken.append(part.points.value[at >= expected] if part.next_offset > expected or part.offset >= expected else [])
            expected = max(expected, part.next_offset)
        assert set(np.concatenate(taken).tolist()) == set(block.points.value.tolist())


def test_a_claim_of_size_is_not_believed() -> None:
    """A body that says it is a gigabyte is refused before anything is allocated."""
    (record,) = wire.encode(Block("s", 0, 0, 1, 0, 0, Points.empty()))
    head = list(wire.HEAD.unpack_from(record))
    head[13] = 1 << 30
    forged = bytearray(wire.HEAD.pack(*head) + record[wire.HEAD.size :])
    forged[4:8] = zlib.crc32(forged[8:]).to_bytes(4, "little")
    with pytest.raises(BadRecord, match="1073741824 bytes"):
        wire.decode(bytes(forged))


def test_a_tick_is_small() -> None:
    """Idle partitions get one a second."""
    (record,) = wire.encode(replace(Block("otlp_metrics", 0, 0, 1, 5, 5, Points.empty())))
    assert len(record) < 200


def test_the_epoch_of_a_source_goes_along_and_who_does_not_know_it_reads_over_it() -> None:
    """Readers of version 2 took the parts of a body one after the other, to the name, and let what follows be."""
    told = Block("otlp_metrics", 3, 0, 1, 5, 5, Points.empty(), epoch=(1 << 63) - 1)
    (record,) = wire.encode(told)
    assert wire.decode(record).epoch == told.epoch
    assert wire.decode(record).source == told.source
    (without,) = wire.encode(replace(told, epoch=0))
    assert wire.decode(without).epoch == 0
    assert record[3] == without[3] == 2
