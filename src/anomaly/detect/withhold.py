"""Rows that begin in a group that is ill: what is usual there is not learned before it is well again.

When a state is lost all rows begin anew, those of a failing service as well. What these learned first would be the failure,
and its end an anomaly, of a group that is well. So while an anomaly from before is open in their group, such rows are
`withheld`: their values are neither judged nor learned, hence not known yet. Not so ratios, which are bad at a level of
their own, nor the rows of the anomalies themselves, which have a band.
Set free by the time of the data, whenever silence is looked for, so that where blocks are cut changes nothing.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.anomaly import Anomaly
from anomaly.detect.episode import OPEN
from anomaly.detect.judge import Judge
from anomaly.detect.register import Register
from anomaly.detect.report import Report

AWAITED = 600_000  # ms for which a group is heard, after which an anomaly whose series did not come withholds nothing


class Withhold:
    """Which judged rows are withheld, a mark of their subject; `any`: there are some."""

    def __init__(self, register: Register, judge: Judge, report: Report) -> None:
        self.register, self.judge, self.report = register, judge, report
        self.any, self._met = False, 0

    def settle(self) -> None:
        """Go on with rows that were put back."""
        subjects = self.register.tables.subjects
        self._met, self.any = subjects.used, bool(subjects["subject"]["withheld"][: subjects.used].any())

    def are(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether judged rows are withheld, shape (n,)."""
        return np.asarray(self.register.tables.subjects["subject"]["withheld"][rows] != 0)

    def meet(self) -> None:
        """Withhold rows that are new, if their group is ill."""
        subjects = self.register.tables.subjects
        new, self._met = np.arange(self._met, subjects.used), subjects.used
        new = new[(self.judge.table["slot"][new] < 0) & (self.judge.episodes.table["at"][new] == 0)]
        self._mark(new[self._are_ill(new)], 1)

    def look(self) -> None:
        """Let the rows of groups learn that are well again."""
        if self.any:
            subjects = self.register.tables.subjects
            held = np.flatnonzero(subjects["subject"]["withheld"][: subjects.used])
            ill = self._are_ill(held)
            self._mark(held[~ill], 0)
            self.any = bool(ill.any())

    def give_up(self, time: int, idle: int) -> list[Anomaly]:
        """End anomalies from before of whose series nothing came while their group was heard for so long, ms."""
        if not self.report.known():
            return []
        groups = self.register.tables.groups["group"]
        long = np.flatnonzero(groups["last"] - groups["since"] > idle).tolist()
        return self.report.give_up({self.register.subjects.group(g) for g in long}, time)

    def _mark(self, rows: NDArray[np.intp], withheld: int) -> None:
        subjects = self.register.tables.subjects
        subjects["subject"]["withheld"][rows], subjects.touched[rows] = withheld, 1
        self.any |= bool(withheld and rows.size)

    def _are_ill(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether an anomaly from before is open in the groups of judged rows, shape (n,)."""
        table, live = self.register.tables.groups, self.judge.episodes.live
        ill = np.zeros(table.used, np.bool_)
        ill[self._groups(live["row"][(live["phase"] == OPEN) & (live["until"] != 0)])] = True
        own, awaited = self._groups(rows), {(a.environment, a.group) for a in self.report.known()}
        for g in np.unique(own[~ill[own]]).tolist() if awaited else ():
            group = table["group"][g]
            lately = group["last"] - group["since"] < AWAITED
            ill[g] = lately and self.register.subjects.group(g) in awaited
        found: NDArray[np.bool_] = ill[own]
        return found

    def _groups(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """The groups of judged rows, shape (n,)."""
        tables = self.register.tables
        subjects = tables.subjects["subject"][rows]
        found, whole = np.empty(rows.size, np.int32), subjects["whole"] != 0
        found[whole] = tables.aggregates["aggregate"]["group"][subjects["of"][whole]]
        found[~whole] = tables.rows["row"]["group"][subjects["of"][~whole]]
        return found
