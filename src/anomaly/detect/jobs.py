"""Which judged rows run by the clock, and what is said of a run that is missed, doubled or overlong (`runs`).

A row is met when it rises from 0 for the first time; at most MOST of a partition are. Values against their band alone are
asked: a share of errors is no job, nor are the long cells that stand beside short ones.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction
from anomaly.decode.log_lines import METRIC
from anomaly.detect.anomaly import REMOVED, Anomaly, Event
from anomaly.detect.episodes import REASONS
from anomaly.detect.identity import identity
from anomaly.detect.judge import Batch, Judge, Verdicts, counting
from anomaly.detect.rows import Tables
from anomaly.detect.runs import CLOSED, EVENT, NEVER, OPENED, begun, take
from anomaly.detect.subject import Subject
from anomaly.pool import grown

MOST = 100_000  # rows of a partition that are met
QUANTITIES = "between runs", "run duration"
VALUE = -1  # slot of a value against its band


class Jobs:
    """The runs of a partition's rows, in `tables.runs`."""

    def __init__(self, tables: Tables, judge: Judge, subjects: Sequence[Subject]) -> None:
        self.tables, self.judge, self.subjects, self.held = tables, judge, subjects, 0
        self._place: NDArray[np.int32] = np.zeros(0, np.int32)  # by judged row: 1 + its row in the table, 0: none
        self._new_normal = np.array([spec.new_normal_after for spec in judge.specs])

    def settle(self) -> None:
        """Know again whose the rows are that were put back."""
        owner = self.tables.runs["run"]["owner"][: self.tables.runs.used]
        self._place = np.zeros(self.judge.size, np.int32)
        self._place[owner[owner != 0] - 1] = np.flatnonzero(owner) + 1
        self.held = int(np.count_nonzero(owner))

    def take(self, batch: Batch, verdicts: Verdicts) -> list[Anomaly]:
        """What the values of a batch begin or end, in arrival order."""
        subjects, found = self.tables.subjects, np.empty(batch.row.size, np.int64)
        self._place = grown(self._place, self.judge.size)
        m = begun(batch.row, verdicts.value, subjects["subject"], subjects.touched, found)
        for i in found[:m].tolist():
            self._meet(int(batch.row[i]), int(batch.time[i]))
        if not self.held:
            return []
        place = self._place[batch.row] - 1
        at = np.flatnonzero(place >= 0)
        if not at.size:
            return []
        row, time = batch.row[at], batch.time[at]
        fixed = self.judge.table, self.judge.episodes.table, self.judge.clocks.arrays, self.judge.planned
        table, events = self.tables.runs, np.zeros(at.size, EVENT)
        new_normal = self._new_normal[self.judge.table["spec"][row]]
        counts = counting(row, time, *fixed)
        m = take(row, time, verdicts.value[at], counts, place[at], table["run"], table.touched, new_normal, events)
        return [self._said(e, int(time[e["index"]])) for e in events[:m]]

    def release(self, judged: NDArray[np.int32]) -> None:
        """Forget the runs of judged rows that are no more."""
        self._place = grown(self._place, self.judge.size)
        gone = self._place[judged]
        self.tables.runs.release(np.sort(gone[gone > 0] - 1))
        self._place[judged] = 0
        self.held -= int(np.count_nonzero(gone))

    def ended(self, judged: int, time: int) -> list[Anomaly]:
        """The end of what is open of a judged row that is no more."""
        place = int(self._place[judged]) - 1 if judged < self._place.size else -1
        if place < 0 or self.tables.runs["run"]["told"][place] == 0:
            return []
        j, e = self.tables.runs["run"][place], np.zeros(1, EVENT)[0]
        for name in ("owner", "started", "score", "observed", "side", "first"):
            e[name] = j[name]
        e["of"] = j["told"] - 1
        return [self._anomaly(e, Event.CLOSE, time, REMOVED)]

    def hand(self, to: "Jobs", judged: dict[int, int]) -> None:
        """Give another the runs of judged rows, by old and new row."""
        self._place, to._place = grown(self._place, self.judge.size), grown(to._place, to.judge.size)
        ours, theirs = self.tables.subjects["subject"], to.tables.subjects["subject"]
        for old, new in judged.items():
            theirs["runs"][new] = ours["runs"][old]
            if self._place[old] > 0:
                to._meet(new, 0)
                if to._place[new] > 0:
                    to.tables.runs["run"][to._place[new] - 1] = self.tables.runs["run"][self._place[old] - 1]
                    to.tables.runs["run"]["owner"][to._place[new] - 1] = new + 1

    def _meet(self, row: int, time: int) -> None:
        """A row that runs for the first time gets a place, if there is one. Of kinds of log lines `vanished` says more."""
        lines = self.subjects[row].metric == METRIC
        if lines or self.held >= MOST or self.judge.table["slot"][row] != VALUE:
            self.tables.subjects["subject"]["runs"][row] = NEVER
            return
        table = self.tables.runs
        place = table.new()
        one = table["run"][place]
        one["owner"], one["first"], one["last"] = row + 1, time, time - 1
        self._place[row], self.held = place + 1, self.held + 1

    def _said(self, e: np.void, time: int) -> Anomaly:
        if e["what"] == CLOSED:
            return self._anomaly(e, Event.CLOSE, time, REASONS[e["reason"]])
        return self._anomaly(e, Event.OPEN if e["what"] == OPENED else Event.RECORD, time, "")

    def _anomaly(self, e: np.void, event: Event, time: int, reason: str) -> Anomaly:
        one = self.subjects[int(e["owner"]) - 1]
        spec, quantity, observed = self.judge.specs[one.spec], QUANTITIES[e["of"]], float(e["observed"])
        who = one.environment, one.group, one.metric, quantity, one.labels, one.instance
        return Anomaly(
            id=identity(who, int(e["started"])), event=event, time=time, environment=one.environment, group=one.group,
            metric=one.metric, quantity=quantity, labels=one.labels, instance=one.instance or (),
            aggregate=one.instance is None, unit="s", signal=spec.signal, spec=spec.name, pages=False,
            direction=Direction.ABOVE if e["side"] > 0 else Direction.BELOW, started=int(e["started"]),
            ended=time if event is Event.CLOSE else None, score=float(e["score"]), observed=observed, current=observed,
            expected=(float(e["low"]), float(e["high"])), events=None, bad=False, points=(), reason=reason,
            learned=max((time - int(e["first"])) / 1000.0, 0.0),
        )  # fmt: skip
