"""Decode may die and begin again at an older offset, with other blocks: its reader misses no point and has none twice.

The receiver here does what detect does: it knows the next offset of each input partition, drops what lies below and takes of
a block that overlaps the points of the records that it has not had.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings, Settings, SourceSettings
from anomaly.decode.block import Block
from anomaly.decode.catalog import Description
from anomaly.decode.encodings import ENCODINGS, Parsed, Sample
from anomaly.decode.points import Flag, Kind
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.stage import Decode
from anomaly.host import wire_points
from anomaly.host.sending import merge

NOW, PARTITIONS = 1_700_000_000_000, 3
SOURCE = SourceSettings(topic="metrics", encoding="numbers")
SPREAD = Settings(identity=IdentitySettings(giants=("g1",)))
Point = tuple[int, ...]


def parse(value: bytes) -> list[Sample]:
    """A point for each byte: of the series, and the sender, that it says; the value is its place in the record."""
    if value == b"bad":
        raise BadRecord("malformed")
    replicas = [{}, {"prometheus_replica": "a"}, {"prometheus_replica": "b"}]
    found = []
    for i, byte in enumerate(value):
        labels = {"job": f"g{byte % 5}", "k": str(byte % 16)} | replicas[byte % 3]
        found.append(Sample(Description(f"m{byte % 2}", "", labels, Kind.GAUGE), NOW + byte * 997, float(i)))
    return found


@pytest.fixture(autouse=True, scope="module")
def _numbers() -> Iterator[None]:
    ENCODINGS["numbers"] = lambda: Parsed(parse)
    yield
    del ENCODINGS["numbers"]


class Receiver:
    """Takes blocks as they come off the wire, one partition of anomaly.points."""

    def __init__(self) -> None:
        self.next = 0
        self.taken: list[Point] = []
        self.known: set[int] = set()

    def take(self, record: bytes) -> None:
        block = wire_points.decode(record)
        self.known |= set(block.series.hash.tolist())
        p, at = block.points, block.offset + block.points.record
        assert all(block.offset <= offset < block.next_offset for offset in at.tolist())
        for i in np.flatnonzero(at >= self.next).tolist():
            assert int(p.series[i]) in self.known
            if p.flags[i] == Flag.BEAT:
                continue  # how many of these there are is a matter of when decode began
            numbers = (at[i], p.series[i], p.time[i], p.value[i], p.kind[i], p.writer[i])
            self.taken.append(tuple(map(int, numbers)))
        self.next = max(self.next, block.next_offset)


def blocks(values: Sequence[bytes], offsets: Sequence[int], edges: Sequence[int]) -> Iterator[Records]:
    """The records of a partition, in blocks that begin at these offsets; between the offsets are holes."""
    for first, following in pairwise(edges):
        inside = [i for i, offset in enumerate(offsets) if first <= offset < following]
        made = Records.of([values[i] for i in inside], "metrics", 0, first, NOW)
        yield replace(made, offset=np.array([offsets[i] for i in inside], np.int64), next_offset=following)


def sent(decoder: Decode, read: Sequence[Records], together: int) -> Iterator[list[tuple[int, bytes]]]:
    """The records of anomaly.points, by partition, for so many blocks at a time as are merged on their way."""
    for i in range(0, len(read), together):
        waiting: dict[int, list[Block]] = {}
        for records in read[i : i + together]:
            for partition, block in decoder.blocks(SOURCE, records)[0]:
                waiting.setdefault(partition, []).append(block)
        merged = [(p, block) for p, found in waiting.items() for block in merge(found)]
        yield [(p, record) for p, block in merged for record in wire_points.encode(block)]


cuts = st.lists(st.integers(0, 60), max_size=6)
lives = st.lists(st.tuples(cuts, st.integers(1, 3), st.integers(0, 60), st.integers(0, 3)), max_size=3)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=8) | st.just(b"bad"), st.integers(1, 4)), min_size=1, max_size=15),
    lives, cuts, st.integers(1, 3),
)  # fmt: skip
def test_each_point_arrives_once_however_often_decode_begins_again(
    given_records: list[tuple[bytes, int]],
    lives: list[tuple[list[int], int, int, int]],
    last: list[int],
    together: int,
) -> None:
    """Each life of decode begins at an offset at or below what it has sent, and ends after some of its records."""
    values = [value for value, _ in given_records]
    offsets = (np.cumsum([step for _, step in given_records]) - 1).tolist()
    end = offsets[-1] + 1
    whole, pieces = [Receiver() for _ in range(PARTITIONS)], [Receiver() for _ in range(PARTITIONS)]
    for batch in sent(Decode(SPREAD, PARTITIONS), list(blocks(values, offsets, [0, end])), 1):
        for p, record in batch:
            whole[p].take(record)

    reached = 0  # all below it was on the brokers: decode commits no more
    for edges, merged, begin, batches in [*lives, (last, together, 0, 1000)]:
        at = min(begin, reached)
        read = list(blocks(values, offsets, sorted({at, end, *(e for e in edges if at < e < end)})))
        for batch in list(sent(Decode(SPREAD, PARTITIONS), read, merged))[:batches]:
            for p, record in batch:
                pieces[p].take(record)
        reached = max([reached, *(r.next_offset for r in read[: batches * merged])])
    assert [r.taken for r in pieces] == [r.taken for r in whole]
