"""The scanner of OTLP spans against upb: it gives the same spans, or leaves the record to the complete decoder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decode.otlp_requests import field
from tests.decode.span_requests import Request, request, requests, span

from anomaly.decode.records import Records
from anomaly.decode.spans import Spans
from anomaly.decode.spans_otlp import OtlpSpans, parse_protobuf, scan
from anomaly.decode.spans_parsed import parsed
from anomaly.decode.spans_scan import FLOOD, OK, REFUSED

SEED = 7
COLUMNS = ("record", "name", "trace", "trace_low", "span", "parent", "kind", "status", "start", "duration", "time")


def content(spans: Spans) -> list[object]:
    """Everything a span says, by what it means."""
    columns = [getattr(spans, name).tolist() for name in COLUMNS]
    named = [spans.operation(i) for i in range(len(spans))]
    return list(zip(*columns, named, [spans.told(r) for r in spans.resource.tolist()], strict=True))


def complete(values: list[bytes]) -> tuple[list[object], list[str]]:
    """What upb makes of the records, and why it refuses some."""
    records = Records.of(values)
    spans, dead = parsed(parse_protobuf, records, SEED, np.arange(len(records)))
    return content(spans), [letter.reason for letter in dead]


def ours(values: list[bytes]) -> tuple[list[object], list[str]]:
    """The same of the whole decoder, scanner first."""
    spans, dead = OtlpSpans(SEED).spans(Records.of(values))
    return content(spans), [letter.reason for letter in dead]


@settings(max_examples=50, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3))
def test_the_scanner_takes_what_upb_writes_and_reads_the_same(drawn: list[Request]):
    values = [one.SerializeToString() for one in drawn]
    assert ours(values) == complete(values)
    verdicts = scan(Records.of(values), SEED)[1]
    held = [sum(len(s.spans) for r in one.resource_spans for s in r.scope_spans) for one in drawn]
    small = [n > len(value) // 11 for n, value in zip(held, values, strict=True)]
    np.testing.assert_array_equal(verdicts == FLOOD, small)
    assert not (verdicts == REFUSED).any()


@settings(max_examples=50, deadline=None)
@given(requests(), st.data())
def test_damage_is_read_as_upb_reads_it_or_refused(drawn: Request, data: st.DataObject):
    """A taken record that upb refuses is damaged where nothing is read; what both take is the same."""
    value = bytearray(drawn.SerializeToString())
    if value:
        for _ in range(data.draw(st.integers(1, 3))):
            value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        Request.FromString(bytes(value))
    except Exception:
        return
    found, dead = ours([bytes(value)])
    assert (found, dead) == complete([bytes(value)])


def test_fields_that_are_not_known_are_passed_over():
    known = span_message = Request.FromString(request(span())).resource_spans[0].scope_spans[0].spans[0]
    raw = span_message.SerializeToString() + field(99, b"new") + field(40, 7, 0) + field(41, 7, 1) + field(42, 7, 5)
    value = field(1, field(2, field(2, raw) + field(9, b"new")) + field(8, 3, 0)) + field(7, b"new")
    assert scan(Records.of([value]), SEED)[1][0] == OK
    assert ours([value]) == complete([value])
    assert known.name == "GET /"


def test_a_resource_may_stand_behind_its_spans():
    inner = Request.FromString(request(span())).resource_spans[0]
    value = field(1, field(2, inner.scope_spans[0].SerializeToString()) + field(1, inner.resource.SerializeToString()))
    assert scan(Records.of([value]), SEED)[1][0] == OK
    assert ours([value]) == complete([value]) == complete([request(span())])


def test_a_field_that_comes_twice_is_left_to_the_complete_decoder():
    raw = Request.FromString(request(span())).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    value = field(1, field(2, field(2, raw + field(5, b"again"))))
    assert scan(Records.of([value]), SEED)[1][0] == REFUSED
    assert ours([value]) == complete([value])
    assert ours([value])[0][0][-2] == "again"  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff", "truncated"),
        (request(span())[:-1], "truncated"),
        (b"\x0a\x03\x12\x09\x01", "malformed"),
        (b'{"resourceSpans":[]}', "malformed"),
        (field(1, field(2, field(2, b"") * 40)), "malformed"),
    ],
)
def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_others_go_on(value: bytes, reason: str):
    good = request(span())
    found, dead = ours([good, value, b"", good])
    assert dead == [reason]
    assert [row[0] for row in found] == [0, 3]  # type: ignore[index]


FUZZ = """
import numpy as np
from random import Random
from tests.decode.span_requests import request, span
from anomaly.compiled import CHECKED
from anomaly.decode.records import Records
from anomaly.decode.spans_join import Join
from anomaly.decode.spans_otlp import scan
from anomaly.decode.spans_scan import OK, REFUSED
from anomaly.decode.spans_series import BUCKETS, lasted, parts_of

def block(value):
    records = Records.of([value])
    records.buffer = np.concatenate([np.frombuffer(value, np.uint8), np.zeros(8, np.uint8)])  # not a byte to spare
    return records

spans = [span(f"op{i}", f"s{i % 3}", 2 + i % 2, i + 1, i, lasted=0.001 * 3**i, status=i % 3) for i in range(9)]
whole = request(*spans)
random, taken, join = Random(1), 0, Join(4096, 30_000)
assert CHECKED
for cut in range(len(whole) + 1):
    taken += scan(block(whole[:cut]), 0)[1][0] == OK
for turn in range(5_000):
    value = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        value[random.randrange(len(value))] = random.choice([0, 1, 8, 0x7F, 0x80, 0xFF, random.randrange(256)])
    found, verdict = scan(block(bytes(value)), 0)
    taken += verdict[0] == OK
    if turn % 5 == 0 and len(found):
        numbers = found.resource % 3
        offset = np.array([turn])
        join.take(found, numbers, numbers, offset, np.zeros(3, np.int32), 10**12)
        parts, of = parts_of(found.record, found.name | np.uint64(1), found.time)
        lasted(parts, of, found.duration, np.zeros(parts.key.size * BUCKETS), 0)
small = block(whole)
small.value_len[0] = len(whole) + 9  # a length that the buffer does not hold
assert scan(small, 0)[1][0] == REFUSED
print("taken", taken)
"""


def test_no_damage_makes_a_kernel_leave_its_arrays():
    """numba checks no bounds by itself; here it does, and an index outside would raise."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ],
        env=os.environ | {"ANOMALY_BOUNDSCHECK": "1"},
        capture_output=True, text=True, timeout=280, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 1000
