"""Series as an operator asks for them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from anomaly.decode.identity import Series
from anomaly.detect.judge import Judge
from anomaly.detect.register import Register
from anomaly.detect.report import Report


class Listed(NamedTuple):
    """A series as an operator sees it: `last` ms of its newest point, 0: none, and the `value` of that as it was sent;
    seconds that its own value was `learned`, 0 for what is judged in an aggregate alone; `is_open`: an anomaly lasts."""

    series: Series
    last: int
    value: float
    is_ignored: bool
    learned: float
    is_warm: bool
    is_open: bool


def listing(register: Register, judge: Judge, report: Report) -> Iterator[Listed]:
    """Every series that has a row, in the order of rows."""
    rows, models = register.tables.rows, judge.bank
    for r in np.flatnonzero(rows["row"]["key"][: rows.used]).tolist():
        row, j = rows["row"][r], int(rows["row"]["judged"][r])
        learned, warm = (float(models.state["learned"][j]), bool(models.warm([j])[0])) if j >= 0 else (0.0, False)
        numbers = int(row["last"]), float(row["value"]), bool(row["ignored"])
        yield Listed(register.subjects.series(r), *numbers, learned, warm, j in report.open)
