"""Times and strings in bytes, for compiled scanners: read exactly as `text` reads them, or not at all.

text uint8 (m,), eight readable bytes past the last of interest; [at, end) is within it. Times in milliseconds since the
epoch, NEVER where there is none.
Sources: H. Hinnant, "chrono-compatible low-level date algorithms" (2013). Eight bytes are looked at in one word, as in
A. Mycroft's test for a zero byte (1987): of the bytes that it marks, the first is always right.
"""

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from anomaly.compiled import bare, inlined
from anomaly.decode.wire import load8

NEVER = np.iinfo(np.int64).min

DIGIT_0, DIGIT_9, COLON, POINT, BLANK, LETTER_T, LETTER_Z = 48, 57, 58, 46, 32, 84, 90
QUOTE, BACKSLASH = 34, 92
_SEPARATORS = np.array([[4, 45], [7, 45], [13, 58]])  # 0000-00-00T00:00
_MINUTE = 16  # bytes of it

_ONES, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _BLANKS = _ONES * np.uint64(QUOTE), _ONES * np.uint64(BACKSLASH), _ONES * np.uint64(BLANK)


@inlined
def ends(word):  # type: ignore[no-untyped-def]
    """The high bit of each of eight bytes that may end a plain string: quotes, backslashes, control characters."""
    quote, backslash = word ^ _QUOTES, word ^ _BACKSLASHES
    return ((quote - _ONES) & ~quote | (backslash - _ONES) & ~backslash | (word - _BLANKS) & ~word) & _HIGH


@inlined
def first(marks):  # type: ignore[no-untyped-def]
    """The index of the first byte of a word whose high bit is set."""
    return np.int64(trailing_zeros(marks)) >> 3


@inlined
def closing(text, at, end):  # type: ignore[no-untyped-def]
    """Where the quote stands that ends the string beginning at `at`; -1: none, or the string is not a plain one."""
    while at < end:
        marks = ends(load8(text, at))
        if marks:
            at += first(marks)
            return at if at < end and text[at] == QUOTE else -1
        at += 8
    return -1


@bare
def digits(text, at, n):  # type: ignore[no-untyped-def]
    """`n` digits as a number, -1 if they are not all digits."""
    value = 0
    for i in range(at, at + n):
        if not DIGIT_0 <= text[i] <= DIGIT_9:
            return -1
        value = 10 * value + text[i] - DIGIT_0
    return value


@bare
def days(year, month, day):  # type: ignore[no-untyped-def]
    """Days from 1970-01-01 in the proleptic Gregorian calendar, years from March so that a leap day is the last one."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@bare
def minute(text, at):  # type: ignore[no-untyped-def]
    """Milliseconds since the epoch of `2026-01-01T00:00` at `at`; NEVER if it is not that. A blank may stand for the T."""
    if text[at + 10] not in (BLANK, LETTER_T):
        return NEVER
    for i in range(_SEPARATORS.shape[0]):
        if text[at + _SEPARATORS[i, 0]] != _SEPARATORS[i, 1]:
            return NEVER
    year, month, day = digits(text, at, 4), digits(text, at + 5, 2), digits(text, at + 8, 2)
    hour, past = digits(text, at + 11, 2), digits(text, at + 14, 2)
    if year < 1 or not 1 <= month <= 12 or not 0 <= hour < 24 or not 0 <= past < 60:
        return NEVER
    date = days(year, month, day)
    if day < 1 or date >= days(year + month // 12, month % 12 + 1, 1):
        return NEVER
    return ((date * 24 + hour) * 60 + past) * 60_000


@bare
def moment(text, at, end, read):  # type: ignore[no-untyped-def]
    """Milliseconds since the epoch of `2026-01-01T00:00:00.000Z` that fills [at, end); NEVER if it is not that.

    The fraction and the Z may be missing. Neighbours mostly share their minute, so the one read last is kept in
    `read` int64 (3,): its text and its time; zeros before the first.
    """
    if end - at < 19 or text[at + _MINUTE] != COLON:
        return NEVER
    date, clock = np.int64(load8(text, at)), np.int64(load8(text, at + 8))
    if date != read[0] or clock != read[1]:
        read[0], read[1], read[2] = date, clock, minute(text, at)
    second = digits(text, at + _MINUTE + 1, 2)
    if read[2] == NEVER or not 0 <= second < 60:
        return NEVER
    return fraction(text, at + 19, end - (text[end - 1] == LETTER_Z), read[2] + second * 1000)


@bare
def fraction(text, at, end, whole):  # type: ignore[no-untyped-def]
    """`whole` milliseconds and those of the fraction of a second that fills [at, end), cut off; NEVER if it is none."""
    if at == end:
        return whole
    if text[at] != POINT or not 1 < end - at <= 10 or digits(text, at + 1, end - at - 1) < 0:
        return NEVER
    scale = 100
    for i in range(at + 1, min(end, at + 4)):
        whole += scale * (text[i] - DIGIT_0)
        scale //= 10
    return whole
