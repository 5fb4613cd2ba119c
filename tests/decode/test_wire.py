"""Protobuf's primitives against protobuf's own encoder, and the hash against what a hash has to be."""

import struct

import numpy as np
import pytest
from google.protobuf.internal import encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.decode import wire
from anomaly.decode.records import PADDING


def buffer(data: bytes):
    held = np.frombuffer(data + bytes(PADDING), np.uint8)
    return held, len(data)


def encoded(number: int) -> bytes:
    return bytes(encoder._VarintBytes(number))  # type: ignore[attr-defined]


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_varint_is_read_as_protobuf_writes_it_and_what_follows_is_left(number: int, rest: bytes):
    held, size = buffer(encoded(number) + rest)
    value, after = wire.varint(held, 0, size)
    assert (int(value), after) == (number, len(encoded(number)))


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_a_varint_that_is_cut_off_is_bad(number: int):
    for cut in range(len(encoded(number))):
        assert wire.varint(buffer(encoded(number))[0], 0, cut)[1] == wire.BAD


def test_a_varint_longer_than_64_bits_is_bad():
    for data in (b"\xff" * 10 + b"\x01", b"\xff" * 9 + b"\x02"):
        held, size = buffer(data)
        assert wire.varint(held, 0, size)[1] == wire.BAD


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, 6])
def test_a_length_past_the_end_is_bad(length: int):
    held, size = buffer(encoded(length) + b"12345")
    assert wire.span(held, 0, size)[1] == wire.BAD


def test_every_field_is_skipped_by_its_wire_type_and_groups_are_bad():
    data = {0: b"\x96\x01", 1: b"12345678", 2: b"\x03abc", 5: b"1234"}
    for kind in range(8):
        held, size = buffer(data.get(kind, b"\x00"))
        assert wire.skip(held, 0, size, 9 << 3 | kind, 0) == (size if kind in data else wire.BAD)
        assert wire.skip(held, 0, size - 1, 9 << 3 | kind, 0) == wire.BAD
        assert wire.skip(held, 0, size, 9 << 3 | kind, 1 << 9) == wire.BAD
    held, size = buffer(b"\x01")
    assert wire.skip(held, 0, size, 0, 0) == wire.BAD  # field 0 does not exist


def test_the_only_field_is_found_wherever_it_stands_and_twice_is_bad():
    other, wanted = b"\x10\x07", b"\x0a\x02ab"
    for data, place in ((wanted + other, 2), (other + wanted, 4)):
        held, size = buffer(data)
        first, end = wire.only(held, 0, size, 1)
        assert (first, held[first:end].tobytes()) == (place, b"ab")
    held, size = buffer(wanted + other + wanted)
    assert wire.only(held, 0, size, 1)[1] == wire.BAD
    held, size = buffer(other)
    assert wire.only(held, 0, size, 1) == (0, 0)


@given(st.binary(min_size=8, max_size=40), st.integers(0, 32))
@settings(max_examples=100, deadline=None)
def test_eight_bytes_load_as_struct_unpacks_them(data: bytes, at: int):
    at = min(at, len(data) - 8)
    assert int(wire.load8(np.frombuffer(data, np.uint8), at)) == struct.unpack_from("<Q", data, at)[0]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_fold_is_the_xor_of_the_halves_of_the_exact_product(a: int, b: int):
    product = a * b
    assert int(wire.fold(np.uint64(a), np.uint64(b))) == (product >> 64) ^ (product & (2**64 - 1))


@given(st.binary(max_size=50), st.binary(min_size=1, max_size=20), st.binary(max_size=20))
@settings(max_examples=300, deadline=None)
def test_a_hash_is_of_its_bytes_alone_wherever_they_stand(data: bytes, before: bytes, after: bytes):
    seed = np.uint64(7)
    alone, size = buffer(data)
    inside, _ = buffer(before + data + after)
    found = wire.hash_bytes(inside, len(before), len(before) + size, seed)
    assert found == wire.hash_bytes(alone, 0, size, seed)
    assert found != wire.hash_bytes(alone, 0, size, np.uint64(8))


def test_no_two_of_a_hundred_thousand_similar_byte_ranges_share_a_hash():
    texts = [f"pod-{i:05d}".encode() for i in range(50_000)] + [b"\x00" * n for n in range(40)]
    texts += [f"a much longer label value, of which the end differs {i}".encode() for i in range(50_000)]
    joined, at, seed = buffer(b"".join(texts))[0], 0, np.uint64(0)
    seen = set()
    for text in texts:
        seen.add(int(wire.hash_bytes(joined, at, at + len(text), seed)))
        at += len(text)
    assert len(seen) == len(texts)


def test_a_word_equal_to_a_public_mask_does_not_erase_what_came_before():
    """Multiplying by zero would forget the prefix, and with public masks any sender could do it."""
    masks = [int(m).to_bytes(8, "little") for m in (wire._A, wire._B, wire._C)]
    seed = np.uint64(0x1234_5678_9ABC)
    for mask in masks:
        hashes = set()
        for prefix in (b"A" * 16, b"B" * 16):
            held, size = buffer(prefix + mask + mask)
            hashes.add(int(wire.hash_bytes(held, 0, size, seed)))
        assert len(hashes) == 2
