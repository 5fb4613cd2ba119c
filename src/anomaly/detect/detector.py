"""The detect stage of one partition of anomaly.points: blocks of points -> anomalies and ticks.

register -> convert and put on the grid -> judge -> report, then silence, then the tick. All state is in rows (`rows`,
`judge`) and changes with the points in arrival order: where one block ends and the next begins changes no anomaly.
What is known, and how it is kept, is `held`.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.command.command import Command
from anomaly.decode.block import Announced, Block
from anomaly.decode.index import MISSING
from anomaly.decode.points import Flag, Points
from anomaly.detect import beside, keep
from anomaly.detect.absence import CHECK
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.detect.convert import passed
from anomaly.detect.held import Held
from anomaly.detect.logs import Said
from anomaly.detect.looks import Idle, are_idle
from anomaly.detect.traced import Heard

REPEATED, PAST_LIMIT = keep.REPEATED, "past_limit"
SWEEP_EVERY = 60_000  # ms of data time between looks for idle series, at least
NEVER_SWEPT = -1  # where history ended long ago (`prime`): whoever is silent has an hour to speak
TICK = 1_000  # ms of data time without a word

# A series of one instance that said nothing for so long while its group was heard is no more; an open anomaly on it ends.
ENDED, ENDED_AFTER_MARKER = 600_000, 60_000


class Detector(Held):
    """Judges the points of one partition. `counts` holds the points by outcome; each point has exactly one."""

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

        found.extend(self.report.not_missed(rows, self.inputs.time))
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
        if self._looks:  # else nobody looks when they are well
            self.withhold.meet()
        return found

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
                found += self._scored(points.take(part), rows[part], through, source)
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
        return self._scored(points, rows, through, self.sources[block.source]) if len(points) else []

    def _scored(self, points: Points, rows: NDArray[np.int32], through: int, source: int) -> list[Anomaly]:
        """Judge points of known series."""
        self.register.sites.hear(points, rows, through, source)
        return self.score.judge(points, rows, through)

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
        if not self._looks or not len(points):
            return [(slice(0, len(points)), 0)]
        before = self.inputs.heard.get((block.source, block.partition), 0)
        at = np.empty(len(points), np.int64)
        at = at[: passed(points.time, before // CHECK, CHECK, at)]
        edges = [0, *at.tolist(), len(points)]
        times = [*(int(points.time[i]) // CHECK * CHECK for i in at), 0]
        return [(slice(a, b), t) for a, b, t in zip(edges[:-1], edges[1:], times, strict=True)]

    def _silences(self, source: int, time: int) -> list[Anomaly]:
        """Groups that fell silent or were heard again, and open anomalies of series that are no more."""
        if not self._looks or not self.absence.is_due(source, time):
            return []
        table, found, heard = self.register.tables.groups, list[Anomaly | None](), self.inputs.by_number()
        groups = table["group"][: table.used]
        for silence in self.absence.look(groups, table.touched, source, time, heard):
            who = self.register.subjects.group(silence.group)
            if groups["spread"][silence.group] and who[1] not in self.settings.identity.giants and not silence.back:
                continue  # a giant no more: its series are somewhere else
            found.append(self.report.silence(who, silence, self._missed))
        for row, silence in self.register.sites.look(self.absence, source, heard):
            found.append(self.report.missed(row, silence))
        return [a for a in found if a] + self._over_by_now()

    def _over_by_now(self) -> list[Anomaly]:
        """Open anomalies of series that are no more."""
        found = self._ended()
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
            elif not whole and not self.register.sites.is_silent(of):  # of that nothing is known
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
