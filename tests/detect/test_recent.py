"""The last few values of each row."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.compiled import bare
from anomaly.detect.episodes import EVENT
from anomaly.detect.recent import KEPT, Recent, pairs, push, show


@bare
def keep(row: Any, time: Any, value: Any, rings: Any, event: Any) -> None:
    """Keep values in arrival order, and show the ring of the last one's row."""
    for i in range(row.size):
        push(rings[row[i]], time[i], value[i])
        show(rings[row[i]], event[0])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000) | st.just(float("nan"))), min_size=1, max_size=80))
def test_the_ring_holds_the_last_finite_values_of_each_row_in_order(values: list[tuple[int, float]]):
    """As a list would."""
    recent, event = Recent(), np.zeros(1, EVENT)
    recent.ensure(3)
    row = np.array([r for r, _ in values], np.int32)
    value = np.array([v for _, v in values], float)
    time = (1 + np.arange(len(values), dtype=np.int64)) * 1000
    keep(row, time, value, recent.rings, event)

    for r in range(3):
        mine = np.flatnonzero((row == r) & np.isfinite(value))
        expected = tuple((int(time[i]), float(value[i])) for i in mine[-KEPT:])
        assert pairs(recent.rings["second"][r], recent.rings["value"][r]) == expected
        if r == row[-1]:
            assert pairs(event["second"][0], event["value"][0]) == expected
