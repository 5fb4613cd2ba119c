"""Times and numbers in text, and their compiled twins."""

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anomaly.decode.decimal_scan import decimal
from anomaly.decode.records import BadRecord
from anomaly.decode.text import epoch, instant, number, rfc3339
from anomaly.decode.text_scan import NEVER, moment


def scanned(text: str) -> tuple[float, bool]:
    raw = text.encode()
    value, good = decimal(np.frombuffer(raw + b"9", np.uint8), 0, len(raw))
    return float(value), bool(good)


NUMBERS = st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@st.composite
def near_ties(draw: st.DrawFn) -> str:
    """A number halfway between two doubles, or one unit of its last digit beside that."""
    halfway = Fraction(2 * draw(st.integers(2**52, 2**53 - 1)) + 1) * Fraction(2) ** draw(st.integers(-12, 8))
    digits = draw(st.integers(0, 3))
    return f"{int(halfway * 10**digits) + draw(st.integers(-1, 1))}e-{digits}"


@settings(max_examples=600, deadline=None)
@given(NUMBERS | st.floats(allow_nan=False).map(repr) | near_ties())
@example("9007199254740993")
@example("0.1000000000000000055")
@example("-0.0")
@example("9007199254740993.5")
@example("1e23")
@example("2.2250738585072011e-308")
@example("1.7976931348623157e288")
def test_a_scanned_number_is_the_nearest_double_or_is_left_alone(text: str):
    value, good = scanned(text)
    assert not good or (value == float(text) and math.copysign(1, value) == math.copysign(1, float(text)))
    assert number(text) == float(text)


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-280, 1e280) | st.floats(-1e17, -1e-9))
def test_every_usual_number_as_a_sender_writes_it_is_scanned(value: float):
    assert scanned(repr(value)) == (value, True)


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", "5.", ".5", "1e", "1e+", "e3", "1e1000", "1e3.5", "NaN", "1.2.3", "--1", "1_0", " 1", "+1", "0x1", "1-2"],
)
def test_the_scanner_leaves_what_is_no_plain_decimal(text: str):
    assert not scanned(text)[1]


def test_not_a_number_and_the_infinities_are_numbers_here():
    assert math.isnan(number("NaN"))
    assert [number(t) for t in ("+Inf", "-Inf", "Infinity", "1e999")] == [math.inf, -math.inf, math.inf, math.inf]


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1_000", "0x10", "١٢", "one", "1,5"])
def test_what_only_looks_like_a_number_is_refused(text: str):
    with pytest.raises(BadRecord, match="bad_number"):
        number(text)


def scanned_moment(text: str) -> int:
    raw = text.encode()
    return int(moment(np.frombuffer(raw + b"0", np.uint8), 0, len(raw), np.full(3, NEVER)))


@settings(max_examples=200, deadline=None)
@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.sampled_from("T "), st.sampled_from(["", "Z"]))
@example(datetime(2000, 2, 29), "T", "Z")
@example(datetime(1969, 12, 31, 23, 59, 59, 999999), "T", "Z")
def test_a_time_is_the_same_for_numpy_for_the_reader_and_for_the_scanner(at: datetime, between: str, zone: str):
    text = at.isoformat(between) + zone
    expected = int(np.datetime64(at, "us").astype(np.int64) // 1000)
    assert (rfc3339(text), scanned_moment(text)) == (expected, expected)


@settings(max_examples=50, deadline=None)
@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)), st.integers(-839, 839))
def test_an_offset_is_taken_off(at: datetime, minutes: int):
    moved = at.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    assert rfc3339(moved.isoformat()) == rfc3339(at.isoformat() + "Z")


def test_digits_past_the_milliseconds_are_cut_off():
    texts = [f"2026-01-01T00:00:00.{'1239'[:n]}{'9' * max(n - 4, 0)}Z" for n in (1, 2, 3, 9)]
    assert [rfc3339(t) % 1000 for t in texts] == [scanned_moment(t) % 1000 for t in texts] == [100, 120, 123, 123]


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z", "2026-01-01T00:00:00x", "0000-01-01T00:00:00Z", "2026-01-01T00:0a:00Z", "", "-", "now",
    ],
)  # fmt: skip
def test_a_time_that_is_none_is_refused(text: str):
    assert scanned_moment(text) == NEVER
    with pytest.raises(BadRecord, match="bad_timestamp"):
        instant(text)


def test_the_unit_of_a_number_is_told_by_its_size():
    now = 1_767_225_600_123
    told = [
        epoch(now / 1000),
        epoch(now),
        epoch(now * 1000),
        epoch(now * 1_000_000),
        instant(str(now)),
        instant("1767225600.123"),
    ]
    assert told == [now] * 6
    assert (epoch(0), epoch(-1), epoch(1.5)) == (0, -1000, 1500)


@pytest.mark.parametrize("since", [float("nan"), float("inf"), 10**30, -(10**400)])
def test_a_number_past_every_time_is_refused(since: float):
    with pytest.raises(BadRecord, match="bad_timestamp"):
        epoch(since)
