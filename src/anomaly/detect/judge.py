"""Judge values and cells in arrival order, each followed at once by its episode, so that block borders change nothing.

One row per judged series, dtype JUDGED: `spec` its index in the specs, `season` its clock and whether it may have one, as
`clock` codes them, `slot` its row
among the ratios, -1 for a value against its band, NEIGHBOUR and below for one that has a season beside; `traffic` whether it
is a rate of events, of which none may be left;
`until` the ms to which an episode from before a restart was told, 0: none. Of such a one the frozen band alone decides, on
what is newer, since what was told comes once more; the model, which knows nothing yet, learns only what lies within it.
A value whose row has an open episode, or a violation that has still to last, is learned with a small weight; whether it has
is known only when the point before it was taken, hence one pass for model and episode.
`window` is the number of a set of windows (`Planned`): within one a point is judged and not learned, and what a plan raises
is expected to lie between its usual and `factor` times that.
Values that are not finite are not known: they are neither judged nor learned.
What one of river's models scores (`river`) comes with its score, which stands for the model's own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, fetch, inlined, kernel
from anomaly.config.models import ModelSpec
from anomaly.detect import adaptive, clock, counts
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.bank import Bank
from anomaly.detect.clock import Clocks
from anomaly.detect.convert import SCORED, WARMING
from anomaly.detect.counts import Ratios
from anomaly.detect.episode import ACCEPTED, BAD, NO_FAULT, OPEN, PENDING, SIDE, WARNED, leave, step_point
from anomaly.detect.episodes import EVENT, OPEN_AT, Episodes, Events, first, write
from anomaly.detect.layout import HOT, LINE
from anomaly.detect.recent import Recent, push, show
from anomaly.detect.river import Rivers
from anomaly.pool import grown

JUDGED = np.dtype([("slot", "i4"), ("spec", "i2"), ("season", "u1"), ("traffic", "u1"), ("window", "i4")], align=True)
SCORE, LOW, HIGH, LEARNED = 0, 1, 2, 3
FEWEST, BAD_AT, BAD_OF, WARN_AT, UNTIL = range(5)  # of what a spec says of faults; UNTIL: its values are times
LIMITS = 5
AHEAD = 8  # points by which a row is asked for before its turn
LONGEST = 300.0  # seconds that a rate speaks for
NO_SCORES = np.zeros(0)  # of a batch without a row of river's
NEIGHBOUR = -2  # a slot of NEIGHBOUR - r: a sum in long cells, of which row r judges the short ones


class Batch(NamedTuple):
    """Values of judged rows in arrival order; `total` is n where k of n is judged (`value` is then k), else 0.

    `mark`: where to write what became of the point, -1: nowhere, because a sum is judged.
    """

    point: NDArray[np.int64]  # position among the points that brought it
    row: NDArray[np.int32]
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    total: NDArray[np.float64]
    mark: NDArray[np.int64]


class Planned(NamedTuple):
    """Sets of windows: set n has those from edges[n] to edges[n + 1], each from `begin` up to before `end`, ms, with the
    `factor` by which the expectation is raised; 1: it is as ever, and nothing is learned."""

    edges: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    factor: NDArray[np.float64]


def nothing_planned() -> Planned:
    """No windows."""
    return Planned(np.zeros(3, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class Verdicts(NamedTuple):
    """What was found: `value` (n,) as judged (a ratio for k of n), `judged` (n, 4) score, low, high and seconds learned,
    `bad` (n,) which of the spec's levels was reached, as an episode's, and the events (`episodes.EVENT`)."""

    value: NDArray[np.float64]
    judged: NDArray[np.float64]
    bad: NDArray[np.uint8]
    events: Events


@bare
def lost(rate, low, high, seconds):  # type: ignore[no-untyped-def]
    """The evidence that traffic is gone, from a band that reaches BAND_SCORE, about three standard deviations, each way."""
    if not (low > 0.0 and rate < low):
        return 0.0
    centre, spread = 0.5 * (low + high), (high - low) / (2.0 * adaptive.BAND_SCORE)
    return counts.loss(rate * seconds, centre * seconds, spread * seconds)


@bare
def is_beyond(e, value):  # type: ignore[no-untyped-def]
    """Whether a value lies beyond the frozen band of an episode."""
    return value < e.low or value > e.high


@bare
def factor_at(planned, n, time, interval):  # type: ignore[no-untyped-def]
    """The factor of the windows of set n that last at a time, of several plans that of the last made; 0: none lasts.

    A value is about the time since the one before, `interval` seconds: a sum that ends behind a window may be of within.
    """
    edges, begin, end, factor = planned
    found, about = 0.0, time - np.int64(interval * 1000.0)
    for w in range(edges[n], edges[n + 1]):
        if begin[w] <= time and about < end[w] and (found == 0.0 or factor[w] != 1.0):
            found = factor[w]
    return found


@kernel
def counting(row, time, table, rows, clocks, planned):  # type: ignore[no-untyped-def]
    """Which values may say something of their weeks: those of no window, and of no hour whose results are ignored."""
    found = np.ones(row.size, np.bool_)
    for i in range(row.size):
        what = table[row[i]]
        within = what.window != 0 and factor_at(planned, what.window, time[i], rows[row[i]].interval) != 0.0
        found[i] = not (within or clock.is_quiet(clocks, clock.number(what.season), time[i]))
    return found


@bare
def raised(state, r, time, x, seasonal, held, factor, usual):  # type: ignore[no-untyped-def]
    """A verdict `usual` of a value of which up to `factor` times as much is planned: nothing between the two bands is odd.

    On the way there the value is in neither; and what is planned and does not come is no trouble.
    """
    score, low, high, learned = usual
    other, other_low, other_high, _ = adaptive.judge_point(state, r, time, x / factor, seasonal, held, False)
    low, high = min(low, other_low * factor), max(high, other_high * factor)
    return (0.0 if low <= x <= high else min(score, other)), low, high, learned


@inlined
def ask(r, table, state, rows, rings, touched):  # type: ignore[no-untyped-def]
    """Have the state of a row that comes soon brought from memory: at many series that takes as long as judging."""
    for byte in range(0, HOT, LINE):
        fetch(state, r, byte)
    fetch(rows, r, 0)
    fetch(rings, r, 0)
    fetch(table, r, 0)
    fetch(touched, r, 0)


@inlined
def value_point(s, what, e, live, state, r, time, offset, x, factor):  # type: ignore[no-untyped-def]
    """Judge a value against its band: (score, low, high, seconds learned); the time is local, `offset` ms after UTC."""
    score, low, high, learned = math.nan, math.nan, math.nan, 0.0
    at, held = e.at - 1, False
    if at >= 0:
        held = live[at].phase == OPEN or live[at].phase == PENDING
        if live[at].until != 0 and is_beyond(live[at], x):
            return score, low, high, learned
    # A model does not learn from every point, an episode counts each.
    seconds, gone = (time - max(s.last, e.last + offset)) / 1000.0, (0.0, math.nan, math.nan)
    seasonal = clock.is_seasonal(what.season)
    if what.traffic != 0 and seasonal:
        # The season of the same sum in shorter cells is known sooner.
        told_by = state[NEIGHBOUR - what.slot] if what.slot <= NEIGHBOUR else s
        gone = counts.gone(told_by, time, x, min(seconds, 1.5 * s.interval))
    score, low, high, learned = adaptive.judge_point(state, r, time, x, seasonal, held, factor == 0.0)
    if what.traffic != 0:
        usual = (live[at].low, live[at].high) if held else (low, high)
        score = max(score, lost(x, usual[0], usual[1], min(seconds, LONGEST)))
        if gone[0] > score:
            score, low, high = gone
    if factor != 0.0 and factor != 1.0:
        return raised(state, r, time, x, seasonal, held, factor, (score, low, high, learned))
    return score, low, high, learned


@inlined
def left(x, time):  # type: ignore[no-untyped-def]
    """Seconds until a point in time, s since the epoch; one of no time is not known."""
    return x - time / 1000.0 if x > 0.0 else math.nan


@inlined
def fault_of(x, side, limit):  # type: ignore[no-untyped-def]
    """Which of its spec's levels a value is at or past; infinite ones are none."""
    if side != 0.0 and side * x >= side * limit[BAD_AT] and math.isfinite(limit[BAD_AT]):
        return BAD
    return WARNED if side != 0.0 and side * x >= side * limit[WARN_AT] and math.isfinite(limit[WARN_AT]) else NO_FAULT


@bare
def walk(ahead, planned, batch, fixed, state, ratios, rings, parameters, open_at, episodes, touched, out, events):  # type: ignore[no-untyped-def]
    """Judge each value, step its episode, learn; returns the number of events. `fixed`: the rows' table, limits (specs,
    LIMITS); clocks; scores from elsewhere (n,), negative: none, or (0,).

    `touched` is set for every row whose state may have changed; rows are asked for `ahead` points before, 0: never.
    """
    _, row, time, value, total, mark = batch
    table, limits, clocks, given = fixed
    rows, live = episodes[0], episodes[1]
    seen, judged, faults, outcome = out
    m = 0
    for i in range(row.size):
        if ahead > 0 and i + ahead < row.size:
            ask(row[i + ahead], table, state, rows, rings, touched)
        r, x, fault, k, n = row[i], value[i], NO_FAULT, 0.0, 0.0
        what, e = table[r], rows[r]
        limit = limits[what.spec]
        if limit[UNTIL] != 0.0:
            x = left(x, time[i])
        score, low, high, learned = math.nan, math.nan, math.nan, 0.0
        until, quiet = live[e.at - 1].until if e.at > 0 else 0, False
        factor = factor_at(planned, what.window, time[i], e.interval) if what.window != 0 else 0.0
        if what.slot >= 0:
            ratio = ratios[what.slot]
            quiet = clock.is_quiet(clocks, clock.number(what.season), time[i])
            if time[i] > ratio.last and time[i] > until:
                counts.tally(ratio, x, total[i])
            k, n = ratio.tally_k, ratio.tally_n
            back = e.at > 0 and (live[e.at - 1].phase == OPEN or live[e.at - 1].phase == PENDING)
            x, score, low, high, learned, is_bad = counts.judge_point(
                ratios, what.slot, time[i], x, total[i], back, limit[FEWEST], limit[BAD_AT], limit[BAD_OF], factor == 0.0
            )
            fault = BAD if is_bad else NO_FAULT
        elif math.isfinite(x):
            here, quiet = clock.local(state[r], clocks, clock.number(what.season), time[i])
            if quiet and e.at > 0 and live[e.at - 1].phase == PENDING:
                leave(e, live, episodes[2], episodes[3])
            score, low, high, learned = value_point(state[r], what, e, live, state, r, here, here - time[i], x, factor)
            if given.size > 0 and not given[i] < 0.0:
                score = min(score, given[i]) if factor > 1.0 else given[i]
            fault = fault_of(x, parameters[what.spec, SIDE], limit)
        seen[i], faults[i] = x, fault
        judged[i, SCORE], judged[i, LOW], judged[i, HIGH], judged[i, LEARNED] = score, low, high, learned
        if mark[i] >= 0:
            outcome[mark[i]] = WARMING if math.isnan(score) else SCORED
        push(rings[r], time[i], x)
        told = not quiet or (e.at > 0 and live[e.at - 1].phase == OPEN)  # what ignores results lets only the open ones end
        if math.isfinite(x) and time[i] > until and told:
            said = math.nan if quiet or (until != 0 and what.slot < 0) else score
            fault = NO_FAULT if quiet else fault
            event, reason, at = step_point(episodes, r, time[i], x, said, low, high, parameters[what.spec], fault, open_at)
            if event != 0:
                write(m, i, r, event, reason, live[at], k, n, events)
                show(rings[r], events[m])
                m += 1
        if what.slot >= 0 and (e.at == 0 or live[e.at - 1].phase == ACCEPTED):
            ratios[what.slot].tally_k = ratios[what.slot].tally_n = 0.0
        touched[r] = 1
    return m


class Judge:
    """Models, episodes and the last values of every judged row of a partition."""

    def __init__(
        self, specs: Sequence[ModelSpec], ahead: int = AHEAD, clocks: Clocks | None = None, told_at: float = math.inf
    ) -> None:
        self.clocks = clocks or Clocks()
        self.specs, self.size, self.ahead = tuple(specs), 0, ahead
        self.bank, self.episodes = Bank(), Episodes(specs, OPEN_AT, told_at)
        self.ratios, self.recent, self.rivers = Ratios(), Recent(), Rivers(specs)
        self.table: NDArray[np.void] = np.zeros(0, JUDGED)
        self.planned = nothing_planned()
        self.touched: NDArray[np.uint8] = np.zeros(0, np.uint8)  # 1: changed since somebody set it to 0
        never = math.inf
        levels = [[never if level is None else level for level in (s.bad, s.warn)] for s in specs]
        limits = [(s.min_events, bad, s.bad_events, warn, s.until) for s, (bad, warn) in zip(specs, levels, strict=True)]
        self.limits = np.array(limits, np.float64).reshape(-1, LIMITS)
        self._season = clock.code_of(np.array([s.season for s in specs], np.bool_), np.zeros(len(specs), np.int64))
        self.slots = 0
        self.free: list[int] = []  # slots to be used again

    def ensure(self, size: int) -> None:
        """Make the judged rows below `size` exist."""
        self.size = max(self.size, size)
        self.table, self.touched = grown(self.table, self.size), grown(self.touched, self.size)
        for each in (self.bank, self.episodes, self.recent):
            each.ensure(self.size)

    def add(self, spec: int, ratio: bool, traffic: bool = False) -> int:
        """One more judged row: of a ratio, of a rate of events, or of any other value."""
        self.give(self.size, spec, ratio, traffic)
        return self.size - 1

    def give(self, row: int, spec: int, ratio: bool, traffic: bool = False) -> None:
        """A judged row that knows nothing yet, at a place of the caller's."""
        self.ensure(row + 1)
        slot = -1
        if ratio:
            slot = self.free.pop() if self.free else self.slots
            self.slots = max(self.slots, slot + 1)
            self.ratios.ensure(self.slots)
        self.table[row], self.touched[row] = (slot, spec, self._season[spec], traffic, 0), 1

    def adopt(self, rows: NDArray[np.int32], spec: NDArray[np.int16], traffic: NDArray[np.uint8]) -> None:
        """New judged rows of values, by the batch."""
        self.ensure(int(rows.max()) + 1)
        one = np.zeros(rows.size, JUDGED)
        one["slot"], one["spec"], one["season"], one["traffic"] = -1, spec, self._season[spec], traffic
        self.table[rows], self.touched[rows] = one, 1

    def release(self, rows: NDArray[np.int32]) -> None:
        """Forget judged rows; a ratio's slot is used again."""
        slots = self.table["slot"][rows]
        for slot in slots[slots >= 0].tolist():
            self.ratios.state[slot] = np.zeros((), self.ratios.state.dtype)
            self.free.append(slot)
        if self.rivers.held:
            self.rivers.release(rows)
        for row in rows[self.episodes.table["at"][rows] > 0].tolist():
            self.episodes.clear(row)
        for column in self.columns().values():
            column[rows] = np.zeros((), column.dtype)
        self.table["slot"][rows], self.touched[rows] = -1, 1

    def settle(self, slots: int) -> None:
        """After rows were put back: which slots of ratios are free."""
        self.slots = slots
        self.free = np.setdiff1d(np.arange(slots), self.table["slot"][: self.size])[::-1].tolist()

    def columns(self) -> dict[str, NDArray[Any]]:
        """All that is kept by judged row."""
        return {
            "judged": self.table, "model": self.bank.state, "episode": self.episodes.table, "recent": self.recent.rings,
        }  # fmt: skip

    def restore(self, row: int, a: Anomaly) -> None:
        """Go on with an episode known from before a restart."""
        reached = BAD if a.bad else WARNED if a.warned else NO_FAULT
        self.episodes.restore(row, a.started, a.score, a.observed, *a.expected, a.direction, a.time, reached)
        slot = int(self.table["slot"][row])
        if slot >= 0:
            self.ratios.state["tally_k"][slot], self.ratios.state["tally_n"][slot] = a.events or (0.0, 0.0)
        self.touched[row] = 1

    def warm(self) -> float:
        """Share of the judged rows of values that know enough by themselves."""
        adaptive_rows = np.flatnonzero(self.table["slot"][: self.size] < 0)
        return float(np.mean(self.bank.warm(adaptive_rows))) if adaptive_rows.size else 1.0

    def judge(self, batch: Batch, outcome: NDArray[np.uint8] | None = None) -> Verdicts:
        """Judge and learn a batch, and say in `outcome` what became of the points that it marks."""
        n = batch.row.size
        outcome = np.empty(n, np.uint8) if outcome is None else outcome
        out, events = (np.empty(n), np.empty((n, 4)), np.empty(n, np.uint8)), np.empty(n, EVENT)
        self.episodes.reserve(n)
        episodes = self.episodes.parameters, self.episodes.open_at, self.episodes.arrays
        fixed = self.table, self.limits, self.clocks.arrays, self._rivers(batch) if self.rivers.any else NO_SCORES
        state = fixed, self.bank.state, self.ratios.state, self.recent.rings
        m = walk(self.ahead, self.planned, batch, *state, *episodes, self.touched, (*out, outcome), events)
        return Verdicts(*out, first(events, m))

    def without_river(self) -> list[int]:
        """Rows that have been judged, and that a model of river's should score for which there is no room."""
        if not self.rivers.any:
            return []
        heard = self.rivers.are(self.table[: self.size]) & (self.episodes.table["last"][: self.size] != 0)
        return [row for row in np.flatnonzero(heard).tolist() if not self.rivers.has(row)]

    def _rivers(self, batch: Batch) -> NDArray[np.float64]:
        """What river's models say of a batch, learning what counts."""
        row, time, clocks = batch.row, batch.time, self.clocks.arrays
        learned = counting(row, time, self.table, self.episodes.table, clocks, self.planned)
        return self.rivers.scores(row, self.table[row], time, batch.value, learned)
