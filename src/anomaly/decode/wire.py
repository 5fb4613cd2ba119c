"""Reading protobuf off the wire inside compiled kernels: numbers, lengths, fields to skip, a hash of a byte range.

A buffer is uint8 (size,) with eight readable bytes past the last one of interest. Positions are int64 indices into it;
`end` is the first byte that is not ours. A function that moves on returns the position after what it read, or BAD, and
the caller must look: nothing here raises. Whoever gets BAD gives the record to the complete decoder, so a rare form that
protobuf allows may be BAD here, while a form that it refuses must be.
Sources: Protocol Buffers, "Encoding"; for the hash, W. Yi, "wyhash" (2019): words are multiplied in pairs to 128 bits and
folded. Its lanes are masked with the seed here, since with public masks a sender could multiply by zero at will.
"""

import numpy as np

from anomaly.compiled import bare, inlined
from anomaly.decode.bits import high_half

BAD = -1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are the groups of old, 6 and 7 are nothing

_A, _B, _C = np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB), np.uint64(0x8EBC6AF09C88C6E3)  # wyhash's
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@inlined
def load8(buffer, at):  # type: ignore[no-untyped-def]
    """The eight bytes from `at` as a little-endian uint64; LLVM makes one load of it."""
    p, one = np.uint64(at), np.uint64(1)
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(buffer[p]) << np.uint64(8 * i)
        p += one
    return word


@bare
def long_varint(buffer, at, end):  # type: ignore[no-untyped-def]
    """`varint` of more than one byte: rare, and apart, so that only the short form is merged into every caller."""
    value, shift = np.uint64(0), np.uint64(0)
    while at < end and shift < np.uint64(70):
        byte = np.uint64(buffer[at])
        if shift == np.uint64(63) and byte > np.uint64(1):
            break
        value |= (byte & np.uint64(127)) << shift
        at, shift = at + 1, shift + np.uint64(7)
        if byte < np.uint64(128):
            return value, at
    return value, BAD


@inlined
def varint(buffer, at, end):  # type: ignore[no-untyped-def]
    """A variable-length uint64 and the position after it; BAD if it is cut off or does not fit 64 bits."""
    if at < end and buffer[at] < 128:
        return np.uint64(buffer[at]), at + 1
    return long_varint(buffer, at, end)


@inlined
def small(buffer, at, end):  # type: ignore[no-untyped-def]
    """A tag or a length as int64 and the position after it; BAD above 2**31 or if longer than its five bytes."""
    value, after = varint(buffer, at, end)
    if after > at + 5 or value >= np.uint64(1 << 31):
        return 0, BAD
    return np.int64(value), after


@inlined
def span(buffer, at, end):  # type: ignore[no-untyped-def]
    """First position and end of what a length in front delimits; the end is BAD if it would lie past ours."""
    length, start = small(buffer, at, end)
    if start == BAD or length > end - start:
        return 0, BAD
    return start, start + length


@bare
def skip(buffer, at, end, tag, known):  # type: ignore[no-untyped-def]
    """The position after a field of no interest; BAD for one in the bit set `known`: its type is not what we expect."""
    field, wire = tag >> 3, tag & 7
    if field == 0 or (field < 63 and (known >> field) & 1):
        return BAD
    if wire == VARINT:
        return varint(buffer, at, end)[1]
    if wire == BYTES:
        return span(buffer, at, end)[1]
    if wire == FIXED64:
        at += 8
    elif wire == FIXED32:
        at += 4
    else:
        return BAD
    return at if at <= end else BAD


@bare
def only(buffer, at, end, wanted):  # type: ignore[no-untyped-def]
    """The range of the one field `wanted`, empty (0, 0) if absent; its end is BAD if it comes twice or nothing fits."""
    found, stop = 0, 0
    while at < end:
        tag, at = small(buffer, at, end)
        if at == BAD:
            return 0, BAD
        if tag == (wanted << 3 | BYTES):
            if found > 0:
                return 0, BAD
            found, at = span(buffer, at, end)
            stop = at
        else:
            at = skip(buffer, at, end, tag, np.int64(1) << wanted)
        if at == BAD:
            return 0, BAD
    return found, stop


@inlined
def fold(a, b):  # type: ignore[no-untyped-def]
    """The halves of the 128-bit product of two uint64, xored."""
    return (a * b) ^ high_half(a, b)


@inlined
def mix(a, b):  # type: ignore[no-untyped-def]
    """One hash of two; their order matters."""
    return fold(a ^ _B, b ^ _C)


@bare
def hash_bytes(buffer, at, end, seed):  # type: ignore[no-untyped-def]
    """Seeded 64-bit hash of the bytes [at, end); what lies past `end` is loaded, never used."""
    length, mask = np.uint64(end - at), seed ^ _B
    hashed = seed * _C ^ _A
    while end - at >= 16:
        hashed = fold(load8(buffer, at) ^ mask, load8(buffer, at + 8) ^ hashed)
        at += 16
    if end - at > 8:
        hashed = fold(load8(buffer, at) ^ mask, load8(buffer, end - 8) ^ hashed)
    elif end > at:
        ours = _ALL >> np.uint64(8 * (8 - (end - at)))
        hashed = fold((load8(buffer, at) & ours) ^ mask, hashed ^ _C)
    return fold(hashed ^ mask, length ^ _C)
