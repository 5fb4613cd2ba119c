"""A template that a group has never logged before.

Two things are surprising about it, and their evidence adds up. That there is one at all: of how many cells a group brings a
new template, of errors or of anything else, is learned, and the probability of one is (births + 1/2) / (cells + 1). And how
often it comes: half of all new kinds of lines come once, a quarter twice, so k lines within WITHIN cells have probability
2^-(k - 1). An error counts ten times as much, because that is what people look for. Judged is who has logged for WARM cells;
news are forgotten by half in HALF cells. A template is new for LONG cells at most; without a line for QUIET it is over.
Scores are -log10 of probabilities. Weak at a release, which brings many new kinds of lines: errors among them, in numbers,
are told, and that is meant.
"""

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction, Signal
from anomaly.decode.log_lines import LEVELS, METRIC
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.detect.identity import identity

if TYPE_CHECKING:
    from anomaly.detect.logs import Group, Logs

CELL = 10_000  # ms
QUANTITY = "new lines"
SPEC = "new-template"
ERRORS = LEVELS.index("error"), LEVELS.index("fatal")
WARM, WITHIN, QUIET, LONG, HALF = 60, 6, 12, 360, 8_640  # cells
BURST = 4.0  # decades that numbers alone can give
ERROR = 1.0  # decades that an error is worth
LEAST = 4.0  # a score below is not told


class News(msgspec.Struct):
    """Of a group: how many cells it logged in, and in how many there was a new template, of errors and of the others."""

    cells: float = 0.0
    births: tuple[float, float] = (0.0, 0.0)


def score(news: News, is_error: bool, lines: float) -> float:
    """How surprising a new template with so many lines is."""
    rare = -math.log10((news.births[not is_error] + 0.5) / (news.cells + 1.0))
    return max(rare, 0.0) + min((lines - 1.0) * math.log10(2.0), BURST) + ERROR * is_error


class Novelty:
    """`open`: anomalies by template's row."""

    def __init__(self) -> None:
        self.open: dict[int, Anomaly] = {}

    def look(
        self, logs: "Logs", cell: int, rows: NDArray[np.intp], lines: NDArray[np.float64], groups: NDArray[np.intp]
    ) -> list[Anomaly]:
        """What is new, or over, with a cell: of these templates, with so many lines in it, of the groups that logged."""
        found = []
        for row in rows[logs.born[rows] > cell - WITHIN].tolist():
            group, before = logs.groups[int(logs.group[row])], self.open.get(row)
            if logs.born[row] - group.first < WARM:
                continue
            surprise = score(group.news, int(logs.level[row]) in ERRORS, float(logs.total[row]))
            if surprise >= LEAST and (before is None or surprise > before.score):
                self.open[row] = _told(logs, row, cell, surprise, before)
                found.append(self.open[row])
        now = dict(zip(rows.tolist(), lines.tolist(), strict=True))
        for row in list(self.open):
            quiet, long = logs.last[row] <= cell - QUIET, logs.born[row] <= cell - LONG
            if quiet or long:
                reason = "back to normal" if quiet else "new normal"
                found.append(_over(self.open.pop(row), cell, now.get(row, 0.0), reason))
        for number in groups.tolist():
            born = rows[(logs.born[rows] == cell) & (logs.group[rows] == number)]
            learn(logs.groups[number], cell, logs.level[born].tolist())
        return found


def learn(group: "Group", cell: int, born: list[int]) -> None:
    """Of a cell in which the group logged: whether it brought news, of these levels. What comes first is no news."""
    news, keep, warm = group.news, 0.5 ** (1.0 / HALF), cell - group.first >= WARM
    errors = any(level in ERRORS for level in born) and warm
    others = any(level not in ERRORS for level in born) and warm
    news.cells = keep * news.cells + 1.0
    news.births = keep * news.births[0] + errors, keep * news.births[1] + others


def _told(logs: "Logs", row: int, cell: int, surprise: float, before: Anomaly | None) -> Anomaly:
    """What is told of a new template as it stands at the end of a cell."""
    series, group, end = logs.series(row), logs.groups[int(logs.group[row])], (cell + 1) * CELL
    started = int(logs.born[row]) * CELL
    key = series.environment, series.group, METRIC, QUANTITY, series.labels, None
    is_error, total = int(logs.level[row]) in ERRORS, float(logs.total[row])
    return Anomaly(
        id=identity(key, started), event=Event.RECORD if before else Event.OPEN, time=end, environment=series.environment,
        group=series.group, metric=METRIC, quantity=QUANTITY, labels=series.labels, instance=(), aggregate=True, unit="1",
        signal=Signal.ERRORS if is_error else Signal.OTHER, spec=SPEC, pages=False, direction=Direction.ABOVE,
        started=started, ended=None, score=surprise, observed=total, current=total, expected=(0.0, 0.0), events=None,
        bad=False, learned=(int(logs.born[row]) - group.first) * CELL / 1000.0, points=((end, total),),
    )  # fmt: skip


def _over(anomaly: Anomaly, cell: int, lines: float, reason: str) -> Anomaly:
    """Nothing more is heard of it, or it is no news."""
    end = (cell + 1) * CELL
    return msgspec.structs.replace(anomaly, event=Event.CLOSE, time=end, ended=end, current=lines, reason=reason)
