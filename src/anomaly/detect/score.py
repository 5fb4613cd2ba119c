"""Points of series that have rows -> values and closed cells -> verdicts -> anomalies, in arrival order."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.points import Kind, Points
from anomaly.detect import quantile
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.convert import MEMBERSHIPS, OTHER_WRITER, OUTCOMES, WARMING, Columns, Values, convert, room
from anomaly.detect.grid import MOST_SHOWN
from anomaly.detect.judge import Batch, Judge
from anomaly.detect.register import Register
from anomaly.detect.report import Report
from anomaly.detect.rows import DISTRIBUTION, MEAN, RATIO, Cells, cells
from anomaly.detect.together import Together
from anomaly.detect.withhold import Withhold
from anomaly.pool import grown

CLOSED_CELLS = 4_096  # that the conversion may close before they are judged
SHOWN_MEMBERS = 2 * MEMBERSHIPS * MOST_SHOWN  # that it may show before they are compared


class Score:
    """Judges points by row, and counts what became of each."""

    def __init__(
        self, register: Register, models: Judge, report: Report, withhold: Withhold, together: Together, counts: Counter[str]
    ) -> None:
        self.register, self.models, self.report, self.counts = register, models, report, counts
        self.withhold, self.together = withhold, together
        self._closed = cells(CLOSED_CELLS, 1, SHOWN_MEMBERS)
        self._delta = np.zeros(1)
        self.shared = np.zeros(0, np.bool_)  # by row: several wrote it since this process began; no state

    def judge(self, points: Points, rows: NDArray[np.int32], through: int) -> list[Anomaly]:
        """Convert, judge and report points of known series."""
        columns = self._columns(points, rows)
        outcome, values = np.zeros(rows.size, np.uint8), room(rows.size)
        done, found = 0, []
        while done < rows.size:
            used = np.zeros(1, np.int64)
            self._closed.used[:] = 0
            state, widest = self.register.tables.state(), self.register.widest
            done = convert(done, columns, state, through, outcome, values, used, self._closed, self._delta, widest)
            found += self._report(Values._make(column[: used[0]] for column in values), self._closed, outcome)
        for code, n in enumerate(np.bincount(outcome, minlength=len(OUTCOMES))):
            self.counts[OUTCOMES[code]] += int(n)
        others = rows[outcome == OTHER_WRITER]
        if others.size:
            self.shared = grown(self.shared, int(others.max()) + 1)
            self.shared[others] = True
        return found

    def _columns(self, points: Points, rows: NDArray[np.int32]) -> Columns:
        """The points for the kernel, with room for what it keeps and hands out."""
        if points.kind.max() >= Kind.HISTOGRAM:
            histograms = np.flatnonzero(points.kind >= Kind.HISTOGRAM)
            self.register.reserve(rows[histograms], points.bucket_len[histograms])
            self._delta = grown(self._delta, int(points.bucket_len.max()))
        if self._closed.lanes.size < CLOSED_CELLS * self.register.widest:
            self._closed = cells(CLOSED_CELLS, CLOSED_CELLS * self.register.widest, SHOWN_MEMBERS)
        p = points
        ends = p.bucket_at, p.bucket_len, p.buckets
        return Columns(rows, p.time, p.start, p.value, p.count, p.kind, p.flags, *ends, p.writer)

    def _report(self, values: Values, closed: Cells, outcome: NDArray[np.uint8]) -> list[Anomaly]:
        """Judge values and closed cells in arrival order, and say what that changed."""
        batch = Batch(values.point, values.row, values.time, values.value, np.zeros(values.row.size), values.point)
        if closed.used[0]:
            batch = Batch._make(np.concatenate(columns) for columns in zip(batch, *self._read(closed), strict=True))
            order = np.argsort(batch.point, kind="stable")
            batch = Batch._make(column[order] for column in batch)
        if self.withhold.any:
            taken = ~self.withhold.are(batch.row)
            outcome[batch.mark[~taken & (batch.mark >= 0)]] = WARMING
            batch = Batch._make(column[taken] for column in batch)
        verdicts = self.models.judge(batch, outcome)
        found = self.together.take(batch, verdicts, self.report.of(batch, verdicts), closed)
        return found + self.register.regressions.take(batch, verdicts) + self.register.jobs.take(batch, verdicts)

    def _read(self, closed: Cells) -> list[Batch]:
        """The values of closed cells, by how their aggregates are read."""
        n = int(closed.used[0])
        agg, at = closed.agg[:n], closed.at[:n]
        one = self.register.tables.aggregates["aggregate"][agg]
        amount, second = closed.lanes[at + 1], closed.lanes[at + 2]
        seconds = np.where(one["reading"] == MEAN, closed.lanes[at], one["step"] / 1000.0)
        ratio = one["reading"] == RATIO
        scalar = one["reading"] != DISTRIBUTION
        value = np.where(ratio, second, amount / seconds)
        total = np.where(ratio, amount, 0.0)
        rows = self.register.tables.aggregates["judged"][agg]
        index, end = closed.point[:n], closed.end[:n]
        nowhere = np.full(n, -1, np.int64)
        parts = [Batch(index[scalar], rows[scalar, 0], end[scalar], value[scalar], total[scalar], nowhere[scalar])]
        if not scalar.all():
            parts += self._distributions(index[~scalar], end[~scalar], agg[~scalar], at[~scalar], closed.lanes)
        return parts

    def _distributions(
        self,
        index: NDArray[np.int64],
        end: NDArray[np.int64],
        agg: NDArray[np.int32],
        at: NDArray[np.int64],
        lanes: NDArray[np.float64],
    ) -> list[Batch]:
        """Rate, mean and quantiles of histogram cells, those of them that are judged."""
        tables, read = self.register.tables, np.empty((agg.size, 4))
        rows = tables.aggregates["judged"][agg]
        quantile.read(tables.aggregates["aggregate"], tables.bounds.array, agg, at, lanes, read)
        parts = []
        for quantity in range(read.shape[1]):
            asked = (rows[:, quantity] >= 0) & ~np.isnan(read[:, quantity])
            nothing, nowhere = np.zeros(int(asked.sum())), np.full(int(asked.sum()), -1, np.int64)
            parts.append(Batch(index[asked], rows[asked, quantity], end[asked], read[asked, quantity], nothing, nowhere))
        return parts
