"""What is judged together: instances among their peers, beside every series against its own past.

`take` is given what a batch changed and gives back what there is to say of it, in arrival order, so that where blocks are cut
changes nothing.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from anomaly.config.models import ModelSpec
from anomaly.detect.anomaly import AMONG, Anomaly
from anomaly.detect.fleets import Fleets
from anomaly.detect.judge import Batch, Judge, Verdicts
from anomaly.detect.register import Register
from anomaly.detect.report import Report
from anomaly.detect.rows import Cells


class Memory(Struct, frozen=True):
    """What is small of it, and written whole."""

    peers: list[tuple[int, Anomaly]] = []
    known: list[Anomaly] = []  # from before a restart, of which nobody was met again yet


class Together:
    """Judges what belongs together, of one partition."""

    def __init__(self, specs: Sequence[ModelSpec], register: Register, judge: Judge, report: Report) -> None:
        self.fleets = Fleets(specs, register, judge)

    def take(self, batch: Batch, verdicts: Verdicts, said: Sequence[Anomaly], closed: Cells) -> list[Anomaly]:
        """What a batch changed, `said` of single series included."""
        if not closed.used[2]:
            return list(said)
        single = zip(batch.point[verdicts.events.index].tolist(), said, strict=True) if said else ()
        both = [*single, *self.fleets.compare(closed)]
        both.sort(key=lambda each: each[0])
        return [anomaly for _, anomaly in both]

    def end(self, time: int) -> list[Anomaly]:
        """End what is open of those that are no more."""
        return self.fleets.end(time)

    def sweep(self) -> None:
        """Forget those that are no more."""
        self.fleets.sweep()

    def calm(self) -> None:
        """Nothing is open."""
        self.fleets.calm()

    def restore(self, anomalies: Iterable[Anomaly]) -> list[Anomaly]:
        """Take those that were open before a restart and are of things judged together; returns the others."""
        others = []
        for a in anomalies:
            if a.quantity.endswith(AMONG):
                self.fleets.known[a.key] = a
            else:
                others.append(a)
        self.fleets.restore()
        return others

    def memory(self) -> Memory:
        """What is small."""
        return Memory(sorted(self.fleets.open.items()), sorted(self.fleets.known.values(), key=lambda a: a.id))

    def settle(self, memory: Memory) -> None:
        """Go on with rows that were put back."""
        self.fleets.open = dict(memory.peers)
        self.fleets.known = {a.key: a for a in memory.known}
        self.fleets.settle()
