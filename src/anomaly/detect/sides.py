"""The side bank of histograms: the last count and buckets of each, in a table of their own with ranges of their own width.

Made when the first point of a histogram comes, since only that says how many buckets it has. One that comes with more than
there is room for gets a new range; what it had is forgotten, for other buckets are a reset.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.rows import Tables


def give_sides(tables: Tables, rows: NDArray[np.int32], lengths: NDArray[np.int32]) -> None:
    """Make the sides of these rows long enough."""
    series, sides = tables.rows["row"], tables.histograms
    held = series["histogram"][rows]
    have = np.where(held >= 0, sides["histogram"]["buckets_len"][held], -1) if sides.used else np.full(rows.size, -1)
    for i in np.flatnonzero(lengths > have).tolist():
        row, length = int(rows[i]), int(lengths[i])
        side = int(tables.rows["row"]["histogram"][row])
        if side < 0:
            side = sides.new()
            sides["histogram"]["row"][side] = row
            tables.rows["row"]["histogram"][row] = side
        if length > sides["histogram"]["buckets_len"][side]:
            at = sides.place(tables.buckets, length)
            tables.buckets.array[at : at + length] = 0.0
            one = sides["histogram"][side]
            one["buckets_at"], one["buckets_len"], one["used"] = at, length, 0
        tables.rows.touched[row] = sides.touched[side] = 1
