"""A block of points arrives as it was sent, or is refused."""

import zlib
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import BadRecord
from anomaly.host import wire_points as wire

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
uint64 = st.integers(0, (1 << 64) - 1)
text = st.text(st.characters(codec="utf-8"), max_size=8)
labels = st.lists(st.tuples(text, text), max_size=3).map(tuple)
bounds = st.lists(st.floats(allow_nan=False), max_size=3).map(tuple)
series = st.builds(Series, uint64, uint64, text, text, text, text, labels, labels, st.sampled_from(Kind), bounds)
point = st.tuples(
    uint64, int64, int64, st.floats(), st.floats(), st.integers(0, 4), st.integers(0, 1), st.integers(0, 1 << 30),
    st.lists(st.floats(), max_size=3),
)  # fmt: skip


def points(rows: list[tuple]) -> Points:  # type: ignore[type-arg]
    """Columns of point tuples; buckets are laid out backwards, as `take` may leave them."""
    made = Points.empty(len(rows), sum(len(r[8]) for r in rows))
    at = made.buckets.size
    for i, row in enumerate(rows):
        for name, value in zip(("series", "time", "start", "value", "count", "kind", "flags", "record"), row, strict=False):
            getattr(made, name)[i] = value
        at -= len(row[8])
        made.bucket_at[i], made.bucket_len[i] = at, len(row[8])
        made.buckets[at : at + len(row[8])] = row[8]
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
        wire.decode(record[:3] + b"\x02" + record[4:])


def test_a_block_too_large_for_a_record_is_cut_and_only_its_last_part_was_heard() -> None:
    """Points and series in order, none twice; a watermark never comes before its points."""
    rng = np.random.default_rng(1)
    n = 300_000
    big = Points.empty(n)
    big.value[:], big.series[:] = rng.normal(size=n), rng.integers(0, 1 << 63, n, np.uint64)
    known = [Series(i, i, "prod", f"g{rng.integers(1 << 60)}", "m", "", (), (), Kind.GAUGE) for i in range(50_000)]
    block = Block("s", 1, 2, 3, 4, 5, big, Announced.of(known))
    records = wire.encode(block)
    assert len(records) > 2
    assert max(len(r) for r in records) <= wire.LARGEST
    parts = [wire.decode(r) for r in records]
    np.testing.assert_array_equal(np.concatenate([p.points.value for p in parts]), big.value)
    assert [s for p in parts for s in p.series] == known
    assert [p.heard for p in parts] == [0] * (len(parts) - 1) + [4]
    first_point = next(i for i, p in enumerate(parts) if len(p.points))
    assert not any(p.series for p in parts[first_point:])


def test_a_claim_of_size_is_not_believed() -> None:
    """A body that says it is a gigabyte is refused before anything is allocated."""
    (record,) = wire.encode(Block("s", 0, 0, 1, 0, 0, Points.empty()))
    head = list(wire.HEAD.unpack_from(record))
    head[12] = 1 << 30
    forged = bytearray(wire.HEAD.pack(*head) + record[wire.HEAD.size :])
    forged[4:8] = zlib.crc32(forged[8:]).to_bytes(4, "little")
    with pytest.raises(BadRecord, match="1073741824 bytes"):
        wire.decode(bytes(forged))


def test_a_tick_is_small() -> None:
    """Idle partitions get one a second."""
    (record,) = wire.encode(replace(Block("otlp_metrics", 0, 0, 1, 5, 5, Points.empty())))
    assert len(record) < 200
