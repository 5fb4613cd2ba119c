"""The last few values of each row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detect.recent import KEPT, Recent


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000)), max_size=80), st.integers(0, 80))
def test_the_ring_holds_the_last_values_of_each_row_in_order(values: list[tuple[int, int]], cut: int):
    """As a list would, wherever the batches are cut, and with newer ones that are not kept yet."""
    recent = Recent()
    recent.ensure(3)
    row = np.array([r for r, _ in values], np.int32)
    value = np.array([v for _, v in values], float)
    time = (1 + np.arange(len(values), dtype=np.int64)) * 1000
    recent.keep(row[:cut], time[:cut], value[:cut])

    for r in range(3):
        mine = np.flatnonzero(row == r)
        newer = mine[mine >= cut]
        expected = tuple((int(time[i]), float(value[i])) for i in mine[-KEPT:])
        assert recent.last(r, time[newer], value[newer]) == expected
