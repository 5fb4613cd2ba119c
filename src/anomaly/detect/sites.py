"""Who looks at a service, and from where: series of specs with `sites`, of which each is missed by itself.

Such a series is a check as one site makes it: the labels that its spec names in `sites` are the site, all else is the check.
Its row is one of `rows.GROUP`, and it is missed by the rule by which a group is (`absence`), whatever else is heard of its
service. A series that ended by a stale marker was taken out, and is not missed. Of several sites that look, those that are
heard are counted: one that alone says that a check fails may be ill itself.
Who is heard is known as of the last look for silence, so that where blocks are cut changes nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Container, Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.config.models import ModelSpec
from anomaly.decode.identity import Series
from anomaly.decode.points import Points
from anomaly.detect.absence import Absence, Silence
from anomaly.detect.convert import STALE_FLAG, arrive
from anomaly.detect.judge import Judge
from anomaly.detect.rows import OF_GROUP, Tables
from anomaly.detect.subject import Subjects
from anomaly.pool import grown

Check = tuple[object, ...]  # what is checked, wherever from


@bare
def hear(place, time, value, flags, through, source, sites, touched):  # type: ignore[no-untyped-def]
    """Note results in arrival order; `place` (n,) their sites, -1: none. What is no number, or a marker, is no result."""
    for i in range(place.size):
        if place[i] >= 0 and np.isfinite(value[i]) and flags[i] & STALE_FLAG == 0:
            site = sites[place[i]]
            site.through, site.source = through, source
            arrive(site, time[i], False)
            touched[place[i]] = 1


class Sites:
    """The sites of a partition, in `tables.sites`."""

    def __init__(self, tables: Tables, subjects: Subjects, judge: Judge) -> None:
        self.tables, self.subjects, self.judge = tables, subjects, judge
        self._named = np.array([bool(spec.sites) for spec in judge.specs], np.bool_)
        self._place: NDArray[np.int32] = np.zeros(0, np.int32)  # by row of a series: 1 + its place, 0: none
        self._of: dict[Check, list[int]] = {}  # rows of series that are the same check; made when it is asked for

    def settle(self) -> None:
        """Know again whose the sites are that were put back."""
        owner = self.tables.sites["owner"][: self.tables.sites.used]
        self._place, self._of = np.zeros(self.tables.rows.used, np.int32), {}
        self._place[owner[owner != 0] - 1] = np.flatnonzero(owner) + 1

    def meet(self, judged: NDArray[np.int32], specs: NDArray[np.int16]) -> None:
        """New judged rows, by their specs: those of checks get their sites."""
        for row in self.tables.subjects["subject"]["of"][judged[self._named[specs]]].tolist():
            place = self.tables.sites.new()
            one = self.tables.sites["site"][place]
            one["key"], one["watched"], self.tables.sites["owner"][place] = self.tables.rows["row"]["key"][row], 1, row + 1
            self._place = grown(self._place, self.tables.rows.used)
            self._place[row] = place + 1
            self._of = {}

    def hear(self, points: Points, rows: NDArray[np.int32], through: int, source: int) -> None:
        """Results came of these rows of series, through an input of a source, by their numbers."""
        if not self.tables.sites.used:
            return
        self._place = grown(self._place, self.tables.rows.used)
        place = self._place[rows] - 1
        if (place >= 0).any():
            table = self.tables.sites
            what = points.time, points.value, points.flags
            hear(place, *what, through, source, table["site"], table.touched)

    def look(self, absence: Absence, source: int, heard: NDArray[np.int64]) -> list[tuple[int, Silence]]:
        """As `Absence.among`: the series that are not heard any more, or again, by their rows."""
        table = self.tables.sites
        if not table.used:
            return []
        owner, rows = table["owner"][: table.used], self.tables.rows["row"]
        sites = table["site"][: table.used]
        held = np.flatnonzero(owner)
        alive = rows["alive"][owner[held] - 1]
        table.touched[held[sites["alive"][held] != alive]] = 1
        sites["alive"][held] = alive
        return [(int(owner[s.group]) - 1, s) for s in absence.among(sites, table.touched, source, heard)]

    def is_silent(self, row: int) -> bool:
        """Whether a series is missed."""
        place = int(self._place[row]) - 1 if row < self._place.size else -1
        return place >= 0 and bool(self.tables.sites["site"]["open"][place])

    def agreeing(self, judged: int, failing: Container[int]) -> tuple[int, int] | None:
        """How many sites of how many that are heard find the check of a judged row failing; None: only one looks.

        `failing`: the judged rows that say so; this one does.
        """
        one = self.tables.subjects["subject"][judged]
        if one["whole"] or not self._named[self.judge.table["spec"][judged]]:
            return None
        row, mine = int(one["of"]), self.tables.rows["row"]["judged"]
        others = [r for r in self._alike(row) if r != row and self._is_heard(r)]
        return (1 + sum(int(mine[r]) in failing for r in others), 1 + len(others)) if others else None

    def site(self, row: int) -> str:
        """The name of a series' site; empty where it has none."""
        labels = dict((*(series := self.subjects.series(row)).labels, *series.instance))
        return next((labels[name] for name in self.spec(row).sites if labels.get(name)), "")

    def reopen(self, silent: dict[tuple[object, ...], int]) -> None:
        """Mark sites that were missed before a restart: by who they are, the ms to which that was told."""
        table = self.tables.sites
        for place in np.flatnonzero(table["owner"][: table.used]).tolist() if silent else ():
            told = silent.get(self.who(int(table["owner"][place]) - 1))
            if told is not None and not table["site"]["open"][place]:
                table["site"]["open"][place], table["site"]["seen"][place], table.touched[place] = 1, told, 1

    def who(self, row: int) -> tuple[object, ...]:
        """A series by its names."""
        s = self.subjects.series(row)
        return s.environment, s.group, s.metric, s.labels, s.instance

    def release(self, rows: NDArray[np.int32]) -> None:
        """Forget series that are no more."""
        self._place = grown(self._place, self.tables.rows.used)
        gone = self._place[rows]
        self.tables.sites.release(np.sort(gone[gone > 0] - 1))

    def hand(self, to: "Sites", rows: NDArray[np.intp], found: NDArray[np.intp]) -> None:
        """Give another what is known of series, by old and new row."""
        ours, theirs = self.tables.sites, to.tables.sites
        self._place, to._place = grown(self._place, self.tables.rows.used), grown(to._place, to.tables.rows.used)
        both = (self._place[rows] > 0) & (to._place[found] > 0)
        at, there = self._place[rows[both]] - 1, to._place[found[both]] - 1
        for name in OF_GROUP:
            theirs["site"][name][there] = ours["site"][name][at]

    def of_groups(self, groups: Collection[int]) -> NDArray[np.intp]:
        """The places of the series of some groups, by the groups' rows."""
        owner = self.tables.sites["owner"][: self.tables.sites.used]
        held = np.flatnonzero(owner)
        return held[np.isin(self.tables.rows["row"]["group"][owner[held] - 1], list(groups))]

    def _is_heard(self, row: int) -> bool:
        site = self.tables.sites["site"][int(self._place[row]) - 1]
        return bool(site["seen"] > 0 and site["alive"] > 0 and not site["open"])

    def spec(self, row: int) -> ModelSpec:
        """By which a series is judged."""
        return self.judge.specs[int(self.judge.table["spec"][self.tables.rows["row"]["judged"][row]])]

    def _alike(self, row: int) -> list[int]:
        """The series that are the same check as this one, which is among them."""
        if not self._of:
            self._of = defaultdict(list)
            owner = self.tables.sites["owner"][: self.tables.sites.used]
            for each in np.sort(owner[owner != 0] - 1).tolist():
                self._of[self._check(each)].append(each)
        return self._of[self._check(row)]

    def _check(self, row: int) -> Check:
        s, sites = self.subjects.series(row), self.spec(row).sites
        return s.environment, s.group, s.metric, _without(s, sites)


def _without(s: Series, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in (*s.labels, *s.instance) if pair[0] not in names)
