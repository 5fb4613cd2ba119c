"""Times and decimal numbers in bytes, for compiled scanners: read exactly as `text` reads them, or not at all.

text uint8 (m,); [at, end) is within it. Times in milliseconds since the epoch, NEVER where there is none.
Sources: W. Clinger, "How to read floating point numbers accurately" (1990): a mantissa up to 2^53 and a power of ten up to
10^22 are both exact, so that one division rounds once; longer ones are divided in integers, as at school. H. Hinnant,
"chrono-compatible low-level date algorithms" (2013).
"""

import numpy as np

from anomaly.compiled import bare

NEVER = np.iinfo(np.int64).min

DIGIT_0, DIGIT_9, MINUS, POINT, BLANK, LETTER_T, LETTER_Z = 48, 57, 45, 46, 32, 84, 90
_SEPARATORS = np.array([[4, 45], [7, 45], [13, 58], [16, 58]])  # 0000-00-00T00:00:00

_DIGITS = 18  # so many fit an int64, and 60 bits, whatever they are
_POWERS = 10 ** np.arange(_DIGITS + 1)
_EXACT = 1 << 53


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
def moment(text, at, end):  # type: ignore[no-untyped-def]
    """Milliseconds since the epoch of `2026-01-01T00:00:00.000Z` that fills [at, end); NEVER if it is not that.

    The fraction and the Z may be missing, and a blank may stand for the T.
    """
    if end - at < 19 or text[at + 10] not in (BLANK, LETTER_T):
        return NEVER
    end -= text[end - 1] == LETTER_Z
    for i in range(_SEPARATORS.shape[0]):
        if text[at + _SEPARATORS[i, 0]] != _SEPARATORS[i, 1]:
            return NEVER
    year, month, day = digits(text, at, 4), digits(text, at + 5, 2), digits(text, at + 8, 2)
    hour, minute, second = digits(text, at + 11, 2), digits(text, at + 14, 2), digits(text, at + 17, 2)
    if year < 1 or not 1 <= month <= 12 or not 0 <= hour < 24 or not 0 <= minute < 60 or not 0 <= second < 60:
        return NEVER
    date = days(year, month, day)
    if day < 1 or date >= days(year + month // 12, month % 12 + 1, 1):
        return NEVER
    whole = ((date * 24 + hour) * 60 + minute) * 60 + second
    return fraction(text, at + 19, end, whole * 1000)


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


@bare
def decimal(text, at, end):  # type: ignore[no-untyped-def]
    """(the double nearest to the number that fills [at, end), whether it could be read here)."""
    negative = at < end and text[at] == MINUS
    at += negative
    point = at
    while point < end and text[point] != POINT:
        point += 1
    after = max(end - point - 1, 0)
    if not 0 < point - at <= _DIGITS or after > _DIGITS or (point < end and after == 0):
        return np.nan, False
    whole, rest = digits(text, at, point - at), digits(text, point + 1, after)
    if not 0 <= whole < _POWERS[_DIGITS - after] or rest < 0:
        return np.nan, False
    mantissa, power = whole * _POWERS[after] + rest, _POWERS[after]
    value = mantissa / power if mantissa <= _EXACT else quotient(mantissa, power)
    return -value if negative else value, True


@bare
def quotient(a, b):  # type: ignore[no-untyped-def]
    """The double nearest to a / b, both positive and below 2^60.

    Three bits of the quotient a step, until there are more than a double holds; what remains then only matters if it is
    not zero, which one more bit says. The conversion of that integer is the only rounding.
    """
    whole, rest = a // b, a % b
    scale = 0.5
    while rest and whole < 2 * _EXACT:
        whole, rest, scale = 8 * whole + 8 * rest // b, 8 * rest % b, scale / 8.0
    return float(2 * whole + (rest != 0)) * scale
