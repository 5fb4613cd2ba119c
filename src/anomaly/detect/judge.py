"""Judge values and cells in arrival order, each followed at once by its episode, so that block borders change nothing.

One row per judged series, dtype JUDGED: `spec` its index in the specs, `season` whether it may have one, `slot` its row
among the ratios, -1 for a value against its band; `traffic` whether it is a rate of events, of which none may be left;
`until` the ms to which an episode from before a restart was told, 0: none. Of such a one the frozen band alone decides, on
what is newer, since what was told comes once more; the model, which knows nothing yet, learns only what lies within it.
A value whose row has an open episode, or a violation that has still to last, is learned with a small weight; whether it has
is known only when the point before it was taken, hence one pass for model and episode.
Values that are not finite are not known: they are neither judged nor learned.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, fetch
from anomaly.config.models import ModelSpec
from anomaly.detect import adaptive, counts
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.bank import Bank
from anomaly.detect.counts import Ratios
from anomaly.detect.episode import OPEN, PENDING, step_point
from anomaly.detect.episodes import EVENT_KINDS, OPEN_AT, EpisodeEvents, Episodes, write
from anomaly.detect.layout import WIDTH, N
from anomaly.detect.recent import Recent
from anomaly.detect.rows import grown
from anomaly.detect.season import day_bucket, week_bucket

JUDGED = np.dtype([("slot", "i4"), ("spec", "i2"), ("season", "u1"), ("traffic", "u1"), ("until", "i8")], align=True)
SCORE, LOW, HIGH, LEARNED = 0, 1, 2, 3
AHEAD, LINE = 4, 64  # points by which a row is asked for before its turn; bytes that memory gives at once
LONGEST = 300.0  # seconds that a rate speaks for


class Batch(NamedTuple):
    """Values of judged rows in arrival order; `total` is n where k of n is judged (`value` is then k), else 0."""

    point: NDArray[np.int64]  # position among the points that brought it
    row: NDArray[np.int32]
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    total: NDArray[np.float64]


class Verdicts(NamedTuple):
    """What was found: `value` (n,) as judged (a ratio for k of n), `judged` (n, 4) score, low, high and seconds learned,
    `bad` (n,) whether the spec's level was reached, `held` (n,) whether the episode was open afterwards, and the events."""

    value: NDArray[np.float64]
    judged: NDArray[np.float64]
    bad: NDArray[np.uint8]
    held: NDArray[np.uint8]
    events: EpisodeEvents


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
def ask(r, time, table, bank, episodes):  # type: ignore[no-untyped-def]
    """Have the state of a row that comes soon brought from memory: at many series that takes as long as judging."""
    state, anchor, last = bank
    for number in range(N, WIDTH, LINE // 4):
        fetch(state, r, 4 * number)
    fetch(state, r, 4 * day_bucket(time))
    fetch(state, r, 4 * week_bucket(time))
    fetch(episodes, r, 0)
    fetch(episodes, r, LINE)
    fetch(table, r, 0)
    fetch(anchor, r, 0)
    fetch(last, r, 0)


@bare
def walk(row, time, value, total, table, limits, bank, ratios, parameters, open_at, episodes, is_open, out, events):  # type: ignore[no-untyped-def]
    """Judge each value, step its episode, learn; returns the number of events. `limits` (specs, 3): fewest, bad, of."""
    state, anchor, last = bank
    seen, judged, faults, held = out
    m = 0
    for i in range(row.size):
        if i + AHEAD < row.size:
            ask(row[i + AHEAD], time[i], table, bank, episodes)
        r = row[i]
        what = table[r]
        held_back, fault = episodes[r].phase == OPEN or episodes[r].phase == PENDING, False
        if what.slot >= 0:
            limit = limits[what.spec]
            verdict = counts.judge_point(
                ratios, what.slot, time[i], value[i], total[i], held_back, limit[0], limit[1], limit[2]
            )
            x, score, low, high, learned, fault = verdict
        else:
            x = value[i]
            score, low, high, learned = math.nan, math.nan, math.nan, 0.0
            if math.isfinite(x) and not (what.until != 0 and is_beyond(episodes[r], x)):
                seconds = (time[i] - last[r]) / 1000.0
                score, low, high, learned = adaptive.judge_point(
                    state, anchor, last, r, time[i], x, what.season != 0, held_back, True
                )
                if what.traffic != 0:
                    frozen = episodes[r].low, episodes[r].high
                    usual = frozen if held_back else (low, high)
                    score = max(score, lost(x, usual[0], usual[1], min(seconds, LONGEST)))
        seen[i], faults[i] = x, fault
        judged[i, SCORE], judged[i, LOW], judged[i, HIGH], judged[i, LEARNED] = score, low, high, learned
        if math.isfinite(x) and time[i] > what.until:
            e = episodes[r]
            said = math.nan if what.until != 0 and what.slot < 0 else score
            event, reason = step_point(e, time[i], x, said, low, high, parameters[what.spec], fault, open_at)
            is_open[r] = e.phase == OPEN
            what.until = what.until if e.phase == OPEN else 0
            if event != 0:
                write(m, i, r, event, reason, e, events)
                m += 1
        held[i] = is_open[r]
    return m


class Judge:
    """Models, episodes and the last values of every judged row of a partition."""

    def __init__(self, specs: Sequence[ModelSpec]) -> None:
        self.specs, self.size = tuple(specs), 0
        self.bank, self.episodes = Bank(), Episodes(specs, OPEN_AT)
        self.ratios, self.recent = Ratios(), Recent()
        self.table: NDArray[np.void] = np.zeros(0, JUDGED)
        never = math.inf
        limits = [(s.min_events, never if s.bad is None else s.bad, s.bad_events) for s in specs]
        self._limits = np.array(limits, np.float64).reshape(-1, 3)
        self._season = np.array([s.season for s in specs], np.uint8)
        self.touched: NDArray[np.uint8] = np.zeros(0, np.uint8)  # 1: changed since the last checkpoint
        self.slots = 0

    def ensure(self, size: int) -> None:
        """Make the judged rows below `size` exist."""
        self.size = max(self.size, size)
        self.table, self.touched = grown(self.table, self.size), grown(self.touched, self.size)
        for each in (self.bank, self.episodes, self.recent):
            each.ensure(self.size)

    def add(self, row: int, spec: int, ratio: bool, traffic: bool = False) -> None:
        """A new judged row: of a ratio, of a rate of events, or of any other value."""
        self.ensure(row + 1)
        slot = -1
        if ratio:
            slot, self.slots = self.slots, self.slots + 1
            self.ratios.ensure(self.slots)
        self.table[row], self.touched[row] = (slot, spec, self.specs[spec].season, traffic, 0), 1

    def adopt(self, rows: NDArray[np.int32], spec: NDArray[np.int16], traffic: NDArray[np.uint8]) -> None:
        """New judged rows of values, by the batch."""
        self.ensure(int(rows.max()) + 1)
        one = np.zeros(rows.size, JUDGED)
        one["slot"], one["spec"], one["season"], one["traffic"] = -1, spec, self._season[spec], traffic
        self.table[rows], self.touched[rows] = one, 1

    def columns(self) -> dict[str, NDArray[Any]]:
        """All that is kept by judged row."""
        bank, recent = self.bank, self.recent
        return {
            "judged": self.table, "model": bank.state, "anchor": bank.anchor, "last": bank.last,
            "episode": self.episodes.table, "open": self.episodes.is_open, "second": recent.second, "value": recent.value,
            "kept": recent.count,
        }  # fmt: skip

    def restore(self, row: int, a: Anomaly) -> None:
        """Go on with an episode known from before a restart."""
        self.episodes.restore(row, a.started, a.score, a.observed, *a.expected, a.direction)
        self.table["until"][row] = a.time

    def warm(self) -> float:
        """Share of the judged rows of values that know enough by themselves."""
        adaptive_rows = np.flatnonzero(self.table["slot"][: self.size] < 0)
        return float(np.mean(self.bank.warm(adaptive_rows))) if adaptive_rows.size else 1.0

    def judge(self, batch: Batch) -> Verdicts:
        """Judge and learn a batch."""
        n = batch.row.size
        out = np.empty(n), np.empty((n, 4)), np.empty(n, np.uint8), np.empty(n, np.uint8)
        events = tuple(np.empty(n, kind) for kind in EVENT_KINDS)
        bank = self.bank.state, self.bank.anchor, self.bank.last
        episodes = self.episodes.parameters, self.episodes.open_at, self.episodes.table, self.episodes.is_open
        self.touched[batch.row] = 1
        m = walk(*batch[1:], self.table, self._limits, bank, self.ratios.state, *episodes, out, events)
        happened = EpisodeEvents(*(column[:m].copy() for column in events))  # type: ignore[arg-type]
        return Verdicts(*out, happened)
