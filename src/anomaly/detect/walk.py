"""Judge and follow in one pass: each point meets its row's model, then its episode, before the next point is looked at.

So whether a row is held is known point by point, and where a batch ends makes no difference to any result.
"""

import numpy as np
from numpy.typing import ArrayLike

from anomaly.compiled import kernel
from anomaly.detect.adaptive import judge_point
from anomaly.detect.bank import Bank, Judged
from anomaly.detect.episode import OPEN, step_point
from anomaly.detect.episodes import EpisodeEvents, Episodes, event_columns, write


@kernel
def follow(points, model, judged, parameters, open_at, table, is_open, out):  # type: ignore[no-untyped-def]
    """Take n points in arrival order into `judged` and the event columns; returns the number of events."""
    row, time, value, season, spec, bad = points
    state, anchor, last = model
    score, low, high, learned = judged
    m = 0
    for i in range(row.size):
        r = row[i]
        held = is_open[r] != 0
        s, a, b, known = judge_point(state, anchor, last, r, time[i], value[i], season[i] != 0, held, True)
        score[i], low[i], high[i], learned[i] = s, a, b, known
        event, reason = step_point(table[r], time[i], value[i], s, a, b, parameters[spec[i]], bad[i] != 0, open_at)
        is_open[r] = table[r].phase == OPEN
        if event != 0:
            write(m, i, r, event, reason, table[r], out)
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
) -> tuple[Judged, EpisodeEvents]:
    """Judge, learn and follow n points; columns as in `Bank.judge` and `Episodes.step`."""
    rows, times, values = np.asarray(row, np.int32), np.asarray(time, np.int64), np.asarray(value, np.float64)
    what = np.asarray(season, np.uint8), np.asarray(spec, np.int16), np.asarray(bad, np.uint8)
    judged, out = Judged(*(np.empty(rows.size) for _ in range(4))), event_columns(rows.size)
    model = bank.state, bank.anchor, bank.last
    fixed = episodes.parameters, episodes.open_at, episodes.table, episodes.is_open
    m = follow((rows, times, values, *what), model, tuple(judged), *fixed, out)
    return judged, EpisodeEvents.of(out, m)
