"""A group's golden signals as anomalies of their own, and latency that traffic explains.

`joint` judges; here are names, what is open, and who is no more. The joint anomaly is of the group, service-level, and says
which signal drives it. A latency that is no further off than it usually is with such traffic keeps only the evidence of what
is left of it, and says so (`reduced_by`); if the traffic goes and the latency stays, the whole evidence comes back.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from anomaly.config.models import Direction, Model, ModelSpec, Signal, Sum
from anomaly.decode.index import Index
from anomaly.detect import tail
from anomaly.detect.anomaly import GOLDEN, REMOVED, Anomaly, Event
from anomaly.detect.episode import CALM, OPEN, OPENED, PENDING, RECORD
from anomaly.detect.episodes import REASONS
from anomaly.detect.identity import identity
from anomaly.detect.joint import ALONG, BESIDE, EDGE, JOINT, MINUTE, combine, deviations
from anomaly.detect.judge import Batch, Judge, Verdicts
from anomaly.detect.register import Register
from anomaly.detect.report import SILENCE
from anomaly.detect.rows import SIGNALS
from anomaly.detect.shift import Said

NAMES = (Signal.LATENCY, Signal.TRAFFIC, Signal.ERRORS, Signal.SATURATION)
UNHEARD = 600_000  # ms without a minute that could be judged, after which what is open ends
REDUCED, REGAINED = 0.5, 1.0  # decades of evidence: less is not spoken of; so much more is news

HasLeft = Callable[[int], bool]  # of a group heard at that time: it is not waited for any more


class Reduced(NamedTuple):
    """A latency that traffic explains in part: its group's row, the greatest score told, and all there is to say of it."""

    golden: int
    told: float
    whole: Anomaly


class Memory(Struct, frozen=True):
    """What is small of it: open by row, known from before a restart, and the reduced by judged row."""

    open: list[tuple[int, Anomaly]] = []
    known: list[Anomaly] = []
    reduced: list[tuple[int, int, float, Anomaly]] = []


def signal_of(spec: ModelSpec) -> int:
    """Which golden signal the sums of a spec tell, -1: none."""
    whole = spec.sum is Sum.GROUP and spec.pages
    if spec.signal is Signal.SATURATION:
        return NAMES.index(spec.signal) if spec.sum is not Sum.NONE else -1
    is_ratio = spec.model is Model.RATIO
    return NAMES.index(spec.signal) if whole and spec.signal in NAMES and is_ratio == (spec.signal is Signal.ERRORS) else -1


class Golden:
    """Judges golden signals together, by group."""

    def __init__(self, specs: Sequence[ModelSpec], register: Register, judge: Judge) -> None:
        self.specs, self.register, self.judge = tuple(specs), register, judge
        self.open: dict[int, Anomaly] = {}
        self.known: dict[tuple[object, ...], Anomaly] = {}
        self.reduced: dict[int, Reduced] = {}
        self._index = Index()
        self._signals = np.array([signal_of(spec) for spec in specs], np.int8)
        self._latency = {i for i, spec in enumerate(specs) if signal_of(spec) == 0}
        self._work = np.zeros((SIGNALS, SIGNALS + 1)), np.zeros(SIGNALS), np.zeros(SIGNALS, np.int64)

    def take(self, batch: Batch, verdicts: Verdicts, said: Sequence[Anomaly]) -> tuple[list[Anomaly], list[Said]]:
        """What is said of single series, of latency less where traffic explains it; and what is said of groups."""
        cells = int(np.count_nonzero(batch.mark < 0))
        if not cells:
            return list(said), []
        places = verdicts.events.index.tolist() if said else []
        asked = [at for at, a in zip(places, said, strict=True) if self._is_latency(int(batch.row[at]), a)]
        events, standings = self._combine(batch, verdicts, np.array(asked, np.int64), cells)
        at_place = {int(s["at"]): s for s in standings if s["at"] >= 0}
        told = [self._latency_said(int(batch.row[at]), a, at_place.get(at)) for at, a in zip(places, said, strict=True)]
        found = [(int(s["point"]), a) for s in standings if s["at"] < 0 for a in self._regained(s)]
        return told, [*found, *((int(e["point"]), self._anomaly(e)) for e in events)]

    def end(self, time: int, has_left: HasLeft) -> list[Anomaly]:
        """End what is open of groups that say nothing any more."""
        t, found = self.register.tables, []
        for g in sorted(self.open):
            one = t.golden["golden"][g]
            at = int(self.register.find_groups(np.array([one["key"]], np.uint64))[0])
            heard = int(t.groups["group"]["last"][at]) if at >= 0 else 0
            if at < 0 or has_left(heard) or heard - (int(one["minute"]) + 1) * MINUTE > UNHEARD:
                a = self.open.pop(g)
                found.append(msgspec.structs.replace(a, event=Event.CLOSE, time=time, ended=time, reason=REMOVED))
                one["phase"], t.golden.touched[g] = CALM, 1
        return found

    def sweep(self) -> None:
        """Forget groups that are no more."""
        table = self.register.tables.golden
        keys = table["golden"]["key"][: table.used]
        gone = np.flatnonzero((keys != 0) & (self.register.find_groups(keys) < 0))
        left = gone[~np.isin(gone, list(self.open))].astype(np.int32)
        if left.size:
            table.release(left)
            self.settle()

    def settle(self) -> None:
        """Know the groups by their keys."""
        self._index.build(self.register.tables.golden.used, self.register.tables.golden["golden"]["key"])

    def take_over(self, old: "Golden", rows: dict[int, int]) -> list[Anomaly]:
        """Go on with what others know of groups that are here; what was open of other groups, which is over."""
        theirs, table, left = old.register.tables.golden, self.register.tables.golden, dict(old.open)
        used, moved = theirs["golden"][: theirs.used], dict[int, int]()
        known = np.isin(used["key"], table["golden"]["key"][: table.used])  # of groups that moved before
        here = (used["key"] != 0) & (self.register.find_groups(used["key"]) >= 0) & ~known
        for g in np.flatnonzero(here).tolist():
            to = moved[g] = table.new()
            table["golden"][to] = used[g]
            if g in left:
                self.open[to] = left.pop(g)
        kept = {rows[r]: each for r, each in old.reduced.items() if r in rows and each.golden in moved}
        self.reduced |= {row: each._replace(golden=moved[each.golden]) for row, each in kept.items()}
        self.known |= old.known
        self.settle()
        return [left[g] for g in sorted(left)]

    def calm(self) -> None:
        """Nothing is open."""
        table = self.register.tables.golden
        golden = table["golden"][: table.used]
        begun = np.flatnonzero((golden["phase"] == OPEN) | (golden["phase"] == PENDING))
        golden["phase"][begun], table.touched[begun] = CALM, 1
        for each in (self.open, self.known, self.reduced):
            each.clear()

    def memory(self) -> Memory:
        """What is small of it."""
        known = sorted(self.known.values(), key=lambda a: a.id)
        return Memory(sorted(self.open.items()), known, [(row, *each) for row, each in sorted(self.reduced.items())])

    def remember(self, memory: Memory) -> None:
        """Go on with it."""
        self.open, self.known = dict(memory.open), {a.key: a for a in memory.known}
        self.reduced = {row: Reduced(golden, told, a) for row, golden, told, a in memory.reduced}
        self.settle()

    def meet(self, first: int = 0) -> None:
        """Go on with anomalies from before a restart of groups that are met again."""
        t = self.register.tables
        for g in range(first, t.golden.used if self.known else 0):
            one = t.golden["golden"][g]
            a = self.known.pop((*self._group(g), SILENCE, GOLDEN, (), None), None) if one["key"] else None
            if a is not None:
                one["phase"], one["started"], one["side"], one["observed"] = OPEN, a.started, 1, a.observed
                one["score"] = one["spoken"] = a.score
                self.open[g], t.golden.touched[g] = a, 1

    def _combine(
        self, batch: Batch, verdicts: Verdicts, asked: NDArray[np.int64], cells: int
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        t = self.register.tables
        before = t.golden.used
        t.golden.reserve(before + cells)
        golden = t.golden["golden"]
        self._index.reserve(cells, golden["key"])
        out = np.zeros(cells, JOINT), np.zeros(cells + asked.size, BESIDE)
        rows = self.judge.table, t.subjects["subject"], t.aggregates["aggregate"], t.groups["group"]
        known = self._signals, self.judge.episodes.parameters
        columns = (batch.point, batch.row, batch.time, batch.mark), (verdicts.value, verdicts.judged)
        index = self._index.slots, self._index.count
        own = golden, t.golden.touched, t.golden.count, index, self._work, out
        m, k = combine(*columns, asked, rows, known, *own)
        if t.golden.used > before:
            self.meet(before)
        return out[0][:m], out[1][:k]

    def _is_latency(self, row: int, a: Anomaly) -> bool:
        """Whether it is the latency of a whole group, and worse than before."""
        return a.event is not Event.CLOSE and a.aggregate and int(self.judge.table["spec"][row]) in self._latency

    def _latency_said(self, row: int, a: Anomaly, standing: np.void | None) -> Anomaly:
        """An anomaly with the evidence that traffic leaves of it."""
        before = self.reduced.pop(row, None)
        if a.event is Event.CLOSE or standing is None:
            return msgspec.structs.replace(a, score=before.told) if before else a
        left = unexplained(a.score, standing)
        told = max(left, before.told if before else 0.0)
        if told > a.score - REDUCED:
            return a
        self.reduced[row] = Reduced(int(standing["golden"]), told, a)
        return msgspec.structs.replace(a, score=told, reduced_by=(explained(a.score, told),))

    def _regained(self, standing: np.void) -> list[Anomaly]:
        """Latencies that traffic does not explain any more."""
        found = []
        for row, each in sorted(self.reduced.items()):
            if each.golden != standing["golden"]:
                continue
            left = unexplained(each.whole.score, standing)
            if left < each.told + REGAINED:
                continue
            time = max(int(standing["time"]), each.whole.time)
            self.reduced[row] = each._replace(told=left)
            reduced_by = (explained(each.whole.score, left),) if left < each.whole.score - REDUCED else ()
            found.append(
                msgspec.structs.replace(each.whole, event=Event.RECORD, time=time, score=left, reduced_by=reduced_by)
            )
        return found

    def _group(self, g: int) -> tuple[str, str]:
        key = self.register.tables.golden["golden"]["key"][g : g + 1]
        return self.register.subjects.group(int(self.register.find_groups(key)[0]))

    def _anomaly(self, e: np.void) -> Anomaly:
        """An event of a group as an anomaly."""
        g = int(e["golden"])
        if e["event"] == OPENED or g not in self.open:
            self.open[g] = self._opened(g, e)
        a = self.open[g]
        if e["event"] in (OPENED, RECORD):
            a = msgspec.structs.replace(a, parts=parts_of(e))
        a = self.open[g] = msgspec.structs.replace(
            a, event=Event.OPEN if e["event"] == OPENED else Event.RECORD, time=int(e["time"]), score=float(e["score"]),
            observed=float(e["observed"]), current=float(e["now"]),
        )  # fmt: skip
        if e["event"] in (OPENED, RECORD):
            return a
        del self.open[g]
        return msgspec.structs.replace(a, event=Event.CLOSE, ended=a.time, reason=REASONS[e["reason"]])

    def _opened(self, g: int, e: np.void) -> Anomaly:
        environment, group = self._group(g)
        started = int(e["started"])
        return Anomaly(
            id=identity((environment, group, SILENCE, GOLDEN, (), None), started), event=Event.OPEN, time=started,
            environment=environment, group=group, metric=SILENCE, quantity=GOLDEN, labels=(), instance=(), aggregate=True,
            unit="1", signal=Signal.OTHER, spec=GOLDEN, pages=True, direction=Direction.ABOVE, started=started, ended=None,
            score=0.0, observed=0.0, current=0.0, expected=(0.0, float(e["band"])), events=None, bad=False,
            learned=float(e["seen"]), points=(),
        )  # fmt: skip


def parts_of(e: np.void) -> tuple[tuple[str, float], ...]:
    """The signals with how far each is off, in usual sizes; the one that adds most to the distance first."""
    known = [i for i in range(SIGNALS) if math.isfinite(e["u"][i])]
    return tuple((NAMES[i].value, float(e["u"][i])) for i in sorted(known, key=lambda i: -float(e["adds"][i])))


def unexplained(score: float, standing: np.void) -> float:
    """The score that is left of a latency where it stands so to the traffic, as usual up to now."""
    r, traffic, latency = (float(standing[name]) for name in ("r", "u", "latency"))
    if r <= 0.0 or traffic <= 0.0:
        return score
    if math.isnan(latency):
        latency = deviations(score) / float(standing["size"])
    share = max(latency - r * traffic, 0.0) / (math.sqrt(1.0 - r * r) * max(latency, r * traffic))
    return min(score, score_of(share * deviations(score)))


def score_of(z: float) -> float:
    """The score of so many deviations."""
    return tail.AT_QUANTILE / EDGE * z if z <= EDGE else tail.AT_QUANTILE + (z - EDGE) / ALONG


def explained(score: float, left: float) -> str:
    """Why an anomaly counts for less."""
    return f"traffic: it rises too, and usually takes the latency along; evidence {score:.1f}, of which {left:.1f} is left"
