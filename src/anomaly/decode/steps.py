"""Traces that are open: their spans and lines are held until their time is over, and then tell what followed what.

Time is that of the places (a source's partition) that bring traces, the slowest of them, but never further behind the newest
than `apart`, so that a place which is silent holds nobody up for long. It is looked at when it passes a multiple of TURN
ms: a trace is closed when QUIET ms have gone since its last event, or LONGEST since its first. What comes later is late, and
counted. Turns, and looks at how much is held, are where a record makes them due, so all of this is a function of the records
below an offset, however they are cut into blocks.

At most `most` events are held. Where more come, only traces whose key begins with `level` zero bits are taken: one more at
each look that finds too many, one less, slowly, where there is much room. What is left out is counted; the shares of what is
seen in traces stay what they are.

Lines are heard where spans are not: a group's lines come by some place, and of a trace that is closed before that place was
heard to its last event, this group makes no steps, which would else miss lines that were written.
After an interruption, in which records may have been lost, nothing is told of traces that touch it: what they lack would be
missed. After a start without state of detect's either, nobody knows yet what to miss.
Weak where a group's lines come by several places: the last one that brought some counts. Weak, too, where a span ends more
than QUIET after all else in its trace: it comes late, counted, and of its own steps nothing is told.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.steps_close import Closed, closed
from anomaly.decode.steps_events import EVENT, LINE, Events, Names
from anomaly.decode.steps_held import GONE, Gone, Held, Traced
from anomaly.decode.steps_memory import VERSION, Memory
from anomaly.decode.steps_numbers import numbered

TURN = 5_000  # ms
AT_EASE = 60_000  # ms between two steps down of the level
SLACK = 5_000  # ms by which places may be apart besides the sources' lateness
MOST_LATENESS = 40_000  # ms of it that are waited for
FORGOTTEN = 600_000  # ms after which a place that is silent is none
MOST_NAMES = 100_000  # that are known beside those in use

LEFT_OUT, LATE, ORPHANS, DEAF = "step_left_out", "step_late", "step_orphan", "step_deaf"
INTERRUPTED = "step_interrupted"
Place = tuple[str, str, int]  # lines or spans, source, partition


class Due(NamedTuple):
    """What was closed with a record, its index; labels mean what `names` says, which is read at once."""

    record: int
    closed: Closed


class Steps:
    """The open traces of a process, or of a partition of traces."""

    def __init__(self, most: int) -> None:
        self.most, self.apart = most, SLACK
        self.counts: Counter[str] = Counter()
        self.names = Names()
        self.held = Held()
        self._gone = Gone()
        self._places: dict[Place, int] = {}  # -> its number
        self._heard: list[int] = []  # ms, by place
        self._of_lines: dict[int, int] = {}  # group -> the place that last brought lines of it
        self._newest = self._turn = self.level = 0
        self._eased = 0  # when the level was last lowered: traces of before it lack events
        self._since = 0  # events taken since the last look
        self._gap = 0, 0  # ms between which records may have been lost
        self._resumes = False  # nothing was heard since then

    def bear(self, lateness: float) -> None:
        """A source may be so late, in seconds."""
        self.apart = max(self.apart, SLACK + min(int(lateness * 1000), MOST_LATENESS))

    def take(self, place: Place, events: Events) -> Iterator[Due]:
        """Hold what is of traces, and give what is over meanwhile, in order."""
        if not self.most:
            return iter(())
        self._forget_names()
        self._resume(events)
        if place not in self._places and not events.key.any():
            return self.hear(int(events.heard[-1]) if events.heard.size else 0)
        return self._taken(self._number(place), events)

    def hear(self, time: int) -> Iterator[Due]:
        """Something else was heard to this time, ms: where places are silent, time goes on without them."""
        self._newest = max(self._newest, time)
        if self._places and self._now() // TURN > self._turn:
            yield from self._look(0)

    def dump(self) -> bytes:
        """All that is held, as MessagePack; empty where no trace was met."""
        if not self._places:
            return b""
        used = set(np.unique(self.held.rows["what"]).tolist())
        words = {h: one for h, one in self.names.words.items() if h in used}
        places = [(*place, self._heard[number]) for place, number in self._places.items()]
        memory = Memory(
            rows=self.held.rows.tobytes(), places=places, of_lines=self._of_lines, groups=self.names.groups, words=words,
            gone=self._gone.rows.tobytes(), newest=self._newest, turn=self._turn, level=self.level, eased=self._eased,
            since=self._since, gap=self._gap, version=VERSION,
        )  # fmt: skip
        return memory.packed()

    def load(self, data: bytes) -> None:
        """Go on with what `dump` gave; what was written before there were steps is empty."""
        if not data:
            return
        read = Memory.of(data)
        self.held, self._gone = Held(np.frombuffer(read.rows, EVENT).copy()), Gone(np.frombuffer(read.gone, GONE))
        self._places = {(kind, source, p): i for i, (kind, source, p, _) in enumerate(read.places)}
        self._heard = [heard for *_, heard in read.places]
        self._of_lines, self.names = read.of_lines, Names(read.groups, read.words)
        self._newest, self._turn, self.level = read.newest, read.turn, read.level
        self._eased, self._since, self._gap = read.eased, read.since, read.gap

    def interrupted(self) -> None:
        """Records may have been lost since the state of now was written."""
        self._gap, self._resumes = (self._newest - self.apart, 0), True

    def _resume(self, events: Events) -> None:
        if self._resumes and (heard := events.heard[events.heard > 0]).size:
            self._gap, self._resumes = (self._gap[0], max(int(heard[0]), self._newest) + self.apart), False

    def drop(self, source: str, partition: int) -> None:
        """Another worker reads this: nobody waits for it here."""
        for place, number in self._places.items():
            if place[1:] == (source, partition):
                self._heard[number] = 0

    def _number(self, place: Place) -> int:
        if place not in self._places:
            self._places[place] = len(self._heard)
            self._heard.append(0)
        return self._places[place]

    def _taken(self, place: int, events: Events) -> Iterator[Due]:
        begin, n = 0, events.heard.size
        while begin < n:
            first = int(np.searchsorted(events.record, begin))
            wanted = first + np.flatnonzero(self._wanted(events.key[first:]))
            record = events.record[wanted]
            end, due = self._until(place, events.heard[begin:], record - begin)
            wanted = wanted[: np.searchsorted(record, begin + end)]
            last = int(np.searchsorted(events.record, begin + end))
            self.counts[LEFT_OUT] += int(np.count_nonzero(events.key[first:last])) - wanted.size
            self._add(place, events, wanted)
            begin += end
            self._heard[place] = max(self._heard[place], int(events.heard[begin - 1]))
            self._newest = max(self._newest, self._heard[place])
            if due:
                yield from self._look(events.first + begin - 1)

    def _until(self, place: int, heard: NDArray[np.int64], wanted: NDArray[np.int32]) -> tuple[int, bool]:
        """How many records may be taken before the next look, and whether that is due then.

        heard int64 (records,); wanted: the record of each event that is wanted, rising
        """
        heard = np.maximum(heard, self._heard[place])
        newest = np.maximum(heard, self._newest)
        slowest = np.minimum(heard, self._slowest(place))
        over = np.maximum(slowest, newest - self.apart) // TURN > self._turn
        over |= self._since + np.searchsorted(wanted, np.arange(heard.size), side="right") >= self.most
        first = int(np.argmax(over))
        return (first + 1, True) if over[first] else (heard.size, False)

    def _slowest(self, but: int) -> int:
        """How far the slowest other place was heard, ms."""
        others = (t for i, t in enumerate(self._heard) if i != but and t > self._newest - FORGOTTEN)
        return min(others, default=np.iinfo(np.int64).max)

    def _now(self) -> int:
        slowest = min((t for t in self._heard if t > self._newest - FORGOTTEN), default=0)
        return max(slowest, self._newest - self.apart)

    def _wanted(self, key: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these keys of traces are among those that are taken now."""
        wanted: NDArray[np.bool_] = key != 0
        return wanted & (key >> np.uint64(64 - self.level) == 0) if self.level else wanted

    def _add(self, place: int, events: Events, index: NDArray[np.intp]) -> None:
        if not index.size:
            return
        names = events.names(index)
        self._since += index.size
        self.names.learn(names)
        late = self._gone.has(events.key[index])
        if late.any():
            self.counts[LATE] += int(np.count_nonzero(late))
            index = index[~late]
        self.held.add(place, events, index)
        if events.type == LINE:
            self._of_lines.update(dict.fromkeys(names.groups, place))

    def _look(self, record: int) -> Iterator[Due]:
        """Close what is over, and bear what is held."""
        now, self._since = self._now(), 0
        if now // TURN > self._turn:
            self._turn = now // TURN
            traces = Traced.of_rows(self.held.rows)
            over = traces.over(self._turn * TURN)
            self._gone.remember(traces.key[over], now)
            if over.any():
                yield Due(record, self._close(*self.held.taken_out(traces, over), traces))
            self._ease()
        while self.held.size > self.most:
            self.level += 1
            self.counts[LEFT_OUT] += self.held.keep(self._wanted(self.held.rows["key"]))

    def _close(self, rows: NDArray[Any], of: NDArray[np.int32], traces: "Traced") -> Closed:
        rows = self._whole(rows, of, traces)
        spanned = np.array([h for h, group in self.names.groups.items() if group.spans], np.uint64)
        found = closed(rows, spanned)
        self.counts[ORPHANS] += found.orphans
        return found

    def _whole(self, rows: NDArray[Any], of: NDArray[np.int32], traces: "Traced") -> NDArray[Any]:
        """Without traces of which events are missing, and without what groups say whose lines were not heard so far."""
        lacking = np.zeros(traces.begin.size, bool)
        if self._eased:
            newly = traces.key >> np.uint64(63 - self.level) != 0
            lacking = newly & (traces.begin < self._eased)
        torn = (traces.begin < self._gap[1]) & (traces.last >= self._gap[0])
        self.counts[INTERRUPTED] += int(np.count_nonzero((torn & ~lacking)[of]))
        lacking |= torn
        heard = np.array([*self._heard, 0])
        groups = numbered(rows["group"])
        place = [self._of_lines.get(g, -1) for g in rows["group"][groups.first].tolist()]
        is_late = np.array([p >= 0 and heard[p] > self._newest - FORGOTTEN for p in place], bool)
        good = ~lacking[of]
        deaf = good & is_late[groups.of] & (heard[place][groups.of] < traces.last[of])
        self.counts[DEAF] += int(np.count_nonzero(deaf))
        rows["mute"] = deaf
        return rows if good.all() else rows[good]

    def _ease(self) -> None:
        """Take more traces again, where there is much room."""
        if self.level and 4 * self.held.size < self.most and self._newest >= self._eased + AT_EASE:
            self.level, self._eased = self.level - 1, self._newest

    def _forget_names(self) -> None:
        """Know no more names than so many, and those in use."""
        if len(self.names.words) <= MOST_NAMES:
            return
        used = {*np.unique(self.held.rows["what"]).tolist()}
        self.names.words = {h: words for h, words in self.names.words.items() if h in used}
        groups = {*np.unique(self.held.rows["group"]).tolist(), *self._of_lines}
        self.names.groups = {h: group for h, group in self.names.groups.items() if h in groups}
