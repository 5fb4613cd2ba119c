"""Looks for silence that can find nothing, noted in one go: a replay of sparse data has one between any two points.

A look finds something only in groups that a spec watches, or where one series of a group outlives another. Where no group is
watched and each has one series, whose points are all plain values, it does nothing but note who was heard, and when. So the
points are judged as one piece, and what the looks would have noted is noted afterwards, the same to the bit.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.block import Block
from anomaly.decode.points import Kind, Points
from anomaly.detect.absence import CHECK, Absence, Clock, Inputs
from anomaly.detect.rows import Tables

MANY = 16  # looks in a block, from which on it is worth asking: never in what comes live
Looks = list[tuple[slice, int]]  # slices of points, each with the ms at which to look after it, 0: none
PLAIN = int(Kind.GAUGE)


def are_idle(looks: Looks, points: Points, tables: Tables, absence: Absence) -> bool:
    """Whether none of the looks can find anything, whatever the points are judged to be."""
    if len(looks) < MANY or absence.settled or tables.sites.used:
        return False
    groups, rows = tables.groups["group"][: tables.groups.used], tables.rows["row"][: tables.rows.used]
    if groups["watched"].any() or groups["open"].any() or (groups["rows"] > 1).any():
        return False
    rows = rows[rows["key"] != 0]
    plain = (points.kind == PLAIN).all() and not points.flags.any() and not points.writer.any()
    return bool(plain and np.isfinite(points.value).all() and (groups["last"][rows["group"]] == rows["last"]).all())


class Idle:
    """Idle looks of one source and input; made before the points are judged, `note`d afterwards."""

    def __init__(self, looks: Looks, tables: Tables, source: int) -> None:
        self._looks, self._tables, self._source = looks, tables, source
        self._before = tables.groups["group"]["last"][: tables.groups.used].copy()

    def note(self, points: Points, rows: NDArray[np.int32], block: Block, inputs: Inputs, absence: Absence) -> None:
        """Let time go on look by look, and note who was heard before each."""
        ends, active = self._go_on(block, inputs, absence)
        if not ends:
            return
        table = self._tables.groups
        groups = table["group"][: table.used]
        ours = (groups["source"] == self._source) & (groups["last"] != 0)
        waiting = np.flatnonzero(ours & (self._before > groups["seen"]))
        self._heard(waiting, self._before[waiting], np.full(waiting.size, active[0]))
        group, time = self._tables.rows["row"]["group"][rows[: ends[-1]]], points.time[: ends[-1]]
        order = np.lexsort((-time, group))  # of each group its newest point first, the earlier of two
        found, at = np.unique(group[order], return_index=True)
        newest = order[at]
        new = ours[found] & (time[newest] > groups["seen"][found])
        found, newest = found[new], newest[new]
        self._heard(found, time[newest], np.array(active)[np.searchsorted(ends, newest, "right")])

    def _go_on(self, block: Block, inputs: Inputs, absence: Absence) -> tuple[list[int], list[float]]:
        """How many points came before each look that was due, and how long the source had been heard then, ms."""
        ends, active = list[int](), list[float]()
        for part, time in self._looks:
            if time:
                inputs.hear(block.source, block.partition, time)
                heard = inputs.of(block.source)
                if absence.is_due(self._source, heard):
                    clock: Clock = absence.clocks[self._source]
                    clock.go_on(heard // CHECK * CHECK)
                    ends.append(part.stop)
                    active.append(clock.active)
        return ends, active

    def _heard(self, found: NDArray[np.intp], time: NDArray[np.int64], active: NDArray[np.float64]) -> None:
        table = self._tables.groups
        table["group"]["seen"][found], table["group"]["active"][found], table.touched[found] = time, active, 1
