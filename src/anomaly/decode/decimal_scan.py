"""Decimal numbers in bytes, for compiled scanners: the double nearest to what is written, to the bit, or not at all.

text uint8 (m,); [at, end) is within it. A number of up to 19 digits is an integer times a power of ten. Where both are exact
doubles, one multiplication or division rounds once (Clinger). Else the integer is multiplied by the power of five to 128
bits: if the bits behind those that a double keeps say which way to round whatever was cut off, that is the answer (Lemire).
Ties, what cannot be told from one, and both ends of the range are left to the complete parser.
Sources: W. Clinger, "How to read floating point numbers accurately" (1990); D. Lemire, "Number parsing at a gigabyte per
second" (2021), sections 5 to 8.
"""

import numpy as np
from numba.cpython.unsafe.numbers import leading_zeros

from anomaly.compiled import bare, inlined
from anomaly.decode.bits import high_half

DIGIT_0, DIGIT_9, MINUS, PLUS, POINT, LETTER_E, LETTER_E_LARGE = 48, 57, 45, 43, 46, 101, 69

_DIGITS = 19  # so many fit a uint64, whatever they are
_EXACT, _EXACT_POWER = np.uint64(1 << 53), 22
_TENS = 10.0 ** np.arange(_EXACT_POWER + 1)
# Outside of these a number may not be a normal double, or is rare enough for the complete parser.
_LEAST, _MOST = -300, 288

_NO, _ONE = np.uint64(0), np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BEHIND = np.uint64(0x1FF)  # what stands, at least, behind the 53 bits of a double and its bit for rounding


def _fives() -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    """5^p for each power as the 128 bits from its first one on, cut off; high and low word, (powers, 2)."""
    words = []
    for power in range(_LEAST, _MOST + 1):
        five = 5 ** abs(power)
        top = five << 128 if power >= 0 else (1 << (five.bit_length() + 256)) // five
        top >>= top.bit_length() - 128
        words.append((top >> 64, top & ((1 << 64) - 1)))
    return np.array(words, np.uint64)


_FIVES = _fives()


@bare
def nearest(mantissa, power):  # type: ignore[no-untyped-def]
    """(the double nearest to mantissa * 10^power, whether it is certain); mantissa uint64, not zero."""
    if not _LEAST <= power <= _MOST:
        return np.nan, False
    zeros = np.uint64(leading_zeros(mantissa))
    whole, at = mantissa << zeros, power - _LEAST
    top, low = high_half(whole, _FIVES[at, 0]), whole * _FIVES[at, 0]
    # The power is cut off, so the product is short: by a unit of `top` at most, then by two of `low`. If that may carry into
    # the bits that are kept, the rest of the power is asked.
    if top & _BEHIND == _BEHIND:
        more = low + high_half(whole, _FIVES[at, 1])
        top, low = top + np.uint64(more < low), more
    first = top >> np.uint64(63)
    kept = top >> (np.uint64(9) + first)  # 54 bits, the last of them for rounding
    if kept & _ONE:
        tie = top << (np.uint64(55) - first) == _NO and low == _NO
    else:  # short of one by no more than what may have been cut off
        tie = top & _BEHIND == _BEHIND and low >= _ALL - _ONE
    if tie:
        return np.nan, False
    exponent = (217_706 * power >> 16) + 63 + np.int64(first) - np.int64(zeros)  # of the first bit: log2(10) in 16 bits
    kept = kept + (kept & _ONE) >> _ONE
    if kept == _EXACT:
        kept, exponent = kept >> _ONE, exponent + 1
    bits = (np.uint64(exponent + 1023) << np.uint64(52)) | (kept & ((_EXACT >> _ONE) - _ONE))
    return np.uint64(bits).view(np.float64), True


@inlined
def scaled(mantissa, power):  # type: ignore[no-untyped-def]
    """(the double nearest to mantissa * 10^power, whether it is certain)."""
    if mantissa <= _EXACT and -_EXACT_POWER <= power <= _EXACT_POWER:
        return (mantissa / _TENS[-power] if power < 0 else mantissa * _TENS[power]), True
    return nearest(mantissa, power) if mantissa else (0.0, True)


@bare
def exponent(text, at, end):  # type: ignore[no-untyped-def]
    """(the power of ten that fills [at, end), whether it is one): a sign, if need be, and up to three digits."""
    negative = at < end and text[at] == MINUS
    at += negative or (at < end and text[at] == PLUS)
    if not 0 < end - at <= 3:
        return 0, False
    power = 0
    for i in range(at, end):
        if not DIGIT_0 <= text[i] <= DIGIT_9:
            return 0, False
        power = 10 * power + text[i] - DIGIT_0
    return -power if negative else power, True


@bare
def decimal(text, at, end):  # type: ignore[no-untyped-def]
    """(the double nearest to the number that fills [at, end), whether it could be read here)."""
    negative = at < end and text[at] == MINUS
    at += negative
    mantissa, power, point, stop, first = np.uint64(0), 0, -1, at, -1
    while stop < end:
        byte = text[stop]
        if DIGIT_0 <= byte <= DIGIT_9:
            mantissa = np.uint64(10) * mantissa + np.uint64(byte - DIGIT_0)
            first = stop if first < 0 and byte != DIGIT_0 else first
        elif byte == POINT and point < 0:
            point = stop
        else:
            break
        stop += 1
    before, after = (point if point >= 0 else stop) - at, stop - point - 1 if point >= 0 else 0
    if before == 0 or (point >= 0 and after == 0):
        return np.nan, False
    if first >= 0 and stop - first - (point > first) > _DIGITS:
        return np.nan, False
    if stop < end:
        power, good = exponent(text, stop + 1, end) if text[stop] in (LETTER_E, LETTER_E_LARGE) else (0, False)
        if not good:
            return np.nan, False
    value, sure = scaled(mantissa, power - after)
    return -value if negative else value, sure
