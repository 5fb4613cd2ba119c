"""A judged row as it stood right before a point, and what was said of the point: for whoever has to explain it.

A row depends on no other one, so that a copy of it that is given the row's points alone comes to stand where the row itself
will; the detector goes on as if nobody had looked.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.clock import local_of
from anomaly.detect.detector import Detector
from anomaly.detect.episode import CALM, LIVE
from anomaly.detect.explain import Parts, RatioParts, parts_of, ratio_parts_of
from anomaly.detect.judge import HIGH, LEARNED, LONGEST, LOW, SCORE, Batch, Judge, lost
from anomaly.detect.subject import Subject
from anomaly.detect.watch import Chosen, Wanted, watch


class Moment(NamedTuple):
    """A point, what was said of it, and why. `value` as judged; score, low, high NaN while not known; `learned` seconds.

    `parts` of the score; `loss` what the absence of nearly all traffic says beside, 0: nothing. `before` and `after`: the
    row's episode (`episode.LIVE`), its phase CALM where there is none.
    """

    time: int
    value: float
    score: float
    low: float
    high: float
    learned: float
    bad: bool
    parts: Parts | RatioParts
    loss: float
    before: NDArray[np.void]
    after: NDArray[np.void]


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
                self._meet(detector, row, Batch._make(column[batch.row == row] for column in batch))

        watch(detector.judge, before)

    def found(self) -> list[tuple[Subject, Moment]]:
        """What was found, by who it is about."""
        return [self._found[key] for key in sorted(self._found, key=repr)]

    def _meet(self, detector: Detector, row: int, own: Batch) -> None:
        subject = detector.register.subjects[row]
        if subject.key in self._found:
            return
        late = np.flatnonzero((own.time >= self.at) & np.isfinite(own.value))
        self.newest[subject.key] = int(
            own.time[: late[0] if late.size else None].max(initial=self.newest.get(subject.key, 0))
        )
        if late.size:
            self._found[subject.key] = subject, moment(detector.judge, row, own, int(late[0]))


def moment(judge: Judge, row: int, own: Batch, i: int) -> Moment:
    """What is said of point `i` of a row's own points, of which none has been taken yet."""
    copy = copied(judge, row)
    own = own._replace(row=np.zeros_like(own.row), mark=np.full_like(own.mark, -1))
    copy.judge(Batch._make(column[:i] for column in own))
    time, value, total = int(own.time[i]), float(own.value[i]), float(own.total[i])
    here = int(local_of(copy.bank.state, 0, copy.clocks.arrays, copy.table["season"][0], time))
    before, seconds = episode(copy), (here - copy.bank.state["last"][0]) / 1000.0
    parts = _parts(copy, here if copy.table["slot"][0] < 0 else time, value, total)
    said = copy.judge(Batch._make(column[i : i + 1] for column in own))
    score, low, high, learned = (float(said.judged[0, column]) for column in (SCORE, LOW, HIGH, LEARNED))
    loss = 0.0
    if copy.table["traffic"][0]:
        usual = (before["low"], before["high"]) if before["phase"] != CALM else (low, high)
        loss = float(lost(value, *map(float, usual), min(seconds, LONGEST)))
    numbers = float(said.value[0]), score, low, high, learned
    return Moment(time, *numbers, bool(said.bad[0]), parts, loss, before, episode(copy))


def copied(judge: Judge, row: int) -> Judge:
    """A judge of that row alone, as row 0."""
    what, copy = judge.table[row], Judge(judge.specs, 0, judge.clocks)
    slot = int(what["slot"])
    copy.give(0, int(what["spec"]), slot >= 0, bool(what["traffic"]))
    copy.table["season"][0] = what["season"]
    copy.bank.put([0], judge.bank.take([row]))
    copy.episodes.put([0], judge.episodes.take([row]))
    if slot >= 0:
        copy.ratios.put([0], judge.ratios.take([slot]))
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
    limits = (np.inf if spec.bad is None else spec.bad), spec.bad_events
    return ratio_parts_of(judge.ratios.state, 0, (time, value, total), limits)
