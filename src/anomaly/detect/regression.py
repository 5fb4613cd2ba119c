"""Which judged rows have a frozen baseline, and what is said of a slow change: one anomaly of kind `regression`.

A row gets its baseline with its first value: those of a spec that says `pages: true` or `frozen: true`, where the
whole group is judged (of a spec without sums: the series itself), but not the long cells that stand beside short ones.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction, Sum
from anomaly.detect import frozen
from anomaly.detect.anomaly import REGRESSION, REMOVED, Anomaly, Event
from anomaly.detect.episodes import REASONS
from anomaly.detect.frozen import CLOSED, DAY_MS, EVENT, HALVES, WEEK
from anomaly.detect.identity import identity
from anomaly.detect.judge import NEIGHBOUR, Batch, Judge, Verdicts, counting
from anomaly.detect.rows import Tables
from anomaly.detect.subject import Subject
from anomaly.pool import grown

NONE, ASKED = -1, 0  # of `place`: has no baseline; not asked yet. Else 1 + its row in the table


class Regressions:
    """The frozen baselines of a partition; their rows are in `tables.frozen`."""

    def __init__(self, tables: Tables, judge: Judge, subjects: Sequence[Subject]) -> None:
        self.tables, self.judge, self.subjects = tables, judge, subjects
        self._place: NDArray[np.int32] = np.zeros(0, np.int32)
        self._scratch = np.zeros(HALVES)
        self._may = np.array([s.pages or s.frozen for s in judge.specs], np.bool_)
        self._single = np.array([s.frozen and s.sum is Sum.NONE for s in judge.specs], np.bool_)

    def settle(self) -> None:
        """Know again whose the rows are that were put back."""
        table = self.tables.frozen
        self._place = np.zeros(self.tables.subjects.used, np.int32)
        owner = table["frozen"]["owner"][: table.used]
        self._place[owner[owner != 0] - 1] = np.flatnonzero(owner) + 1

    def take(self, batch: Batch, verdicts: Verdicts) -> list[Anomaly]:
        """What the values of a batch end or begin, in arrival order."""
        if not self._may.any():
            return []
        place = self._asked(batch.row)
        at = np.flatnonzero((place > 0) & np.isfinite(verdicts.value))
        at = at[self._counts(batch, at)]
        if not at.size:
            return []
        rows, table, judged = place[at] - 1, self.tables.frozen, self.judge.table[batch.row[at]]
        time, events = batch.time[at], np.zeros(at.size, EVENT)
        local = self.judge.clocks.zoned(judged["season"], time)
        fixed = table["frozen"], self.judge.episodes.parameters, self._scratch
        m = frozen.take(rows, local, time, verdicts.value[at], judged["spec"], *fixed, events)
        table.touched[rows] = 1
        return [self._said(e, int(time[e["index"]])) for e in events[:m]]

    def _counts(self, batch: Batch, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which values are of no window and no ignored hour: of the others nothing is learned, or nothing told."""
        rows, time = batch.row[at], batch.time[at]
        clocks, planned = self.judge.clocks, self.judge.planned
        found: NDArray[np.bool_] = counting(rows, time, self.judge.table, self.judge.episodes.table, clocks.arrays, planned)
        return found

    def release(self, judged: NDArray[np.int32]) -> None:
        """Forget the baselines of judged rows that are no more."""
        self._place = grown(self._place, self.judge.size)
        held = self._place[judged]
        self.tables.frozen.release(np.sort(held[held > 0] - 1))
        self._place[judged] = ASKED

    def ended(self, judged: int, time: int) -> list[Anomaly]:
        """The end of the regression of a judged row that is no more, if one is open."""
        place = int(self._place[judged]) if judged < self._place.size else ASKED
        row = self.tables.frozen["frozen"][place - 1] if place > 0 else None
        return [self._anomaly(row, Event.CLOSE, time, REMOVED)] if row is not None and row["opened"] else []

    def has(self, judged: int) -> bool:
        """Whether a row has a baseline by its spec."""
        return bool(self._have(np.array([judged], np.int32))[0])

    def hand(self, to: "Regressions", judged: dict[int, int]) -> None:
        """Give another the baselines of judged rows, by old and new row."""
        self._place, to._place = grown(self._place, self.judge.size), grown(to._place, to.judge.size)
        for old, new in judged.items():
            if self._place[old] > 0 and to.has(new):
                row = to._new(new)
                to.tables.frozen["frozen"][row] = self.tables.frozen["frozen"][self._place[old] - 1]
                to.tables.frozen["frozen"]["owner"][row] = new + 1

    def _asked(self, judged: NDArray[np.int32]) -> NDArray[np.int32]:
        """The place of each row; those that are met for the first time get a baseline in this order, if they have one."""
        self._place = grown(self._place, self.judge.size)
        place = self._place[judged]
        met = np.flatnonzero(place == ASKED)
        if not met.size:
            return place
        new, first = np.unique(judged[met], return_index=True)
        new = new[np.argsort(first)]
        self._place[new] = NONE
        for row in new[self._have(new)].tolist():  # the few that page; the others are met a million at once
            self._new(row)
        return self._place[judged]

    def _have(self, judged: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which rows have a baseline by their specs."""
        what, subject = self.judge.table[judged], self.tables.subjects["subject"][judged]
        alone = (subject["whole"] != 0) | self._single[what["spec"]]
        found: NDArray[np.bool_] = alone & self._may[what["spec"]] & (what["slot"] > NEIGHBOUR)
        return found

    def _new(self, judged: int) -> int:
        row = self.tables.frozen.new()
        self.tables.frozen["frozen"]["owner"][row] = judged + 1
        self._place[judged] = row + 1
        return row

    def _said(self, event: np.void, time: int) -> Anomaly:
        if event["what"] == CLOSED:
            return self._anomaly(event, Event.CLOSE, time, REASONS[event["reason"]])
        return self._anomaly(event, Event.OPEN, time)

    def _anomaly(self, f: np.void, event: Event, time: int, reason: str = "") -> Anomaly:
        """`f` a row of FROZEN, or an EVENT about it."""
        one: Subject = self.subjects[int(f["owner"]) - 1]
        spec, started, observed = self.judge.specs[one.spec], int(f["started"]), float(f["observed"])
        centre, reach, ago = float(f["centre"]), float(f["reach"]), int(f["weeks"]) * WEEK * DAY_MS
        return Anomaly(
            id=identity((*one.key, REGRESSION), started), event=event, time=time, environment=one.environment,
            group=one.group, metric=one.metric, quantity=one.quantity, labels=one.labels, instance=one.instance or (),
            aggregate=one.instance is None, unit=one.unit, signal=spec.signal, spec=spec.name, pages=spec.pages,
            direction=Direction.ABOVE if f["side"] > 0 else Direction.BELOW, started=started,
            ended=time if event is Event.CLOSE else None, score=float(f["score"]), observed=observed, current=observed,
            expected=(centre - reach, centre + reach), events=None, bad=False, reason=reason, kind=REGRESSION,
            learned=DAY_MS / 1000.0 * float(f["day"] - f["first"]),
            points=((started - ago, float(f["then"])), (started, observed)),
        )  # fmt: skip
