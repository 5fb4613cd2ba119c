"""Judge and follow in one pass: each point meets its row's model, then its episode, before the next point is looked at.

So whether a row is held is known point by point, and where a batch ends makes no difference to any result.
"""

import numpy as np
from numpy.typing import ArrayLike

from anomaly.compiled import kernel
from anomaly.detect.adaptive import judge_point
from anomaly.detect.bank import Bank, Judged
from anomaly.detect.episode import OPEN, step_point
from anomaly.detect.episodes import EVENT, Episodes, Events, first, write


@kernel
def follow(points, state, judged, parameters, open_at, episodes, out):  # type: ignore[no-untyped-def]
    """Take n points in arrival order into `judged` and the event columns; returns the number of events."""
    row, time, value, season, spec, bad = points
    table, live = episodes[0], episodes[1]
    score, low, high, learned = judged
    m = 0
    for i in range(row.size):
        r = row[i]
        held = table[r].at > 0 and live[table[r].at - 1].phase == OPEN
        s, a, b, known = judge_point(state, r, time[i], value[i], season[i] != 0, held, True)
        score[i], low[i], high[i], learned[i] = s, a, b, known
        event, reason, at = step_point(episodes, r, time[i], value[i], s, a, b, parameters[spec[i]], bad[i], open_at)
        if event != 0:
            write(m, i, r, event, reason, live[at], 0.0, 0.0, out)
            m += 1
    return m


def walk(
    bank: Bank,
    episodes: Episodes,
    row: ArrayLike,
    time: ArrayLike,
    value: ArrayLike,
    season: ArrayLike,
    spec: ArrayLike,
    bad: ArrayLike,
) -> tuple[Judged, Events]:
    """Judge, learn and follow n points; columns as in `Bank.judge` and `Episodes.step`."""
    rows, times, values = np.asarray(row, np.int32), np.asarray(time, np.int64), np.asarray(value, np.float64)
    what = np.asarray(season, np.uint8), np.asarray(spec, np.int16), np.asarray(bad, np.uint8)
    judged, out = Judged(*(np.empty(rows.size) for _ in range(4))), np.zeros(rows.size, EVENT)
    episodes.reserve(rows.size)
    fixed = episodes.parameters, episodes.open_at, episodes.arrays
    m = follow((rows, times, values, *what), bank.state, tuple(judged), *fixed, out)
    return judged, first(out, m)
