"""The state of a partition as rows of plain arrays, one dtype per thing that is counted.

row        a series as it was sent: what the next point is converted against. `last` ms of its newest point, 0 before the
           first; `interval` ms, a running average of its spacing; `judged` the judged row it feeds itself, -1: none;
           `members` heads the chain of its memberships.
member     a row's part in an aggregate: `next_of_row` and `next_of_agg` chain them, -1 ends. `gained` and `summed` are its
           last contributions per second, which stand in for it while it is late. `role` says what it adds and where.
aggregate  a group's sum on a time grid: `step` ms, 0 until the members' interval is known; `first` the number of the oldest
           open cell (cell c covers the milliseconds (c * step, (c + 1) * step]); `pending` members have not passed it yet.
           CELLS cells of `width` lanes are open at a time, at `at` of the lanes array: seconds covered, amount, second
           amount (a histogram's sum, the errors of a total), then bucket counts.
group      who is watched for silence: `last` ms, `arrivals` of separate moments, `alive` rows without a stale marker.
family     the series of one metric of one instance, which are exported together: `last` and `before` are the ms of its
           two newest exports, so that a series first seen now is known to have counted from the export before.

Times are int64 ms since the epoch, spacings ms, amounts in the unit of the series.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS = 8
LANES = 3  # before the buckets: seconds covered, amount, second amount

# What a member adds to its aggregate.
AMOUNT, HISTOGRAM, TOTAL, ERROR = 0, 1, 2, 3

# How a closed cell is read.
SUM, MEAN, DISTRIBUTION, RATIO = 0, 1, 2, 3

ROW = np.dtype(
    [
        ("last", "i8"), ("start", "i8"), ("value", "f8"), ("count", "f8"), ("bucket_at", "i8"), ("interval", "f8"),
        ("bucket_len", "i4"), ("bucket_room", "i4"), ("judged", "i4"), ("members", "i4"), ("group", "i4"), ("family", "i4"),
        ("intervals", "u1"), ("primed", "u1"), ("stale", "u1"), ("fresh", "u1"), ("ignored", "u1"), ("alive", "u1"),
        ("delta", "u1"),
    ],
    align=True,
)  # fmt: skip
MEMBER = np.dtype(
    [
        ("gained", "f8"), ("summed", "f8"), ("row", "i4"), ("agg", "i4"), ("next_of_row", "i4"), ("next_of_agg", "i4"),
        ("lane", "i4"), ("role", "u1"), ("counted", "u1"), ("resolved", "u1"),
    ],
    align=True,
)  # fmt: skip
AGGREGATE = np.dtype(
    [
        ("step", "i8"), ("first", "i8"), ("newest", "i8"), ("lateness", "i8"), ("at", "i8"), ("bounds_at", "i8"),
        ("bounds_len", "i4"), ("width", "i4"), ("head", "i4"), ("pending", "i4"), ("reading", "u1"), ("cumulated", "u1"),
        ("delta", "u1"),
    ],
    align=True,
)  # fmt: skip
GROUP = np.dtype(
    [
        ("last", "i8"), ("since", "i8"), ("back", "i8"), ("usual", "f8"), ("arrivals", "i4"), ("alive", "i4"),
        ("source", "i4"), ("watched", "u1"), ("open", "u1"),
    ],
    align=True,
)  # fmt: skip
FAMILY = np.dtype([("last", "i8"), ("before", "i8")], align=True)


class State(NamedTuple):
    """What the kernels read and write; every array grows by doubling."""

    rows: NDArray[Any]
    members: NDArray[Any]
    aggregates: NDArray[Any]
    groups: NDArray[Any]
    families: NDArray[Any]
    lanes: NDArray[np.float64]  # open cells of the aggregates
    buckets: NDArray[np.float64]  # last bucket counts of the rows
    bounds: NDArray[np.float64]  # upper bounds of the aggregates' buckets, rising
    order: NDArray[np.int32]  # lane of each of those buckets


class Cells(NamedTuple):
    """Closed cells as the kernels hand them out; `used` is (cells, lanes)."""

    agg: NDArray[np.int32]
    end: NDArray[np.int64]  # ms
    point: NDArray[np.int64]  # position in the batch of the point that closed it
    at: NDArray[np.int64]
    lanes: NDArray[np.float64]
    used: NDArray[np.int64]


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array, or one of at least `size` that begins with it; what is new is zero."""
    if size <= array.size:
        return array
    larger = np.zeros(max(size, 2 * array.size), array.dtype)
    larger[: array.size] = array
    return larger


def cells(count: int, lanes: int) -> Cells:
    """Room for `count` closed cells of `lanes` lanes altogether."""
    return Cells(
        np.zeros(count, np.int32),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(lanes),
        np.zeros(2, np.int64),
    )
