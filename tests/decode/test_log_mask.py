"""The masking of lines and the bits behind it, against the same said plainly, byte by byte."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.compiled import bare
from anomaly.decode import bits, log_chart
from anomaly.decode.log_chart import LONGEST
from anomaly.decode.log_mask import DELIMITERS, LEAST_KEY, mask, masked, scratch

BLANKS = bytes(range(33)) + b"\x7f"
EDGES = BLANKS + DELIMITERS
LETTER, NAMED = rb"[g-zG-Z\x80-\xff]", rb"[0-9A-Za-z@\x80-\xff]"
PLACE = re.compile(rb"[A-Za-z.\x80-\xff]*\.[A-Za-z.\x80-\xff]*#[0-9]{1,5}")


def plainly(line: bytes) -> bytes:
    """What `log_mask` says of itself."""
    text, out, at, near, last, last_end = line.lstrip(BLANKS)[:LONGEST], b"", 0, False, 0, -1
    while at < len(text) and text[at] != ord("\n"):
        sign, begin = text[at : at + 1], len(out)
        if sign in BLANKS:
            out, at = out if not out or out.endswith(b" ") else out + b" ", at + 1
            continue
        if sign in DELIMITERS:
            opens = sign == b'"' or (sign == b"'" and (not out or out[-1:] in EDGES))
            stop = closing(text, at) if opens and text[0] != ord("{") else -1
            if stop < 0:
                out, at, near = out + sign, at + 1, near and sign in b":/,;"
                continue
            out, at = out + b"<*>", stop + 1
        else:
            found = re.compile(b"[^" + re.escape(EDGES) + b"]+").match(text, at)
            assert found
            at = found.end()
            kept = without_parameter(found[0])
            if kept is None:
                out, near = out + found[0], near and not re.search(NAMED, found[0])
                continue
            out += kept
        if near and out[begin:] == out[last:last_end]:
            out = out[:last_end]
        else:
            last, last_end, near = begin, len(out), True
    return out.rstrip(b" ")


def closing(text: bytes, at: int) -> int:
    stop = text.find(text[at : at + 1], at + 1)
    follows = text[stop + 1 : stop + 2]
    return -1 if stop in (-1, at + 1) or (follows and (follows == b":" or follows not in EDGES)) else stop


def without_parameter(word: bytes) -> bytes | None:
    """None: it has none."""
    address, digit = b"@" in word[1:-1] and b"@" not in (word[:1], word[-1:]), re.search(rb"[0-9]", word)
    hexadecimal = re.fullmatch(rb"[^0-9g-zG-Z@\x80-\xff]{8,}", word) and re.search(rb"[A-Fa-f]", word)
    if not (address or digit or hexadecimal) or (digit and PLACE.fullmatch(word)):
        return None
    held = re.sub(rb"[^0-9A-Za-z@\x80-\xff]+\Z", b"", word)
    end = word[len(held) :]
    if address or not digit or (len(word) >= LEAST_KEY and re.search(rb"[A-Z]", word)):
        return b"<*>" + end
    first = digit.start() if re.search(LETTER, word[: digit.start()]) else 0
    if first and word[first - 1] in b"-+" and (first == 1 or not re.match(NAMED, word[first - 2 : first - 1])):
        first -= 1
    name = re.compile(rb"[g-zA-Z@\x80-\xff]").search(held, first)
    tail = held[name.start() :] if name else b""
    named = re.match(rb"[A-Z]", tail) or b"." in tail
    if not named or re.search(rb"[0-9]", tail) or len(re.findall(rb"[A-Za-z\x80-\xff]", tail)) < 3:
        tail = b""
    return word[:first] + b"<*>" + tail + end


PIECES = (
    b"shop.Cart#145", b"blk_-17", b"a8f3-77", b"log4j.Logger", b"deadbeef", b"me@x.y", b"INFO", b"  ", b" ", b"x",
    b"12,", b"k=1;", b"{", b"--------", b"........ab", b"hello", b"ABCDEFghijklmnopqrstuvwxyz0", b"\n", b"\t", b"@",
    b'"x y"', b"'q'", b"don't", b"1:2:3", b"\xc3\xbc",
)  # fmt: skip
LINES = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=250).map(b"".join))


@settings(max_examples=1_000, deadline=None)
@given(LINES)
def test_a_line_is_masked_as_if_it_were_read_byte_by_byte(line):
    assert masked(line) == plainly(line)


@settings(max_examples=200, deadline=None)
@given(LINES, st.binary(min_size=8, max_size=90))
def test_what_stands_behind_a_line_does_not_show(line, rest):
    room = scratch()
    n = mask(np.frombuffer(line + rest, np.uint8), 0, len(line), room)
    assert room.out[:n].tobytes() == plainly(line)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=bits.WIDE, max_size=bits.WIDE), st.integers(0, 255), st.integers(0, 255))
def test_bits_are_the_bytes_between_two(data, one, other):
    low, high = np.uint8(min(one, other)), np.uint8(max(one, other))
    expected = sum(1 << i for i, byte in enumerate(data) if low <= byte <= high)
    assert int(within(np.frombuffer(data, np.uint8), low, high)) == expected


@bare
def within(buffer, low, high):
    return bits.within(buffer, 0, low, high)


@bare
def high_half(a, b):
    return bits.high_half(a, b)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_the_upper_half_of_a_product_is_pythons(a, b):
    assert int(high_half(np.uint64(a), np.uint64(b))) == a * b >> 64


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b"k8s", b"k8", b".", b"event", b"reason", b"k8s.event.reason", bytes(50)]), max_size=30))
def test_what_is_sought_is_found_wherever_it_stands(parts):
    text, wanted = b"".join(parts), np.frombuffer(b"k8s.event.reason", np.uint8)
    assert bits.holds(np.frombuffer(text, np.uint8), wanted, 0) == (wanted.tobytes() in text)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("aZ é\x7f\x80"), max_size=200), st.integers(0, 80))
def test_ascii_ends_before_its_first_other_byte(text, rest):
    data = text.encode()
    expected = next((i for i, byte in enumerate(data) if byte >= 128), len(data))
    assert bits.ascii_end(np.frombuffer(data + bytes(rest), np.uint8), 0, len(data)) == expected


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, LONGEST])
def test_a_chart_is_set_from_the_end_of_the_line_on(size):
    chart = np.zeros((log_chart.KINDS, log_chart.CHARTED), np.uint64)
    log_chart.chart(np.full(LONGEST + 64, ord("g"), np.uint8), 0, size, True, chart)
    for kind in set(range(log_chart.KINDS)) - {log_chart.LETTER}:
        assert log_chart.following(chart, kind, 0) == size
