"""The columns in which records come and points go."""

from dataclasses import fields

import numpy as np

from anomaly.decode.points import Points
from anomaly.decode.records import PADDING, BadRecord, Records


def points(buckets: list[list[float]]) -> Points:
    """One point a list, holding it as its bucket counts; `time` numbers the points."""
    made = Points.empty(len(buckets), sum(map(len, buckets)))
    made.time[:] = np.arange(len(buckets))
    made.bucket_len[:] = [len(b) for b in buckets]
    made.bucket_at[:] = np.cumsum(made.bucket_len) - made.bucket_len
    made.buckets[:] = [x for b in buckets for x in b]
    return made


def buckets(p: Points) -> list[list[float]]:
    return [p.buckets[a : a + n].tolist() for a, n in zip(p.bucket_at, p.bucket_len, strict=True)]


def test_joined_points_keep_their_buckets():
    parts = [[[1.0], [2.0, 3.0]], [], [[], [4.0, 5.0]], [[6.0]]]
    joined = Points.joined([points(p) for p in parts])
    assert buckets(joined) == [b for p in parts for b in p]
    assert joined.time.tolist() == [0, 1, 0, 1, 0]


def test_nothing_joined_is_no_point_with_the_same_kinds_of_columns():
    empty, one = Points.joined([]), points([[1.0]])
    assert len(empty) == 0
    assert [getattr(empty, f.name).dtype for f in fields(Points)] == [getattr(one, f.name).dtype for f in fields(Points)]


def test_taken_points_are_those_in_that_order_with_their_buckets():
    taken = points([[1.0], [2.0, 3.0], [], [4.0]]).take(np.array([3, 1]))
    assert (taken.time.tolist(), buckets(taken)) == ([3, 1], [[4.0], [2.0, 3.0]])


def test_records_give_back_their_values_and_a_null_is_empty_but_not_the_same():
    records = Records.of([b"ab", None, b"", b"c"], "topic", 3, offset=40, time=7)
    assert [records.value(i) for i in range(4)] == [b"ab", b"", b"", b"c"]
    assert records.value_len.tolist() == [2, -1, 0, 1]
    assert (records.offset.tolist(), records.next_offset) == ([40, 41, 42, 43], 44)
    assert records.buffer.size == 3 + PADDING


def test_a_dead_letter_says_where_it_stood_and_why_with_the_original_bytes():
    dead = Records.of([b"ab", b"cd"], "topic", 3, offset=40, time=7).dead(1, BadRecord("bad_thing", "because"))
    assert (dead.source, dead.partition, dead.offset, dead.time) == ("topic", 3, 41, 7)
    assert (dead.reason, dead.detail, dead.value) == ("bad_thing", "because", b"cd")
