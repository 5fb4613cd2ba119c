"""One of several senders of a series is elected, and the others are not listened to while it is heard.

Two Prometheus servers that scrape the same targets, or two collectors, send every series twice, each with counters and
times of its own: put together they would be resets and halved intervals. Senders are told apart by the labels that
`identity.writer` names (`Points.writer`). Where none is named, a cumulative point whose start is older than its row's tells
of two: a process that begins again has a newer start, and only two senders come back to an older one.
The elected one loses its office by a stale marker or by SILENT of its usual intervals without a point, by the time of the
others' points. A counter then goes on from the new one's value: what it counted before is nobody's gain.
Weak where senders have neither labels nor starts; and of two named ones, each pair in 255 has the same code.
"""

import numpy as np

from anomaly.compiled import inlined

SILENT = 3.0  # usual intervals
UNPACED = 180_000  # ms for which a row is waited for whose interval is not known: three of the longest usual one
CLOSE = 500  # ms by which the start of one process may be told differently
COUNTER, COUNTS = 1, 3
CODES = 255


@inlined
def code(writer):  # type: ignore[no-untyped-def]
    """A writer in a byte; 0 stays 0, not named."""
    return (writer - 1) % CODES + 1 if writer > 0 else 0


@inlined
def is_older(row, i, points):  # type: ignore[no-untyped-def]
    """Whether a cumulative point counts since before its row began to count."""
    kind, start = points.kind[i], points.start[i]
    return kind in (COUNTER, COUNTS) and 0 < start < row.start - CLOSE and row.last > 0


@inlined
def of_another(row, i, points):  # type: ignore[no-untyped-def]
    """Whether a point is of a sender that is not the elected one; elects it where that one is gone.

    A named one takes the place of one without a name as if it were the same: nobody else was known.
    """
    writer = code(np.int64(points.writer[i]))
    if writer == row.writer and not is_older(row, i, points):
        return False
    if row.last == 0 or (row.writer == 0 and writer != 0):
        row.writer = writer
        return False
    time, wait = points.time[i], np.int64(SILENT * row.interval) if row.intervals > 0 else np.int64(UNPACED)
    if time <= row.last or (row.stale == 0 and time - row.last <= wait) or points.flags[i] & 1:
        return True
    row.writer, row.primed, row.start = writer, 0, points.start[i]
    row.last = time - max(np.int64(row.interval), np.int64(1))  # what it says is of one interval, not of the silence
    return False
