"""Rows that one of river's models scores, where a spec asks for it: a slow path that gives the kernel scores to go on with.

The default model learns such a row as well and says what its band is; river says how odd a value is. Its raw score, which
means something else with every model, becomes -log10 of how rare it is on this series: by its own `tail`, an exponential
above a high quantile; no more than the mean is 0. So does the mean of a few of them, by a tail of its own, and the rarer of
the two counts. A share s, 1 the oddest, is taken as -log10(1 - s), for an exponential tail has no end at 1.
NaN while river's model has said nothing but 0 yet, and for GRACE scores more.

River's models are objects that no format of ours can hold, and unpickling what comes from a topic would execute it. So a
model is always one that learned the last `memory` to 2 * `memory` values, which are what is kept: at twice as many the
older half is dropped, and the model is made anew from the other, as it is after a restart. That bounds whatever river keeps.
Rows past `limits.river` are judged by the default model alone. A model's memory is in points: river knows no seconds.
State is a row of RIVER each and its values, float64; `owner` is 1 + the judged row, `last` ms; the first `ranged` values are
those whose range a model that wants shares goes by, for its trees are cut to a scale that must not move.
Weak with half-space trees, which hardly tell far off from farther off: twenty spreads come to a score of 3, which supports
an incident and alerts nobody by itself (measured). Weak where river's arithmetic is the C library's, which may differ by a
bit from machine to machine, and where a raw score takes few values: one that is often the greatest says little.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Model, ModelSpec
from anomaly.config.river import KNOWN, Asked, River, ask, make
from anomaly.detect import tail
from anomaly.pool import Pool, grown
from anomaly.table import Table

RIVER = np.dtype(
    [
        ("last", "i8"), ("values_at", "i8"), ("values_len", "i4"), ("filled", "i4"), ("ranged", "i4"), ("owner", "i4"),
        ("free", "i4"), ("seen", "f4"), ("smooth", "f4"), ("quantile", "f4", (2,)), ("excess", "f4", (2,)),
        ("size", "f4", (2,)),
    ]
)  # fmt: skip
NOT_RIVER = -1.0  # instead of a score
UNHEARD = 16  # values before river's model says anything: it then learns them all
GRACE = 30.0  # raw scores before one is called rare
LONGEST = 2_000.0  # points that the tail remembers
LEAST = 0.02  # of the mean raw score, and at least TINY: below that neither quantile nor excess falls
TINY = 1e-9
SMOOTH = 0.3  # weight of a raw score in the mean of a few
NEAREST = 1e-12  # to 1 that a share counts
NONE = 0


class Said(NamedTuple):
    """What river's model says of a value: how rare `raw` is by the tail above `usual`, and what `looks` bear of that."""

    model: str
    raw: float
    usual: float
    looks: float
    alone: float
    score: float


class Scorer:
    """One of river's models, with what stands before it."""

    def __init__(self, spec: River, first: NDArray[np.float64]) -> None:
        """`first` are values by which it knows the range of the series."""
        self.model, self.known = make(spec), KNOWN[spec.model]
        self._low = float(first.min(initial=math.inf))
        self._span = max(float(first.max(initial=-math.inf)) - self._low, TINY * max(abs(self._low), 1.0))

    def take(self, value: float, teach: bool) -> float:
        """How odd river calls a value, 0 or more, before it is learned."""
        raw = ask(self.model, self.known.asked, self._shown(value), teach)
        if not math.isfinite(raw):
            return 0.0
        return -math.log10(max(1.0 - raw, NEAREST)) if self.known.likely else max(raw, 0.0)

    def _shown(self, value: float) -> float:
        """The value as the model wants it: as it is, or between 0 and 1, the middle half of which is the range so far."""
        if self.known.asked is not Asked.SHARE:
            return value
        return min(max(0.25 + 0.5 * (value - self._low) / self._span, 0.0), 1.0)


class Rivers:
    """River's models of a partition, by judged row; at most `most` rows have one."""

    def __init__(self, specs: Sequence[ModelSpec]) -> None:
        self.specs, self.most, self.held = [s.river if s.model is Model.RIVER else None for s in specs], math.inf, 0
        self._asked = np.array([spec is not None for spec in self.specs], np.bool_)
        self.any = bool(self._asked.any())
        self.values = Pool("values", "river", np.float64)
        self.table = Table("rivers", {"river": (RIVER, 0)}, (self.values,), ("river", "free"))
        self._place: NDArray[np.int32] = np.zeros(0, np.int32)  # by judged row: 1 + its row of the table, NONE
        self._scorers: dict[int, Scorer] = {}  # by row of the table; made from the values where one is missing

    def settle(self) -> None:
        """Know again whose the rows are that were put back."""
        owner = self.table["river"]["owner"][: self.table.used]
        self._place = np.zeros(int(owner.max(initial=0)), np.int32)
        self._place[owner[owner != 0] - 1] = np.flatnonzero(owner) + 1
        self.held = int(np.count_nonzero(owner))
        self._scorers.clear()

    def are(self, judged: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which judged rows are river's by their specs, given as `judge.JUDGED`."""
        found: NDArray[np.bool_] = self._asked[judged["spec"]] & (judged["slot"] < 0)
        return found

    def has(self, row: int) -> bool:
        """Whether a judged row has a model."""
        return bool(row < self._place.size and self._place[row] != NONE)

    def scores(
        self,
        row: NDArray[np.int32],
        judged: NDArray[np.void],
        time: NDArray[np.int64],
        value: NDArray[np.float64],
        learned: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Score points of judged rows, `judged` what they are, (n,); NOT_RIVER for those of others.

        Learned is what is newer than the last of its row, if `learned`.
        """
        found = np.full(row.size, NOT_RIVER)
        self._place = grown(self._place, int(row.max(initial=-1)) + 1)
        for i in np.flatnonzero(self.are(judged) & np.isfinite(value)).tolist():
            spec = self._spec(int(judged["spec"][i]))
            place = self._found(int(row[i]), spec)
            if place >= 0:
                found[i] = self._take(place, spec, int(time[i]), float(value[i]), bool(learned[i]))
        return found

    def look(self, row: int, spec: int, value: float) -> Said | None:
        """What would be said of a value; of a copy, for what tells drift learns it. None: it is not river's to say."""
        place = int(self._place[row]) - 1 if row < self._place.size else -1
        if place < 0:
            return None
        river, one = self._spec(spec), self.table["river"][place]
        if one["ranged"] == 0:
            return Said(river.model, 0.0, 0.0, 0.0, math.nan, math.nan)
        scorer = self._scorer(place, river)
        raw = scorer.take(value, scorer.known.asked is Asked.DRIFT)
        return said(one, river.model, (raw, float(one["smooth"]) + SMOOTH * (raw - float(one["smooth"]))))

    def hand(self, to: "Rivers", row: int, new: int, specs: tuple[int, int]) -> None:
        """Give another what a row knows, if its spec of there, the second, asks for the same model."""
        place = int(self._place[row]) - 1 if row < self._place.size else -1
        if place < 0 or self.specs[specs[0]] != to.specs[specs[1]]:
            return
        to._place = grown(to._place, new + 1)
        there = to._found(new, to._spec(specs[1]))
        if there >= 0:
            ours, theirs = self.table["river"][place], to.table["river"][there]
            to._values(there)[:] = self._values(place)
            for field in ("last", "filled", "ranged", "seen", "smooth", "quantile", "excess", "size"):
                theirs[field] = ours[field]

    def release(self, judged: NDArray[np.int32]) -> None:
        """Forget judged rows that are no more."""
        self._place = grown(self._place, int(judged.max(initial=-1)) + 1)
        gone = self._place[judged]
        gone = np.sort(gone[gone > 0] - 1)
        self.table.release(gone)
        self._place[judged] = NONE
        self.held -= gone.size
        for place in gone.tolist():
            self._scorers.pop(place, None)

    def _spec(self, spec: int) -> River:
        found = self.specs[spec]
        assert found is not None
        return found

    def _found(self, row: int, spec: River) -> int:
        """The place of a judged row; -1: there is no more room."""
        if self._place[row] == NONE:
            if self.held >= self.most:
                return -1
            place = self.table.new()
            at = self.table.place(self.values, 2 * spec.memory)
            one = self.table["river"][place]
            one["owner"], one["values_at"], one["values_len"] = row + 1, at, 2 * spec.memory
            self._values(place)[:] = 0.0
            self._place[row], self.held = place + 1, self.held + 1
        return int(self._place[row]) - 1

    def _values(self, place: int) -> NDArray[np.float64]:
        one = self.table["river"][place]
        return self.values.array[int(one["values_at"]) : int(one["values_at"]) + int(one["values_len"])]

    def _scorer(self, place: int, spec: River) -> Scorer:
        """The model of a row, as the values that are kept have taught it."""
        found = self._scorers.get(place)
        if found is None:
            one, values = self.table["river"][place], self._values(place)
            found = self._scorers[place] = Scorer(spec, values[: int(one["ranged"])])
            for value in values[: int(one["filled"])].tolist():
                found.take(value, teach=True)
        return found

    def _take(self, place: int, spec: River, time: int, value: float, learned: bool) -> float:
        one, teach = self.table["river"][place], learned and time > self.table["river"]["last"][place]
        if one["ranged"] == 0:  # values come first: a model needs to know their range
            if teach:
                self._keep(place, one, spec, time, value)
            return math.nan
        scorer = self._scorer(place, spec)
        raw = scorer.take(value, teach)
        both = raw, float(one["smooth"]) + SMOOTH * (raw - float(one["smooth"]))
        told = said(one, spec.model, both).score
        if teach:
            if raw > 0.0 or one["seen"] > 0.0 or scorer.known.asked is Asked.DRIFT:
                learn(one, both)
            self._keep(place, one, spec, time, value)
        return told

    def _keep(self, place: int, one: np.void, spec: River, time: int, value: float) -> None:
        """Keep a value; when there is no more room the older half goes, and the model is made anew."""
        values, filled = self._values(place), int(one["filled"])
        values[filled] = value
        one["filled"], one["last"], self.table.touched[place] = filled + 1, time, 1
        if one["ranged"] == 0 and filled + 1 == UNHEARD:
            one["ranged"] = UNHEARD
        if filled + 1 == values.size:
            values[: spec.memory], values[spec.memory :] = values[spec.memory :].copy(), 0.0
            one["filled"] = one["ranged"] = spec.memory
            self._scorers.pop(place, None)


def said(one: np.void, model: str, raw: tuple[float, float]) -> Said:
    """What raw scores, that of the value and the mean of a few, come to on this series: by the one that says more."""
    return max((of(one, model, each, i) for i, each in enumerate(raw)), key=lambda told: (told.score, told.alone))


def of(one: np.void, model: str, raw: float, i: int) -> Said:
    """By one of the two tails."""
    usual, looks, mean = float(one["quantile"][i]), float(one["seen"]), float(one["size"][i])
    if looks < GRACE:
        return Said(model, raw, usual, looks, math.nan, math.nan)
    alone = float(tail.surprise(max(raw - mean, 0.0), usual - mean, float(one["excess"][i]), least(mean)))
    return Said(model, raw, usual, looks, alone, float(tail.capped(alone, looks, tail.CLAIM)))


def least(mean: float) -> tuple[float, float]:
    """The smallest quantile, above the mean, and excess that are believed."""
    smallest = max(LEAST * mean, TINY)
    return smallest, smallest


def learn(one: np.void, raw: tuple[float, float]) -> None:
    """What raw scores are usual on this series: the greatest of the first few is about where the tail begins."""
    one["seen"] += 1.0
    one["smooth"] = raw[1]
    seen, quantile, excess, size = float(one["seen"]), one["quantile"], one["excess"], one["size"]
    for i, each in enumerate(raw):
        size[i] += max(1.0 / seen, 1.0 / LONGEST) * (each - size[i])
        if seen <= GRACE:
            quantile[i], excess[i] = max(each, float(quantile[i])), 0.5 * size[i]
        else:
            weight = max(1.0 / (seen + tail.PRIOR), 1.0 / LONGEST)
            learned = tail.learn(each, weight, float(quantile[i]), float(excess[i]), least(float(size[i])))
            quantile[i], excess[i] = learned
