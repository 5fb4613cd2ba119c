"""What the detect stage of one partition knows, and how it is kept from one process to the next (`state.Stateful`).

Rows of series and their models, and the smaller things beside them: `keep` says how these are written. Under other specs,
names of labels or another seed it goes on with what is about the same (`migrate`). What a block does to it: `detector`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings
from anomaly.decode.identity import Series
from anomaly.decode.index import MISSING
from anomaly.detect import keep, traced_keep
from anomaly.detect.absence import Absence, Inputs
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.calls import CallCounts
from anomaly.detect.clock import Clocks
from anomaly.detect.clocked import replaced
from anomaly.detect.context import Context
from anomaly.detect.evict import Evict
from anomaly.detect.judge import Judge
from anomaly.detect.listing import Listed, listing
from anomaly.detect.logs import Logs
from anomaly.detect.migrate import Side, as_named, move
from anomaly.detect.register import Register
from anomaly.detect.report import Report
from anomaly.detect.score import Score
from anomaly.detect.text import to_text
from anomaly.detect.together import Together
from anomaly.detect.traced import Traced
from anomaly.detect.waiting import Waiting
from anomaly.detect.windows import Windows
from anomaly.detect.withhold import Withhold
from anomaly.state import Snapshot
from anomaly.table import Layout, Part


class Held:
    """The state of a partition, and what may be asked of it. `counts` holds the points by outcome."""

    def __init__(
        self, partition: int, specs: Sequence[ModelSpec], settings: Settings, beside: keep.Beside | None = None
    ) -> None:
        """`beside` is kept with the state."""
        self.partition, self.specs, self.beside = partition, tuple(specs), beside
        self.counts: Counter[str] = Counter()
        self.settings, self.migrated = settings, list[str]()  # what other specs did to a restored state
        self.traced = Traced(self.specs, settings)
        self.logs = Logs(settings.logs, settings.identity.seed)
        self._wire(*self._empty())
        self.windows = Windows()
        self.inputs, self.absence = Inputs(), Absence()
        self.calls = CallCounts(settings.correlation.edges)
        self.context = Context(settings)
        self.waiting = Waiting(settings.limits.waiting_points)
        self.sources: dict[str, int] = {}
        self.said = 0  # ms to which time was told to have gone on, in whole ticks
        self.swept = self.freed = 0  # ms of data time when idle series were last looked for, and had to make room
        self._idle = int(settings.limits.idle * 1000)
        self._over: list[Anomaly] = []  # open anomalies that have no series under the specs of now
        self._missed = next((spec for spec in self.specs if spec.absence), None)
        self._looks = any(spec.absence or spec.sites for spec in self.specs)

    def _empty(self) -> Side:
        """A register that knows nobody."""
        settings = self.settings
        judge = Judge(self.specs, clocks=Clocks(settings.time_zone, settings.calendars), told_at=settings.threshold.alert)
        judge.rivers.most = settings.limits.river
        return Side(Register(self.specs, judge, settings.identity.seed, settings.limits), judge)

    def _wire(self, register: Register, judge: Judge) -> None:
        """Work on these rows."""
        self.register, self.judge = register, judge
        self.report = Report(self.specs, register.subjects, judge, register.sites)
        self.withhold = Withhold(register, judge, self.report)
        self.together = Together(self.specs, register, judge, self.report)
        self.score = Score(register, judge, self.report, self.withhold, self.together, self.counts)
        self._evict = Evict(register, judge)
        self._keep = keep.Keep(register, judge, self.beside, (*self.logs.tables, *self.traced.tables))

    @property
    def series(self) -> int:
        """Number of series known."""
        return self.register.series

    def knows(self, series: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these hashes it has a row for, shape (n,)."""
        known: NDArray[np.bool_] = self._place(series) != MISSING
        return known

    def _place(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """A row of each, or a place among log lines, changes, or what traces tell; MISSING for what is none of these."""
        place = np.maximum(np.maximum(self.register.find(series), self.logs.find(series)), self.context.find(series))
        return np.maximum(place, self.traced.find(series)) if self.traced else place

    def knows_groups(self, groups: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Of which of these hashes of groups it has series, shape (n,)."""
        known: NDArray[np.bool_] = self.register.find_groups(groups) != MISSING
        return known

    @property
    def warm_share(self) -> float:
        """Share of the judged rows that know enough to say something."""
        return self.judge.warm()

    def restore(self, anomalies: Iterable[Anomaly]) -> None:
        """Take over anomalies that were open before a restart: no second opening, and the frozen band decides the end."""
        held = self.traced.restore(list(self.logs.restore(anomalies)))
        self.report.restore(self.together.restore([a for a in held if not a.kind]))
        self._over += [self.report.let_go(a, self.inputs.time) for a in held if a.kind]
        self._reopen()

    def layouts(self) -> Mapping[str, Layout]:
        """What the bytes of each table mean."""
        return {name: table.layout() for name, table in self._keep.tables.items()}

    def ahead(self, generation: int) -> Iterator[Part]:
        """What changed, and a rolling share of the rest, a slice at a time; blocks may be taken between two of them."""
        return self._keep.ahead(generation)

    def gather(self, generation: int) -> Snapshot:
        """What changed since then, or since the last checkpoint. Called between two blocks."""
        parts, low = self._keep.gather(generation)
        return Snapshot(parts, keep.write(self._rest()), low)

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        """Rows that a generation wrote, by the layouts of its writer; called on a fresh state, in order of generations."""
        tables = self._keep.tables
        for part in parts:
            if part.table in tables:
                tables[part.table].put(generation, part, layouts[part.table])

    def settle(self, rest: bytes) -> None:
        """After the last `put`: the rest, and whatever follows from the rows."""
        read = keep.read(rest)
        self._keep.settle(read.tables, read.beside)
        self.migrated = replaced(self.register.tables, self.judge, read.local, read.seasons)
        self.said, self.swept, self.freed = read.said, read.swept, read.freed
        keep.take_over(self._parts(), read)
        self.together.settle(read.together)
        self.withhold.settle()
        self.logs.load(read.logs, read.seed)
        self.calls.load(read.calls, read.seed == self.settings.identity.seed)
        self.context.load(read.context)
        traced_keep.load(self.traced, read.traced)
        if self.beside:
            self.beside.load(read.fed)
        self.windows.load(read.windows, self.judge)
        own = [(spec.name, keep.spec_hash(spec)) for spec in self.specs]
        if read.specs != own or read.seed != self.register.seed or self._renamed(read, self.register):
            self._migrate(read, own)

    def _renamed(self, read: keep.Rest, register: Register) -> list[str]:
        """Old names of labels that some series still has, and that have a new one now."""
        aliases = self.settings.identity.aliases
        new = [old for old, name in aliases.items() if read.aliases.get(old) != name]
        text = register.tables.label_text.array.tobytes() if new else b""
        return [old for old in new if to_text(old) in text]

    def _migrate(self, read: keep.Rest, own: list[tuple[str, str]]) -> None:
        """Go on with what the specs of then learned, under those of now, as far as it is about the same."""
        old, opened, together = Side(self.register, self.judge), self.report, self.together
        self._wire(*self._empty())
        other_seed = read.seed != self.register.seed
        renames = self._renamed(read, old.register)
        named = as_named(self.settings.identity) if other_seed or renames else None
        rows = move(old, Side(self.register, self.judge), named)
        self.windows.look(self.register, self.judge, anew=True)
        self.report.take_over(
            {rows[r]: a for r, a in opened.open.items() if r in rows}, opened.silent.values(), opened.known()
        )
        self._over = [opened.over(a, self.inputs.time) for r, a in opened.open.items() if r not in rows]
        self._over += [opened.over(a, self.inputs.time) for a in self.together.take_over(together, rows)]
        lost = [r for r in range(old.judge.size) if r not in rows or not self.register.regressions.has(rows[r])]
        self._over += [a for r in lost for a in old.register.regressions.ended(r, self.inputs.time)]
        self._over += [
            a for r in range(old.judge.size) if r not in rows for a in old.register.jobs.ended(r, self.inputs.time)
        ]
        before, now = dict(read.specs), dict(own)
        said = [f"spec {name}: new" for name in now if name not in before]
        said += [f"spec {name}: gone" for name in before if name not in now]
        said += [f"spec {name}: changed" for name in now if before.get(name, now[name]) != now[name]]
        said += ["the hash seed is another one"] if other_seed else []
        said += [f"labels have the names of now: {', '.join(renames)}"] if renames else []
        said.append(f"{len(rows)} of {self.judge.size} judged rows keep what they learned, the others begin anew")
        self.migrated += [*(said[:-1] or ["the order of specs is another one"]), said[-1]]

    def digest(self) -> int:
        """CRC-32 of all state: equal for detectors that took the same input, however it was cut and often interrupted."""
        return keep.digest(self._rest(), self._keep)

    def _rest(self) -> keep.Rest:
        rest = keep.rest_of(self._parts(), self.register.seed, self.specs, self._keep)
        clocks = self.judge.clocks
        said = [clocks.seasons(key) for key in clocks.keys]
        return msgspec.structs.replace(
            rest, aliases=self.settings.identity.aliases, local=clocks.keys, seasons=said, windows=self.windows.dump(),
            logs=self.logs.dump(), calls=self.calls.dump(), context=self.context.dump(),
            traced=traced_keep.dump(self.traced), fed=self.beside.dump() if self.beside else b"",
        )  # fmt: skip

    def _parts(self) -> keep.Parts:
        small = self.inputs, self.absence, self.waiting, self.report, self.together, self.sources, self.counts
        return keep.Parts(*small, self.said, self.swept, self.freed)

    def _reopen(self) -> None:
        """Mark groups that were silent before a restart, so that they are heard again."""
        table = self.register.tables.groups
        sites = self.register.tables.sites
        opened = [int(np.count_nonzero(t[name]["open"][: t.used])) for t, name in ((table, "group"), (sites, "site"))]
        if len(self.report.silent) <= sum(opened):
            return
        self.register.sites.reopen({key: a.time for key, a in self.report.silent.items()})
        for g in range(table.used):
            if not table["group"]["open"][g] and table["group"]["key"][g]:
                silent = self.report.silent.get(self.register.subjects.group(g))
                if silent:  # what it said by then is not news
                    table["group"]["open"][g], table["group"]["seen"][g], table.touched[g] = 1, silent.time, 1

    def listing(self) -> Iterator[Listed]:
        """Every series that has a row, in the order of rows: what an operator asks for."""
        return listing(self.register, self.judge, self.report)

    def shared(self) -> tuple[int, Series | None]:
        """How many series were heard from several writers since this process began, and one of them."""
        keys = self.register.tables.rows["row"]["key"][: self.register.tables.rows.used]
        shared = self.score.shared[: keys.size]
        held = np.flatnonzero(shared & (keys[: shared.size] != 0))
        return held.size, self.register.subjects.series(int(held[0])) if held.size else None

    def overflow(self) -> list[tuple[str, str, int]]:
        """(environment, metric, series past a limit), the worst first."""
        overflow = self.register.overflow() + self.logs.overflow() + self.traced.overflow()
        return overflow + self.calls.overflow() + self.context.overflow() + self._past_river()

    def _past_river(self) -> list[tuple[str, str, int]]:
        """The same of rows that a model of river's should have scored."""
        subjects = [self.register.subjects[row] for row in self.judge.without_river()]
        left = Counter((s.environment, s.metric) for s in subjects)
        return [(*who, n) for who, n in left.most_common()]
