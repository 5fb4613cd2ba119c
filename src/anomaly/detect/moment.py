"""A judged row as it stood right before a point, and what was said of the point: for whoever has to explain it.

A row depends on no other one but its neighbour, the same sum in shorter cells, where it has one; so that a copy of the two
that is given their points alone comes to stand where they will; the detector goes on as if nobody had looked.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.anomaly import Anomaly
from anomaly.detect.clock import local_of
from anomaly.detect.detector import Detector
from anomaly.detect.episode import LIVE, OPEN, PENDING
from anomaly.detect.explain import Loss, Parts, RatioParts, gone_part, is_known, parts_of, ratio_parts_of
from anomaly.detect.judge import HIGH, LEARNED, LONGEST, LOW, NEIGHBOUR, SCORE, Batch, Judge, left, lost
from anomaly.detect.river import Said
from anomaly.detect.subject import Subject
from anomaly.detect.watch import Chosen, Wanted, watch


class Moment(NamedTuple):
    """A point, what was said of it, and why. `value` as judged; score, low, high NaN while not known; `learned` seconds.

    `parts` of the score; `loss` what the absence of traffic says beside, None: this is no traffic. `before` and `after`:
    the row's episode (`episode.LIVE`), its phase CALM where there is none. `beside`: what was open of what is judged
    together with it, and `reduced` what made its anomaly count for less, both as last known then.
    """

    time: int
    value: float
    score: float
    low: float
    high: float
    learned: float
    bad: bool
    parts: Parts | RatioParts
    loss: Loss | None
    before: NDArray[np.void]
    after: NDArray[np.void]
    beside: tuple[Anomaly, ...] = ()
    reduced: tuple[str, ...] = ()
    river: Said | None = None  # what one of river's models said instead of the parts


class Moments:
    """Looks for the first value of each wanted row at or after `at`, ms."""

    def __init__(self, wanted: Wanted, at: int) -> None:
        self.wanted, self.at = wanted, at
        self.newest: dict[tuple[object, ...], int] = {}  # of those that were met before, when they spoke last
        self._found: dict[tuple[object, ...], tuple[Subject, Moment]] = {}

    def follow(self, detector: Detector) -> None:
        """Look on while a detector judges."""
        chosen = Chosen(detector, self.wanted)

        def before(batch: Batch) -> None:
            for row in chosen.among(batch.row):
                self._meet(detector, row, batch)

        watch(detector.judge, before)

    def found(self) -> list[tuple[Subject, Moment]]:
        """What was found, by who it is about."""
        return [self._found[key] for key in sorted(self._found, key=repr)]

    def _meet(self, detector: Detector, row: int, batch: Batch) -> None:
        subject = detector.register.subjects[row]
        if subject.key in self._found:
            return
        judge = detector.judge
        own = Batch._make(column[np.isin(batch.row, family(judge, row))] for column in batch)
        mine, late = own.row == row, own.time >= self.at
        spoken = own.time[mine & ~late].max(initial=self.newest.get(subject.key, 0))
        self.newest[subject.key] = int(spoken)
        asked = np.flatnonzero(mine & late & np.isfinite(own.value))
        if asked.size:
            beside, reduced = detector.together.beside(subject, row)
            told = moment(judge, row, own, int(asked[0]))
            self._found[subject.key] = subject, told._replace(beside=beside, reduced=reduced)


def family(judge: Judge, row: int) -> list[int]:
    """The row, and its neighbour if it has one."""
    slot = int(judge.table["slot"][row])
    return [row] if slot > NEIGHBOUR else [row, NEIGHBOUR - slot]


def moment(judge: Judge, row: int, own: Batch, i: int) -> Moment:
    """What is said of point `i` of those of a row and its neighbour, of which none has been taken yet."""
    copy = copied(judge, row)
    own = own._replace(row=(own.row != row).astype(np.int32), mark=np.full_like(own.mark, -1))
    copy.judge(Batch._make(column[:i] for column in own))
    time, value, total = int(own.time[i]), float(own.value[i]), float(own.total[i])
    value = left(value, time) if copy.specs[int(copy.table["spec"][0])].until else value
    here = int(local_of(copy.bank.state, 0, copy.clocks.arrays, copy.table["season"][0], time))
    before, parts = episode(copy), _parts(copy, here if copy.table["slot"][0] < 0 else time, value, total)
    loss = (
        _loss(copy, parts, (here, here - time), value, before)
        if isinstance(parts, Parts) and copy.table["traffic"][0]
        else None
    )
    river = copied(copy, 0).rivers.look(0, int(copy.table["spec"][0]), value) if copy.rivers.held else None
    said = copy.judge(Batch._make(column[i : i + 1] for column in own))
    score, low, high, learned = (float(said.judged[0, column]) for column in (SCORE, LOW, HIGH, LEARNED))
    numbers = float(said.value[0]), score, low, high, learned
    return Moment(time, *numbers, bool(said.bad[0]), parts, loss, before, episode(copy), river=river)


def copied(judge: Judge, row: int) -> Judge:
    """A judge of that row as row 0, and of its neighbour as row 1."""
    copy = Judge(judge.specs, 0, judge.clocks)
    copy.planned = judge.planned
    for at, each in enumerate(family(judge, row)):
        what = judge.table[each]
        copy.give(at, int(what["spec"]), int(what["slot"]) >= 0, bool(what["traffic"]))
        copy.table["season"][at], copy.table["window"][at] = what["season"], what["window"]
        copy.bank.put([at], judge.bank.take([each]))
        copy.episodes.put([at], judge.episodes.take([each]))
        judge.rivers.hand(copy.rivers, each, at, (int(what["spec"]), int(what["spec"])))
    slot = int(judge.table["slot"][row])
    if slot >= 0:
        copy.ratios.put([0], judge.ratios.take([slot]))
    if slot <= NEIGHBOUR:
        copy.table["slot"][0] = NEIGHBOUR - 1
    return copy


def episode(judge: Judge) -> NDArray[np.void]:
    """The episode of row 0, as it stands."""
    at = int(judge.episodes.table["at"][0]) - 1
    found: NDArray[np.void] = judge.episodes.live[at].copy() if at >= 0 else np.zeros((), LIVE)
    return found


def _parts(judge: Judge, time: int, value: float, total: float) -> Parts | RatioParts:
    spec = judge.specs[int(judge.table["spec"][0])]
    if int(judge.table["slot"][0]) < 0:
        return parts_of(judge.bank.state, 0, time, value, spec.season)
    limits = spec.min_events, (np.inf if spec.bad is None else spec.bad), spec.bad_events
    return ratio_parts_of(judge.ratios.state, 0, (time, value, total), limits)


def _loss(judge: Judge, parts: Parts, at: tuple[int, int], value: float, before: NDArray[np.void]) -> Loss:
    """`at`: the local time, and how far it is after UTC, ms."""
    (time, offset), state, what = at, judge.bank.state, judge.table[0]
    usual = (parts.low, parts.high) if is_known(parts) else (np.nan, np.nan)
    if before["phase"] in (OPEN, PENDING):
        usual = float(before["low"]), float(before["high"])
    seconds = (time - max(int(state["last"][0]), int(judge.episodes.table["last"][0]) + offset)) / 1000.0
    gone = 0.0, np.nan, np.nan, seconds
    if judge.specs[int(what["spec"])].season:
        gone = gone_part(state, 0, 1 if what["slot"] <= NEIGHBOUR else 0, time, value)
    return Loss(float(lost(value, *usual, min(seconds, LONGEST))), *map(float, gone))
