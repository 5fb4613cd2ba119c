"""The detect stage of one partition of anomaly.points: blocks of points -> anomalies and ticks.

register -> convert and put on the grid -> judge -> report, then silence, then the tick. All state is in rows (`rows`,
`judge`) and changes with the points in arrival order: where one block ends and the next begins changes no anomaly.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.command.command import Command
from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.decode.index import MISSING
from anomaly.decode.points import Flag, Points
from anomaly.detect import beside, keep, traced_keep
from anomaly.detect.absence import CHECK, Absence, Inputs
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.detect.calls import CallCounts
from anomaly.detect.clock import Clocks
from anomaly.detect.clocked import replaced
from anomaly.detect.context import Context
from anomaly.detect.convert import passed
from anomaly.detect.evict import Evict
from anomaly.detect.judge import Judge
from anomaly.detect.listing import Listed, listing
from anomaly.detect.logs import Logs, Said
from anomaly.detect.looks import Idle, are_idle
from anomaly.detect.migrate import Side, as_named, move
from anomaly.detect.register import Register
from anomaly.detect.report import Report
from anomaly.detect.score import Score
from anomaly.detect.text import to_text
from anomaly.detect.together import Together
from anomaly.detect.traced import Heard, Traced
from anomaly.detect.waiting import Waiting
from anomaly.detect.windows import Windows
from anomaly.detect.withhold import Withhold
from anomaly.state import Snapshot
from anomaly.table import Layout, Part

REPEATED, PAST_LIMIT = keep.REPEATED, "past_limit"
SWEEP_EVERY = 60_000  # ms of data time between looks for idle series, at least
NEVER_SWEPT = -1  # where history ended long ago (`prime`): whoever is silent has an hour to speak
TICK = 1_000  # ms of data time without a word

# A series of one instance that said nothing for so long while its group was heard is no more; an open anomaly on it ends.
ENDED, ENDED_AFTER_MARKER = 600_000, 60_000


class Detector:
    """Judges the points of one partition. `counts` holds the points by outcome; each point has exactly one."""

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

    def _empty(self) -> Side:
        """A register that knows nobody."""
        settings = self.settings
        judge = Judge(self.specs, clocks=Clocks(settings.time_zone, settings.calendars), told_at=settings.threshold.alert)
        judge.rivers.most = settings.limits.river
        return Side(Register(self.specs, judge, settings.identity.seed, settings.limits), judge)

    def _wire(self, register: Register, judge: Judge) -> None:
        """Work on these rows."""
        self.register, self.judge = register, judge
        self.report = Report(self.specs, register.subjects, judge)
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

    def detect(self, block: Block) -> list[beside.Said]:
        """What a block changed, in order of event time, and a tick if time went on."""
        points = self.inputs.unseen(block)
        self.counts[REPEATED] += len(block.points) - (0 if points is None else len(points))
        if points is None:
            return []
        source = self.sources.setdefault(block.source, len(self.sources))
        self.calls.announced(block.series)
        calls = list(self.calls.take(points))
        found, self._over = self._over + self._meet(block, source), []
        self.counts[PAST_LIMIT] += self.waiting.drop(self.register.is_refused)
        for some in (self.waiting.known(self._place), points):
            found += self._take(self.context.take(some), block, source)
        self.inputs.hear(block.source, block.partition, block.heard)
        found += self._told(self.logs.hear(block.source, block.heard, block.lateness), block, source)
        found += self.traced.hear(block.source, self.inputs.of(block.source), block.lateness).anomalies
        found += self._silences(source, self.inputs.of(block.source)) + self._sweep()
        found.sort(key=lambda a: a.time)
        found = self.logs.shown(found)
        self.counts["waiting"] = len(self.waiting)
        return [*calls, *self.context.say(), *found, *self._tick(found)]

    def command(self, command: Command) -> None:
        """From now on do as somebody said: what is silenced, or planned, is judged and not learned."""
        self.windows.take(command, self.register, self.judge)

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

    def _sweep(self) -> list[Anomaly]:
        """Forget series that are idle for too long, whenever time has passed a sweep."""
        every = max(self._idle // 24, SWEEP_EVERY)
        if self.inputs.time // every <= self.swept // every:
            return []
        self.windows.forget(self.inputs.time, self.register, self.judge)
        never, self.swept = self.swept == NEVER_SWEPT, self.inputs.time // every * every
        if never:
            return []
        found = self._release(self._evict.idle(self.swept, self._idle)) + self.withhold.give_up(self.swept, self._idle)
        found += self.together.end(self.swept, self._has_left) + self.together.give_up(self.swept, self._idle)
        self.together.sweep()
        return found

    def _release(self, rows: NDArray[np.int32]) -> list[Anomaly]:
        """Forget series; their open anomalies end."""
        found: list[Anomaly] = []

        def end(judged: int) -> None:
            if judged in self.report.open:
                found.extend(self.together.ended(judged, self.inputs.time))
            found.extend(self.register.regressions.ended(judged, self.inputs.time))
            found.extend(self.register.jobs.ended(judged, self.inputs.time))

        self._evict.release(rows, end)
        return found

    def _meet(self, block: Block, source: int) -> list[Anomaly]:
        """Let everybody look at the series of a block that nobody knows."""
        unknown = np.flatnonzero(self._place(block.series.hash) == MISSING)
        if not unknown.size:  # nearly always: what is known is announced again every minute
            return []
        new = self.context.announced(block.series.taken(unknown), block.points, block.heard)
        return self._announce(self.traced.announced(self.logs.announced(new)), block, source)

    def _announce(self, new: Announced, block: Block, source: int) -> list[Anomaly]:
        """Give new series their rows; anomalies end with series that have to make room."""
        if not len(new):
            return []
        unknown = np.flatnonzero(self.register.find(new.hash) == MISSING)
        if not unknown.size:
            return []
        new = new.taken(unknown)
        fresh = ~self.waiting.missed(new.hash)
        found: list[Anomaly] = []

        def free() -> None:
            if self.inputs.time >= self.freed + SWEEP_EVERY:
                self.freed = self.inputs.time
                found.extend(self._release(self._evict.idlest(self.freed)))

        self.register.announce(new, source, block.lateness, fresh.astype(np.uint8), free)
        self.report.introduce()
        self._reopen()
        if len(self.windows):
            self.windows.look(self.register, self.judge)
        if self._missed:  # else nobody looks when they are well
            self.withhold.meet()
        return found

    def _reopen(self) -> None:
        """Mark groups that were silent before a restart, so that they are heard again."""
        table = self.register.tables.groups
        if len(self.report.silent) <= int(np.count_nonzero(table["group"]["open"][: table.used])):
            return
        for g in range(table.used):
            if not table["group"]["open"][g] and table["group"]["key"][g]:
                silent = self.report.silent.get(self.register.subjects.group(g))
                if silent:  # what it said by then is not news
                    table["group"]["open"][g], table["group"]["seen"][g], table.touched[g] = 1, silent.time, 1

    def _take(self, points: Points, block: Block, source: int) -> list[Anomaly]:
        """Judge points, looking for silence between them wherever time passes a look."""
        if not len(points):
            return []
        points = points.owned()
        points, found = self._take_traced(points, block)
        if self.logs:
            return found + self._take_lines(points, block, source)
        points, rows = self._known(points)
        through = self.inputs.number(block.source, block.partition)
        looks = self._between_looks(points, block)
        if not self.withhold.any and are_idle(looks, points, self.register.tables, self.absence):
            idle = Idle(looks, self.register.tables, source)
            found += self.score.judge(points, rows, through)
            idle.note(points, rows, block, self.inputs, self.absence)
            return found
        for part, time in looks:
            if part.stop > part.start:
                found += self.score.judge(points.take(part), rows[part], through)
            if time:
                self.inputs.hear(block.source, block.partition, time)
                found += self._silences(source, self.inputs.of(block.source))
        return found

    def _take_lines(self, points: Points, block: Block, source: int) -> list[Anomaly]:
        """The same where log lines may be among the points: these count for their templates."""
        found: list[Anomaly] = []
        for part, time in self._between_looks(points, block):
            some = points.take(part)
            place = self.logs.find(some.series)
            said = self.logs.take(some, place, block.lateness, block.source)
            self.counts["late"] += said.late
            self.counts["converted"] += int(np.count_nonzero(place != MISSING)) - said.late
            found += self._told(said, block, source) + self._judge(some.take(place == MISSING), block)
            if time:
                self.inputs.hear(block.source, block.partition, time)
                found += self._silences(source, self.inputs.of(block.source))
        return found

    def _take_traced(self, points: Points, block: Block) -> tuple[Points, list[Anomaly]]:
        """Count what traces tell; the other points."""
        if not self.traced or not (points.flags & Flag.PART).any():
            return points, []
        place = self.traced.find(points.series)
        if not (place != MISSING).any():
            return points, []
        others = self.inputs.of_others(block.source, block.partition)
        said = self.traced.take(points, place, Heard(block.source, block.lateness, others))
        self.counts["late"] += said.late
        self.counts["converted"] += int(np.count_nonzero(place != MISSING)) - said.late
        return points.take(place == MISSING), said.anomalies

    def _told(self, said: Said, block: Block, source: int) -> list[Anomaly]:
        """Judge the closed cells of log lines, and tell what is new among them."""
        found = said.anomalies
        if said.series:
            found += self._announce(Announced.of(said.series.values()), block, source)
        for points in said.points:
            found += self._judge(points, block)
        return found

    def _judge(self, points: Points, block: Block) -> list[Anomaly]:
        """Judge points without a look."""
        points, rows = self._known(points)
        through = self.inputs.number(block.source, block.partition)
        return self.score.judge(points, rows, through) if len(points) else []

    def _known(self, points: Points) -> tuple[Points, NDArray[np.int32]]:
        """The points of known series, with their rows; those whose labels are not known yet have to wait."""
        rows = self.register.find(points.series)
        unknown = rows == MISSING
        if unknown.any():
            refused = unknown & self.register.is_refused(points.series)
            self.counts[PAST_LIMIT] += int(refused.sum())
            self.counts["unknown_series"] += self.waiting.hold(points, np.flatnonzero(unknown & ~refused))
            points, rows = points.take(~unknown), rows[~unknown]
        return points, rows

    def _between_looks(self, points: Points, block: Block) -> list[tuple[slice, int]]:
        """Slices of the points, each with the time at which to look for silence after it, 0: none."""
        if self._missed is None or not len(points):
            return [(slice(0, len(points)), 0)]
        before = self.inputs.heard.get((block.source, block.partition), 0)
        at = np.empty(len(points), np.int64)
        at = at[: passed(points.time, before // CHECK, CHECK, at)]
        edges = [0, *at.tolist(), len(points)]
        times = [*(int(points.time[i]) // CHECK * CHECK for i in at), 0]
        return [(slice(a, b), t) for a, b, t in zip(edges[:-1], edges[1:], times, strict=True)]

    def _silences(self, source: int, time: int) -> list[Anomaly]:
        """Groups that fell silent or were heard again, and open anomalies of series that are no more."""
        if self._missed is None or not self.absence.is_due(source, time):
            return []
        table, found = self.register.tables.groups, []
        groups = table["group"][: table.used]
        for silence in self.absence.look(groups, table.touched, source, time, self.inputs.by_number()):
            who = self.register.subjects.group(silence.group)
            if groups["spread"][silence.group] and who[1] not in self.settings.identity.giants and not silence.back:
                continue  # a giant no more: its series are somewhere else
            said = self.report.silence(who, silence, self._missed)
            found += [said] if said else []
        found += self._ended()
        self.withhold.look()
        return found

    def _ended(self) -> list[Anomaly]:
        """Open anomalies of single series that ended while their group is heard, and of groups that have left."""
        tables, found = self.register.tables, []
        rows, groups, subjects = tables.rows["row"], tables.groups["group"], tables.subjects["subject"]
        for judged in list(self.report.open):
            of, whole = int(subjects[judged]["of"]), subjects[judged]["whole"]
            row = tables.aggregates["aggregate"][of] if whole else rows[of]
            heard = int(groups["last"][row["group"]])
            if self.absence.has_left(heard, self.inputs.time):
                found += self.together.ended(judged, self.inputs.time)
            elif not whole:
                patience = max(ENDED_AFTER_MARKER if row["stale"] else ENDED, int(10.0 * row["interval"]))
                if row["last"] > 0 and heard - row["last"] > patience:
                    found += self.together.ended(judged, int(row["last"]) + patience)
        return found + self.together.end(self.inputs.time, self._has_left)

    def _has_left(self, heard: int) -> bool:
        return bool(self.absence.has_left(heard, self.inputs.time))

    def _tick(self, found: list[Anomaly]) -> list[Tick]:
        """How far time went on, unless something else said so lately."""
        time, told = self.inputs.time, self.said
        self.said = max([told, *(a.time // TICK * TICK for a in found)])
        if time < self.said + TICK:
            return []
        self.said = time // TICK * TICK
        return [Tick(partition=self.partition, time=time)]
