"""Which clock each judged row goes by: that of its group, by the configured zones and calendars.

A row whose zone, or whose dates that are like another day, are others than they were when it was kept has learned days that
are none now: its season begins anew, from its mean; everything else that it knows stays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.clock import SEASONLESS, UTC_ALONE, Key, code_of, number
from anomaly.detect.judge import Judge
from anomaly.detect.rows import Tables
from anomaly.detect.season import CARRIED, EMPTY
from anomaly.detect.subject import Subjects

Rows = NDArray[np.integer[Any]]


def set_clocks(tables: Tables, judge: Judge, rows: Rows) -> None:
    """Give judged rows the clocks of their groups."""
    if judge.clocks.is_plain or not rows.size:
        return
    seasonal = judge.table["season"][rows]
    judge.table["season"][rows] = code_of((seasonal > 0) & (seasonal < SEASONLESS), _clocks(tables, judge, rows))


def replaced(tables: Tables, judge: Judge, keys: Sequence[Key], seasons: Sequence[str]) -> list[str]:
    """After rows were put back, of which clocks had these keys and seasons: go by the clocks of now; what to say of it."""
    clocks, then = judge.clocks, list(seasons) or [judge.clocks.seasons(UTC_ALONE)]
    if clocks.is_plain and len(then) == 1:
        return []
    clocks.renumber(keys)
    rows = _used(tables)
    code = judge.table["season"][rows].astype(np.int64)
    old = np.where(code >= SEASONLESS, code - SEASONLESS, np.maximum(code - 1, 0))
    seasonal = (code > 0) & (code < SEASONLESS)
    new = _clocks(tables, judge, rows)
    judge.table["season"][rows] = code_of(seasonal, new)
    now = [clocks.seasons(key) for key in clocks.keys]
    other = np.array([then[a] != now[b] for a, b in zip(old.tolist(), new.tolist(), strict=True)], np.bool_)
    met = (judge.bank.state["n"][rows] > 0.0) | (judge.bank.state["primed"][rows] != 0)
    _set(judge, rows[other & met])
    changed = rows[seasonal & other & (judge.bank.state["n"][rows] > 0.0)]
    if not changed.size:
        return []
    _forget(judge, changed)
    return [f"{changed.size} judged rows have another time zone, or other dates of a weekday: their season begins anew"]


def _set(judge: Judge, rows: Rows) -> None:
    """The time of the last point of rows is local by the clock of now."""
    state, last = judge.bank.state, judge.episodes.table["last"]
    for row in rows[(last[rows] != 0) & (state["last"][rows] != 0)].tolist():
        state["last"][row] = judge.clocks.at(number.py_func(int(judge.table["season"][row])), int(last[row]))[0]
    judge.touched[rows] = 1


def _forget(judge: Judge, rows: Rows) -> None:
    """Let rows know nothing of days and weeks."""
    state = judge.bank.state
    state["profile"][rows], state["scale"][rows] = EMPTY, 0.0
    state["day"][rows] = state["week"][rows] = state["mean"][rows]
    state["day_age"][rows] = state["week_age"][rows] = CARRIED
    judge.touched[rows] = 1


def _used(tables: Tables) -> NDArray[np.int32]:
    """All judged rows that are about somebody."""
    row, aggregate = tables.rows["row"][: tables.rows.used], tables.aggregates.used
    alone = row["judged"][row["key"] != 0]
    whole = tables.aggregates["judged"][:aggregate][tables.aggregates["aggregate"]["key"][:aggregate] != 0]
    held = np.unique(np.concatenate([alone, whole.ravel()]))
    return held[held >= 0].astype(np.int32)


def _groups(tables: Tables, rows: Rows) -> NDArray[np.int32]:
    """The row of each judged row's group."""
    one = tables.subjects["subject"][rows]
    of, group = one["of"], np.zeros(rows.size, np.int32)
    whole = one["whole"] != 0
    group[whole] = tables.aggregates["aggregate"]["group"][of[whole]]
    group[~whole] = tables.rows["row"]["group"][of[~whole]]
    return group


def _clocks(tables: Tables, judge: Judge, rows: Rows) -> NDArray[np.int64]:
    """The number of each row's clock; each group is asked about once."""
    groups, place = np.unique(_groups(tables, rows), return_inverse=True)
    named = Subjects(tables, judge)
    return np.array([judge.clocks.of(*named.group(g)) for g in groups.tolist()], np.int64)[place]
