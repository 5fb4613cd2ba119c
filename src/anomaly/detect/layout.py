"""What the default model keeps of a series: one record of 320 bytes, five lines of memory.

The first two lines (128 bytes) are all that a point reads and writes while it stays in its half-hour; the profile of
`season` fills the other three. Means are in the unit of the values, relative to the anchor, because float32 could not hold
a small change of a large number; the spread is a mean absolute deviation in that unit; tails are pairs (quantile, mean
excess) as in `tail`. A row of zeros knows nothing, so that rows which nobody has used yet take no memory.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, inlined
from anomaly.detect.season import DAY, EMPTY, WEEK

MODEL = np.dtype(
    [
        ("anchor", "f8"),  # the unit of the values
        ("last", "i8"),  # local ms (`clock`) of the newest point, 0: never
        ("n", "f4"),  # points learned
        ("learned", "f4"),  # s
        ("interval", "f4"),  # s between points
        ("mean", "f4"),  # slow mean
        ("rest", "f4"),  # of the slow mean: what float32 could not add to it yet
        ("spread", "f4"),  # mean absolute residual
        ("rough", "f4"),  # mean absolute change from point to point
        ("previous", "f4"),  # the value before
        ("quantum", "f4"),  # smallest change seen, negative while seen once
        ("day", "f4"),  # mean of the half-hour that is going on
        ("week", "f4"),  # of the four hours of the week
        ("fast", "f4"),  # mean over half an hour
        ("low", "f4"),  # of the range of `fast`
        ("high", "f4"),
        ("medium", "f4"),  # mean over hours
        ("season_quantile", "f4"), ("season_excess", "f4"),
        ("range_quantile", "f4"), ("range_excess", "f4"),
        ("level_quantile", "f4"), ("level_excess", "f4"),
        ("sudden_quantile", "f4"), ("sudden_excess", "f4"),
        ("run", "f4"),  # surprise added up over a run of points on one side, with its sign
        ("block_peak", "f4"),  # greatest score of the block that is going on
        ("block_age", "f4"),  # s
        ("block_mean", "f4"),  # mean of the blocks' greatest scores, less what chance gives
        ("day_age", "u1"),
        ("week_age", "u1"),
        ("negative", "u1"),  # 1: the value was below zero once
        ("primed", "u1"),  # 1: a donor's state is the prior
        ("profile", "i2", (DAY + WEEK,)),
        ("scale", "f4"),  # of the profile
        ("blocks", "u1"),
        ("spare", "u1", (7,)),
    ],
    align=True,
)  # fmt: skip

LINE = 64  # bytes that memory gives at once
HOT = 128  # bytes of a row that every point touches
DONATED = 20.0  # points that a donor's state is worth
# Tails before anything is known, wider than a Gaussian's 2.75 and 0.45, and for the range, which is rarely left, small.
USUAL_SEASON, USUAL_RANGE, USUAL_LEVEL, USUAL_SUDDEN = (2.9, 0.8), (0.05, 0.08), (2.9, 0.8), (2.9, 0.8)
# Below these no tail shrinks, however quiet the series has been.
LEAST_SEASON, LEAST_RANGE, LEAST_LEVEL, LEAST_SUDDEN = (1.5, 0.3), (0.02, 0.02), (2.0, 0.5), (2.0, 0.5)


def lined(rows: int, kind: np.dtype[Any]) -> NDArray[np.void]:
    """Rows of zeros that begin where a line of memory does."""
    room = np.zeros(rows * kind.itemsize + LINE, np.uint8)
    ahead = -room.ctypes.data % LINE
    return room[ahead : ahead + rows * kind.itemsize].view(kind)


def longer(array: NDArray[np.void], rows: int) -> NDArray[np.void]:
    """The array, or one of at least as many rows that begins with it, lined; new rows are zero."""
    if rows <= array.size:
        return array
    larger = lined(max(rows, 2 * array.size, 64), array.dtype)
    larger[: array.size] = array
    return larger


@inlined
def points(s):  # type: ignore[no-untyped-def]
    """How many points the row's knowledge is worth."""
    return s.n + (DONATED if s.primed != 0 else 0.0)


@bare
def borrow(s):  # type: ignore[no-untyped-def]
    """Turn a copy of a donor's row into a prior: its shape, wider, worth a few points, with nothing learned of its own."""
    if s.n == 0.0 and s.primed == 0:
        return
    s.primed = 1
    s.n = s.learned = s.run = s.block_peak = s.block_age = 0.0
    s.spread *= 1.5
    s.season_excess *= 1.3
    s.range_excess *= 1.3
    s.level_excess *= 1.3
    s.sudden_excess *= 1.3


@bare
def begin(s, time, value):  # type: ignore[no-untyped-def]
    """The first value of a row is its anchor: everything relative to it is zero."""
    s.anchor, s.last, s.n, s.day_age, s.week_age = value, time, 1.0, 1, 1
    s.negative = 1 if value < 0.0 else 0
    s.season_quantile, s.season_excess = USUAL_SEASON
    s.range_quantile, s.range_excess = USUAL_RANGE
    s.level_quantile, s.level_excess = USUAL_LEVEL
    s.sudden_quantile, s.sudden_excess = USUAL_SUDDEN
    for bucket in range(DAY + WEEK):
        s.profile[bucket] = EMPTY
