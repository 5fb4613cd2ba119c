"""Spans on their way to the join: what is written is read again, and what cannot be is set aside."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decode.span_requests import Request, requests

from anomaly.config.settings import Settings
from anomaly.decode.catalog import Catalog
from anomaly.decode.identity import Identity
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.spans import Spans
from anomaly.decode.spans_known import Known
from anomaly.decode.spans_otlp import OtlpSpans
from anomaly.decode.spans_wire import COLUMNS, VERSION, Record, WireSpans, decoded, encode

SEED = 7


def content(spans: Spans, known: Known) -> list[tuple[object, ...]]:
    """What a join sees of spans, by the names of their services."""
    group = known.group_of(spans)
    columns = [getattr(spans, name).tolist() for name in COLUMNS if name not in ("resource", "operation")]
    names = [(known.groups[g].environment, known.groups[g].name) for g in group.tolist()]
    return list(zip(*columns, names, [spans.operation(i) for i in range(len(spans))], strict=True))


@settings(max_examples=50, deadline=None)
@given(st.lists(requests(), max_size=3), st.integers(1, 3))
def test_spans_arrive_as_they_were_on_the_partition_of_their_trace(drawn: list[Request], partitions: int):
    identity = Identity(Settings().identity, SEED)
    spans, _ = OtlpSpans(SEED).spans(Records.of([one.SerializeToString() for one in drawn]))
    known, there = Known(identity, 100), Known(identity, 100)
    group = known.group_of(spans)
    operation = known.operation_of(spans, group)
    sent = list(encode(spans, group, operation, known, partitions))
    found, dead = WireSpans(SEED).spans(Records.of([value for _, value in sent]))
    useful = (spans.span != 0) & ((spans.trace | spans.trace_low) != 0)
    assert dead == []
    assert sorted(map(repr, content(found, there))) == sorted(map(repr, content(spans.take(useful), known)))
    homes: dict[tuple[int, int], set[int]] = {}
    for trace, low, record in zip(found.trace.tolist(), found.trace_low.tolist(), found.record.tolist(), strict=True):
        homes.setdefault((trace, low), set()).add(sent[record][0])
    assert all(len(where) == 1 for where in homes.values())
    assert there.operation_of(found, there.group_of(found)).min(initial=0) >= 0


EMPTY = dict.fromkeys(COLUMNS, b"")
ONE = {name: np.zeros(1, kind).tobytes() for name, kind in COLUMNS.items()}


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff",
        Record(VERSION, [], [], {}),
        Record(VERSION, [], [], ONE),
        Record(VERSION, [{}], [("a", 1)], ONE | {"span": b""}),
        Record(VERSION, [{}], [("a", 1)], ONE | {"span": b"123"}),
        Record(VERSION + 1, [], [], EMPTY),
    ],
)
def test_what_is_no_such_record_is_refused(record: bytes | Record):
    value = record if isinstance(record, bytes) else msgspec.msgpack.encode(record)
    with pytest.raises(BadRecord):
        decoded(value)


def test_an_empty_record_holds_nothing():
    spans, dead = WireSpans(SEED).spans(Records.of([None, b"", msgspec.msgpack.encode(Record(VERSION, [], [], EMPTY))]))
    assert (len(spans), dead) == (0, [])
    assert Catalog(Identity(Settings().identity)).used == 0
