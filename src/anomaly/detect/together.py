"""What is judged together: instances among their peers, members of a sum with the sum,
a group's golden signals.

`take` is given what a batch changed and gives back what there is to say of it, in arrival order, so that where blocks are
cut changes nothing.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from anomaly.config.models import ModelSpec
from anomaly.detect.anomaly import AMONG, GOLDEN, Anomaly
from anomaly.detect.fleets import Fleets
from anomaly.detect.golden import Golden, HasLeft, explained
from anomaly.detect.golden import Memory as GoldenMemory
from anomaly.detect.judge import Batch, Judge, Verdicts
from anomaly.detect.register import Register
from anomaly.detect.report import Report
from anomaly.detect.rows import Cells
from anomaly.detect.shift import Memory as ShiftMemory
from anomaly.detect.shift import Shift
from anomaly.detect.subject import Subject


class Memory(Struct, frozen=True):
    """What is small of it, and written whole."""

    peers: list[tuple[int, Anomaly]] = []
    known: list[Anomaly] = []  # from before a restart, of which nobody was met again yet
    shift: ShiftMemory = ShiftMemory()
    golden: GoldenMemory = GoldenMemory()


class Together:
    """Judges what belongs together, of one partition."""

    def __init__(self, specs: Sequence[ModelSpec], register: Register, judge: Judge, report: Report) -> None:
        self.fleets, self.shift = Fleets(specs, register, judge), Shift(specs, register, report)
        self.golden = Golden(specs, register, judge)

    def take(self, batch: Batch, verdicts: Verdicts, said: Sequence[Anomaly], closed: Cells) -> list[Anomaly]:
        """What a batch changed, `said` of single series included."""
        said, groups = self.golden.take(batch, verdicts, said)
        both = [*self.shift.take(batch, verdicts, said), *groups, *self.fleets.compare(closed)]
        both.sort(key=lambda each: each[0])
        return [anomaly for _, anomaly in both]

    def end(self, time: int, has_left: HasLeft) -> list[Anomaly]:
        """End what is open of those that are no more."""
        return self.fleets.end(time, has_left) + self.golden.end(time, has_left)

    def ended(self, row: int, time: int) -> list[Anomaly]:
        """The series of an open anomaly is no more: what there is to say of that."""
        self.golden.reduced.pop(row, None)
        return self.shift.ended(row, time)

    def sweep(self) -> None:
        """Forget those that are no more."""
        self.fleets.sweep()
        self.golden.sweep()

    def calm(self) -> None:
        """Nothing is open."""
        self.fleets.calm()
        self.golden.calm()
        self.shift.settle(ShiftMemory())

    def restore(self, anomalies: Iterable[Anomaly]) -> list[Anomaly]:
        """Take those that were open before a restart and are of things judged together; returns the others."""
        others = []
        for a in anomalies:
            if a.quantity.endswith(AMONG):
                self.fleets.known[a.key] = a
            elif a.quantity == GOLDEN:
                self.golden.known[a.key] = a
            else:
                others.append(a)
        self.fleets.restore()
        self.golden.meet()
        return others

    def take_over(self, old: "Together", rows: dict[int, int]) -> list[Anomaly]:
        """Go on with what another one knows, by the rows that its judged rows have here; what was open and is over."""
        self.shift.take_over(old.shift, rows)
        return self.fleets.take_over(old.fleets) + self.golden.take_over(old.golden, rows)

    def opened(self) -> list[Anomaly]:
        """What is open of things judged together."""
        return [*self.fleets.open.values(), *self.golden.open.values()]

    def beside(self, who: Subject, row: int) -> tuple[tuple[Anomaly, ...], tuple[str, ...]]:
        """What is open beside a judged row, of instances among their peers and of its group; what reduces its evidence."""
        place = who.environment, who.group
        same = [a for a in self.opened() if (a.environment, a.group) == place and (not a.peers or a.metric == who.metric)]
        mine = tuple(a for a in same if not a.peers or who.instance in (None, a.instance))
        reduced = self.golden.reduced.get(row)
        return mine, (explained(reduced.whole.score, reduced.told),) if reduced else ()

    def quiet(self) -> set[int]:
        """Judged rows whose anomaly is open, and not told."""
        return {*self.shift.held, *self.shift.folded}

    def give_up(self, time: int, idle: int) -> list[Anomaly]:
        """Anomalies from before a restart of those who did not come again for so long, ms: they end."""
        found = []
        for known in (self.fleets.known, self.golden.known):
            for key in sorted((key for key, a in known.items() if time - a.time > idle), key=repr):
                found.append(Report.over(known.pop(key), time))
        return found

    def memory(self) -> Memory:
        """What is small."""
        known = sorted(self.fleets.known.values(), key=lambda a: a.id)
        return Memory(sorted(self.fleets.open.items()), known, self.shift.memory(), self.golden.memory())

    def settle(self, memory: Memory) -> None:
        """Go on with rows that were put back."""
        self.fleets.open = dict(memory.peers)
        self.fleets.known = {a.key: a for a in memory.known}
        self.fleets.settle()
        self.shift.settle(memory.shift)
        self.golden.remember(memory.golden)
