"""Where in a line something may be that is no plain text, as bits, so that whoever masks it need not look at every byte.

bits uint64 (KINDS, CHARTED), bit i of the i-th byte of the line; from its end on all are set
  EDGE    blanks and the signs of `log_mask.DELIMITERS`: what ends a word
  ODD     what needs a look: digits, an @, quotes where they are asked for, blanks that are not one space alone, and the
          eighth of bytes in a row that may be a hexadecimal number
  DIGIT, LETTER (that no hexadecimal number has), UPPER (of all letters), AT (an @)
Between two that are odd a line is copied as it stands, but for the word that the second is in.
"""

import numpy as np
from numba.cpython.unsafe.numbers import leading_zeros, trailing_zeros

from anomaly.compiled import bare, inlined
from anomaly.decode.bits import WIDE, within
from anomaly.decode.wire import load8

LONGEST = 1_024  # bytes of a line that are looked at
CHARTED = LONGEST // WIDE + 1
EDGE, ODD, DIGIT, LETTER, UPPER, AT = range(6)
KINDS = 6

_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_QUOTE, _TICK, _SPACE = ord('"'), ord("'"), ord(" ")


@inlined
def blanks(buffer, at):  # type: ignore[no-untyped-def]
    """As `log_mask` has them."""
    return within(buffer, at, 0, 32) | within(buffer, at, 127, 127)


@inlined
def signs(buffer, at):  # type: ignore[no-untyped-def]
    """`log_mask.DELIMITERS`."""
    round_, curly = within(buffer, at, ord("'"), ord(")")), within(buffer, at, ord("{"), ord("}"))
    square = within(buffer, at, ord("["), ord("[")) | within(buffer, at, ord("]"), ord("]"))
    between = within(buffer, at, ord(":"), ord(">")) | within(buffer, at, ord(","), ord(","))
    quotes = within(buffer, at, _QUOTE, _QUOTE) | within(buffer, at, ord("`"), ord("`"))
    return round_ | curly | square | between | quotes | within(buffer, at, ord("/"), ord("/"))


@inlined
def letters(buffer, at):  # type: ignore[no-untyped-def]
    """Those of no hexadecimal number."""
    small, large = within(buffer, at, ord("g"), ord("z")), within(buffer, at, ord("G"), ord("Z"))
    return small | large | within(buffer, at, 128, 255)


@bare
def chart(buffer, at, end, quotes, bits):  # type: ignore[no-untyped-def]
    """Write the bits of the line buffer[at:end), of which WIDE bytes beyond the last must be readable."""
    before, two, four, eight = _NONE, _NONE, _NONE, _NONE  # of the bytes before: blanks; what is no edge and no letter
    k = 0
    while at < end:
        ours = _ALL >> np.uint64(max(at + WIDE - end, 0))
        blank = blanks(buffer, at)
        edge = blank | signs(buffer, at) | ~ours
        digit, letter = within(buffer, at, ord("0"), ord("9")), letters(buffer, at)
        mail = within(buffer, at, ord("@"), ord("@"))
        found = digit | mail | blank & (blank << _ONE | before | ~within(buffer, at, _SPACE, _SPACE))
        if quotes:
            found |= within(buffer, at, _QUOTE, _QUOTE) | within(buffer, at, _TICK, _TICK)
        run = ~(edge | letter)
        pair = run & (run << _ONE | two)
        fourth = pair & (pair << np.uint64(2) | four)
        found |= fourth & (fourth << np.uint64(4) | eight)
        before, two = blank >> np.uint64(63), run >> np.uint64(63)
        four, eight = pair >> np.uint64(62), fourth >> np.uint64(60)
        bits[EDGE, k], bits[ODD, k], bits[DIGIT, k], bits[LETTER, k] = edge, found | ~ours, digit | ~ours, letter | ~ours
        bits[UPPER, k], bits[AT, k] = within(buffer, at, ord("A"), ord("Z")) | ~ours, mail | ~ours
        at, k = at + WIDE, k + 1
    for kind in range(KINDS):
        bits[kind, k] = _ALL


@inlined
def copied(buffer, at, end, out, n):  # type: ignore[no-untyped-def]
    """Write buffer[at:end) to `out` from n on, and up to seven bytes more; returns n behind it."""
    n, stop = np.uint64(n), np.uint64(n + end - at)
    while n < stop:
        word = load8(buffer, at)
        for i in range(8):
            out[n + np.uint64(i)] = np.uint8(word >> np.uint64(8 * i))
        n, at = n + np.uint64(8), at + 8
    return np.int64(stop)


@bare
def charted(buffer, at, end, quotes, scratch, bits):  # type: ignore[no-untyped-def]
    """As `chart`; where too little can be read beyond the line it is charted in `scratch`, uint8 (LONGEST + WIDE,)."""
    if at + (end - at + WIDE - 1) // WIDE * WIDE <= buffer.size:
        chart(buffer, at, end, quotes, bits)
    else:
        copied(buffer, at, end, scratch, 0)
        chart(scratch, 0, end - at, quotes, bits)


@inlined
def following(bits, kind, i):  # type: ignore[no-untyped-def]
    """The first bit from i on that is set."""
    k = np.uint64(i) >> np.uint64(6)
    word = bits[kind, k] & (_ALL << (np.uint64(i) & np.uint64(63)))
    while word == _NONE:
        k += _ONE
        word = bits[kind, k]
    return np.int64(k << np.uint64(6)) + np.int64(trailing_zeros(word))


@inlined
def preceding(bits, kind, i):  # type: ignore[no-untyped-def]
    """The last bit before i that is set, -1 if none is."""
    k = i >> 6
    word = bits[kind, k] & ~(_ALL << (np.uint64(i) & np.uint64(63)))
    while word == _NONE and k > 0:
        k -= 1
        word = bits[kind, k]
    return (k << 6) + 63 - np.int64(leading_zeros(word)) if word else np.int64(-1)


@inlined
def is_set(bits, kind, i):  # type: ignore[no-untyped-def]
    """Whether a bit is."""
    return (bits[kind, i >> 6] >> (np.uint64(i) & np.uint64(63))) & _ONE != _NONE


@inlined
def plain(bits, at, end):  # type: ignore[no-untyped-def]
    """How far the line is plain text from byte `at` on: to the word, or sign, that something odd is in."""
    odd = min(following(bits, ODD, at), end)
    return odd if is_set(bits, EDGE, odd) else max(preceding(bits, EDGE, odd) + 1, at)
