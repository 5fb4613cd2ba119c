"""Episodes of what is odd in traces: opened, raised, closed.

An episode opens at a score of LEAST and is told again at new peaks, when it comes to what people are told at, and every
AGAIN while it lasts, with the newest of its traces: by these it is known what belongs to it. It ends when CALM judged cells
in a row, or as long as the spec's `close_after`, have nothing of half of LEAST; cells without data are no calm, but IDLE of
them end it too. One that was judged on the traces of a minute cannot go on when its context has none for SILENT cells while
others have: it ends as UNSEEN, which is no word on health (an incident that ends so is told as not seen any more, never as
back to normal), and a service that is called no more is missed by its traffic. While no traces are heard at all nothing
ends so; when they are heard again after SILENT cells, what is odd then is an episode of its own, which goes on with the
incident that is still open. After `new_normal_after` what is there now is the new normal: `accept` says so to whoever
learned.
A disturbance that comes again and again is no news: up to the greatest score that it ever had, its evidence is divided by
1 + half the number of its episodes, of which one counts for less the longer it is past, and nothing after FORGOTTEN.
A storm is bounded: of a group MOST are open at a time, the strongest first; `breadth` says how many were odd in the cell.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction, Model, ModelSpec, Signal
from anomaly.decode.identity import Labels, Series
from anomaly.decode.steps_series import CELL, NEXT
from anomaly.detect.anomaly import BACK_TO_NORMAL, NEW_NORMAL, REMOVED, Anomaly, Event
from anomaly.detect.episode import GREATER, MORE
from anomaly.detect.identity import identity
from anomaly.detect.trace_rows import AHEAD, TraceRows, shown

LEAST = 4.0
SURE = 30.0  # beyond this nothing is surer, and no draws are that independent
CALM, SILENT, IDLE = 3, 18, 360  # cells
FORGOTTEN = 7 * 8_640  # cells
MOST, TRACES = 8, 8
AGAIN = 60_000  # ms
UNSEEN = "no traces any more"


class Evidence(NamedTuple):
    """What a cell said of m rows with data: score (raw), k of n in the look-back that said most, the usual share of k, and
    whether there are too few; all (m,), `contexts` by group how many were judged."""

    row: NDArray[np.intp]
    score: NDArray[np.float64]
    k: NDArray[np.float64]
    n: NDArray[np.float64]
    usual: NDArray[np.float64]
    below: NDArray[np.bool_]
    contexts: NDArray[np.intp]


def nothing(groups: int) -> Evidence:
    """Of a cell without data."""
    rows, none = np.zeros(0, np.intp), np.zeros(0)
    return Evidence(rows, none, none, none, none, none > 0, np.zeros(groups, np.intp))


class Told(NamedTuple):
    """What there is to say of a row: as fields of `Anomaly`."""

    quantity: str
    labels: Labels
    signal: Signal
    example: str
    code: str
    traces: list[tuple[str, int]]
    usual: str = ""


class Judged(Protocol):
    """Whose rows these are."""

    rows: TraceRows

    def by_cell(self, row: int, cells: range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """k and n of a row in each of these cells."""

    def tell(self, row: int, below: bool, since: int) -> Told:
        """What there is to say; traces from `since` on, ms."""

    def accept(self, row: int) -> None:
        """What is there now is usual from now on."""


def of_many(group: NDArray[np.int32], wavers: NDArray[np.bool_], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of what comes now and then: of many such of a group one is odd by chance sooner than one alone."""
    many = np.bincount(group[wavers], minlength=int(group.max(initial=0)) + 1)
    found: NDArray[np.float64] = np.where(wavers, score - np.log10(np.maximum(many[group], 1)), score)
    return np.maximum(found, 0.0)


def discounted(row: NDArray[np.void], evidence: Evidence, cell: int) -> NDArray[np.float64]:
    """Scores after what the rows' past episodes take from them."""
    score = evidence.score
    if not (score >= LEAST).any():  # it takes away only
        return score
    episodes, ended, peak = (row[name][evidence.row] for name in ("episodes", "ended", "peak"))
    past = episodes * np.clip(1.0 - (cell - ended) / FORGOTTEN, 0.0, 1.0)
    known = np.minimum(score, peak)
    found: NDArray[np.float64] = np.minimum(known / (1.0 + 0.5 * past) + (score - known), SURE)
    return found


class Episodes:
    """`open` by row; `known` were open before a restart, by who they are about."""

    def __init__(self, owner: Judged, spec_of: Callable[[Series], ModelSpec], told_at: float) -> None:
        """`told_at`: the score at which people are told."""
        self.owner, self.spec_of, self.told_at = owner, spec_of, told_at
        self.open: dict[int, Anomaly] = {}
        self.known: dict[tuple[object, ...], Anomaly] = {}
        self.heard = 0  # the last cell in which anything was judged

    def look(self, cell: int, evidence: Evidence) -> list[Anomaly]:
        """What a cell changed."""
        rows = self.owner.rows
        score = discounted(rows.row, evidence, cell)
        found = self._heard(cell) if evidence.row.size else []
        at = dict(zip(evidence.row.tolist(), range(evidence.row.size), strict=True)) if self.open else {}
        accepted = set[int]()
        for row in sorted(self.open):
            found += self._goes_on(cell, row, evidence, float(score[at[row]]) if row in at else None, at.get(row, 0))
            if found and found[-1].reason == NEW_NORMAL:
                accepted.add(int(rows.row["of"][row]))
        if accepted:
            score = np.where(np.isin(rows.row["of"][evidence.row], list(accepted)), 0.0, score)
        return found + self._new(cell, evidence, score)

    def _heard(self, cell: int) -> list[Anomaly]:
        """Traces are heard: what ends because none were for long."""
        was_silent = 0 < self.heard < cell - SILENT
        self.heard = cell
        return [self._close(row, cell, UNSEEN) for row in sorted(self.open)] if was_silent else []

    def _goes_on(self, cell: int, row: int, evidence: Evidence, score: float | None, i: int) -> list[Anomaly]:
        """An open one, judged in this cell where `score` is given, as number i of the evidence."""
        a, rows = self.open[row], self.owner.rows
        r, spec = rows.table["row"], self.spec_of(rows.series(row))
        end = (cell + 1) * CELL
        if end - a.started > spec.new_normal_after * 1000.0:
            self.owner.accept(row)
            return [self._close(row, cell, NEW_NORMAL)]
        if score is None:
            missing = cell - max(int(r["seen"][int(r["of"][row])]), a.time // CELL)
            if evidence.row.size and missing > SILENT:
                return [self._close(row, cell, UNSEEN)]
            return [self._close(row, cell, REMOVED)] if missing > IDLE else []
        r["calm"][row] = int(r["calm"][row]) + 1 if score < LEAST / 2.0 else 0
        rows.table.touched[row] = 1
        if r["calm"][row] >= max(CALM, -(-spec.close_after * 1000.0 // CELL)):
            share = float(evidence.k[i] / evidence.n[i])
            return [self._close(row, cell, BACK_TO_NORMAL, share)]
        lasts = score >= LEAST and end - a.time >= AGAIN
        if lasts or score > min(GREATER * a.score, a.score + MORE) or a.score < self.told_at <= score:
            return [self._told(cell, row, evidence, i, score, a)]
        return []

    def _new(self, cell: int, evidence: Evidence, score: NDArray[np.float64]) -> list[Anomaly]:
        """Open the strongest few of each group."""
        odd = np.flatnonzero(score >= LEAST)
        if not odd.size:
            return []
        found, group = [], self.owner.rows.row["group"]
        many, taken = Counter(group[evidence.row[odd]].tolist()), Counter(int(group[row]) for row in self.open)
        for i in odd[np.lexsort((evidence.row[odd], -score[odd]))].tolist():
            row = int(evidence.row[i])
            number = int(group[row])
            if row in self.open or taken[number] >= MOST:
                continue
            if self.spec_of(self.owner.rows.series(row)).model is Model.IGNORE:
                continue
            taken[number] += 1
            breadth = many[number], int(evidence.contexts[number])
            found.append(self._told(cell, row, evidence, i, float(score[i]), None, breadth))
        return found

    def _told(
        self,
        cell: int,
        row: int,
        e: Evidence,
        i: int,
        score: float,
        a: Anomaly | None,
        breadth: tuple[int, int] | None = None,
    ) -> Anomaly:
        """What is told of a row that is odd, as it stands at the end of a cell; `a` where that was told before."""
        rows, below, usual = self.owner.rows, bool(e.below[i]), float(e.usual[i])
        series, r = rows.series(row), rows.table["row"]
        cells = range(cell - AHEAD + 1, cell + 1)
        k, n = self.owner.by_cell(row, cells)
        shares = k / np.maximum(n, 1.0)
        odd = (n > 0) & ((shares < usual) if below else (shares > usual))
        first = cells[int(odd.argmax())] if odd.any() else cell
        told = self.owner.tell(row, below, first * CELL)
        end, share = (cell + 1) * CELL, float(e.k[i] / e.n[i])
        points = tuple(((c + 1) * CELL, float(s)) for c, s, some in zip(cells, shares, n, strict=True) if some)
        if a is None:
            spec, started = self.spec_of(series), first * CELL
            key = series.environment, series.group, series.metric, told.quantity, told.labels, None
            a = Anomaly(
                id=identity(key, started), event=Event.OPEN, time=end, environment=series.environment, group=series.group,
                metric=series.metric, quantity=told.quantity, labels=told.labels, instance=(), aggregate=True, unit="1",
                signal=told.signal, spec=spec.name, pages=False, direction=Direction.BELOW if below else Direction.ABOVE,
                started=started, ended=None, score=score, observed=share, current=share, expected=(usual, usual),
                events=None, bad=False, learned=float(cell - r["born"][int(r["of"][row])]) * CELL / 1000.0, points=points,
                breadth=breadth if breadth and breadth[0] > 1 else None, example=told.example, code=told.code,
                usual=told.usual,
                reduced_by=self._reduced(row, cell),
            )  # fmt: skip
            r["calm"][row] = 0
        else:
            a = msgspec.structs.replace(
                a, event=Event.RECORD, time=end, score=max(score, a.score),
                observed=share if score > a.score else a.observed, current=share, points=points,
            )  # fmt: skip
        traces = (*a.traces, *(trace for trace in told.traces if trace not in a.traces))[-TRACES:]
        a = msgspec.structs.replace(a, events=(float(e.k[i]), float(e.n[i])), traces=traces)
        r["peak"][row] = max(float(r["peak"][row]), float(min(e.score[i], SURE)))
        rows.table.touched[row] = 1
        self.open[row] = a
        return a

    def _reduced(self, row: int, cell: int) -> tuple[str, ...]:
        r = self.owner.rows.table["row"][row]
        many = round(float(r["episodes"]))
        return (f"{many} earlier episode{'s' * (many > 1)} of the same",) if many and cell - r["ended"] < FORGOTTEN else ()

    def _close(self, row: int, cell: int, reason: str, share: float = 0.0) -> Anomaly:
        """An episode is over."""
        a, r, end = self.open.pop(row), self.owner.rows.table["row"], (cell + 1) * CELL
        past = float(r["episodes"][row]) * min(max(1.0 - (cell - int(r["ended"][row])) / FORGOTTEN, 0.0), 1.0)
        r["episodes"][row], r["ended"][row], r["calm"][row] = past + 1.0, cell, 0
        self.owner.rows.table.touched[row] = 1
        return msgspec.structs.replace(a, event=Event.CLOSE, time=end, ended=end, current=share, reason=reason)

    def released(self, rows: NDArray[np.int32], cell: int) -> list[Anomaly]:
        """These rows are no more."""
        return [self._close(row, cell, REMOVED) for row in rows.tolist() if row in self.open]

    def meet(self, row: int, series: Series) -> list[Series]:
        """Go on with what was open of a new row before a restart; of a context, the successors of which something was."""
        mine, more = shown(series.labels), []
        for key, a in list(self.known.items()):
            if (a.environment, a.group, a.metric) != (series.environment, series.group, series.metric):
                continue
            if a.labels == mine and row not in self.open:
                self.open[row] = self.known.pop(key)
            elif tuple(label for label in a.labels if label[0] != NEXT) == mine:
                more.append(replace(series, labels=a.labels))
        return more

    def give_up(self, cell: int) -> list[Anomaly]:
        """What was open before a restart and is of nobody who came again: it ends."""
        end = (cell + 1) * CELL
        gone = [key for key, a in self.known.items() if end - a.time > IDLE * CELL]
        over = [self.known.pop(key) for key in gone]
        return [
            msgspec.structs.replace(a, event=Event.CLOSE, time=end, ended=end, reason=REMOVED)
            for a in sorted(over, key=lambda a: a.id)
        ]
