"""Numbers as a person reads them."""

import math
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.dispatch.amounts import RATIO, amount, compared, plain, span, sparkline, unit_of

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.512, "s", "512 ms"), (2.43, "s", "2.4 s"), (0.000004, "s", "4 µs"), (18.2, "ms", "18 ms"),
        (1850.0, "ms", "1.9 s"),
        (600.0, "s", "10 min"), (1536.0, "By", "1.5 KiB"), (5e9, "By", "4.7 GiB"), (3_145_728.0, "By/s", "3 MiB/s"),
        (0.31, RATIO, "31 %"), (0.0031, RATIO, "0.31 %"), (3.2, "{request}/s", "3.2/s"), (140.4, "/s", "140/s"),
        (5104.0, "{request}", "5,104"), (1_234_567.0, "1", "1.2 M"), (21.5, "Cel", "22 °C"), (0.0, "s", "0 s"),
        (-3.0, "", "-3"),
        (NAN, "s", "unknown"), (math.inf, "s", "unknown"), (42.0, "%", "42 %"), (2.5, "furlong", "2.5 furlong"),
    ],
)  # fmt: skip
def test_a_value_is_scaled_and_has_two_or_three_digits(value: float, unit: str, text: str):
    assert amount(value, unit) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "shown", "usual"),
    [
        (0.512, 0.018, 0.031, "s", "512 ms", "18–31 ms"),
        (0.31, 0.0, 0.003, RATIO, "31 %", "0–0.3 %"),
        (3.2, 110.0, 140.0, "/s", "3.2/s", "110–140/s"),
        (7.0, 5.0, 5.0, "ms", "7 ms", "5 ms"),
        (9.0, NAN, 2.0, "", "9", "at most 2"),
        (9.0, 2.0, NAN, "", "9", "at least 2"),
        (9.0, NAN, NAN, "", "9", "not known yet"),
        (-9.0, -3.0, 5.0, "", "-9", "-3 to 5"),
    ],
)
def test_a_band_is_shown_in_one_unit(value: float, low: float, high: float, unit: str, shown: str, usual: str):
    assert compared(value, low, high, unit) == (shown, usual)


def test_a_value_just_past_its_band_does_not_read_like_the_band():
    shown, usual = compared(10.4, 9.8, 10.3, "")
    assert (shown, usual) == ("10.4", "9.8–10.3")


@settings(max_examples=200, deadline=None)
@given(
    st.floats(allow_nan=True), st.floats(), st.floats(), st.sampled_from(["s", "By", "1", "/s", RATIO, "{x}", "By/s", ""])
)
def test_any_numbers_can_be_shown(value: float, low: float, high: float, unit: str):
    shown, usual = compared(value, low, high, unit)
    assert 0 < len(shown) < 60
    assert 0 < len(usual) < 120


@pytest.mark.parametrize(
    ("unit", "metric", "quantity", "shown"),
    [
        ("1", "http.server.request.duration", "error ratio", RATIO), ("", "http_request_duration_seconds", "p95", "s"),
        ("1", "system.cpu.utilization", "value", RATIO), ("", "node_memory_free_bytes", "value", "By"),
        ("1", "queue.depth", "value", "1"), ("", "cpu_ratio", "value", RATIO), ("", "http_requests_total", "rate", "/s"),
        ("ms", "x_seconds", "value", "ms"),
    ],
)  # fmt: skip
def test_the_unit_is_the_senders_or_that_of_the_name(unit: str, metric: str, quantity: str, shown: str):
    assert unit_of(unit, metric, quantity) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0.2 s"), (52.0, "52 s"), (85.0, "1 min 25 s"), (120.0, "2 min"), (7500.0, "2 h 5 min"), (90_000.0, "1 d 1 h"),
     (14 * 86_400.0, "14 days"), (-1.0, "0 s"), (59.7, "60 s"), (NAN, "an unknown time")],
)  # fmt: skip
def test_a_duration_is_said_in_one_or_two_units(seconds: float, text: str):
    assert span(seconds) == text


def test_a_sparkline_reaches_from_the_least_to_the_greatest_of_points_and_band():
    assert sparkline([0, 7, 14, NAN], 0.0, 14.0) == "▁▅█"
    assert sparkline([5, 5], None, None) == "▁▁"
    assert sparkline([5.0], 0.0, 5.0) == "█"
    assert sparkline([], 0.0, 1.0) == ""
    assert sparkline([1e308, -1e308], None, None) == "▁▁"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.integers(1, 50))
def test_text_from_telemetry_is_short_and_has_no_control_characters(text: str, limit: int):
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert all(unicodedata.category(c)[0] != "C" for c in shown)
    shown.encode()  # no lone surrogates


def test_escape_sequences_and_text_that_runs_backwards_are_taken_out():
    assert plain("pay\x1b[31mment\u202e\n", 50) == "pay[31mment "
