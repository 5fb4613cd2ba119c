"""What follows what within a span: k of the n traces that came to a step went on with b.

A context is (group, operation, step a); its row learns `learned` = N, the traces that came to a, and a row for each
successor b learns K, those that went on with b. N is at most FULL: then what is older fades, and a cell counts as STEADY
traces, so that the memory is ten minutes or longer. `total` are all traces ever learned, `held` is what was held back since
the context is odd, to be taken over if it is the new normal. All float, (rows,).
A cell is judged at look-backs of SHORT and LONG cells, if the context has data in it, and learned AHEAD cells later; of a
context that is odd (a score of DOUBT) with HELD of its weight. Judged is a context from FEWEST traces on, WARM cells old.
More than usual: the upper tail of the beta-binomial (`binomial`) with a = K + 1/2, b = N - K + 1/2. For a successor that
never was there, a is what the group teaches: it would show with probability alpha / (alpha + total) if contexts got
successors as in a Dirichlet process, whose alpha is the group's births over the sum of 1 / total; an error is ten times
as rare. Less than usual, for what half of the traces or more do: the lower tail. What comes now and then is odd by chance,
and there may be many such: their scores are less by the logarithm of how many the group has.
Sources: signals-notes, sections 1 and 2 (measured on Nezha); T. Ferguson, "A Bayesian analysis of some nonparametric
problems" (1973) for the prior of what is new. Distinct traces count, so that a loop or a retry is one.
Where lines of logs are not heard, as of the partition's rest, their absence says nothing: contexts that lines follow have no
data in such a cell and its neighbours.
Weak where a trace is of many branches: each of them is judged for itself. Scores as in `binomial`, not to the bit.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.config.models import Signal
from anomaly.decode.identity import EXAMPLE, Series
from anomaly.decode.index import MISSING
from anomaly.decode.log_lines import LEVELS
from anomaly.decode.points import Points
from anomaly.decode.steps_series import CALL, CODE, END, NEXT, START
from anomaly.detect import binomial
from anomaly.detect.odd import Evidence, Told, of_many
from anomaly.detect.trace_rows import RING, Group, TraceRows, hash_of, shown

SHORT, LONG = 2, 6  # cells
FULL, STEADY, HELD = 300.0, 5.0, 0.03
FEWEST, WARM = 3.0, 12  # traces, cells
DOUBT = 3.0
RARER = 0.1  # a line of an error, against any other new successor
UNUSUAL, ABSENT = "unusual step", "missing step"
COLUMNS = {"learned": ("f8", 0), "held": ("f8", 0), "total": ("f8", 0)}


def level(step: str) -> str:
    """The severity of a step that is a line, else ""."""
    first = step.partition(" ")[0].lower()
    return first if first in LEVELS and step not in (START, END) and not step.startswith(f"{CALL} ") else ""


def new_in(group: Group) -> float:
    """alpha of a group."""
    return (group.births + 0.5) / (group.chances + 1.0)


@bare
def add(index, row, cell, value, ring):  # type: ignore[no-untyped-def]
    """Count the traces of points in the cells of their rows."""
    for i in range(row.size):
        ring[row[i], cell[i] % RING] += value[index[i]]


class Sequences:
    """Contexts and successors of a partition."""

    def __init__(self, seed: int, most: int) -> None:
        self.seed = seed
        self.rows = TraceRows("steps", seed, most, COLUMNS, np.float32, 1)

    def learn_of(self, series: Series, cell: int) -> list[int]:
        """A row for a series, and for its context; the new rows."""
        labels, new = dict(series.labels), list[int]()
        if NEXT not in labels:
            return [self.rows.enter(series, cell)]
        context = self._context(series, cell, new)
        row = self.rows.enter(series, cell)
        r, kind = self.rows.table["row"], level(labels[NEXT])
        r["of"][row], r["is_line"][row], r["is_error"][row] = context, kind != "", kind in ("error", "fatal")
        r["is_line"][context] |= kind != ""
        return [*new, row]

    def _context(self, series: Series, cell: int, new: list[int]) -> int:
        hashed = hash_of(self.seed, series, [NEXT])
        row = self.rows.one(hashed)
        if row == MISSING:
            who = series.environment, series.group, series.metric, series.unit, shown(series.labels, [NEXT])
            row = self.rows.enter(Series(hashed, series.group_hash, *who, series.instance, series.kind), cell)
            new.append(row)
        return row

    def take(self, points: Points, index: NDArray[np.intp], row: NDArray[np.int32], cell: NDArray[np.int64]) -> None:
        """Count the traces of the points at `index`, of these rows and cells."""
        add(index, row, cell, points.value, self.rows.table["ring"])
        self.rows.note(points, index, row, cell, 0)

    def lines(self, row: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of these rows are steps to a line."""
        r = self.rows.table["row"]
        found: NDArray[np.bool_] = (r["is_line"][row] != 0) & (r["of"][row] != row)
        return found

    def deafen(self, cell: int) -> None:
        """Lines were not heard in a cell: what they follow has no data there."""
        r = self.rows.row
        self.rows.table["ring"][: r.size][r["is_line"][r["of"]] != 0, cell % RING] = 0.0

    def judge(self, cell: int) -> Evidence:
        """What a cell says, all successors of contexts with data included; notes which contexts are odd."""
        r, table = self.rows.row, self.rows.table
        ring, learned, total = table["ring"][: r.size], table["learned"], table["total"]
        of = r["of"].astype(np.intp)
        warm = (ring[:, cell % RING] > 0) & (learned[: r.size] >= FEWEST) & (r["born"] <= cell - WARM) & (r["born"] > 0)
        contexts = warm & (of == np.arange(r.size)) & (r["key"] != 0)
        contexts_of = np.bincount(r["group"][contexts], minlength=len(self.rows.groups))
        row = np.flatnonzero(contexts[of] & (of != np.arange(r.size)))
        at = of[row]
        big_n, big_k = learned[at], np.minimum(learned[row], learned[at])
        a = np.where(total[row] > 0, big_k + 0.5, self._prior(row, at))
        b = big_n - big_k + 0.5
        score, k, n = (np.zeros(row.size) for _ in range(3))
        usual = big_k / big_n
        mostly = 2.0 * big_k >= big_n
        for length in (SHORT, LONG):
            slots = np.arange(cell - length + 1, cell + 1) % RING
            now = ring[at[:, None], slots].sum(1, dtype=np.float64)
            those = np.minimum(ring[row[:, None], slots].sum(1, dtype=np.float64), now)
            more = np.flatnonzero((those > now * usual) & ~mostly)
            less = np.flatnonzero((those < now * usual) & mostly)
            tail = np.zeros(row.size)
            tail[more] = binomial.upper(those[more], now[more], a[more], b[more])
            tail[less] = binomial.lower(those[less], now[less], a[less], b[less])
            better = (tail > score) | (length == SHORT)
            score[better], k[better], n[better] = tail[better], those[better], now[better]
        score = of_many(r["group"][row], (big_k > 0) & (big_k < big_n), score)
        odd = np.flatnonzero(score >= DOUBT)
        r["odd"][at[odd]] = cell
        table.touched[at[odd]] = 1
        return Evidence(row, score, k, n, usual, mostly, contexts_of)

    def _prior(self, row: NDArray[np.intp], at: NDArray[np.intp]) -> NDArray[np.float64]:
        """a of a successor that never was there."""
        r, table = self.rows.row, self.rows.table
        alpha = np.array([new_in(group) for group in self.rows.groups])[r["group"][row]]
        rare = np.where(r["is_error"][row] != 0, RARER, 1.0)
        found: NDArray[np.float64] = rare * alpha * (table["learned"][at] + 1.0) / (table["total"][at] + 1.0)
        return np.maximum(found, 1e-9)

    def learn(self, cell: int) -> None:
        """A cell that nobody judges any more: what was in it is usual, or held back."""
        r, table = self.rows.row, self.rows.table
        ring, of = table["ring"][: r.size, cell % RING].astype(np.float64), r["of"].astype(np.intp)
        learned, held, total = table["learned"], table["held"], table["total"]
        is_context = (of == np.arange(r.size)) & (r["key"] != 0)
        live = is_context & (ring > 0)
        context = np.flatnonzero(live)
        if not context.size:
            return
        row = np.flatnonzero(live[of] & (r["key"] != 0))
        odd = r["odd"][of[row]] >= cell
        weight = np.where(odd, HELD, 1.0)
        self._news(row, of, ring, weight)
        for column, part in ((learned, weight), (held, 1.0 - weight)):
            n, before = ring[of[row]], column[of[row]]
            share = np.minimum(1.0, np.maximum(FULL - before, STEADY) / n)
            fade = FULL / np.maximum(before + part * share * n, FULL)
            column[row] = (column[row] + part * share * np.minimum(ring[row], n)) * fade
        total[row] += weight * ring[row]
        held[row[~odd]] = 0.0
        table.touched[row] = 1

    def _news(
        self, row: NDArray[np.intp], of: NDArray[np.intp], ring: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> None:
        """Of each group: births of successors, and the chances that there were (1 / total, at the middle of the cell)."""
        total, group = self.rows.table["total"], self.rows.row["group"]
        known = total[of[row]] >= FEWEST
        context, n = known & (of[row] == row), ring[row]
        born = known & (of[row] != row) & (total[row] == 0) & (n > 0)
        many = len(self.rows.groups)
        births = np.bincount(group[row[born]], weight[born], many)
        chances = np.bincount(group[row[context]], (weight * n / (total[row] + 1.0 + 0.5 * n))[context], many)
        for number in np.flatnonzero(births + chances).tolist():
            one = self.rows.groups[number]
            one.births, one.chances = one.births + float(births[number]), one.chances + float(chances[number])

    def by_cell(self, row: int, cells: range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As `Judged.by_cell`."""
        ring, slots = self.rows.table["ring"], np.array(cells) % RING
        n = ring[int(self.rows.table["row"]["of"][row]), slots].astype(np.float64)
        return np.minimum(ring[row, slots].astype(np.float64), n), n

    def tell(self, row: int, below: bool, since: int) -> Told:
        """As `Judged.tell`: where a step is missing, the traces are those in which another one is in its place."""
        series, r = self.rows.series(row), self.rows.row
        labels, error = dict(series.labels), bool(r["is_error"][row]) and not below
        others = self._others(row)
        shown_in = others if below else [row]
        traces = sorted({trace for one in shown_in for trace in self.rows.traces(one, since)}, key=lambda t: (t[1], t[0]))
        return Told(
            ABSENT if below else UNUSUAL, shown(series.labels), Signal.ERRORS if error else Signal.OTHER,
            labels.get(EXAMPLE, ""), labels.get(CODE, ""), traces,
            "" if below else self._usual(row, others),
        )  # fmt: skip

    def _usual(self, row: int, others: list[int]) -> str:
        """The successor of its context that half of the traces have, if it is another one."""
        learned = self.rows.table["learned"]
        most = max(others, key=lambda one: (float(learned[one]), -one), default=row)
        is_usual = most != row and 2.0 * learned[most] >= learned[int(self.rows.row["of"][row])] > 0.0
        return dict(self.rows.series(most).labels).get(NEXT, "") if is_usual else ""

    def _others(self, row: int) -> list[int]:
        """The other successors of its context."""
        r = self.rows.row
        found = np.flatnonzero((r["of"] == r["of"][row]) & (r["key"] != 0)).tolist()
        return [one for one in found if one not in (row, int(r["of"][row]))]

    def accept(self, row: int) -> None:
        """As `Judged.accept`: the whole context goes on with what was held back."""
        r, table = self.rows.row, self.rows.table
        context = int(r["of"][row])
        rows = np.flatnonzero((r["of"] == context) & (r["key"] != 0))
        if table["held"][context] >= FEWEST:
            table["learned"][rows] = table["held"][rows]
        table["held"][rows], r["odd"][rows], table.touched[rows] = 0.0, 0, 1
