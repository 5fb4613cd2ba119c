"""What closed traces say -> points of the series that `steps_series` names, of the record with which they were closed."""

from collections.abc import Callable, Sequence

import numpy as np

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.identity import EXAMPLE
from anomaly.decode.index import MISSING
from anomaly.decode.points import Flag, Kind, Points
from anomaly.decode.spans_series import BOUNDS
from anomaly.decode.steps import Due
from anomaly.decode.steps_close import Closed, Found
from anomaly.decode.steps_events import Names, Words, mix_of
from anomaly.decode.steps_series import (
    BETWEEN,
    CALL,
    CELL,
    CLIENT,
    CODE,
    END,
    METRICS,
    NEXT,
    OPERATION,
    START,
    STEP,
    STEPS,
    WORDS,
)
from anomaly.decode.steps_walk import BEGIN, FINISH, NOTHING


def points_of(due: Sequence[Due], names: Names, catalog: Catalog) -> tuple[Points, int]:
    """The points of what was closed, and how many are of series past the limit."""
    made = [(one.record, found, one.closed) for one in due for found in one.closed.found if found.key.size]
    parts = [_points(record, found, describer(found, of, names), catalog) for record, found, of in made]
    return Points.joined([points for points, _ in parts]), sum(lost for _, lost in parts)


def describer(found: Found, closed: Closed, names: Names) -> Callable[[int], Description]:
    """Gives the series of a row."""

    def words(step: int) -> Words:
        if step in (int(BEGIN), int(FINISH)):
            return Words(START if step == int(BEGIN) else END)
        if step in closed.calls:
            group, operation = closed.calls[step]
            return Words(f"{CALL} {names.groups[group].name} {names.words[operation].text}")
        return names.words[step]

    def described(i: int) -> Description:
        group, operation, x, y = found.labels[i].tolist()
        labels = {**names.groups[group].attributes, OPERATION: names.words[operation].text if operation else ""}
        if found.metric == BETWEEN:
            labels[CLIENT] = names.groups[x].name
        if found.metric != STEPS:
            return Description(found.metric, "s", labels, Kind.HISTOGRAM_DELTA, BOUNDS)
        last = first = words(x)
        labels[STEP] = first.text
        if y != int(NOTHING):
            last = words(y)
            labels[NEXT] = last.text
        shown = {EXAMPLE: last.example or first.example, CODE: last.code or first.code}
        return Description(STEPS, "1", labels | {name: text for name, text in shown.items() if text}, Kind.DELTA)

    return described


def _points(record: int, found: Found, describe: Callable[[int], Description], catalog: Catalog) -> tuple[Points, int]:
    """Of one metric."""
    n, metric = found.key.size, np.full(found.key.size, METRICS.index(found.metric) + 1, np.uint64)
    rows = catalog.rows(mix_of(found.key, metric), describe)
    points = Points.empty(n)
    points.series, points.kind, points.writer = catalog.named(rows)
    points.start, points.time = found.cell * CELL, (found.cell + 1) * CELL
    points.value, points.count = found.value, found.observed
    points.flags[:], points.record[:] = Flag.PART, record
    own = found.held.shape[1]
    length = own + WORDS * found.many
    points.bucket_at, points.bucket_len = np.cumsum(length) - length, length.astype(np.int32)
    points.buckets = np.empty(int(length.sum()))
    is_word = np.arange(points.buckets.size) - np.repeat(points.bucket_at, length) >= own
    points.buckets[~is_word] = found.held.reshape(-1)
    points.buckets.view(np.uint64)[is_word] = found.words.reshape(-1)  # as floats they might not stay as they are
    lost = rows == MISSING
    return (points.take(~lost) if lost.any() else points), int(np.count_nonzero(lost))
