"""What was learned of a group's log lines goes to another partition with the group; the donor is left as it is."""

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.anomaly import Anomaly
from anomaly.detect.log_rows import RING
from anomaly.detect.logs import Logs

OF_GROUP = "first", "cells", "births", "ticks", "over"
OF_TEMPLATE = "born", "last", "total", "begun", "tick", "times", "longest"


def move_lines(donor: Logs, to: Logs, groups: NDArray[np.uint64], source: str) -> list[Anomaly]:
    """Hand over these groups, by their hashes, (n,), of which `to` knows no lines; the anomalies that are open of them."""
    came = [g for g in groups.tolist() if g in donor.kinds.numbers and g not in to.kinds.numbers]
    if not came:
        return []
    if not to.closed:
        to.closed, to.time, to.kinds.cell = donor.closed, donor.time, donor.kinds.cell
    if source in donor.sources:
        to.sources.add(source)
    opened: list[Anomaly] = []
    for hashed in came:
        rows = _move(donor, to, donor.kinds.numbers[hashed])
        for before, after in ((donor.novelty.open, to.novelty.open), (donor.vanished.open, to.vanished.open)):
            held = {rows[row]: a for row, a in before.items() if row in rows}
            after.update(held)
            opened += held.values()
    return opened


def _move(donor: Logs, to: Logs, number: int) -> dict[int, int]:
    """One group, its templates in the order in which they were born, and its signatures; old row of a template -> new."""
    theirs, ours = donor.kinds.rows, to.kinds.rows
    group = to.kinds.number(int(theirs.group["key"][number]), *theirs.who(number))
    for field in OF_GROUP:
        ours.group[field][group] = theirs.group[field][number]
    one = theirs.template
    held = np.flatnonzero((one["key"] != 0) & (one["group"] == number))
    rows: dict[int, int] = {}
    for row in held[np.argsort(one["serial"][held], kind="stable")].tolist():
        at = rows[row] = to.kinds.new(group, int(one["level"][row]), donor.kinds.name(row))
        for field in OF_TEMPLATE:
            ours.template[field][at] = one[field][row]
        ours.rings[at] = np.where(_open_in_both(donor, to), theirs.rings[row], 0.0)
    for sign in theirs.signature[np.isin(theirs.signature["of"], held)]:
        to.kinds.enter(int(sign["key"]), rows[int(sign["of"])], int(sign["seen"]))
    return rows


def _open_in_both(donor: Logs, to: Logs) -> NDArray[np.bool_]:
    """Which places of a ring stand for one cell on both sides, one that is not closed yet."""
    cells = np.arange(RING)
    places = [side.closed + 1 + (cells - side.closed - 1) % RING for side in (donor, to)]
    return np.equal(*places)
