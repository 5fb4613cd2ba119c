"""Fleets of instances, and the anomalies of those that are odd among their peers.

Rows are compared by `peers`; here are their names, what is open, and who is no more. An anomaly of an instance among its
peers has the quantity of what was compared and AMONG behind it, so that it is never taken for one against the instance's own
past.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction, ModelSpec, Peers
from anomaly.decode.index import Index
from anomaly.detect.anomaly import AMONG, REMOVED, Anomaly, Event
from anomaly.detect.episode import CALM, OPEN, PENDING
from anomaly.detect.episodes import OPENED, REASONS, RECORD
from anomaly.detect.identity import identity
from anomaly.detect.judge import Judge
from anomaly.detect.peers import TOLD_OF, compare
from anomaly.detect.register import Register
from anomaly.detect.rows import DISTRIBUTION, Cells
from anomaly.detect.subject import Subject
from anomaly.detect.text import PADDING
from anomaly.pool import grown

# For so many ms, or steps of its sum, an instance is not compared, or its group has too few; then its anomaly ends. So a
# version that was rolled back is over within five minutes.
UNHEARD, STEPS = 180_000, 4


class Fleets:
    """Compares instances. `open`: anomalies by row of the peers; `known`: from before a restart, of nobody met again yet."""

    def __init__(self, specs: Sequence[ModelSpec], register: Register, judge: Judge) -> None:
        self.specs, self.register, self.judge = tuple(specs), register, judge
        self.open: dict[int, Anomaly] = {}
        self.known: dict[tuple[object, ...], Anomaly] = {}
        self._index = Index()
        self._parameters, self._limits = judge.episodes.parameters, judge.limits
        self._scratch = np.zeros(64, np.int64), np.zeros(64), np.zeros(64, np.int64)
        self._out: NDArray[np.void] = np.zeros(64, TOLD_OF)

    def compare(self, closed: Cells) -> list[tuple[int, Anomaly]]:
        """What the members that were shown are among their peers: (point of the batch, anomaly), in arrival order."""
        n = int(closed.used[2])
        if not n:
            return []
        self._make_room(n)
        t, before = self.register.tables, self.register.tables.peers.used
        judged = t.aggregates["judged"], self.judge.table
        known = t.labels["label"], t.label_text.array, np.uint64(self.register.seed)
        peers, fleets = t.peers["peer"], t.fleets["fleet"]
        touched, counts = (t.peers.touched, t.fleets.touched), (t.peers.count, t.fleets.count)
        index = self._index.slots, self._index.count
        fixed = judged, self._parameters, self._limits, known
        m = compare(closed.shown, n, t.state(), *fixed, peers, fleets, touched, counts, index, self._scratch, self._out)
        if self.known and t.peers.used > before:
            self._meet(before)
        return [(int(e["point"]), self._anomaly(e)) for e in self._out[:m]]

    def is_odd(self, members: Iterable[int]) -> bool:
        """Whether an instance of one of these members is odd among its peers, or begins to be."""
        t = self.register.tables
        rows = [int(t.members["member"]["peer"][m]) - 1 for m in members]
        return any(t.peers["peer"]["phase"][p] != CALM for p in rows if p >= 0)

    def restore(self) -> None:
        """Go on with what is known to have been open before a restart."""
        self._meet(0)

    def calm(self) -> None:
        """Nothing is open."""
        table = self.register.tables.peers
        peers = table["peer"][: table.used]
        begun = np.flatnonzero((peers["phase"] == OPEN) | (peers["phase"] == PENDING))
        peers["phase"][begun], table.touched[begun] = CALM, 1
        self.open.clear()
        self.known.clear()

    def end(self, time: int, has_left: Callable[[int], bool]) -> list[Anomaly]:
        """End what is open of instances that are not compared any more."""
        if not self.open:
            return []
        t, found = self.register.tables, []
        peers = t.peers["peer"]
        for p in sorted(self.open):
            fleet = t.fleets["fleet"][peers["fleet"][p]]
            group = int(t.aggregates["aggregate"]["group"][fleet["agg"]])
            heard = int(t.groups["group"]["last"][group])
            is_left = fleet["key"] != peers["of"][p] or t.aggregates["aggregate"]["key"][fleet["agg"]] != fleet["key"]
            is_left |= has_left(heard)
            patience = max(UNHEARD, STEPS * int(t.aggregates["aggregate"]["step"][fleet["agg"]]))
            if is_left or heard - max(int(peers["looked"][p]), self.open[p].started) > patience:
                found.append(_over(self.open.pop(p), time))
                peers["phase"][p], t.peers.touched[p] = CALM, 1
        return found

    def sweep(self) -> None:
        """Forget fleets whose aggregate is no more, and instances of which no series is left."""
        t = self.register.tables
        fleets, peers = t.fleets["fleet"][: t.fleets.used], t.peers["peer"][: t.peers.used]
        gone = (fleets["key"] != 0) & (t.aggregates["aggregate"]["key"][fleets["agg"]] != fleets["key"])
        members = t.members["member"][: t.members.used]["peer"]
        spoken = np.zeros(t.peers.used + 1, np.bool_)
        spoken[members] = True
        spoken[[p + 1 for p in self.open]] = True
        t.fleets.release(np.flatnonzero(gone).astype(np.int32))
        left = np.flatnonzero((peers["key"] != 0) & ~spoken[1:]).astype(np.int32)
        if left.size:
            t.peers.release(left)
            self.settle()

    def take_over(self, old: "Fleets") -> list[Anomaly]:
        """Go on with what others know of instances whose aggregates are here; what was open of the rest, which is over."""
        theirs, t = old.register.tables, self.register.tables
        used, ours = theirs.fleets["fleet"][: theirs.fleets.used], t.aggregates["aggregate"]
        at = self.register.index.aggregates.find(used["key"], ours["key"])
        peers, left = theirs.peers["peer"][: theirs.peers.used], dict(old.open)
        rows = self.register.find(theirs.rows["row"]["key"][peers["row"]])
        for f in np.flatnonzero((used["key"] != 0) & (at >= 0)).tolist():
            if ours["fleet"][at[f]] >= 0:
                continue  # not compared any more
            to = t.fleets.new()
            t.fleets["fleet"][to] = used[f]
            t.fleets["fleet"]["agg"][to], ours["fleet"][at[f]] = at[f], to + 1
            ours["compared"][at[f]] = theirs.aggregates["aggregate"]["compared"][used["agg"][f]]
            t.aggregates.touched[at[f]] = 1
            for p in np.flatnonzero((peers["of"] == used["key"][f]) & (peers["key"] != 0) & (rows >= 0)).tolist():
                one = t.peers.new()
                t.peers["peer"][one] = peers[p]
                t.peers["peer"]["fleet"][one], t.peers["peer"]["row"][one] = to, rows[p]
                if p in left:
                    self.open[one] = left.pop(p)
        self.known |= old.known
        self.settle()
        return [left[p] for p in sorted(left)]

    def settle(self) -> None:
        """Know the instances by their keys."""
        self._index.build(self.register.tables.peers.used, self.register.tables.peers["peer"]["key"])

    def _make_room(self, n: int) -> None:
        t = self.register.tables
        for table in (t.peers, t.fleets):
            table.reserve(table.used + n)
        self._index.reserve(n, t.peers["peer"]["key"])
        t.label_text.reserve(int(t.label_text.count[0]) + PADDING)
        if self._out.size < n:
            self._out = grown(self._out, n)
            self._scratch = np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.int64)

    def _meet(self, first: int) -> None:
        """Go on with anomalies from before a restart of instances that are met again."""
        t = self.register.tables
        for p in range(first, t.peers.used if self.known else 0):
            one = t.peers["peer"][p]
            if not one["key"]:
                continue
            a = self.known.pop(self._who(p).key, None)
            if a is not None:
                one["phase"], one["started"], one["side"] = OPEN, a.started, 1 if a.direction is Direction.ABOVE else -1
                one["score"] = one["spoken"] = a.score
                one["observed"], self.open[p] = a.observed, a
                t.peers.touched[p] = 1

    def _who(self, p: int) -> Subject:
        """What a peer's anomalies are about."""
        t = self.register.tables
        a = int(t.fleets["fleet"]["agg"][t.peers["peer"]["fleet"][p]])
        reading = t.aggregates["aggregate"]["reading"][a]
        whole = self.register.subjects[int(t.aggregates["judged"][a, 1 if reading == DISTRIBUTION else 0])]
        instance = self.register.subjects.series(int(t.peers["peer"]["row"][p])).instance
        return replace(whole, quantity=whole.quantity + AMONG, instance=instance)

    def _anomaly(self, e: np.void) -> Anomaly:
        """An event as an anomaly."""
        p = int(e["peer"])
        if e["event"] == OPENED or p not in self.open:
            self.open[p] = self._opened(p, e)
        a = self.open[p] = msgspec.structs.replace(
            self.open[p], event=Event.OPEN if e["event"] == OPENED else Event.RECORD, time=int(e["time"]),
            score=float(e["score"]), observed=float(e["observed"]), current=float(e["now"]), peers=int(e["peers"]),
            expected=(float(e["low"]), float(e["high"])), middle=float(e["centre"]),
        )  # fmt: skip
        if e["event"] in (OPENED, RECORD):
            return a
        del self.open[p]
        return msgspec.structs.replace(a, event=Event.CLOSE, ended=a.time, reason=REASONS[e["reason"]])

    def _opened(self, p: int, e: np.void) -> Anomaly:
        who, started = self._who(p), int(e["started"])
        spec = self.specs[who.spec]
        return Anomaly(
            id=identity(who.key, started), event=Event.OPEN, time=started, environment=who.environment, group=who.group,
            metric=who.metric, quantity=who.quantity, labels=who.labels, instance=who.instance or (), aggregate=False,
            unit=who.unit, signal=spec.signal, spec=spec.name, pages=spec.peers is Peers.PAGES,
            direction=Direction.ABOVE if e["side"] > 0 else Direction.BELOW, started=started, ended=None, score=0.0,
            observed=0.0, current=0.0, expected=(0.0, 0.0), events=None, bad=False, learned=float(e["known"]), points=(),
        )  # fmt: skip


def _over(a: Anomaly, time: int) -> Anomaly:
    return msgspec.structs.replace(a, event=Event.CLOSE, time=time, ended=time, reason=REMOVED)
