"""Durations of traces: how many of n took longer than what was usual.

A row is a duration (own time or total of an operation, the gap between a caller's time and a callee's) and learns counts by
bucket, `learned` float64 (rows, BUCKETS), of the bounds that durations of spans have (`spans_series`, s); at most FULL in
sum, as in `sequences`. Two limits are judged, each the bucket in which it falls, and past it are all later ones: q95, or
twice the median, or 20 ms more, whichever is most, for a shift; twice the largest, or eight times the median, or 200 ms
more, for a few that hang. k of n past the limit is judged by the upper tail of the beta-binomial, at the same look-backs as
sequences, less by how many of a group are now and then past it, and learned as late, and as little while it is odd.
Source: signals-notes, section 2. Weak where a bucket is wide: less than a factor of 2 is not seen at the median.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.config.models import Signal
from anomaly.decode.identity import Series
from anomaly.decode.points import Points
from anomaly.decode.spans_series import BOUNDS, BUCKETS
from anomaly.decode.steps_series import CELL
from anomaly.detect import binomial
from anomaly.detect.odd import Evidence, Told, of_many
from anomaly.detect.sequences import DOUBT, FULL, HELD, LONG, SHORT, STEADY, WARM
from anomaly.detect.trace_rows import RING, TraceRows, shown

DURATION = "duration"
FEWEST = 20.0
HIGH = 0.95
MORE, MUCH_MORE = (2.0, 0.02), (8.0, 0.2)  # times the median, s above it
MOST = 65_535.0  # that a cell counts of a bucket
TWICE = 2  # buckets: half-octaves
SOME = 0.5  # of a learned count: less has faded
LIMITS = np.array(BOUNDS)
UPPER = np.array([*BOUNDS, 2.0 * BOUNDS[-1]])
COLUMNS = {"learned": ("f8", BUCKETS), "held": ("f8", BUCKETS), "limit": ("i2", 0)}


def limits(learned: NDArray[np.float64]) -> NDArray[np.int64]:
    """The last bucket within each of the two limits, shape (2, rows), of learned counts (rows, BUCKETS)."""
    total = learned.sum(1)[:, None]
    below = learned.cumsum(1)
    high = (below >= HIGH * total).argmax(1)
    median = UPPER[(below >= 0.5 * total).argmax(1)]
    largest = BUCKETS - 1 - (learned[:, ::-1] >= SOME).argmax(1)
    more, much = (bucket_of(np.maximum(times * median, median + plus)) for times, plus in (MORE, MUCH_MORE))
    both = np.stack([np.maximum(high, more), np.maximum(largest + TWICE, much)])
    found: NDArray[np.int64] = np.minimum(both, BUCKETS - 2)
    return found


def bucket_of(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bucket of a duration."""
    found: NDArray[np.int64] = np.searchsorted(LIMITS, seconds)
    return found


def past(counts: NDArray[np.float64], limit: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many of counts (rows, BUCKETS) are in buckets after these (rows,)."""
    within = np.take_along_axis(counts.cumsum(1), limit[:, None], 1)[:, 0]
    found: NDArray[np.float64] = counts.sum(1) - within
    return np.maximum(found, 0.0)


@bare
def add(index, row, cell, at, buckets, ring):  # type: ignore[no-untyped-def]
    """Count the durations of points in the cells of their rows, by bucket; past MOST of a bucket there are no more."""
    for i in range(row.size):
        begin, place = at[index[i]], cell[i] % RING * BUCKETS
        for b in range(BUCKETS):
            n = buckets[begin + b]
            if n > 0.0:
                ring[row[i], place + b] = min(ring[row[i], place + b] + n, MOST)


class Slow:
    """Durations of a partition."""

    def __init__(self, seed: int, most: int) -> None:
        self.rows = TraceRows("durations", seed, most, COLUMNS, np.uint16, BUCKETS)

    def learn_of(self, series: Series, cell: int) -> list[int]:
        """A row for a series; the new rows."""
        return [self.rows.enter(series, cell)]

    def take(self, points: Points, index: NDArray[np.intp], row: NDArray[np.int32], cell: NDArray[np.int64]) -> None:
        """Count the durations of the points at `index`, of these rows and cells."""
        add(index, row, cell, points.bucket_at, points.buckets, self.rows.table["ring"])
        self.rows.note(points, index, row, cell, BUCKETS)

    def _sums(self, row: NDArray[np.intp], cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Counts by bucket over these cells, (rows, BUCKETS). Those in which the row was not warm yet are left out: they
        were learned unjudged, and what was odd in them may be long over."""
        ring = self.rows.table["ring"].reshape(-1, RING, BUCKETS)
        judged = cells >= self.rows.row["born"][row][:, None] + WARM
        found: NDArray[np.float64] = (ring[row[:, None], cells % RING] * judged[:, :, None]).sum(1, dtype=np.float64)
        return found

    def _cell(self, cell: int) -> NDArray[np.uint16]:
        """Counts by bucket of all rows in a cell."""
        begin = cell % RING * BUCKETS
        found: NDArray[np.uint16] = self.rows.table["ring"][: self.rows.table.used, begin : begin + BUCKETS]
        return found

    def judge(self, cell: int) -> Evidence:
        """As `Sequences.judge`."""
        r, table = self.rows.row, self.rows.table
        now = self._cell(cell).sum(1)
        learned = table["learned"][: r.size]
        warm = (now > 0) & (learned.sum(1) >= FEWEST) & (r["born"] <= cell - WARM) & (r["born"] > 0)
        row = np.flatnonzero(warm)
        contexts = np.bincount(r["group"][row], minlength=len(self.rows.groups))
        learned = learned[row]
        total = learned.sum(1)
        score, k, n, usual = (np.zeros(row.size) for _ in range(4))
        for length in (SHORT, LONG):
            counts = self._sums(row, np.arange(cell - length + 1, cell + 1))
            many = counts.sum(1)
            for limit in limits(learned) if row.size else ():
                big_k, those = past(learned, limit), past(counts, limit)
                tail = binomial.upper(those, many, big_k + 0.5, total - big_k + 0.5)
                tail[those * total <= many * big_k] = 0.0
                better = (tail > score) | (n == 0)
                score[better], k[better], n[better] = tail[better], those[better], many[better]
                usual[better] = (big_k / total)[better]
                table["limit"][row[better]] = limit[better]
        score = of_many(r["group"][row], usual > 0, score)
        odd = row[score >= DOUBT]
        r["odd"][odd] = cell
        table.touched[row] = 1
        return Evidence(row, score, k, n, usual, np.zeros(row.size, np.bool_), contexts)

    def learn(self, cell: int) -> None:
        """As `Sequences.learn`."""
        r, table = self.rows.row, self.rows.table
        counts = self._cell(cell).astype(np.float64)
        row = np.flatnonzero(counts.sum(1) > 0)
        if not row.size:
            return
        counts, odd = counts[row], r["odd"][row] >= cell
        weight = np.where(odd, HELD, 1.0)
        n = counts.sum(1)
        for column, part in ((table["learned"], weight), (table["held"], 1.0 - weight)):
            before = column[row].sum(1)
            share = part * np.minimum(1.0, np.maximum(FULL - before, STEADY) / n)
            fade = FULL / np.maximum(before + share * n, FULL)
            column[row] = (column[row] + share[:, None] * counts) * fade[:, None]
        table["held"][row[~odd]] = 0.0
        table.touched[row] = 1

    def by_cell(self, row: int, cells: range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As `Judged.by_cell`, past the limit of the last judgement."""
        ring = self.rows.table["ring"].reshape(-1, RING, BUCKETS)
        counts = ring[row, np.array(cells) % RING].astype(np.float64)
        return past(counts, np.full(len(cells), self.rows.table["limit"][row], np.int64)), counts.sum(1)

    def tell(self, row: int, below: bool, since: int) -> Told:
        """As `Judged.tell`; the example says in words what is too long."""
        learned, limit = self.rows.table["learned"][row], int(self.rows.table["limit"][row])
        middle = UPPER[int((learned.cumsum() >= 0.5 * learned.sum()).argmax())]
        said = f"longer than {duration(UPPER[limit])}, where half take at most {duration(middle)}" if learned.any() else ""
        labels = shown(self.rows.series(row).labels)
        return Told(DURATION, labels, Signal.LATENCY, said, "", self.rows.traces(row, since - CELL))

    def accept(self, row: int) -> None:
        """As `Judged.accept`."""
        table = self.rows.table
        if table["held"][row].sum() >= FEWEST:
            table["learned"][row] = table["held"][row]
        table["held"][row], self.rows.row["odd"][row], table.touched[row] = 0.0, 0, 1


def duration(seconds: float) -> str:
    """In words: two digits."""
    return f"{seconds * 1000.0:.2g} ms" if seconds < 0.995 else f"{seconds:.2g} s"
