"""A template that a group has never logged before.

Two things are surprising about it, and their evidence adds up. That there is one at all: of how many cells a group brings a
new template, of errors or of anything else, is learned, and the probability of one is (births + 1/2) / (cells + 1). And how
often it comes: half of all new kinds of lines come once, a quarter twice, so k lines within WITHIN cells have probability
2^-(k - 1). An error counts ten times as much, because that is what people look for. Judged is who has logged for WARM cells:
what comes in these is no news, as after a loss of all state everything is new. But how many templates came in one cell alone
of them says how many are still to come: the births with which a group begins. News are forgotten by half in HALF cells.
A template is new for LONG cells at most; without a line for QUIET it is over. Scores are -log10 of probabilities.
Source of that estimate: I. J. Good, "The population frequencies of species and the estimation of population parameters",
Biometrika 40 (1953): what was not seen yet comes as often as what was seen once.
Weak at a release, which brings many new kinds of lines: errors among them, in numbers, are told, and that is meant.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction, Signal
from anomaly.decode.log_lines import LEVELS, METRIC
from anomaly.detect.anomaly import BACK_TO_NORMAL, NEW_NORMAL, Anomaly, Event
from anomaly.detect.identity import identity
from anomaly.detect.log_kinds import Kinds

CELL = 10_000  # ms
QUANTITY = "new lines"
SPEC = "new-template"
ERRORS = LEVELS.index("error"), LEVELS.index("fatal")
WARM, WITHIN, QUIET, LONG, HALF = 60, 6, 12, 360, 8_640  # cells
KEEP = 0.5 ** (1.0 / HALF)
OTHER = 1  # place of births that are no errors; theirs is the first
BURST = 4.0  # decades that numbers alone can give
ERROR = 1.0  # decades that an error is worth
LEAST = 4.0  # a score below is not told


def score(cells: float, births: float, is_error: bool, lines: float) -> float:
    """How surprising a new template with so many lines is, in a group that logged in so many cells and had such births."""
    rare = -math.log10((births + 0.5) / (cells + 1.0))
    return max(rare, 0.0) + min((lines - 1.0) * math.log10(2.0), BURST) + ERROR * is_error


class Novelty:
    """`open`: anomalies by template's row."""

    def __init__(self) -> None:
        self.open: dict[int, Anomaly] = {}

    def look(
        self, kinds: Kinds, cell: int, rows: NDArray[np.intp], lines: NDArray[np.float64], groups: NDArray[np.intp]
    ) -> list[Anomaly]:
        """What is new, or over, with a cell: of these templates, with so many lines in it, of the groups that logged."""
        found, one, group = [], kinds.rows.template, kinds.rows.group
        _begin(kinds, cell, groups)
        recent = rows[one["born"][rows] > cell - WITHIN]
        for row in recent[one["born"][recent] - group["first"][one["group"][recent]] >= WARM].tolist():
            owner, before = group[one["group"][row]], self.open.get(row)
            is_error = int(one["level"][row]) in ERRORS
            births = float(owner["births"][OTHER - is_error])
            surprise = score(float(owner["cells"]), births, is_error, float(one["total"][row]))
            if surprise >= LEAST and (before is None or surprise > before.score):
                self.open[row] = _told(kinds, row, cell, surprise, before)
                found.append(self.open[row])
        now = dict(zip(rows.tolist(), lines.tolist(), strict=True)) if self.open else {}
        for row in list(self.open):
            quiet, long = one["last"][row] <= cell - QUIET, one["born"][row] <= cell - LONG
            if quiet or long:
                reason = BACK_TO_NORMAL if quiet else NEW_NORMAL
                found.append(_over(self.open.pop(row), cell, now.get(row, 0.0), reason))
        _learn(kinds, rows[one["born"][rows] == cell], groups)
        return found


def _begin(kinds: Kinds, cell: int, groups: NDArray[np.intp]) -> None:
    """Of groups that have logged for long enough: estimate from what came once how much is still to come."""
    one, group = kinds.rows.template, kinds.rows.group
    for g in groups[(cell - group["first"][groups] >= WARM) & np.isnan(group["births"][groups, 0])].tolist():
        once = (one["group"] == g) & (one["key"] != 0) & (one["born"] > 0) & (one["born"] == one["last"])
        level = one["level"][once & (one["born"] < group["first"][g] + WARM)]
        errors = int(np.isin(level, ERRORS).sum())
        group["births"][g] = errors, level.size - errors


def _learn(kinds: Kinds, born: NDArray[np.intp], groups: NDArray[np.intp]) -> None:
    """Of a cell: which groups logged in it, and brought these new templates. What comes first is no news."""
    one, group = kinds.rows.template, kinds.rows.group
    fresh = np.zeros((len(group), 2))
    is_error = np.isin(one["level"][born], ERRORS)
    fresh[one["group"][born], np.where(is_error, 0, OTHER)] = 1.0
    group["cells"][groups] = KEEP * group["cells"][groups] + 1.0
    group["births"][groups] = KEEP * group["births"][groups] + fresh[groups]


def _told(kinds: Kinds, row: int, cell: int, surprise: float, before: Anomaly | None) -> Anomaly:
    """What is told of a new template as it stands at the end of a cell."""
    series, one, end = kinds.series(row), kinds.rows.template[row], (cell + 1) * CELL
    started, first = int(one["born"]) * CELL, int(kinds.rows.group["first"][one["group"]])
    key = series.environment, series.group, METRIC, QUANTITY, series.labels, None
    is_error, total = int(one["level"]) in ERRORS, float(one["total"])
    return Anomaly(
        id=identity(key, started), event=Event.RECORD if before else Event.OPEN, time=end, environment=series.environment,
        group=series.group, metric=METRIC, quantity=QUANTITY, labels=series.labels, instance=(), aggregate=True, unit="1",
        signal=Signal.ERRORS if is_error else Signal.OTHER, spec=SPEC, pages=False, direction=Direction.ABOVE,
        started=started, ended=None, score=surprise, observed=total, current=total, expected=(0.0, 0.0), events=None,
        bad=False, learned=(started - first * CELL) / 1000.0, points=((end, total),),
    )  # fmt: skip


def _over(anomaly: Anomaly, cell: int, lines: float, reason: str) -> Anomaly:
    """Nothing more is heard of it, or it is no news."""
    end = (cell + 1) * CELL
    return msgspec.structs.replace(anomaly, event=Event.CLOSE, time=end, ended=end, current=lines, reason=reason)
