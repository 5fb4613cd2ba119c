"""A template that used to come now and then, and does not any more while its group logs on.

What comes several times in each cell is judged by the models, as a rate that falls to nothing; of what is rarer than OFTEN
a cell without lines says nothing. Here the time between lines is looked at, in cells in which the group logged: of `times`
gaps one was the `longest`, so a longer one has a probability of 1 / (times + 1), and one k times as long that to the power
of k, if the tail of gaps falls as it begins to. Scores are -log10 of that. Judged is who has come for SPAN cells; never told
is a gap below LONGER times the longest, because what comes in bursts has a heavier tail. Where many templates of a group
stay away at once, what wrote them has ended its work, and none of them is told. A gap that was told is not learned, unless
it lasts for LONG cells and becomes what is normal.
Weak where a kind of line comes for hours and then not for a day: the first such pause is told, once.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction, Signal
from anomaly.decode.log_lines import METRIC
from anomaly.detect.anomaly import BACK_TO_NORMAL, NEW_NORMAL, Anomaly, Event
from anomaly.detect.identity import identity
from anomaly.detect.log_kinds import Kinds
from anomaly.detect.novelty import CELL

QUANTITY = "time away"
SPEC = "vanished-template"
OFTEN = 5.0  # lines a cell: half a line a second, which a model's `min_deviation` asks for
TIMES, SPAN, LONG = 30, 360, 360  # lines; cells
LONGER, LEAST_AWAY = 3, 12  # times the longest gap; cells
LEAST = 6.0  # a score below is not told
BUSY, FEW = 1.0 / 3.0, 2  # more than this share of a group's templates, and more than so many, stay away: work has ended


class Vanished:
    """`open`: anomalies by template's row."""

    def __init__(self) -> None:
        self.open: dict[int, Anomaly] = {}

    def look(self, kinds: Kinds, cell: int, came: NDArray[np.intp], groups: NDArray[np.intp]) -> list[Anomaly]:
        """Who stays away with a cell, or is back: in it these templates had lines, and these groups logged."""
        one, group = kinds.rows.template, kinds.rows.group
        group["ticks"][groups] += 1
        learn(one, group["ticks"], came, np.array(list(self.open), np.intp))
        found = [self._over(row, cell, BACK_TO_NORMAL) for row in came.tolist() if row in self.open]
        for row in [r for r, a in self.open.items() if a.started // CELL <= cell - LONG]:
            found.append(self._over(row, cell, NEW_NORMAL))
            _begin_anew(kinds, row)
        away, ended = _away(one, group["ticks"], groups)
        _begin_anew(kinds, ended)
        for row in away.tolist():
            if row not in self.open:
                self.open[row] = _told(kinds, row, cell)
                found.append(self.open[row])
        return found

    def _over(self, row: int, cell: int, reason: str) -> Anomaly:
        a, end = self.open.pop(row), (cell + 1) * CELL
        away = (end - a.started) / 1000.0
        return msgspec.structs.replace(
            a, event=Event.CLOSE, time=end, ended=end, observed=max(away, a.observed), current=0.0, reason=reason
        )


def learn(one: NDArray[np.void], ticks: NDArray[np.int64], came: NDArray[np.intp], told: NDArray[np.intp]) -> None:
    """Templates had lines in a cell, of which the number is that of their group's ticks; of some it was told."""
    now, first = ticks[one["group"][came]], one["tick"][came] == 0
    gap = np.where(first | np.isin(came, told), 0, now - one["tick"][came])
    one["begun"][came] = np.where(first, now, one["begun"][came])
    one["longest"][came] = np.where(first, 0, np.maximum(one["longest"][came], gap))
    one["times"][came] = np.where(first, 0, one["times"][came] + 1)
    one["tick"][came] = now


def _begin_anew(kinds: Kinds, rows: NDArray[np.intp] | int) -> None:
    """How often it comes has to be learned; that it stays away for so long is known when it is back."""
    kinds.rows.template["times"][rows] = 0
    kinds.rows.templates.touched[rows] = 1


def score(gap: float, longest: float, times: float) -> float:
    """How surprising a gap is."""
    return gap / longest * math.log10(times + 1.0)


def _away(
    one: NDArray[np.void], ticks: NDArray[np.int64], groups: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Templates that stay away for too long, of groups that log; and those that do because what wrote them has ended."""
    span, gap = one["tick"] - one["begun"], ticks[one["group"]] - one["tick"]
    held = (one["key"] != 0) & (one["times"] >= TIMES) & (span >= SPAN)
    away = held & (gap >= LONGER * one["longest"]) & (gap >= LEAST_AWAY) & (one["total"] < OFTEN * span)
    away &= gap * np.log10(one["times"] + 1.0) >= LEAST * one["longest"]
    away &= np.isin(one["group"], groups)
    if not away.any():
        return np.flatnonzero(away), np.flatnonzero(away)
    stay = held & (2 * gap >= LONGER * one["longest"]) & (2 * gap >= LEAST_AWAY)
    of, many = (np.bincount(one["group"][each], minlength=ticks.size) for each in (held, stay))
    ended = ((many > FEW) & (many > BUSY * of))[one["group"]]
    return np.flatnonzero(away & ~ended), np.flatnonzero(stay & ended)


def _told(kinds: Kinds, row: int, cell: int) -> Anomaly:
    """What is told of a template as it stands at the end of a cell: seconds away, and the usual time between lines."""
    series, one, end = kinds.series(row), kinds.rows.template[row], (cell + 1) * CELL
    gap = float(kinds.rows.group["ticks"][one["group"]] - one["tick"])
    usual = float(one["tick"] - one["begun"]) / float(one["times"]) * CELL / 1000.0
    started, longest = (int(one["last"]) + 1) * CELL, float(one["longest"])
    key = series.environment, series.group, METRIC, QUANTITY, series.labels, None
    away = (end - started) / 1000.0
    return Anomaly(
        id=identity(key, started), event=Event.OPEN, time=end, environment=series.environment, group=series.group,
        metric=METRIC, quantity=QUANTITY, labels=series.labels, instance=(), aggregate=True, unit="s", signal=Signal.OTHER,
        spec=SPEC, pages=False, direction=Direction.ABOVE, started=started, ended=None,
        score=score(gap, longest, float(one["times"])), observed=away, current=away,
        expected=(usual, max(usual, longest * CELL / 1000.0)), events=None, bad=False,
        learned=float(one["tick"] - one["begun"]) * CELL / 1000.0, points=((end, away),),
    )  # fmt: skip
