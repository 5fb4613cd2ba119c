"""How a budget forgets: everything it counts fades with a half-life of two weeks, in steps of an hour of event time.

Nothing of libm is called, so that workers and checkpoints agree to the bit (see `detect.portable`).
"""

from typing import Any

from anomaly.detect import portable

HOUR_MS, HOURS_A_WEEK = 3_600_000, 168
HOUR = 1.0 / HOURS_A_WEEK  # in weeks
HALF_LIFE = 336  # hours: long enough for a tail at one page a week, short enough to follow a fleet that changes
KEPT = 0.9979391883568344  # of a count, after an hour: 0.5 ** (1 / HALF_LIFE)
LONGEST_WEEKS = HOUR / (1.0 - KEPT)  # what a faded sum of time comes to: 2.9 weeks

_log10: Any = portable.log10.py_func  # as written: numba's would be compiled for a few calls
_faded: Any = portable.faded.py_func


def log10(x: float) -> float:
    """Decimal logarithm of x > 0."""
    return float(_log10(x))


def kept_after(hours: int) -> float:
    """What is left of a count after so many hours; by squaring, because `**` is libm's."""
    left, power, n = 1.0, KEPT, hours
    while n > 0 and left > 0.0:
        if n & 1:
            left *= power
        power, n = power * power, n >> 1
    return left


def faded_weeks(weeks: float) -> float:
    """So many weeks up to now, each hour of them weighted by what is left of it."""
    return LONGEST_WEEKS * float(_faded(weeks / LONGEST_WEEKS))
