"""A group comes from another partition, and what was learned of it comes along.

Its series, sums under way, models, open episodes and its silence go from the detector that knows it to one that does not;
the donor is left as it is. Times are of the data; clocks and numbers of inputs are the receiver's own.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.index import MISSING
from anomaly.detect import traced_keep
from anomaly.detect.absence import Clock
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.detector import Detector
from anomaly.detect.log_moves import move_lines
from anomaly.detect.migrate import Side, move
from anomaly.detect.report import served


def hand_over(donor: Detector, to: Detector, groups: NDArray[np.uint64], source: str, partition: int) -> list[Anomaly]:
    """Give `to` what the donor knows of these groups, by their hashes, (n,); the anomalies that are open of them.

    `to` knows none of them; it hears them from now on through the partition of the source.
    """
    theirs, ours, wanted = donor.register, to.register, groups
    at = theirs.find_groups(groups)
    groups, at = groups[at != MISSING], at[at != MISSING].astype(np.intp)
    number = to.sources.setdefault(source, len(to.sources))
    rows = move(Side(theirs, donor.judge), Side(ours, to.judge), only=at, source=number)
    mine = ours.find_groups(groups)
    mine = mine[mine != MISSING]
    table = ours.tables.groups["group"]
    table["source"][mine], table["through"][mine] = number, to.inputs.number(source, partition)
    active = to.absence.clocks.setdefault(number, Clock()).active
    table["active"][mine] = active
    sites, own = ours.tables.sites["site"], ours.sites.of_groups(mine.tolist())
    sites["source"][own], sites["through"][own], sites["active"][own] = number, table["through"][mine[:1]], active
    _withheld(donor, to, rows)
    told = move_lines(donor.logs, to.logs, groups, source) + traced_keep.hand_over(donor.traced, to.traced, wanted)
    return told + _reports(donor, to, rows, {theirs.subjects.group(g) for g in at.tolist()})


def _withheld(donor: Detector, to: Detector, rows: dict[int, int]) -> None:
    """Rows that are withheld are so still; the others have begun elsewhere, and are not new."""
    marks = donor.register.tables.subjects["subject"]["withheld"][list(rows)]
    to.register.tables.subjects["subject"]["withheld"][list(rows.values())] = marks
    to.withhold.settle()


def _reports(donor: Detector, to: Detector, rows: dict[int, int], names: set[tuple[str, str]]) -> list[Anomaly]:
    """Open anomalies go with their judged rows, silences with their groups."""
    opened = {rows[r]: a for r, a in donor.report.open.items() if r in rows}
    others = [a for a in (*donor.report.silent.values(), *donor.report.known()) if (a.environment, served(a)) in names]
    to.report.open.update(opened)
    before = {a.id for a in to.together.opened()}
    to.together.take_over(donor.together, rows)
    quiet, joint = to.together.quiet(), [a for a in to.together.opened() if a.id not in before]
    if others:
        to.report.restore(others)
    return [*(a for row, a in opened.items() if row not in quiet), *joint, *others]
